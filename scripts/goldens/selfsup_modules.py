"""Files for the tests of internal/train/selfsup: what pre-trains a tiny ViT by each method, and the classifier that the
pre-trained encoder becomes.

Needs torch, timm and scikit-learn. Run from the top folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/selfsup_modules.py

Writes internal/train/selfsup/testdata: mae.pt, mocov3.pt, byol.pt and vit.pt, with scripts/export.py, and digits.u8: the 1,797
digits of scikit-learn, 64 values 0..16 and the class of each.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
from sklearn.datasets import load_digits

OUT = "internal/train/selfsup/testdata"
NETWORK = {"model": "vit_tiny_patch16_224",
           "kwargs": {"img_size": 16, "patch_size": 4, "embed_dim": 64, "depth": 2, "num_heads": 4},
           "input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "crop_pct": 1.0}
METHODS = {"mae": {"decoder_depth": 1, "decoder_width": 48, "decoder_heads": 4},
           "mocov3": {"hidden": 128, "projection": 64}, "byol": {"hidden": 128, "projection": 64}}


def main():
    jobs = [{"name": name, **NETWORK, "pretrain": {"method": name, **more}} for name, more in METHODS.items()]
    jobs.append({"name": "vit", "num_classes": 10, **NETWORK})
    pathlib.Path(OUT).mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    rows = numpy.concatenate([digits.data, digits.target[:, None]], 1).astype(numpy.uint8)
    (pathlib.Path(OUT) / "digits.u8").write_bytes(rows.tobytes())
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "jobs.json"
        path.write_text(json.dumps(jobs))
        subprocess.run([sys.executable, "scripts/export.py", "--job", str(path), "--out", OUT], check=True)


if __name__ == "__main__":
    main()
