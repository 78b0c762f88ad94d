#!/usr/bin/env python3
"""Writes the 1,797 handwritten digits that ship with scikit-learn as a folder tree of PNG files.

    python scripts/digits.py --out data/digits --seed 0

OUT/train/CLASS/ID.png and OUT/val/CLASS/ID.png: 8x8 pixels, 8-bit grey, round(255 * value / 16) of the values 0..16. ID is
the index in the data set. In each class the fifth of the IDs with the smallest SHA-256 of "SEED/ID" is for validation. The
file OUT/digest.json is written last: while it is missing or does not fit the files, the tree is written anew, so an
interrupted run does no harm and a finished one is not repeated.

With --few an eighth of every class is for training and the rest for validation: networks then are right about 80 to 97 %
of many images, and wrong about different ones, instead of all but perfect.

The digits are those of: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
"""
import argparse
import hashlib
import json
import os
import sys

VALIDATION_PART = {"plain": 1 / 5, "few": 7 / 8}
DIGEST = "digest.json"


def split(targets, seed, part):
    """The set of indices for validation: the same share of every class."""
    chosen = set()
    for c in sorted(set(targets)):
        members = [i for i, t in enumerate(targets) if t == c]
        members.sort(key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).digest())
        chosen.update(members[:round(len(members) * part)])
    return chosen


def files(seed, kind):
    """Relative path and pixels of every image, in a fixed order."""
    import numpy as np
    from sklearn.datasets import load_digits
    data = load_digits()
    targets = [int(t) for t in data.target]
    validation = split(targets, seed, VALIDATION_PART[kind])
    pixels = np.rint(data.images * 255 / 16).astype(np.uint8)
    for i, (image, target) in enumerate(zip(pixels, targets)):
        part = "val" if i in validation else "train"
        yield os.path.join(part, str(target), f"{i:04d}.png"), image


def complete(out, seed, kind):
    """Whether an earlier run with these options finished and its files are all there, unchanged."""
    try:
        with open(os.path.join(out, DIGEST), encoding="utf-8") as f:
            recorded = json.load(f)
        if recorded["seed"] != seed or recorded.get("kind", "plain") != kind:
            return False
        for path, digest in recorded["files"].items():
            with open(os.path.join(out, path), "rb") as f:
                if hashlib.sha256(f.read()).hexdigest() != digest:
                    return False
        present = sum(len(names) for part in ("train", "val") for _, _, names in os.walk(os.path.join(out, part)))
        return present == len(recorded["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def write(out, seed, kind):
    from PIL import Image
    if os.path.exists(os.path.join(out, DIGEST)):
        os.remove(os.path.join(out, DIGEST))  # from here on the tree counts as unfinished
    for part in ("train", "val"):
        for folder, _, names in os.walk(os.path.join(out, part)):
            for name in names:
                if name.endswith(".png"):  # of another seed
                    os.remove(os.path.join(folder, name))
    digests = {}
    for path, image in files(seed, kind):
        full = os.path.join(out, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        Image.fromarray(image).save(full)
        with open(full, "rb") as f:
            digests[path] = hashlib.sha256(f.read()).hexdigest()
    temporary = os.path.join(out, f".{DIGEST}.tmp")
    with open(temporary, "w", encoding="utf-8") as f:
        json.dump({"seed": seed, "kind": kind, "files": digests}, f, indent=1, sort_keys=True)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, os.path.join(out, DIGEST))
    return len(digests)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, help="folder for the tree")
    p.add_argument("--seed", type=int, default=0, help="of the split")
    p.add_argument("--few", action="store_const", const="few", default="plain", dest="kind", help="train on an eighth")
    args = p.parse_args()
    try:
        if complete(args.out, args.seed, args.kind):
            print(f"digits: {args.out} is complete", file=sys.stderr)
            return 0
        count = write(args.out, args.seed, args.kind)
    except OSError as e:
        print(f"digits: {e}", file=sys.stderr)
        return 1
    print(f"digits: {count} images in {args.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
