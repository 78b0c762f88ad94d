"""Module files for the tests of internal/train: tiny.pt, a ResNet, drop.pt, an MLP-Mixer with stochastic depth, and heads.pt, a
distilled ViT with both of its classifiers.

Needs torch and timm. Run from the top folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/train_modules.py

Writes internal/train/testdata/tiny.pt, drop.pt and heads.pt with scripts/export.py.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

COMMON = {"num_classes": 4, "input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.5] * 3,
          "interpolation": "bilinear", "crop_pct": 1.0}
JOBS = [
    {"name": "tiny", "model": "resnet18",
     "kwargs": {"layers": [1] * 4, "channels": [8] * 4, "stem_width": 8, "stem_type": "deep"}, **COMMON},
    {"name": "drop", "class": "models.mlp_mixer.MlpMixer",
     "kwargs": {"img_size": 16, "patch_size": 8, "embed_dim": 12, "num_blocks": 2, "drop_path_rate": 0.3}, **COMMON},
    {"name": "heads", "model": "deit_tiny_distilled_patch16_224", "heads": 2,
     "kwargs": {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}, **COMMON},
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        jobs = pathlib.Path(folder) / "jobs.json"
        jobs.write_text(json.dumps(JOBS))
        subprocess.run([sys.executable, "scripts/export.py", "--job", str(jobs), "--out", "internal/train/testdata"],
                       check=True)


if __name__ == "__main__":
    main()
