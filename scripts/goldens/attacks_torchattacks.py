"""Goldens of attacks/goldentest: PGD by torchattacks and foolbox on two small trained TorchScript networks.

Needs torch, scikit-learn, torchattacks 3.5.1 and foolbox 3.3.4 (with eagerpy, GitPython, requests). Run from the top
folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/attacks_torchattacks.py

Writes attacks/goldentest/testdata: conv.pt and vit.pt, images.u8 (64 x 3 x 16 x 16, pixel = byte/255), one
CASE.f32.gz per attack (float32 adversarial images) and golden.json (header, labels, cases with predictions).
"""

import datetime
import gzip
import io
import json
import pathlib
import sys
import zipfile

import foolbox
import numpy as np
import torch
import torchattacks
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

OUT = pathlib.Path("attacks/goldentest/testdata")
SEED = 0
SIZE = 16  # pixels a side: the 8x8 digits enlarged, so that convolutions and patches have something to do


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU and a strided second convolution."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(n, t, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Two transformer blocks over 4x4 patches with a class token."""

    def __init__(self, width: int = 32, heads: int = 2):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (SIZE // 4) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, heads), Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def digits():
    """Images [N,3,16,16] uint8, tinted so that the channels differ, and labels."""
    images, labels = load_digits(return_X_y=True)
    grey = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    grey = F.interpolate(grey, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    tint = torch.tensor([1.0, 0.8, 0.6]).reshape(1, 3, 1, 1)
    return (grey * tint * 255).round().to(torch.uint8), torch.tensor(labels)


def train(model, x, y, epochs, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 64 * 64].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def save(model, path):
    """TorchScript without its debug records, which hold source paths of the machine and differ from one to another."""
    raw = io.BytesIO()
    torch.jit.save(torch.jit.script(model), raw)
    with zipfile.ZipFile(raw) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as slim:
        for info in whole.infolist():
            if not info.filename.endswith(".debug_pkl"):
                name = info.filename.replace("archive/", f"{path.stem}/", 1)
                slim.writestr(zipfile.ZipInfo(name), whole.read(info))


def predict(model, x):
    with torch.no_grad():
        return model(x).argmax(1).tolist()


def write_pixels(name, images):
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, mtime=0) as f:
        f.write(images.detach().numpy().astype("<f4").tobytes())
    (OUT / f"{name}.f32.gz").write_bytes(raw.getvalue())


def pgd_path(model, x, y, eps, alpha, steps):
    """The iterates of torchattacks' PGD without random start: an attack of t steps ends at x_t."""
    return {t: torchattacks.PGD(model, eps=eps, alpha=alpha, steps=t, random_start=False)(x, y) for t in steps}


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.f32.gz"):
        old.unlink()
    bytes_, labels = digits()
    pixels = bytes_.float() / 255
    order = torch.randperm(len(labels))
    test, rest = order[:64], order[64:]
    x, y = pixels[test], labels[test]
    (OUT / "images.u8").write_bytes(bytes_[test].numpy().tobytes())

    cases = []
    for name, model, epochs, lr in [("conv", Conv(), 6, 3e-3), ("vit", ViT(), 25, 3e-3)]:
        train(model, pixels[rest], labels[rest], epochs, lr)
        model.requires_grad_(False)
        save(model, OUT / f"{name}.pt")
        with torch.jit.optimized_execution(False):
            scripted = torch.jit.load(OUT / f"{name}.pt")
            print(name, "clean correct", sum(p == t for p, t in zip(predict(scripted, x), y.tolist())), "of 64")

            def case(label, adv, n=64, **settings):
                title = f"{name}-{label}"
                write_pixels(title, adv)
                cases.append({"name": title, "model": name, "images": n, "predicted": predict(scripted, adv), **settings})
                correct = sum(p == t for p, t in zip(cases[-1]["predicted"], y.tolist()))
                print(f"{title}: {correct} of {n} robust")

            for k in (8, 24):
                eps = k / 255
                for word, alpha in (("pixel", 0.1), ("eps", eps / 10)):
                    adv = torchattacks.PGD(scripted, eps=eps, alpha=alpha, steps=50, random_start=False)(x, y)
                    fmodel = foolbox.PyTorchModel(scripted, bounds=(0, 1))
                    attack = foolbox.attacks.LinfPGD(abs_stepsize=alpha, steps=50, random_start=False)
                    _, other, _ = attack(fmodel, x, y, epsilons=eps)
                    same = (other == adv).float().mean().item()
                    assert (other - adv).abs().max() <= 1e-6 or same >= 0.999, f"foolbox and torchattacks: {same}"
                    case(f"linf{k}-{word}", adv, attack="pgd", norm="Linf", epsilon=eps, step_size=alpha, steps=50,
                         foolbox_equal=same)

            # Single steps for teacher forcing: from torchattacks' own x_t to its x_{t+1}.
            path = pgd_path(scripted, x[:16], y[:16], 24 / 255, 2.4 / 255, (1, 2, 25, 26))
            for t in (1, 25):
                write_pixels(f"{name}-x{t}", path[t])
                case(f"step{t}", path[t + 1], n=16, attack="step", norm="Linf", start=f"{name}-x{t}", epsilon=24 / 255,
                     step_size=2.4 / 255, steps=1)

            a, b, n = x[:16], y[:16], 16
            l2 = torchattacks.PGDL2(scripted, eps=1.0, alpha=0.2, steps=10, random_start=False)
            case("l2", l2(a, b), n, attack="pgd", norm="L2", epsilon=1.0, step_size=0.2, steps=10)
            mi = torchattacks.MIFGSM(scripted, eps=24 / 255, alpha=2.4 / 255, steps=10, decay=0.9)
            case("momentum", mi(a, b), n, attack="pgd", norm="Linf", epsilon=24 / 255, step_size=2.4 / 255, steps=10,
                 momentum=0.9)
            targeted = torchattacks.PGD(scripted, eps=24 / 255, alpha=2.4 / 255, steps=10, random_start=False)
            targeted.set_mode_targeted_by_label(quiet=True)
            case("targeted", targeted(a, (b + 1) % 10), n, attack="pgd", norm="Linf", epsilon=24 / 255,
                 step_size=2.4 / 255, steps=10, targeted=True)

    golden = {
        "header": {
            "tool": f"torchattacks {torchattacks.__version__}, foolbox {foolbox.__version__}, torch {torch.__version__}, "
                    f"Python {sys.version.split()[0]}",
            "script": "scripts/goldens/attacks_torchattacks.py", "seed": SEED,
            "date": datetime.date.today().isoformat(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(), "threads": 1,
            "tolerance": "1e-6 on 99.9 % of pixels, robust accuracy within one image: equal arithmetic, but a sign may "
                         "turn where another CPU's kernels round a gradient near 0 differently",
        },
        "labels": y.tolist(),
        "cases": cases,
    }
    (OUT / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
