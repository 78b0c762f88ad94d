"""Goldens of attacks and attacks/goldentest: AutoAttack by its reference implementation.

Needs torch, numpy and pyautoattack 0.2.0 (the packaged reference; torchattacks' AutoAttack is another, weaker attack).
Run from the top folder of the project, after attacks_torchattacks.py, whose networks and images it uses:

    OMP_NUM_THREADS=1 python scripts/goldens/attacks_autoattack.py

Writes attacks/goldentest/testdata: conv-masked.pt, vit-masked.pt and autoattack.json (robust flags after every stage, as
strings of 0 and 1); and attacks/testdata: torchrand.json (libtorch's CPU generator) and projection.json (the reference's
projections onto a hyperplane inside the box).
"""

import datetime
import io
import json
import logging
import pathlib
import sys
import zipfile

import numpy as np
import pyautoattack.autoattack as reference
import torch
from pyautoattack.fab_projections import projection_l2, projection_linf
from torch import nn

GOLDENTEST = pathlib.Path("attacks/goldentest/testdata")
PLAIN = pathlib.Path("attacks/testdata")
SEED = 0
IMAGES = 32
CASES = [
    ("conv-masked", "Linf", 8 / 255),
    ("vit-masked", "Linf", 2 / 255),
    ("vit-masked", "Linf", 4 / 255),
    ("conv", "L2", 0.5),
    ("vit", "L2", 0.3),
]
# Single attacks, shortened. The ripple would amplify what L2 norms differ in by rounding, so these see the plain networks.
ALONE = [
    ("conv", "L2", 0.5, "fab-t", 20),
    ("conv", "Linf", 8 / 255, "fab-t", 20),
    ("conv", "L2", 0.7, "square", 400),
    ("vit", "L2", 0.6, "square", 400),
    ("vit", "Linf", 6 / 255, "square", 400),
]


class Masked(nn.Module):
    """A network behind a ripple that hides its gradients. A ripple of 0.03 leaves the boundary-walking FAB enough to find
    what ascent misses; a finer one, on bright images, leaves it to Square. So every stage has something to decide."""

    def __init__(self, net, bright: float):
        super().__init__()
        self.net = net
        self.bright = bright

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = (x.mean(dim=[1, 2, 3], keepdim=True) > self.bright).to(x.dtype)
        return self.net(x + (1 - fine) * 0.03 * torch.sin(150 * x) + fine * 0.01 * torch.sin(600 * x))


def save(model, path):
    """TorchScript without its debug records, which hold source paths of the machine and differ from one to another."""
    raw = io.BytesIO()
    torch.jit.save(model, raw)
    with zipfile.ZipFile(raw) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as slim:
        for info in whole.infolist():
            if not info.filename.endswith(".debug_pkl"):
                name = info.filename.replace("archive/", f"{path.stem}/", 1)
                slim.writestr(zipfile.ZipInfo(name), whole.read(info))


def header(tolerance):
    return {
        "tool": f"pyautoattack 0.2.0, torch {torch.__version__}, Python {sys.version.split()[0]}",
        "script": "scripts/goldens/attacks_autoattack.py", "seed": SEED,
        "date": datetime.date.today().isoformat(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(), "threads": 1,
        "tolerance": tolerance,
    }


def bits(flags):
    return "".join(str(int(f)) for f in flags.tolist())


def stages(model, x, y, norm, eps):
    """Robust flags on clean images and after each stage that had anything to do."""
    seen = []

    class Recorder(reference.EvaluationState):
        def add_run_attack(self, attack):
            seen.append({"name": attack, "robust": bits(self._robust_flags)})
            super().add_run_attack(attack)

    plain, reference.EvaluationState = reference.EvaluationState, Recorder
    try:
        attack = reference.AutoAttack(model, norm=norm, eps=eps, seed=SEED, version="standard")
        attack.run_standard_evaluation(x, y, batch_size=len(x))
    finally:
        reference.EvaluationState = plain
    return seen


def alone(model, x, y, norm, eps, name, steps):
    """Robust flags after one attack of the given number of iterations or queries, with three targets."""
    attack = reference.AutoAttack(model, norm=norm, eps=eps, seed=SEED, version="custom", attacks=[name])
    attack.fab.n_iter, attack.fab.n_target_classes, attack.square.n_queries = steps, 3, steps
    _, predicted = attack.run_standard_evaluation(x, y, batch_size=len(x))
    return bits(predicted == y)


def random_numbers():
    cases = []
    for seed in (0, 1, 12345, 2**40 + 3):
        torch.manual_seed(seed)
        drawn = [torch.rand(shape).flatten() for shape in ((3,), (2, 7), (1,), (40, 16))]
        uniform = torch.cat(drawn)
        cases.append({"seed": seed, "uniform": [int(v) for v in (uniform.double() * 2**24).tolist()]})
    normal = []
    for n in (1, 5, 15, 16, 17, 40, 48):
        torch.manual_seed(n)
        normal.append({"seed": n, "normal": torch.randn(n).tolist(), "then": int(torch.rand(1).double().item() * 2**24)})
    return {"header": header("uniform: exact (stored as multiples of 2^-24); normal: 1e-6, logarithm and cosine differ in "
                             "the last bits between mathematical libraries"), "uniform": cases, "normal": normal}


def projections():
    """Random boxes and hyperplanes; the difference t·w - b runs from unreachable to tiny, and has both signs."""
    g = torch.Generator().manual_seed(SEED)
    cases = []
    for n, reach in [(6, 0.02), (6, -0.3), (24, 0.1), (24, -0.5), (24, 0.9), (24, 2.0), (60, 0.3), (60, -0.01)]:
        t = torch.rand(n, generator=g)
        t[::5] = (torch.rand(len(t[::5]), generator=g) > 0.5).float()  # at a wall
        w = torch.randn(n, generator=g)
        b = (w * t).sum() - reach * w.abs().sum()
        args = t[None], w[None], b[None]
        cases.append({"t": t.tolist(), "w": w.tolist(), "b": b.item(), "linf": projection_linf(*args)[0].tolist(),
                      "l2": projection_l2(*args)[0].tolist()})
    return {"header": header("5e-6: the reference works in float32 with running sums"), "cases": cases}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.disable(logging.WARNING)
    PLAIN.mkdir(exist_ok=True)
    (PLAIN / "torchrand.json").write_text(json.dumps(random_numbers(), separators=(",", ":")) + "\n")
    (PLAIN / "projection.json").write_text(json.dumps(projections(), separators=(",", ":")) + "\n")

    labels = torch.tensor(json.loads((GOLDENTEST / "golden.json").read_text())["labels"])[:IMAGES]
    pixels = np.frombuffer((GOLDENTEST / "images.u8").read_bytes(), np.uint8).reshape(-1, 3, 16, 16)[:IMAGES]
    x = torch.from_numpy(pixels.copy()).float() / 255
    bright = x.mean(dim=[1, 2, 3]).median().item()
    cases = []
    with torch.jit.optimized_execution(False):
        for name in ("conv", "vit"):
            net = torch.jit.load(GOLDENTEST / f"{name}.pt")
            save(torch.jit.script(Masked(net, bright).eval()), GOLDENTEST / f"{name}-masked.pt")
        for name, norm, eps in CASES:
            model = torch.jit.load(GOLDENTEST / f"{name}.pt")
            with torch.no_grad():
                clean = model(x).argmax(1) == labels
            seen = stages(model, x, labels, norm, eps)
            cases.append({"model": name, "norm": norm, "epsilon": eps, "images": IMAGES, "correct": bits(clean),
                          "stages": seen})
            print(name, norm, eps, int(clean.sum()), [s["robust"].count("1") for s in seen], flush=True)
        singles = []
        for name, norm, eps, attack, steps in ALONE:
            model = torch.jit.load(GOLDENTEST / f"{name}.pt")
            flags = alone(model, x, labels, norm, eps, attack, steps)
            singles.append({"model": name, "norm": norm, "epsilon": eps, "images": IMAGES, "attack": attack, "steps": steps,
                            "robust": flags})
            print(name, norm, eps, attack, flags.count("1"), flush=True)
    golden = {"header": header("none on a CPU with the same kernels; elsewhere the numbers of robust images within an "
                               "eighth of all, because gradients near 0 round to other signs"), "cases": cases,
              "alone": singles}
    (GOLDENTEST / "autoattack.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
