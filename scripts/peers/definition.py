#!/usr/bin/env python3
"""The definition of similarity by attack transferability, counted in the plainest way from stored adversarial images.

    python scripts/peers/definition.py job.json

The job names the images all models share (images.npy, float32 [N,3,H,W]), labels.npy (int64 [N]), the smallest success rate
"floor" in percent, and for every model its TorchScript file, its adversarial images (float32 [n,3,h,w]) and their numbers
among the N images. What a model takes is in its sat.json; one without takes the images as they are. Prints one JSON object:

  correct     model -> how many clean images it classifies correctly
  directed    source, target, n_both, n_fooled: images made on source that fool target, of those that both get right; also
              source = target
  undirected  a, b, n_both, fooled_ab, fooled_ba, percent = 100 (fooled_ab + fooled_ba) / (2 n_both), sat = ln max(floor, percent)
  resize_only source, target, n_both, n_wrong: clean images of source, resized, that target misclassifies
"""
import json
import sys

import numpy as np
import torch
from torch.nn import functional as F


def load(path, default_size):
    extra = {"sat.json": ""}
    module = torch.jit.load(path, _extra_files=extra).eval()
    about = json.loads(extra["sat.json"]) if extra["sat.json"] else {}
    shape = (1, 3, 1, 1)
    mean = torch.tensor(about.get("mean", [0.0] * 3), dtype=torch.float32).reshape(shape)
    std = torch.tensor(about.get("std", [1.0] * 3), dtype=torch.float32).reshape(shape)
    return lambda x: module((x - mean) / std).argmax(1), tuple(about.get("input_size", [3, *default_size])[1:])


def resize(x, size):
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=False).clamp(0, 1)


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        job = json.load(f)
    torch.set_num_threads(1)
    images = torch.from_numpy(np.load(job["images"]))
    labels = torch.from_numpy(np.load(job["labels"]))
    models = {m["name"]: load(m["path"], images.shape[2:]) for m in job["models"]}
    names = list(models)
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        clean = {name: resize(images, size) for name, (_, size) in models.items()}
        correct = {name: predict(clean[name]) == labels for name, (predict, _) in models.items()}
        directed, resized = [], []
        fooled_by = {}
        for m in job["models"]:
            source = m["name"]
            numbers = torch.tensor(m["numbers"], dtype=torch.int64)
            assert numbers.tolist() == correct[source].nonzero().flatten().tolist(), f"{source}: not the images it gets right"
            adversarial = torch.from_numpy(np.load(m["adversarial"]))
            for target, (predict, size) in models.items():
                wrong = torch.zeros(len(labels), dtype=torch.bool)
                wrong[numbers] = predict(resize(adversarial, size)) != labels[numbers]
                both = correct[source] & correct[target]
                fooled_by[source, target] = int((both & wrong).sum())
                directed.append({"source": source, "target": target, "n_both": int(both.sum()),
                                 "n_fooled": fooled_by[source, target]})
                if source != target:
                    miss = predict(resize(clean[source], size)) != labels
                    resized.append({"source": source, "target": target, "n_both": int(both.sum()),
                                    "n_wrong": int((both & miss).sum())})
    undirected = []
    for i, a in enumerate(names):
        for b in names[i + 1:]:
            n = int((correct[a] & correct[b]).sum())
            percent = 100 * (fooled_by[a, b] + fooled_by[b, a]) / (2 * n) if n else None
            undirected.append({"a": a, "b": b, "n_both": n, "fooled_ab": fooled_by[a, b], "fooled_ba": fooled_by[b, a],
                               "percent": percent, "sat": float(np.log(max(job["floor"], percent))) if n else None})
    print(json.dumps({"correct": {name: int(c.sum()) for name, c in correct.items()}, "directed": directed,
                      "undirected": undirected, "resize_only": resized}))


if __name__ == "__main__":
    main()
