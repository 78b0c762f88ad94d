"""Golden values for average linkage in package analysis, from SciPy.

Usage: python scripts/goldens/analysis_linkage.py   (writes analysis/testdata/linkage.json)

Inputs are drawn here from a fixed seed and stored beside the expected values. Nothing is taken from the Go code.
"""

import datetime
import json
import pathlib

import numpy as np
import scipy
from scipy.cluster import hierarchy
from scipy.spatial import distance

SEED = 20240815
OUT = pathlib.Path(__file__).resolve().parents[2] / "analysis" / "testdata" / "linkage.json"


def main():
    rng = np.random.default_rng(SEED)
    cases = []
    for n in (2, 3, 12, 40):
        d = distance.squareform(distance.pdist(rng.normal(size=(n, 3))))
        merges = hierarchy.linkage(distance.squareform(d), method="average")
        cases.append({"n": n, "distance": d.ravel().tolist(), "merges": merges.tolist()})
    header = {"tool": f"SciPy {scipy.__version__}, NumPy {np.__version__}", "script": "scripts/goldens/analysis_linkage.py", "seed": SEED,
              "date": datetime.date.today().isoformat(), "tolerance": "heights 1e-12 relative (means are added in another order)"}
    OUT.write_text(json.dumps({"header": header, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
