#!/usr/bin/env python3
"""Writes four photographs into a folder: the two JPEG files that ship with scikit-learn, and a part of each as PNG.

    python scripts/photographs.py --out data/photographs

They are for runs without labels that prove every path on real pixels at full resolution: landscape and portrait, JPEG and
PNG. Files that are there already, with the right content, are left alone; other files are not touched.

china.jpg and flower.jpg: scikit-learn, sklearn/datasets/images/README.txt (CC BY 2.0, names of the photographers there).
"""
import argparse
import io
import os
import sys

# The part of each photograph, (left, upper, right, lower) in pixels of 640x427: both portraits.
PARTS = {"china": (0, 0, 320, 427), "flower": (200, 0, 520, 427)}


def files():
    """Name and content of every file."""
    import sklearn.datasets
    from PIL import Image
    folder = os.path.join(os.path.dirname(sklearn.datasets.__file__), "images")
    for name, box in PARTS.items():
        with open(os.path.join(folder, f"{name}.jpg"), "rb") as f:
            photograph = f.read()
        yield f"{name}.jpg", photograph
        part = io.BytesIO()
        Image.open(io.BytesIO(photograph)).crop(box).save(part, "PNG")
        yield f"{name}_part.png", part.getvalue()


def put(path, content):
    """Writes a file whole or not at all, unless it is there; True when it was written."""
    try:
        with open(path, "rb") as f:
            if f.read() == content:
                return False
    except FileNotFoundError:
        pass
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp")
    with open(temporary, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
    return True


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, help="folder of the photographs")
    args = p.parse_args()
    try:
        os.makedirs(args.out, exist_ok=True)
        written = sum(put(os.path.join(args.out, name), content) for name, content in files())
    except OSError as e:
        print(f"photographs: {e}", file=sys.stderr)
        return 1
    print(f"photographs: {written} written to {args.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
