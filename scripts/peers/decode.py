#!/usr/bin/env python3
"""Images per second of Python's decoders and of Pillow's resize, beside ours, on one core and in one run.

Makes a photograph-like 500x375 JPEG (quality 95, 4:2:0, about 100 kB), times torchvision's decode_jpeg, Pillow's
open+convert and Pillow's resize by processor time, runs `go test -bench` of internal/data/codec on the same file in
between, and prints medians. Interleaved, because other work on the machine changes speeds from second to second.

Usage: third_party/env/bin/python scripts/peers/decode.py [--rounds 10]
"""

import argparse
import io
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import torchvision
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]


def photograph():
    rng = np.random.default_rng(1)
    planes = []
    for _ in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16)).astype(np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        fine = Image.fromarray(rng.integers(0, 256, (188, 250)).astype(np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        planes.append(0.75 * np.asarray(coarse, np.float64) + 0.25 * np.asarray(fine, np.float64))
    out = io.BytesIO()
    Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(out, "JPEG", quality=95, subsampling=2)
    return out.getvalue()


def rate(work, seconds=0.5):
    work()
    n, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        work()
        n += 1
    return n / (time.process_time() - start)


def native(binary, jpeg):
    out = subprocess.run(
        [binary, "-test.bench", "Decode|Resize", "-test.run", "^$", "-test.benchtime", "0.5s", "-test.cpu", "1", "-jpeg", jpeg],
        check=True, capture_output=True, text=True, cwd=ROOT / "internal/data/codec").stdout
    return {m[1]: float(m[2]) for m in re.finditer(r"^Benchmark(\S+)\s.*?([\d.]+) images/s", out, re.M)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    data = photograph()
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    peers = {
        "torchvision decode_jpeg": lambda: torchvision.io.decode_jpeg(tensor, mode=torchvision.io.ImageReadMode.RGB),
        "Pillow open+convert": lambda: Image.open(io.BytesIO(data)).convert("RGB"),
    }
    for name in ("bilinear", "bicubic"):
        how = Image.Resampling[name.upper()]
        peers[f"Pillow {name} to 330x248"] = lambda how=how: image.resize((330, 248), how)
        peers[f"Pillow {name} to 341x256"] = lambda how=how: image.resize((341, 256), how)
    seen = {}
    with tempfile.TemporaryDirectory() as folder:
        jpeg, binary = f"{folder}/photo.jpg", f"{folder}/codec.test"
        pathlib.Path(jpeg).write_bytes(data)
        subprocess.run(["go", "test", "-c", "-o", binary, "./internal/data/codec"], check=True, cwd=ROOT)
        for _ in range(rounds):
            for name, work in peers.items():
                seen.setdefault(name, []).append(rate(work))
            for name, value in native(binary, jpeg).items():
                seen.setdefault("sat " + name, []).append(value)
    median = {name: statistics.median(values) for name, values in seen.items()}
    print(f"{len(data)} bytes, {rounds} rounds, torchvision {torchvision.__version__}, images/s on one core")
    for name, values in seen.items():
        print(f"{name:44s} {median[name]:8.0f}   ({min(values):.0f} to {max(values):.0f})")
    for name in ("bilinear", "bicubic"):
        peer = 1 / (1 / median["torchvision decode_jpeg"] + 1 / median[f"Pillow {name} to 341x256"])
        ours = next(v for k, v in median.items() if k.startswith(f"sat Resize/{name}/224x224"))
        ours = 1 / (1 / median["sat Decode"] + 1 / ours)
        print(f"decode, {name} resize to 341x256, crop 224: {ours:.0f} against {peer:.0f}, {ours / peer:.2f} times")


if __name__ == "__main__":
    main()
