#!/usr/bin/env python3
"""The analyses of package analysis by scikit-learn and NumPy, one at a time, timed.

    python scripts/peers/analysis.py

Reads one JSON object a line from stdin and answers each with one: {"seconds", "cpu_seconds", "peak_kib", "value"}. Loading is not timed;
cpu_seconds are of all threads.

  {"task": "boosting", "x": X.npy, "y": Y.npy, "stages": 500}          GradientBoostingRegressor.fit; value: R2 on its rows
  {"task": "fit", "x": X.npy, "y": Y.npy, "stages": 500}               the same, not timed, for the tasks after it
  {"task": "importance", "x": X.npy, "y": Y.npy, "repeats": 10}        permutation_importance of the model of "fit" on these rows, with
                                                                       their conversion to float32; value: baseline R2
  {"task": "kmeans", "x": rows.npy, "k": 10, "restarts": 100}          KMeans.fit; value: inertia
  {"task": "tsne", "x": distances.npy, "perplexity": 30}               TSNE of given distances, exact; value: KL
  {"task": "ensembles", "logits": [...npy], "labels": Y.npy, "images": 5000}
        errors of the ensembles of all pairs on the first images, float32 logits added in float64, a block of images at a time;
        value: their sum
"""
import json
import resource
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
state = {}


def clock():
    return np.array([time.perf_counter(), time.process_time()])


def regressor(job):
    from sklearn.ensemble import GradientBoostingRegressor
    return GradientBoostingRegressor(n_estimators=job["stages"], max_depth=12, min_samples_split=4, learning_rate=0.02, random_state=0)


def rows(job):
    return np.load(job["x"]).astype(np.float32), np.load(job["y"])


def boosting(job):
    x, y = rows(job)
    model = regressor(job)
    started = clock()
    model.fit(x, y)
    seconds = clock() - started
    state["fitted"] = job | {"task": "fit"}, model
    return seconds, model.score(x, y)


def fit(job):
    if state.get("fitted", (None,))[0] != job:
        state["fitted"] = job, regressor(job).fit(*rows(job))
    return clock() - clock(), 0


def importance(job):
    from sklearn.inspection import permutation_importance
    model = state["fitted"][1]
    x, y = np.load(job["x"]), np.load(job["y"])
    started = clock()
    x = x.astype(np.float32)
    permutation_importance(model, x, y, n_repeats=job["repeats"], random_state=0)
    return clock() - started, model.score(x, y)


def kmeans(job):
    from sklearn.cluster import KMeans
    x = np.load(job["x"])
    started = clock()
    fitted = KMeans(n_clusters=job["k"], n_init=job["restarts"], random_state=0).fit(x)
    return clock() - started, float(fitted.inertia_)


def tsne(job):
    from sklearn.manifold import TSNE
    x = np.load(job["x"])
    embedding = TSNE(metric="precomputed", method="exact", init="random", random_state=0, perplexity=job["perplexity"])
    started = clock()
    embedding.fit_transform(x)
    return clock() - started, float(embedding.kl_divergence_)


BLOCK = 32  # images at a time: of 8 to 128 the fastest, or nearly


def ensembles(job):
    logits = [np.load(path, mmap_mode="r") for path in job["logits"]]
    labels = np.load(job["labels"])[:job["images"]]
    block = job.get("block", BLOCK)
    wrong = 0
    started = clock()
    for start in range(0, len(labels), block):
        y = labels[start:start + block]
        part = [l[start:start + len(y)].astype(np.float64) for l in logits]
        total = np.empty_like(part[0])
        for a in range(len(part)):
            for b in range(a + 1, len(part)):
                np.add(part[a], part[b], out=total)
                wrong += int((total.argmax(1) != y).sum())
    return clock() - started, wrong


def main():
    tasks = {f.__name__: f for f in (boosting, fit, importance, kmeans, tsne, ensembles)}
    import sklearn
    print(json.dumps({"sklearn": sklearn.__version__, "numpy": np.__version__}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        seconds, value = tasks[job["task"]](job)
        print(json.dumps({"seconds": seconds[0], "cpu_seconds": seconds[1], "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "value": value}), flush=True)


if __name__ == "__main__":
    main()
