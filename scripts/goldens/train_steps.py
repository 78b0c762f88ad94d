"""Golden of internal/train: 20 updates of a small network in eager PyTorch, with AdamW, with SGD, and with LAMB on binary
cross-entropy in two parts per batch beside an average of the weights; and timm's targets of mixed batches.

Needs torch and timm. Run from the top folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/train_steps.py

Writes internal/train/testdata: steps_net.pt (TorchScript with the initial weights), steps_images.u8 (64 x 8 x 8 x 3,
NHWC), steps.json (header, labels and, per case, rates, losses and final parameters and buffers) and targets.json.
"""

import copy
import datetime
import io
import json
import math
import pathlib
import sys
import zipfile

import timm
import torch
from torch import nn
from torch.nn import functional as F
from timm.data.mixup import mixup_target
from timm.loss import BinaryCrossEntropy
from timm.optim import Lamb

OUT = pathlib.Path("internal/train/testdata")
SEED, IMAGES, BATCH, UPDATES = 0, 64, 16, 20
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]


class Net(nn.Module):
    """A convolution without and one with bias, batch and layer norms, a vector that is not called bias."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.scale = nn.Parameter(torch.full((12,), 0.9))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return self.head(self.norm(x.mean((2, 3)) * self.scale))


def save(model, path):
    """TorchScript without its debug records, which hold source paths of the machine."""
    raw = io.BytesIO()
    torch.jit.save(torch.jit.script(model), raw)
    with zipfile.ZipFile(raw) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as slim:
        for info in whole.infolist():
            if not info.filename.endswith(".debug_pkl"):
                name = info.filename.replace("archive/", f"{path.stem}/", 1)
                slim.writestr(zipfile.ZipInfo(name), whole.read(info))


def groups(model, decay):
    """timm's and DeiT's rule: no decay for vectors and biases; that group first."""
    named = list(model.named_parameters())
    flat = [p for n, p in named if p.ndim <= 1 or n.endswith(".bias")]
    return [{"params": flat, "weight_decay": 0.0},
            {"params": [p for n, p in named if not (p.ndim <= 1 or n.endswith(".bias"))], "weight_decay": decay}]


def cosine(t, base, epochs, warmup, start, floor):
    if t < warmup:
        return start + t * (base - start) / warmup
    return floor + 0.5 * (base - floor) * (1 + math.cos(math.pi * t / epochs))


def attacked(model, x, y, mean, std, epsilon, step_size, steps):
    """Madry et al.: PGD from the clean images on the network in evaluation mode."""
    model.eval()
    adv = x.clone()
    for _ in range(steps):
        adv.requires_grad_(True)
        loss = F.cross_entropy(model((adv - mean) / std), y, reduction="sum")
        g, = torch.autograd.grad(loss, adv)
        adv = adv.detach() + step_size * g.sign()
        adv = (x + (adv - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    model.train()
    return adv.detach()


def run(model, optimizer, rates, images, labels, smoothing, clip, adversarial=None):
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    losses = []
    model.train()
    for i, lr in enumerate(rates):
        rows = [(BATCH * i + j) % IMAGES for j in range(BATCH)]
        x = images[rows].permute(0, 3, 1, 2).float() / 255
        if adversarial:
            x = attacked(model, x, labels[rows], mean, std, **adversarial)
        x = (x - mean) / std
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), labels[rows], label_smoothing=smoothing)
        loss.backward()
        if clip > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def run_lamb(model, rates, images, labels, decay):
    """LAMB, BCE with smoothed targets above 0.2, every batch in two parts, and DeiT's average of the weights."""
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    optimizer = Lamb(groups(model, 0.02), lr=1, betas=(0.9, 0.99), eps=1e-6, foreach=False)
    criterion = BinaryCrossEntropy(smoothing=0.1, target_threshold=0.2)
    average = {n: t.clone() for n, t in model.state_dict().items()}
    losses = []
    model.train()
    for i, lr in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        total = 0
        for part in range(2):
            rows = [(BATCH * i + part * BATCH // 2 + j) % IMAGES for j in range(BATCH // 2)]
            x = (images[rows].permute(0, 3, 1, 2).float() / 255 - mean) / std
            loss = criterion(model(x), labels[rows]) / 2
            loss.backward()
            total += loss.item()
        optimizer.step()
        for n, t in model.state_dict().items():
            average[n] = average[n] * decay + (1 - decay) * t if t.is_floating_point() else t.clone()
        losses.append(total)
    return losses, average


def targets():
    labels = torch.tensor([3, 0, 1, 3, 4, 1])
    cases = []
    for share in (1.0, 0.37, 0.5, 0.0):
        for smoothing in (0.0, 0.1):
            t = mixup_target(labels, 5, share, smoothing)
            cases.append({"share": share, "smoothing": smoothing, "targets": t.flatten().tolist()})
    return {"labels": labels.tolist(), "classes": 5, "cases": cases}


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    labels = torch.randint(0, 5, (IMAGES,))
    images = (torch.randint(0, 128, (IMAGES, 8, 8, 3)) + 25 * labels.reshape(-1, 1, 1, 1)).to(torch.uint8)
    (OUT / "steps_images.u8").write_bytes(images.numpy().tobytes())
    initial = Net()
    save(initial, OUT / "steps_net.pt")

    cases = []
    for name in ("adamw", "sgd", "adversarial"):
        model = copy.deepcopy(initial)
        adversarial = {"epsilon": 8 / 255, "step_size": 3 / 255, "steps": 3} if name == "adversarial" else None
        if name != "sgd":
            # Five epochs of four updates each, rate per update, one epoch of warm-up.
            rates = [cosine(i / 4, 4e-3, 5, 1, 1e-4, 1e-5) for i in range(UPDATES)]
            optimizer = torch.optim.AdamW(groups(model, 0.05), lr=1, betas=(0.9, 0.99), eps=1e-8)
            smoothing, clip = 0.1, 0.5
        else:
            # Rate per epoch, x0.1 every two epochs, everything decayed.
            rates = [0.05 * 0.1 ** (i // 4 // 2) for i in range(UPDATES)]
            optimizer = torch.optim.SGD(model.parameters(), lr=1, momentum=0.9, nesterov=True, weight_decay=1e-2)
            smoothing, clip = 0.0, 0.0
        losses = run(model, optimizer, rates, images, labels, smoothing, clip, adversarial)
        tensors = {n: t.flatten().tolist() for n, t in model.state_dict().items()}
        cases.append({"name": name, "rates": rates, "losses": losses, "tensors": tensors})
        print(name, losses[0], losses[-1])

    model = copy.deepcopy(initial)
    rates = [0.02 * 0.5 * (1 + math.cos(math.pi * (i / 4) / 5)) for i in range(UPDATES)]
    losses, average = run_lamb(model, rates, images, labels, 0.9)
    cases.append({"name": "lamb", "rates": rates, "losses": losses,
                  "tensors": {n: t.flatten().tolist() for n, t in model.state_dict().items()},
                  "average": {n: t.flatten().tolist() for n, t in average.items()}})

    golden = {
        "header": {
            "tool": f"torch {torch.__version__}, timm {timm.__version__}, Python {sys.version.split()[0]}",
            "script": "scripts/goldens/train_steps.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(), "threads": 1,
            "tolerance": "1e-4 relative: 20 updates amplify what other kernels round differently",
        },
        "mean": MEAN, "std": STD, "batch": BATCH, "labels": labels.tolist(), "cases": cases,
    }
    (OUT / "steps.json").write_text(json.dumps(golden) + "\n")
    (OUT / "targets.json").write_text(json.dumps({"header": golden["header"]} | targets()) + "\n")


if __name__ == "__main__":
    main()
