"""Golden of boundary/goldentest: class maps of planes through three images, by NumPy and eager PyTorch.

Written from the paper's description alone (Somepalli et al., CVPR 2022): planes from NumPy's linear algebra, every point
of a plane made as an image and, for a network of another input size, resized as an image. Needs torch and the networks of
attacks_torchattacks.py. Run from the top folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/boundary_planes.py

Writes boundary/goldentest/testdata/planes.json: header, triplets, and per case the coordinates of the planes, the class
maps (one digit per point, the first axis outermost) and how many points two cases agree on.
"""

import datetime
import json
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

NETWORKS = pathlib.Path("attacks/goldentest/testdata")
OUT = pathlib.Path("boundary/goldentest/testdata")
SEED, SIDE, TRIPLETS, GRID = 4, 16, 4, 50
NEAR_TIE = 1e-4  # no point may have its two largest logits closer: then equal maps can be asked for on every CPU

CASES = [
    {"name": "conv", "network": "conv", "size": 16, "mean": [0, 0, 0], "std": [1, 1, 1]},
    {"name": "vit", "network": "vit", "size": 16, "mean": [0, 0, 0], "std": [1, 1, 1]},
    {"name": "conv-normalised", "network": "conv", "size": 16, "mean": [0.1, 0.0, 0.05], "std": [0.8, 0.9, 1.1]},
    {"name": "conv-larger", "network": "conv", "size": 24, "mean": [0, 0, 0], "std": [1, 1, 1]},
    {"name": "conv-wide", "network": "conv", "size": 16, "mean": [0, 0, 0], "std": [1, 1, 1], "margin": 0.5},
    {"name": "vit-norm-space", "network": "vit", "size": 16, "mean": [0, 0, 0], "std": [1, 1, 1],
     "space_mean": [0.2, 0.3, 0.4], "space_std": [0.2, 0.25, 0.5]},
]


def plane(three, margin, mean, std):
    """The grid of images, float64 [GRID, GRID, C, H, W], of a plane in the space (x - mean) / std."""
    mean, std = (np.asarray(v, dtype=np.float64).reshape(3, 1, 1) for v in (mean, std))
    x1, x2, x3 = ((x.astype(np.float64) - mean) / std for x in three)
    u, v = (x2 - x1).ravel(), (x3 - x1).ravel()
    e1 = u / np.linalg.norm(u)
    c = e1 @ v
    w = v - c * e1
    h = np.linalg.norm(w)
    e2 = w / h
    assert abs(e1 @ e2) < 1e-10

    def axis(low, high):
        extra = margin * (high - low)
        return np.linspace(low - extra, high + extra, GRID)

    first = axis(min(0, c), max(np.linalg.norm(u), c))
    second = axis(0, h)
    points = x1.ravel() + first[:, None, None] * e1 + second[None, :, None] * e2
    points = points.reshape(GRID, GRID, *x1.shape) * std + mean
    return points, {"u": np.linalg.norm(u), "c": c, "h": h}


def class_map(network, case, points):
    x = torch.from_numpy(points.reshape(-1, 3, SIDE, SIDE).astype(np.float32))
    if case["size"] != SIDE:
        x = F.interpolate(x, size=(case["size"],) * 2, mode="bilinear", align_corners=False, antialias=False)
    mean, std = (torch.tensor(case[k], dtype=torch.float32).reshape(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        logits = network((x - mean) / std)
    top = logits.topk(2).values
    gap = (top[:, 0] - top[:, 1]).min().item()
    assert gap > NEAR_TIE, f"{case['name']}: a point is {gap} from a tie; take another SEED"
    return "".join(str(k) for k in logits.argmax(1).tolist()), gap


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    labels = json.loads((NETWORKS / "golden.json").read_text())["labels"]
    raw = np.frombuffer((NETWORKS / "images.u8").read_bytes(), dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
    images = raw.astype(np.float32) / np.float32(255)
    random = np.random.default_rng(SEED)
    triplets = []
    while len(triplets) < TRIPLETS:
        numbers = random.integers(0, len(labels), 3).tolist()
        if len({labels[i] for i in numbers}) == 3:
            triplets.append(numbers)

    cases = []
    for case in CASES:
        network = torch.jit.load(NETWORKS / f"{case['network']}.pt").eval()
        planes, maps, gaps = [], [], []
        for numbers in triplets:
            points, coordinates = plane([images[i] for i in numbers], case.get("margin", 0.1),
                                        case.get("space_mean", [0, 0, 0]), case.get("space_std", [1, 1, 1]))
            planes.append(coordinates)
            classes, gap = class_map(network, case, points)
            maps.append(classes)
            gaps.append(gap)
        cases.append({**case, "planes": planes, "maps": maps, "smallest_gap": min(gaps)})
        print(case["name"], [len(set(m)) for m in maps], min(gaps))

    def agreement(a, b):
        return sum(p == q for m, n in zip(a["maps"], b["maps"]) for p, q in zip(m, n))

    golden = {
        "header": {
            "tool": f"torch {torch.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}",
            "script": "scripts/goldens/boundary_planes.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "none: no point is nearer than 1e-4 to a tie, coordinates 1e-12",
        },
        "triplets": triplets, "cases": cases,
        "agreements": [{"a": "conv", "b": c["name"], "equal": agreement(cases[0], c)} for c in cases[1:4]],
    }
    (OUT / "planes.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
