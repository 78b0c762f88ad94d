"""Files for the tests of internal/train/selfsup: what pre-trains a tiny ViT by each method, and the classifier that the
pre-trained encoder becomes.

Needs torch and timm. Run from the top folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/selfsup_modules.py

Writes internal/train/selfsup/testdata: mae.pt, mocov3.pt, byol.pt and vit.pt, with scripts/export.py.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

OUT = "internal/train/selfsup/testdata"
NETWORK = {"model": "vit_tiny_patch16_224",
           "kwargs": {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4},
           "input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "crop_pct": 1.0}
METHODS = {"mae": {"decoder_depth": 1, "decoder_width": 24, "decoder_heads": 2},
           "mocov3": {"hidden": 48, "projection": 16}, "byol": {"hidden": 48, "projection": 16}}


def main():
    jobs = [{"name": name, **NETWORK, "pretrain": {"method": name, **more}} for name, more in METHODS.items()]
    jobs.append({"name": "vit", "num_classes": 4, **NETWORK})
    pathlib.Path(OUT).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "jobs.json"
        path.write_text(json.dumps(jobs))
        subprocess.run([sys.executable, "scripts/export.py", "--job", str(path), "--out", OUT], check=True)


if __name__ == "__main__":
    main()
