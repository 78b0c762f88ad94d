"""Golden values for gradient boosting and permutation importance in package analysis, from scikit-learn.

Usage: python scripts/goldens/analysis_boosting.py   (writes analysis/testdata/boosting.json)

Inputs are drawn here from a fixed seed and stored beside the expected values, rounded to few digits so that the file
stays small; components of models are read from analysis/paper. Nothing is taken from the Go code.
"""

import csv
import datetime
import json
import pathlib

import numpy as np
import sklearn
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.inspection import permutation_importance

SEED = 20240617
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "analysis" / "testdata" / "boosting.json"
SPLIT = {"min_samples_split": 4}
LEAF = {"min_samples_leaf": 4}


def differences(models):
    """Rows of zeros and ones: where the components of the pairs of the first models differ. The kind of an attention
    layer is not compared."""
    with open(ROOT / "analysis" / "paper" / "tabA3_A4_features.csv", newline="") as f:
        table = [["Yes" if v.startswith("Yes (") else v for v in row[1:]] for row in csv.reader(f)][1:]
    table = np.array(table[:: len(table) // models][:models])
    i, j = np.triu_indices(len(table), 1)
    return (table[i] != table[j]).astype(int)


def problems(rng):
    x = differences(30)
    y = 3.4 - x @ np.linspace(0.3, 0.02, x.shape[1]) + 0.2 * rng.standard_normal(len(x))
    yield "components", x, y, dict(n_estimators=500, max_depth=12, learning_rate=0.02), SPLIT
    yield "components", x, y, dict(n_estimators=500, max_depth=12, learning_rate=0.02), LEAF
    x = np.round(rng.standard_normal((90, 4)), 2)
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + 0.1 * rng.standard_normal(len(x))
    yield "continuous", x, y, dict(n_estimators=100, max_depth=5, learning_rate=0.1), SPLIT
    yield "continuous", x, y, dict(n_estimators=100, max_depth=5, learning_rate=0.1), LEAF
    # Values up to 1e-7 apart are one value; 0/1 columns beside others; equal rows.
    x = np.stack([rng.integers(2, size=80), rng.integers(5, size=80), 1 + 6e-8 * rng.integers(4, size=80),
                  1000 * rng.integers(3, size=80) - 0.5], axis=1)
    x = np.concatenate([x, x[:25]])
    y = x[:, 1] - x[:, 0] * x[:, 3] / 1000 + rng.standard_normal(len(x))
    yield "mixed", x, y, dict(n_estimators=80, max_depth=6, learning_rate=0.1), SPLIT
    x = rng.integers(2, size=(70, 20))
    y = x @ rng.standard_normal(20) + 0.3 * rng.standard_normal(len(x))
    yield "wide", x, y, dict(n_estimators=80, max_depth=4, learning_rate=0.1), SPLIT
    # Residuals vanish, so that nodes become pure one by one.
    x = rng.integers(2, size=(60, 8))
    y = 2 * x[:, 0] + x[:, 1] * x[:, 2] - x[:, 3] + 0.25 * x[:, 4]
    yield "exact", x, y, dict(n_estimators=60, max_depth=8, learning_rate=0.5), {"min_samples_split": 2}


def fit(x, y, settings, samples, seed):
    return GradientBoostingRegressor(random_state=seed, **settings, **samples).fit(x, y)


def permutations(n, repeats, seed):
    """The arrangements in which permutation_importance of the same seed shows a column: successive shuffles of one index
    vector, applied to the column already shuffled."""
    state = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    index, source, out = np.arange(n), np.arange(n), []
    for _ in range(repeats):
        state.shuffle(index)
        source = source[index]
        out.append(source.tolist())
    return out


def main():
    rng = np.random.default_rng(SEED)
    fits, importances = [], []
    for name, x, y, settings, samples in problems(rng):
        y = np.round(y, 4)
        model = fit(x, y, settings, samples, SEED)
        stages = list(range(9, settings["n_estimators"], 10))
        (least, number), = samples.items()
        case = {"name": name, "x": x.tolist(), "y": y.tolist(), "stages": settings["n_estimators"], "depth": settings["max_depth"],
                "rate": settings["learning_rate"], "min_samples": number, "min_samples_of": least.rsplit("_", 1)[1],
                "predicted": model.predict(x).tolist(), "loss_stage": stages, "loss": model.train_score_[stages].tolist(),
                "r2": model.score(x, y)}
        fits.append(case)
        if name == "continuous" and samples == LEAF:  # no ties: the trees are unique, and with equal shuffles so are importances
            r = permutation_importance(model, x, y, n_repeats=5, random_state=SEED)
            unseen = np.round(rng.standard_normal((20, x.shape[1])), 2)
            importances.append({"fit": len(fits) - 1, "sources": permutations(len(y), 5, SEED), "mean": r.importances_mean.tolist(),
                                "std": r.importances_std.tolist(), "unseen": unseen.tolist(),
                                "unseen_predicted": model.predict(unseen).tolist()})
        if name == "components":  # tied features are chosen at random: compare distributions over fits
            seeds = 8
            means = np.array([permutation_importance(fit(x, y, settings, samples, s), x, y, n_repeats=5, random_state=s).importances_mean
                              for s in range(seeds)])
            importances.append({"fit": len(fits) - 1, "seeds": seeds, "mean": means.mean(axis=0).tolist(),
                                "between": means.std(axis=0, ddof=1).tolist()})
    golden = {
        "header": {
            "tool": f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}",
            "script": "scripts/goldens/analysis_boosting.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "predictions and losses 1e-9 absolute (sums in another order over up to 500 stages, 1e-12 observed in the "
                         "library between its own seeds); importances with the library's shuffles 1e-9, with random ties within 4 "
                         "standard errors of the two means over fits",
        },
        "fits": fits, "importances": importances,
    }
    OUT.write_text(json.dumps(golden, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
