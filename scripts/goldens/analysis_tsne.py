"""Golden values for t-SNE in package analysis, from scikit-learn.

Usage: python scripts/goldens/analysis_tsne.py   (writes analysis/testdata/tsne.json)

Distances are multiples of 1/64, so that their squares fit into the float32 in which the library keeps them and the
comparison is one of float64 results. Nothing is taken from the Go code.
"""

import datetime
import json
import pathlib

import numpy as np
import sklearn
from scipy.spatial.distance import cdist, squareform
from sklearn.manifold import TSNE, trustworthiness
from sklearn.manifold._t_sne import _joint_probabilities, _kl_divergence

SEED = 20240623
OUT = pathlib.Path(__file__).resolve().parents[2] / "analysis" / "testdata" / "tsne.json"


def case(rng, name, n, groups, perplexity, scale):
    centers = scale * rng.standard_normal((groups, 5))
    x = centers[rng.integers(groups, size=n)] + rng.standard_normal((n, 5))
    i, j = np.triu_indices(n, 1)
    k = np.round(64 * cdist(x, x)[i, j]).astype(int)
    last = 0
    for at in np.argsort(k, kind="stable"):  # no two distances equal, so that ranks are unique
        last = k[at] = max(k[at], last + 1)
    assert last < 4096
    d = squareform(k / 64)
    p = _joint_probabilities(d**2, perplexity, 0)
    embeddings = []
    for sd in (1e-4, 0.7, 20):
        y = np.round(sd * rng.standard_normal((n, 2)), 8)
        kl, gradient = _kl_divergence(y.ravel(), p, 1, n, 2)
        embeddings.append({"y": y.tolist(), "kl": kl, "gradient": gradient.reshape(n, 2).tolist()})
    finals, points = [], None
    for seed in range(10):  # a copy each time: the library squares the given matrix in place
        t = TSNE(metric="precomputed", method="exact", init="random", perplexity=perplexity, random_state=seed)
        points = t.fit_transform(d.copy()).astype(float)
        finals.append(float(t.kl_divergence_))
    points = np.round(points, 6)
    return {"name": name, "perplexity": perplexity, "distance_times_64": k.tolist(), "p": p.tolist(), "embeddings": embeddings,
            "final_kl": finals, "points": points.tolist(),
            "trustworthiness": {str(m): trustworthiness(d, points, n_neighbors=m, metric="precomputed") for m in (3, 5, 9)}}


def main():
    rng = np.random.default_rng(SEED)
    golden = {
        "header": {
            "tool": f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}",
            "script": "scripts/goldens/analysis_tsne.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "P, KL and gradient at a given embedding 1e-10 (same formulas, sums in another order; the gradient relative "
                         "to its largest entry); trustworthiness 1e-12; final KL at most 1 % above and 10 % below the library's range "
                         "over ten random starts",
        },
        "cases": [case(rng, "groups", 30, 4, 8, 3), case(rng, "cloud", 24, 1, 5, 0), case(rng, "wide", 20, 3, 15, 12)],
    }
    OUT.write_text(json.dumps(golden, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
