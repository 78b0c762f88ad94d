"""Golden values for ensembles in package analysis, from NumPy.

Usage: python scripts/goldens/analysis_ensembles.py   (writes analysis/testdata/ensembles.json)

Logits are drawn here from a fixed seed and stored with as many digits as float32 needs; sums over members are accumulated in float64, in the order
of the set. Nothing is taken from the Go code.
"""

import datetime
import json
import pathlib

import numpy as np
import scipy
from scipy.special import softmax

SEED = 20240711
OUT = pathlib.Path(__file__).resolve().parents[2] / "analysis" / "testdata" / "ensembles.json"


def case(rng, name, models, images, classes):
    y = rng.integers(classes, size=images)
    shared = rng.standard_normal((images, classes)) + 1.5 * np.eye(classes)[y]
    own = rng.standard_normal((models, images, classes))
    logits = (shared + own).astype(np.float32)
    if name == "ties":  # few different values, so that members and sums tie everywhere
        logits = np.round(logits).astype(np.float32)
    if name == "scales":  # sums round, and members drown each other out
        logits = (logits * 10.0 ** rng.integers(-4, 5, size=(models, 1, 1))).astype(np.float32)
    sets = [[a, b] for a in range(models) for b in range(a + 1, models)]
    sets += [rng.permutation(models)[:n].tolist() for n in range(1, models + 1) for _ in range(3)]
    wrong = logits.argmax(axis=2) != y
    out = {"name": name, "classes": classes, "labels": y.tolist(), "logits": [[float(str(v)) for v in m.ravel()] for m in logits], "sets": sets,
           "model": wrong.sum(axis=1).tolist(), "logit": [], "prob": [], "all_wrong": []}
    for s in sets:
        for kind in ("logit", "prob"):
            total = np.zeros((images, classes))
            for m in s:
                total += logits[m].astype(np.float64) if kind == "logit" else softmax(logits[m].astype(np.float64), axis=1)
            out[kind].append(int((total.argmax(axis=1) != y).sum()))
        out["all_wrong"].append(int(wrong[s].all(axis=0).sum()))
    return out


def main():
    rng = np.random.default_rng(SEED)
    golden = {
        "header": {
            "tool": f"NumPy {np.__version__}, SciPy {scipy.__version__}",
            "script": "scripts/goldens/analysis_ensembles.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "none: counts, exactly equal",
        },
        "cases": [case(rng, "logits", 6, 60, 7), case(rng, "many classes", 4, 12, 60), case(rng, "ties", 6, 60, 7), case(rng, "scales", 5, 40, 9)],
    }
    OUT.write_text(json.dumps(golden, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
