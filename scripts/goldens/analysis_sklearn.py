"""Golden values for package analysis, from scikit-learn, SciPy, NumPy and mpmath.

Usage: python scripts/goldens/analysis_sklearn.py   (writes analysis/testdata/sklearn.json)

Inputs are drawn here from a fixed seed and stored beside the expected values, rounded to few digits so that the file
stays small; the paper's feature table is read from analysis/paper. Nothing is taken from the Go code.
"""

import csv
import datetime
import json
import math
import pathlib

import mpmath
import numpy as np
import scipy
import sklearn
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import laplacian
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.manifold import spectral_embedding
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

SEED = 20240611
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "analysis" / "testdata" / "sklearn.json"
PAPER = ROOT / "analysis" / "paper"
mpmath.mp.dps = 50


def planted(rng, sizes, inside, across, noise):
    """A symmetric matrix of SAT scores: `inside` within groups, `across` between them, plus noise."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    n = len(group)
    sat = np.where(group[:, None] == group[None, :], inside, across) + noise * rng.standard_normal((n, n))
    sat = np.triu(np.round(sat, 4), 1)
    return sat + sat.T + np.diag(np.round(4.6 - 0.01 * rng.random(n), 4)), group


def upper(m):
    return m[np.triu_indices(len(m))].tolist()


def spectral(rng):
    cases = []
    for name, sizes, inside, across, noise, k in [
        ("planted", [7, 6, 5, 4], 3.4, 2.3, 0.15, 4),
        ("weak", [6, 5, 5, 4], 2.9, 2.6, 0.25, 5),
    ]:
        sat, group = planted(rng, sizes, inside, across, noise)
        n = len(sat)
        off = ~np.eye(n, dtype=bool)
        gap = math.log(100) - np.minimum(sat, math.log(100))
        affinities = {
            "sat": np.maximum(sat, 0),
            "percent": np.exp(sat),
            "rbf": np.exp(-(gap**2)),
            "shift": sat - sat[off].min(),
        }
        variants = []
        for affinity, diagonal, kind, rows, which in [
            ("sat", "zero", "sym", "unit", "smooth"),
            ("percent", "zero", "sym", "unit", "smooth"),
            ("rbf", "zero", "sym", "unit", "smooth"),
            ("shift", "zero", "sym", "unit", "smooth"),
            ("sat", "keep", "sym", "unit", "smooth"),
            ("sat", "zero", "rw", "none", "smooth"),
            ("percent", "zero", "unnormalized", "none", "smooth"),
            ("percent", "zero", "sym", "unit", "literal-largest"),
        ]:
            a = affinities[affinity].copy()
            if diagonal == "zero":
                np.fill_diagonal(a, 0)
                lap = laplacian(a, normed=kind != "unnormalized")
            else:  # SciPy always drops self-loops, so the definition is written out here
                d = a.sum(axis=1)
                lap = np.eye(n) - a / np.sqrt(np.outer(d, d))
            values, vectors = np.linalg.eigh(lap)
            features = vectors[:, :k] if which == "smooth" else vectors[:, ::-1][:, :k]
            if kind == "rw":  # the library's own embedding
                features = spectral_embedding(a, n_components=k, eigen_solver="arpack", random_state=SEED,
                                              eigen_tol=0, norm_laplacian=True, drop_first=False)
            if rows == "unit":
                features = features / np.linalg.norm(features, axis=1, keepdims=True)
            km = KMeans(k, n_init=100, init="k-means++", tol=0, random_state=SEED).fit(features)
            variants.append({
                "affinity": affinity, "diagonal": diagonal, "laplacian": kind, "rows": rows, "which": which,
                "eigenvalues": values[:20].tolist(),
                # Rotations of the eigenvectors leave the inner products of the rows alone.
                "gram": upper(features @ features.T),
                "inertia": km.inertia_, "labels": km.labels_.tolist(),
            })
        cases.append({"name": name, "k": k, "sat": sat.tolist(), "group": group.tolist(), "variants": variants})
    return cases


def kmeans(rng):
    cases = []
    for name, n, dim, k, spread in [("separated", 60, 3, 5, 6.0), ("overlapping", 80, 2, 6, 1.5), ("noise", 50, 4, 7, 0.0),
                                    ("one cluster", 20, 2, 1, 0.0)]:
        centers = spread * rng.standard_normal((k, dim))
        x = np.round(100 + centers[rng.integers(k, size=n)] + rng.standard_normal((n, dim)), 3)
        km = KMeans(k, n_init=100, tol=0, random_state=SEED).fit(x)
        cases.append({"name": name, "k": k, "rows": x.tolist(), "inertia": km.inertia_})
    return cases


BASE = {"Hybrid": "Transformer", "NAS (TFM)": "Transformer", "NAS (CNN)": "NAS"}


def tfidf():
    with open(PAPER / "tabA3_A4_features.csv", newline="") as f:
        table = list(csv.reader(f))
    with open(PAPER / "tab2_clusters.csv", newline="") as f:
        cluster = {r["timm"]: int(r["cluster"]) for r in csv.DictReader(f)}
    docs, labels = [], []
    for model, *values in table[1:]:
        doc = []
        for component, value in zip(table[0][1:], values):
            if value in ("", "-"):
                continue
            if value.startswith("Yes ("):
                value = "Yes"
            if component == "base_architecture":
                value = BASE.get(value, value)
            doc.append(component + "=" + value)
        docs.append(doc)
        labels.append(cluster[model])
    labels = np.array(labels)
    cases = []
    for idf, norm in [("smooth", "l2"), ("smooth", "none"), ("plain+1", "l2"), ("plain+1", "none"), ("plain", "l2")]:
        v = TfidfVectorizer(analyzer=lambda doc: doc, smooth_idf=idf == "smooth", norm=norm if idf != "plain" and norm != "none" else None)
        weights = v.fit_transform(docs).toarray()
        if idf == "plain":  # not offered by the library: its unsmoothed weight minus the count
            weights = weights - (weights > 0)
            weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        words = v.get_feature_names_out()
        scores = {}
        for c in sorted(set(labels)):
            mean = weights[labels == c].mean(axis=0)
            present = {w for d, l in zip(docs, labels) if l == c for w in d}
            scores[str(c)] = {w: float(s) for w, s in zip(words, mean) if w in present}
        cases.append({"idf": idf, "norm": norm, "scores": scores})
    return cases


def agreement(rng):
    cases = []
    for a, b in [
        (rng.integers(4, size=30), rng.integers(5, size=30)),
        (np.repeat([0, 1, 2], 7), np.repeat([5, 3, 4], 7)),
        (np.zeros(9, int), np.zeros(9, int)),
        (np.zeros(9, int), np.arange(9)),
        (np.arange(9), np.arange(9)),
        (np.repeat(np.arange(10), 6), (np.repeat(np.arange(10), 6) + (rng.random(60) < 0.2)) % 10),
        (np.tile([0, 1], 8), np.repeat([0, 1], 8)),
        (np.array([3]), np.array([7])),
    ]:
        table = contingency_matrix(a, b)
        i, j = linear_sum_assignment(-table)
        cases.append({"a": a.tolist(), "b": b.tolist(), "ari": adjusted_rand_score(a, b),
                      "nmi": normalized_mutual_info_score(a, b), "matched": table[i, j].sum() / len(a)})
    return cases


def log10_p(r, n, rest=None):
    """ln I_x((n-2)/2, 1/2) / ln 10 at x = 1 - r^2 (or rest) for the exact binary value of r."""
    r = mpmath.mpf(r)
    a, x = mpmath.mpf(n - 2) / 2, (1 - r) * (1 + r) if rest is None else rest
    half = mpmath.mpf(1) / 2
    value = x**a / (a * mpmath.beta(a, half)) * mpmath.hyp2f1(a, half, a + 1, x)
    return mpmath.log(value) / mpmath.log(10)


def exact_p(x, y):
    """p and log10 p of Pearson's r from the raw data, all in high precision: near |r| = 1 float64 loses them."""
    x, y = [mpmath.mpf(float(v)) for v in x], [mpmath.mpf(float(v)) for v in y]
    n = len(x)
    mx, my = mpmath.fsum(x) / n, mpmath.fsum(y) / n
    sxy = mpmath.fsum((u - mx) * (v - my) for u, v in zip(x, y))
    square = sxy**2 / (mpmath.fsum((u - mx) ** 2 for u in x) * mpmath.fsum((v - my) ** 2 for v in y))
    if square == 1:
        return {"p": 0.0, "log10_p": None}
    lp = log10_p(mpmath.sqrt(square), n, 1 - square)
    return {"p": float(mpmath.mpf(10) ** lp), "log10_p": float(lp)}


def p_values():
    cases = []
    for r, n in [(0.5, 3), (0.999, 3), (1e-8, 4), (0.3, 4), (-0.7, 5), (0.95, 6), (0.70, 7), (-0.51, 18), (-0.32, 25), (0.98, 28),
                 (0.91, 68), (-0.31, 2346), (0.82, 2346), (0.82, 4692), (0.001, 2346), (0.03, 2346), (0.05, 10000),
                 (0.999999, 100), (0.9, 1000), (0.2, 50000), (0.002, 500000), (0.003, 500000), (0.02, 500000), (0.5, 500000),
                 (0.9, 500000)]:
        lp = log10_p(r, n)
        cases.append({"r": r, "n": n, "log10_p": float(lp), "p": float(mpmath.mpf(10) ** lp)})
    return cases


def correlations(rng):
    cases = []
    for name, x, y in [
        ("moderate", rng.standard_normal(40), None),
        ("tied", rng.integers(5, size=30).astype(float), rng.integers(4, size=30).astype(float)),
        ("large offset", 1e6 + rng.standard_normal(25), None),
        ("huge scale", 1e160 * rng.standard_normal(12), None),
        ("strong", np.arange(15.0), np.arange(15.0) + 1e-3 * rng.standard_normal(15)),
        ("perfect order", np.arange(8.0), np.exp(np.arange(8.0))),
        ("three points", np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 7.0])),
    ]:
        if y is None:
            y = 0.5 * x / np.abs(x).max() + rng.standard_normal(len(x)) * 0.3
        pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
        interval = pearson.confidence_interval(0.95) if len(x) > 3 else (None, None)
        cases.append({"name": name, "x": x.tolist(), "y": y.tolist(), "r": float(pearson.statistic), **exact_p(x, y),
                      "ci_lo": interval[0], "ci_hi": interval[1], "spearman": float(spearman.statistic),
                      "spearman_p": exact_p(stats.rankdata(x), stats.rankdata(y))["p"]})
        # The library's own p agrees wherever rounding of r allows.
        assert abs(pearson.pvalue - cases[-1]["p"]) <= 1e-6 * pearson.pvalue, name
        assert abs(spearman.pvalue - cases[-1]["spearman_p"]) <= 1e-9, name
    return cases


def quantiles(rng):
    x = np.sort(np.round(rng.standard_normal(17), 3))
    q = [0, 0.025, 0.3, 0.5, 0.975, 1]
    return {"sorted": x.tolist(), "q": q, "value": np.quantile(x, q).tolist()}


def main():
    rng = np.random.default_rng(SEED)
    golden = {
        "header": {
            "tool": "scikit-learn %s, SciPy %s, NumPy %s, mpmath %s" % (sklearn.__version__, scipy.__version__, np.__version__, mpmath.__version__),
            "script": "scripts/goldens/analysis_sklearn.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "eigenvalues and inner products of feature rows 1e-10 absolute (two solvers, entries near 1); inertia at most "
                         "1e-9 relative above the library's best of 100; TF-IDF, ARI, NMI 1e-12; r 1e-12, p 1e-10 relative, log10 p "
                         "1e-9 absolute where p leaves float64; quantiles 1e-15",
        },
        "spectral": spectral(rng), "kmeans": kmeans(rng), "tfidf": tfidf(), "agreement": agreement(rng),
        "p_values": p_values(), "correlations": correlations(rng), "quantiles": quantiles(rng),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=True).replace('},{"', '},\n{"') + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
