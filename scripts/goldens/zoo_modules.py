#!/usr/bin/env python3
"""Makes zoo/testdata: tiny networks of every family of the demo, files without manifest, and numbers to compare with.

    third_party/env/bin/python scripts/goldens/zoo_modules.py

NAME.pt         module files of scripts/export.py; the gradients in them come from eager PyTorch
plain-NAME.pt   TorchScript files without sat.json, good and bad
fill.json       numbers of scripts/satexport/fill.py, which Go must reproduce bit for bit
init.json       statistics of what timm's own code draws, pooled over seeds, with the rule that was recorded for it
"""
import datetime
import json
import os
import subprocess
import sys
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.dirname(HERE)
OUT = os.path.join(os.path.dirname(SCRIPTS), "zoo", "testdata")
sys.path.insert(0, SCRIPTS)
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from satexport import build, fill, initrules, modulefile  # noqa: E402

MIXER = "models.mlp_mixer.MlpMixer"
AFFINE = {"ref": "models.mlp_mixer.Affine"}


def res_block(**kwargs):
    return {"ref": "models.mlp_mixer.ResBlock", "kwargs": kwargs}


def job(name, kwargs, model=None, cls=None, size=16):
    return {"name": name, **({"model": model} if model else {"class": cls}), "kwargs": kwargs, "num_classes": 10,
            "input_size": [3, size, size], "mean": [0.5, 0.45, 0.4], "std": [0.5, 0.25, 0.2], "interpolation": "bilinear",
            "crop_pct": 1.0, "seed": 1, "components": {"base_architecture": "test"}}


# One for each family of the demo, as small as the family allows.
TINY = [
    job("resnet", {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8], "stem_width": 4}, "resnet18d"),
    job("resnext", {"layers": [1, 1, 1, 1], "channels": [4, 4, 4, 4], "cardinality": 2, "base_width": 32,
                    "stem_type": "deep", "stem_width": 4}, "resnext50_32x4d"),
    job("regnet", {"w0": 8, "wa": 8.0, "wm": 1.7, "depth": 4, "group_size": 4, "stem_width": 8}, "regnetx_002"),
    job("convnext", {"depths": [1, 1, 1, 1], "dims": [4, 4, 8, 8], "patch_size": 4}, "convnext_atto", size=32),
    job("vit", {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}, "vit_tiny_patch16_224"),
    job("pit", {"img_size": 16, "patch_size": 4, "stride": 2, "base_dims": [4, 4], "depth": [1, 1], "heads": [2, 4],
                "mlp_ratio": 2}, "pit_ti_224"),
    job("swin", {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": [2], "num_heads": [2]},
        "swin_tiny_patch4_window7_224"),
    job("mixer", {"img_size": 16, "patch_size": 4, "embed_dim": 16, "num_blocks": 2}, cls=MIXER),
    job("resmlp", {"img_size": 16, "patch_size": 4, "embed_dim": 16, "num_blocks": 2, "mlp_ratio": 4,
                   "block_layer": res_block(init_values=0.1), "norm_layer": AFFINE}, cls=MIXER),
]

# Wide enough for statistics; between them they use every kind of rule that draws numbers.
STATISTICS = [
    {"model": "resnet18", "kwargs": {"channels": [16, 32, 64, 64]}},
    {"model": "mobilenetv3_small_050", "kwargs": {}},
    {"model": "vit_tiny_patch16_224", "kwargs": {"embed_dim": 96, "depth": 1, "num_heads": 3}},
    {"model": "vit_tiny_patch16_224", "kwargs": {"embed_dim": 96, "depth": 1, "num_heads": 3, "weight_init": "jax"}},
    {"model": "convnext_atto", "kwargs": {"depths": [1, 1, 1, 1], "dims": [16, 32, 64, 64]}},
    {"class": MIXER, "kwargs": {"img_size": 64, "patch_size": 8, "embed_dim": 96, "num_blocks": 1}},
]
SEEDS = range(8)


class Plain(nn.Module):
    """A little convolutional classifier; mode chooses a defect."""

    def __init__(self, mode: str):
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "constant":
            x = torch.round(x * 0)
        if self.mode == "noisy":
            x = x + 0.1 * torch.randn_like(x)
        if self.mode == "batch":
            x = x - x.mean(dim=0, keepdim=True)
        h = torch.tanh(self.conv(x))
        if self.mode == "chaotic":  # doubles the rounding of the convolution sixteen times
            for _ in range(16):
                h = 1 - 2 * h * h
        z = self.head(h.mean(dim=[2, 3])) * 10
        if self.mode == "probabilities":
            z = z.softmax(1)
        if self.mode == "nan":
            z = (z - z) / (z - z)
        if self.mode == "planes":
            z = z[:, :, None]
        if self.mode == "bright":  # not a number only where the images are bright
            z = z + torch.where(x.mean(dim=[1, 2, 3]) > 0.9, float("nan"), 0.0)[:, None]
        return z


def header(**more):
    return {"tool": "torch, timm, numpy", "versions": f"{torch.__version__}, {timm.__version__}, {np.__version__}",
            "script": "scripts/goldens/zoo_modules.py", "date": datetime.date.today().isoformat(), **more}


def write_json(name, content):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        json.dump(content, f, indent=1)
        f.write("\n")


def fill_golden():
    cases = []
    for seed, name, n, low, high in [(0, "conv.weight", 7, -0.25, 0.25), (0, "conv.bias", 3, 0.8, 1.2),
                                     (7, "layers.0.blocks.1.attn.qkv.weight", 5, -0.0123457, 0.3), (2**64 - 1, "ü", 4, -1e-3, 0.1)]:
        values = fill.values(seed, name, n, low, high)
        cases.append({"seed": seed, "name": name, "low": low, "high": high, "bits": [int(b) for b in values.view(np.uint32)]})
    # The last number of a long stream: the generator works in pieces of 2^20.
    last = fill.values(3, "long", (1 << 20) + 5, -1.0, 1.0)[-5:]
    images = fill.images(5, 2, 3, 11, 20)  # 11: cells of unequal height
    write_json("fill.json", {
        "header": header(seed="in each case", tolerance="none: bit-equal, the contract of the generator"),
        "values": cases,
        "long": {"seed": 3, "name": "long", "low": -1.0, "high": 1.0, "skip": 1 << 20, "bits": [int(b) for b in last.view(np.uint32)]},
        "images": {"seed": 5, "shape": [2, 3, 11, 20], "bits": [int(b) for b in images.reshape(-1).view(np.uint32)]},
        "labels": {"seed": 5, "n": 6, "classes": 10, "labels": fill.labels(5, 6, 10).tolist()},
    })


def init_golden():
    cases, seen = [], set()
    for description in STATISTICS:
        construct = build.constructor(description)
        _, rules = initrules.rules(construct, 0)
        networks = []
        for seed in SEEDS:
            torch.manual_seed(100 + seed)
            networks.append(initrules.tensors(construct()))
        for rule in rules:
            key = json.dumps({k: v for k, v in rule.items() if k != "tensor"})
            if rule["kind"] in ("constant", "keep", "values") or key in seen:
                continue
            values = np.concatenate([n[rule["tensor"]].detach().double().numpy().reshape(-1) for n in networks])
            if values.size < 5000:
                continue
            seen.add(key)
            cases.append({"network": description.get("model") or description["class"], "rule": rule, "n": int(values.size),
                          "mean": float(values.mean()), "std": float(values.std()), "min": float(values.min()),
                          "max": float(values.max()), "quantiles": np.quantile(values, [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]).tolist()})
    write_json("init.json", {
        "header": header(seed="100 to 107", tolerance="six standard errors of the difference of two samples"), "cases": cases})


def main():
    os.makedirs(OUT, exist_ok=True)
    jobs = os.path.join(OUT, "jobs.json")
    with open(jobs, "w", encoding="utf-8") as f:
        json.dump(TINY, f, indent=1)
        f.write("\n")
    subprocess.run([sys.executable, os.path.join(SCRIPTS, "export.py"), "--job", jobs, "--out", OUT], check=True)
    for mode in ("good", "constant", "noisy", "batch", "probabilities", "nan", "planes", "bright", "chaotic"):
        torch.manual_seed(0)
        net = Plain(mode).eval()
        for p in net.parameters():
            p.requires_grad_(False)
        modulefile.save(torch.jit.script(net), os.path.join(OUT, f"plain-{mode}.pt"), {})
    fill_golden()
    init_golden()


if __name__ == "__main__":
    main()
