#!/usr/bin/env python3
"""Goldens of the training augmentation: pixel operations made with Pillow through timm's own functions, geometry of crops,
erasing boxes and CutMix boxes made with timm where its random numbers are replaced by given ones.

Writes internal/data/augment/testdata/{operations,colour,crops,erasing,cutmix}.json. Pixels are SHA-256 of the RGB bytes, row by row.

Usage: python scripts/goldens/data_augment.py [REPOSITORY]     (seconds; no randomness besides the seed below)
"""

import datetime
import hashlib
import json
import math
import pathlib
import random
import sys
from unittest import mock

import numpy as np
import PIL
import timm
import torch
from PIL import Image, ImageFilter
from timm.data import auto_augment, mixup, random_erasing, transforms
from torchvision.transforms import functional

SEED = 20261125
ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
OUT = ROOT / "internal/data/augment/testdata"
FILL = (124, 116, 104)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIZES = [(1, 1), (2, 3), (3, 3), (3, 40), (32, 32), (57, 33), (97, 64), (224, 224)]


def write(name, what, cases, tolerance):
    head = {
        "what": what,
        "tool": f"timm {timm.__version__}, pillow {PIL.__version__}, numpy {np.__version__}, torch {torch.__version__}",
        "script": "scripts/goldens/data_augment.py", "seed": SEED, "date": datetime.date.today().isoformat(),
        "tolerance": tolerance,
    }
    lines = ",\n  ".join(json.dumps(c) for c in cases)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text('{"header": ' + json.dumps(head, indent=1) + ',\n "cases": [\n  ' + lines + "\n]}\n")
    print(f"{name}: {len(cases)} cases")


def sha(image):
    return hashlib.sha256(np.asarray(image, np.uint8).tobytes()).hexdigest()


def formula(width, height, kind):
    """The images that the Go tests make too."""
    x, y, c = np.meshgrid(np.arange(width), np.arange(height), np.arange(3), indexing="xy")
    x, y, c = (v.astype(np.uint32) for v in (x, y, c))
    v = x * 3 + y * 2 + c * 40 + x * y // 64
    if kind == "noise":
        v = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ (c * np.uint32(83492791))
        v ^= v >> 13
        v *= np.uint32(0x5BD1E995)
        v ^= v >> 15
    v = v.astype(np.uint8)
    if kind == "dark":  # neither full contrast nor all bins, one channel constant
        v = v // 3 + 40
        v[..., 2] = 77
    return Image.fromarray(np.ascontiguousarray(v))


def colour():
    """What contrastive views need besides: Pillow's Gaussian blur and torchvision's turn of the hue."""
    table = [("blur", (0.1, 0.31, 0.5, 1.0, 1.37, 1.9999, 2.0, 3.7), lambda m, v: m.filter(ImageFilter.GaussianBlur(radius=v))),
             ("hue", (-0.5, -0.2, -0.1, -0.0039, 0.0, 0.004, 0.1, 0.37, 0.5), functional.adjust_hue)]
    cases = []
    for name, values, apply in table:
        for width, height in SIZES:
            for kind in ("noise", "smooth", "dark"):
                for v in values:
                    image = apply(formula(width, height, kind), v)
                    cases.append({"width": width, "height": height, "kind": kind, "op": name, "arg": v, "sha256": sha(image)})
    write("colour.json", "Gaussian blur and hue: images by formula, bytes after the operation", cases, "equal bytes")


def operations():
    a = auto_augment
    factors = (0.1, 0.19, 0.55, 1.0, 1.3, 1.81, 1.9)
    table = [("autocontrast", [0], lambda m, v, k: a.auto_contrast(m)), ("equalize", [0], lambda m, v, k: a.equalize(m)),
             ("invert", [0], lambda m, v, k: a.invert(m)), ("posterize", [1, 3, 4, 8], lambda m, v, k: a.posterize(m, int(v))),
             ("solarize", [0, 26, 128, 256], lambda m, v, k: a.solarize(m, int(v))),
             ("solarize_add", [0, 99, 110], lambda m, v, k: a.solarize_add(m, int(v))),
             ("color", factors, lambda m, v, k: a.color(m, v)), ("contrast", factors, lambda m, v, k: a.contrast(m, v)),
             ("brightness", factors, lambda m, v, k: a.brightness(m, v)),
             ("sharpness", factors, lambda m, v, k: a.sharpness(m, v)),
             ("grey", [0], lambda m, v, k: m.convert("L").convert("RGB"))]
    warps = [("rotate", (-30.0, -27.123, 0.5, 27.0), a.rotate), ("shear_x", (-0.3, -0.123, 0.27), a.shear_x),
             ("shear_y", (-0.27, 0.1, 0.3), a.shear_y), ("translate_x", (-0.45, 0.011, 0.405), a.translate_x_rel),
             ("translate_y", (-0.405, 0.2, 0.45), a.translate_y_rel)]
    cases = []
    for width, height in SIZES:
        for kind in ("smooth", "noise", "dark"):
            image = formula(width, height, kind)
            base = {"width": width, "height": height, "kind": kind}
            for op, values, do in table:
                cases += [base | {"op": op, "arg": v, "filter": "", "sha256": sha(do(image, v, None))} for v in values]
            for op, values, do in warps:
                cases += [base | {"op": op, "arg": v, "filter": name,
                                  "sha256": sha(do(image, v, resample=f, fillcolor=FILL))}
                          for v in values for name, f in FILTERS.items()]
    write("operations.json", "one operation of timm on one image", cases, "none: equal bytes")


def given(values):
    """A random.uniform that returns the values in turn, whatever it is asked for."""
    queue = iter(values)
    return lambda low, high: next(queue)


def crops(rng):
    cases = []
    for _ in range(300):
        width, height = (rng.choice([1, 2, 7, 60, 97, 224, 500, 640]) for _ in range(2))
        scale, log_ratio = rng.uniform(0.08, 1), rng.uniform(math.log(3 / 4), math.log(4 / 3))
        with mock.patch.object(random, "uniform", given([scale, log_ratio] * 10)), \
                mock.patch.object(random, "randint", lambda low, high: high):
            i, j, h, w = transforms.RandomResizedCropAndInterpolation.get_params(
                Image.new("RGB", (width, height)), (0.08, 1.0), (3 / 4, 4 / 3))
        if w == 0 or h == 0:
            continue  # timm takes an empty crop, which no resize accepts; ours draws again
        cases.append({"width": width, "height": height, "scale": scale, "log_ratio": log_ratio,
                      "left": j, "top": i, "crop_width": w, "crop_height": h})
    write("crops.json", "get_params with every draw equal to the given one, offsets at their largest", cases, "none")


def erasing(rng):
    cases = []
    for _ in range(200):
        width, height = (rng.choice([8, 32, 97, 224]) for _ in range(2))
        area, log_ratio = rng.uniform(0.02, 1 / 3), rng.uniform(math.log(0.3), math.log(1 / 0.3))
        image = torch.zeros(3, height, width)
        with mock.patch.object(random, "uniform", given([area, log_ratio] * 10)), \
                mock.patch.object(random, "randint", lambda low, high: low), \
                mock.patch.object(random, "random", lambda: 0.0), \
                mock.patch.object(random_erasing, "_get_pixels", lambda p, r, size, dtype, device: torch.ones(size)):
            random_erasing.RandomErasing(probability=1, mode="pixel", device="cpu")(image)
        rows, columns = image[0].any(1).sum(), image[0].any(0).sum()
        cases.append({"width": width, "height": height, "area": area, "log_ratio": log_ratio,
                      "box_width": int(columns), "box_height": int(rows)})
    write("erasing.json", "size of the erased box; 0 where no box fits", cases, "none")


def cutmix(rng):
    cases = []
    for _ in range(300):
        width, height = (rng.choice([7, 32, 33, 224]) for _ in range(2))
        share, cy, cx = rng.random(), rng.randrange(height), rng.randrange(width)
        queue = iter([cy, cx])
        with mock.patch.object(np.random, "randint", lambda low, high, size=None: next(queue)):
            (yl, yh, xl, xh), lam = mixup.cutmix_bbox_and_lam((2, 3, height, width), share)
        cases.append({"width": width, "height": height, "lambda": share, "cy": cy, "cx": cx, "left": int(xl), "top": int(yl),
                      "right": int(xh), "bottom": int(yh), "share": float(lam)})
    write("cutmix.json", "box and corrected share", cases, "none")


operations()
colour()
crops(random.Random(SEED))
erasing(random.Random(SEED + 1))
cutmix(random.Random(SEED + 2))
