"""Goldens of Patch-Fool: an eager re-implementation on a small trained vision transformer of timm.

Needs torch, timm and scikit-learn, and attacks/goldentest/testdata/images.u8 (attacks_torchattacks.py). Run from the top
folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/attacks_patchfool.py

Writes attention.pt, the network with its attention maps, and patchfool.json, into attacks/goldentest/testdata.

The network here is timm's own with hooks on its attention, the optimiser torch's, the loss one call of autograd per term,
everything in normalised units; nothing is shared with the Go attack but the generator of random numbers, which is
re-implemented too.
"""

import base64
import datetime
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import timm
import torch
from torch.nn import functional as F

sys.path.insert(0, "scripts")
sys.path.insert(0, "scripts/goldens")
warnings.filterwarnings("ignore")

from attacks_torchattacks import OUT, SIZE, digits, train  # noqa: E402
from satexport import modulefile  # noqa: E402

SEED = 3
PATCH, IMAGES, EPOCHS = 4, 10, 40
MEAN, STD = [0.3, 0.25, 0.2], [0.35, 0.3, 0.25]
KWARGS = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 32, "depth": 6, "num_heads": 2, "num_classes": 10}
WATCHED = (1, 5, 25)  # steps after which images are written down


class Stream:
    """Philox4x32-10 (Salmon et al. 2011), addressed by a name and counters as package rng says."""

    def __init__(self, seed, name, *counters):
        address = name.encode() + b"\0" + b"".join(struct.pack("<Q", c) for c in counters)
        self.words = struct.unpack("<3I", hashlib.sha256(address).digest()[:12])
        self.key, self.block, self.left = (seed & 0xFFFFFFFF, seed >> 32), 0, []

    def uint32(self):
        if not self.left:
            c, (k0, k1) = [self.block, *self.words], self.key
            for _ in range(10):
                a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(b >> 32) ^ c[1] ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k1, a & 0xFFFFFFFF]
                k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
            self.left, self.block = c, self.block + 1
        return self.left.pop(0)

    def uint64(self):
        low = self.uint32()
        return low | self.uint32() << 32

    def float32(self):
        return (self.uint32() >> 8) / 2**24

    def float64(self):
        return (self.uint64() >> 11) / 2**53

    def permutation(self, n):
        p = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.uint64() * (i + 1) >> 64  # rejection has a chance of 1e-18 here
            p[i], p[j] = p[j], p[i]
        return p


def key(image):
    return struct.unpack("<Q", hashlib.sha256(str(image).encode()).digest()[:8])[0]


def column(values):
    return torch.tensor(values).reshape(1, -1, 1, 1)


def normalise(x):
    return (x - column(MEAN)) / column(STD)


class Watched:
    """timm's network in normalised units, and the attention maps of its last call."""

    def __init__(self, net):
        self.net, self.maps = net, []
        for block in net.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_pre_hook(lambda module, inputs: self.maps.append(inputs[0]))

    def __call__(self, x):
        self.maps.clear()
        return self.net(x), list(self.maps)


def mask_of(patches):
    """1 inside the patches of each image, [N,1,H,W]."""
    side, across = PATCH, SIZE // PATCH
    mask = torch.zeros(len(patches), 1, SIZE, SIZE)
    for i, chosen in enumerate(patches):
        for p in chosen:
            row, col = p // across * side, p % across * side
            mask[i, :, row:row + side, col:col + side] = 1
    return mask


def select(net, x, y, case):
    count, how = case["patches"], case["select"]
    if how == "random":
        return [Stream(SEED, "patchfool patches", key(i)).permutation((SIZE // PATCH) ** 2)[:count] for i in range(len(x))]
    leaf = normalise(x).requires_grad_(True)
    logits, maps = net(leaf)
    if how == "attention":
        score = maps[case["layer"]].mean(dim=(1, 2))[:, 1:]
    else:
        gradient, = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), leaf)
        # With respect to pixels, x = normalised * std + mean.
        score = F.avg_pool2d((gradient / column(STD)).abs().sum(1, keepdim=True), PATCH).flatten(1)
    return [torch.argsort(s, descending=True, stable=True)[:count].tolist() for s in score.detach()]


def start(x, patches, case):
    """The first q and, for the sparse variant, the first scores, in the order of the draws of the Go attack."""
    q, scores = normalise(x), torch.zeros(len(x), 1, SIZE, SIZE)
    across = SIZE // PATCH
    for i, chosen in enumerate(patches):
        stream = Stream(SEED, "patchfool", 0, key(i))
        pixels = [(r, c) for p in chosen for r in range(p // across * PATCH, (p // across + 1) * PATCH)
                  for c in range(p % across * PATCH, (p % across + 1) * PATCH)]
        for r, c in pixels:
            for channel in range(3):
                if e := case["mild_linf"]:
                    q[i, channel, r, c] += (2 * stream.float64() - 1) * e / STD[channel]
                else:
                    q[i, channel, r, c] = (stream.float32() - MEAN[channel]) / STD[channel]
        if case["pixels"]:
            for r, c in pixels:
                scores[i, 0, r, c] = stream.float32()
    return q, scores


def objective(maps, patches, form):
    """J_l of each layer that has one, [N] each."""
    total = len(maps)
    if form == "paper":
        # Sum over heads, queries and chosen patches; token 0 is the class token.
        return [torch.stack([m[i, :, :, [p + 1 for p in chosen]].sum() for i, chosen in enumerate(patches)]) for m in maps]
    return [torch.stack([maps[l][i, :, :, chosen[0] + 1].mean(0).log().mean() for i, chosen in enumerate(patches)])
            for l in range(1, total // 2)]


def hard(scores, mask, count):
    flat = torch.where(mask > 0, scores, torch.full_like(scores, -1)).flatten(1)
    threshold = flat.topk(count, dim=1).values[:, -1:]
    return (flat >= threshold).float().reshape(scores.shape) * mask


def patch_fool(net, x, y, case):
    patches = select(net, x, y, case)
    mask = mask_of(patches)
    low, high = normalise(torch.zeros(1, 3, 1, 1)), normalise(torch.ones(1, 3, 1, 1))
    clean = normalise(x)
    q, scores = start(x, patches, case)
    q = q.clamp(low, high).requires_grad_(True)
    scores = scores.requires_grad_(True)
    adam = torch.optim.Adam([q], lr=case["rate"])
    schedule = torch.optim.lr_scheduler.StepLR(adam, step_size=10, gamma=0.95)
    adam_scores = torch.optim.Adam([scores], lr=1e-2)
    images, losses, rates = {}, [], []
    for step in range(case["steps"]):
        active = hard(scores.detach(), mask, case["pixels"]) if case["pixels"] else mask
        shown = (clean * (1 - active) + q * active).detach().requires_grad_(True)
        logits, maps = net(shown)
        ce = F.cross_entropy(logits, y, reduction="none")
        losses.append(ce.detach().tolist())
        c, = torch.autograd.grad(ce.sum(), shown, retain_graph=True)
        total = c.clone()
        if case["weight"] > 0:
            inner = lambda a, b: (a * b * active).sum(dim=(1, 2, 3), keepdim=True)  # noqa: E731
            for j in objective(maps, patches, case["form"]):
                g, = torch.autograd.grad(j.sum(), shown, retain_graph=True)
                against = inner(g, c).clamp(max=0)
                length = inner(c, c)
                scale = length if case["conflict"] == "project" else length.sqrt()
                g = g - torch.where(length > 0, against / scale, torch.zeros_like(length)) * c
                total = total + case["weight"] * g
        rates.append(adam.param_groups[0]["lr"])
        q.grad = -total * active
        if case["pixels"] and step < 0.8 * case["steps"]:
            scores.grad = -(total * (q.detach() - clean) * mask).sum(1, keepdim=True)
            adam_scores.step()
            with torch.no_grad():
                for i in range(len(x)):
                    inside = mask[i] > 0
                    scores[i][inside] += 1e-6 - scores[i][inside].min()
        adam.step()
        schedule.step()
        with torch.no_grad():
            change = (q - clean) * (hard(scores, mask, case["pixels"]) if case["pixels"] else mask)
            if r := case["mild_l2"]:
                norm = change.flatten(2).norm(dim=2)[:, :, None, None]
                bound = r / column(STD)
                q.copy_(torch.where(norm > bound, clean + change * (bound / norm.clamp(min=1e-12)), q))
            if e := case["mild_linf"]:
                bound = e / column(STD)
                q.copy_(torch.maximum(torch.minimum(q, clean + bound), clean - bound))
            q.clamp_(low, high)
            active = hard(scores, mask, case["pixels"]) if case["pixels"] else mask
            pixels = torch.where(active > 0, (q * column(STD) + column(MEAN)).clamp(0, 1), x)
            if step + 1 in WATCHED:
                images[step + 1] = pixels.clone()
    with torch.no_grad():
        predicted = net(normalise(pixels))[0].argmax(1).tolist()
    return {"chosen": patches, "losses": losses, "rates": rates, "predicted": predicted, "images": images}


def export(net, path):
    """The module file as the exporter writes it, with the trained weights."""
    job = {"name": path.stem, "model": "vit_tiny_patch16_224", "kwargs": {k: v for k, v in KWARGS.items() if k != "num_classes"},
           "num_classes": 10, "input_size": [3, SIZE, SIZE], "mean": MEAN, "std": STD, "interpolation": "bilinear",
           "crop_pct": 1.0, "attention": True}
    with tempfile.TemporaryDirectory() as folder:
        jobs = pathlib.Path(folder) / "jobs.json"
        jobs.write_text(json.dumps(job))
        subprocess.run([sys.executable, "scripts/export.py", "--job", str(jobs), "--out", folder], check=True)
        extra = {modulefile.MANIFEST: "", modulefile.CHECK: ""}
        script = torch.jit.load(f"{folder}/{path.name}", _extra_files=extra)
    state = net.state_dict()
    with torch.no_grad():
        for name, t in script.named_parameters():
            t.copy_(state[name])
    manifest = json.loads(extra[modulefile.MANIFEST])
    manifest["weights"] = {"source": "trained", "seed": SEED, "run": "scripts/goldens/attacks_patchfool.py"}
    manifest["weights_sha256"] = modulefile.weights_sha256(dict(script.named_parameters()) | dict(script.named_buffers()))
    check = extra[modulefile.CHECK]
    extra = {modulefile.MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(),
             modulefile.CHECK: check if isinstance(check, bytes) else check.encode("utf-8", "surrogateescape")}
    modulefile.save(script, str(path), extra)


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    raw = np.fromfile(OUT / "images.u8", np.uint8).reshape(-1, 3, SIZE, SIZE)
    golden = json.loads((OUT / "golden.json").read_text())
    x = torch.from_numpy(raw[:IMAGES].astype(np.float32) / np.float32(255))
    y = torch.tensor(golden["labels"][:IMAGES])
    net = timm.create_model("vit_tiny_patch16_224", **KWARGS)
    all_images, all_labels = digits()
    train(net, normalise(all_images.float() / 255), all_labels, EPOCHS, 1e-3)
    for p in net.parameters():
        p.requires_grad_(False)
    export(net, OUT / "attention.pt")
    watched = Watched(net)
    with torch.no_grad():
        clean = watched(normalise(x))[0].argmax(1)
    base = {"patches": 1, "select": "attention", "layer": 4, "steps": 25, "rate": 0.2, "weight": 0.002, "form": "code",
            "conflict": "project", "mild_l2": 0, "mild_linf": 0, "pixels": 0}
    cases = [{"name": "default"}, {"name": "paper", "form": "paper", "weight": 0.05, "patches": 2},
             {"name": "code norm", "form": "paper", "weight": 0.05, "conflict": "code-norm"},
             {"name": "heavy attention", "weight": 5.0}, {"name": "random", "select": "random", "patches": 3, "weight": 0},
             {"name": "saliency", "select": "saliency", "patches": 2}, {"name": "mild linf", "mild_linf": 0.1, "patches": 4},
             {"name": "mild l2", "mild_l2": 0.5, "patches": 2}, {"name": "sparse", "patches": 4, "pixels": 20},
             {"name": "long", "patches": 1, "steps": 250}]
    out = []
    for case in cases:
        case = base | case
        r = patch_fool(watched, x, y, case)
        fooled = sum(p != t for p, t in zip(r["predicted"], y.tolist()))
        print(case["name"], "fooled", fooled, "of", IMAGES, "clean correct", int((clean == y).sum()))
        # The patches alone: everything else is the clean image.
        images = {}
        for step, pixels in r.pop("images").items():
            inside = mask_of(r["chosen"]).expand_as(pixels) > 0
            assert bool((pixels[~inside] == x[~inside]).all())
            images[step] = base64.b64encode(pixels[inside].numpy().astype("<f4").tobytes()).decode()
        keep = [0, 1, 2, 5, 10, 24, 25, 100, 249]
        r["losses"] = {i: r["losses"][i] for i in keep if i < case["steps"]}
        r["rates"] = {i: r["rates"][i] for i in keep if i < case["steps"]}
        out.append({**case, **r, "images": images})
    header = {"tool": f"eager PyTorch {torch.__version__}, timm {timm.__version__}", "script": "scripts/goldens/attacks_patchfool.py",
              "seed": SEED, "date": datetime.date.today().isoformat(), "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    (OUT / "patchfool.json").write_text(json.dumps(
        {"header": header, "labels": y.tolist(), "clean": clean.tolist(), "mean": MEAN, "std": STD, "patch": PATCH, "cases": out}) + "\n")


if __name__ == "__main__":
    main()
