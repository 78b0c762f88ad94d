"""Golden values for trend lines and spreads in package analysis, from SciPy and NumPy.

Usage: python scripts/goldens/analysis_statistics.py   (writes analysis/testdata/statistics.json)

Inputs are drawn here from a fixed seed and stored beside the expected values. Nothing is taken from the Go code.
"""

import datetime
import json
import pathlib

import numpy as np
import scipy
from scipy import stats

SEED = 20240701
OUT = pathlib.Path(__file__).resolve().parents[2] / "analysis" / "testdata" / "statistics.json"


def trend(x, y, level):
    """Line and bands at five places, from the library's fit and the textbook formulas."""
    fit = stats.linregress(x, y)
    n = len(x)
    at = np.linspace(x.min(), x.max(), 5)
    line = fit.intercept + fit.slope * at
    s = np.sqrt(np.sum((y - fit.intercept - fit.slope * x) ** 2) / (n - 2))
    t = stats.t.ppf((1 + level) / 2, n - 2)
    root = 1 / n + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
    return {"x": x.tolist(), "y": y.tolist(), "level": level, "slope": fit.slope, "intercept": fit.intercept, "at": at.tolist(),
            "line": line.tolist(), "mean": (t * s * np.sqrt(root)).tolist(), "prediction": (t * s * np.sqrt(1 + root)).tolist()}


def spread(values, level):
    """Standard deviation with the interval that a normal sample of this size gives it."""
    n = len(values)
    low, high = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], n - 1)
    std = np.std(values, ddof=1)
    return {"values": values.tolist(), "level": level, "std": std, "lo": std * np.sqrt((n - 1) / low), "hi": std * np.sqrt((n - 1) / high)}


def brown_forsythe(*groups):
    r = stats.levene(*groups, center="median")
    return {"groups": [g.tolist() for g in groups], "statistic": r.statistic, "p": r.pvalue}


def main():
    rng = np.random.default_rng(SEED)
    trends = []
    for n, noise, level in [(3, 0.3, 0.9), (25, 0.3, 0.9), (200, 1.0, 0.95), (40, 0.0, 0.5)]:
        x = np.round(2 + rng.standard_normal(n), 3)
        trends.append(trend(x, np.round(0.7 * x - 1 + noise * rng.standard_normal(n), 3) if noise else 0.5 * x, level))
    normal = lambda n, sd: np.round(30 + sd * rng.standard_normal(n), 2)
    golden = {
        "header": {
            "tool": f"SciPy {scipy.__version__}, NumPy {np.__version__}",
            "script": "scripts/goldens/analysis_statistics.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "1e-11 relative (quantiles of t and chi-squared agree to that), p 1e-10 relative",
        },
        "trends": trends,
        "spreads": [spread(normal(n, sd), level) for n, sd, level in [(10, 2, 0.95), (2, 1, 0.95), (50, 0.1, 0.9)]],
        "brown_forsythe": [brown_forsythe(normal(10, 1), normal(10, 4)), brown_forsythe(normal(10, 1), normal(10, 1.2)),
                           brown_forsythe(normal(9, 1), normal(14, 1))],
    }
    OUT.write_text(json.dumps(golden, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
