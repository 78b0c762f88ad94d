#!/usr/bin/env python3
"""The peer of `sat bench load`: torchvision's JPEG decoder, Pillow's resize and timm's transforms, on one core.

    python scripts/peers/load.py FOLDER

Reads the JPEG files of the folder into memory. For each line "TASK FILTER" on standard input it does that to all of them once
and answers with the seconds of processor time and the SHA-256 of all resulting bytes, so that the caller can interleave
its own measurements with these and compare the results.

    decode     decode_jpeg
    resize     Pillow's resize of decoded images to a short side of 248 pixels
    load       decode_jpeg, then that resize
    transform  timm's evaluation transform for 224 pixels, crop 0.875, of the decoded image, which Pillow decodes; uint8
    train      timm's random resized crop to 224 pixels and flip of the image that Pillow decodes; uint8
    deit       the same with RandAugment rand-m9-mstd0.5-inc1, then float, normalised, with random erasing

The last two change with every call, so their digest means nothing.
"""
import hashlib
import io
import os
import pathlib
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval, transforms_imagenet_train
from torchvision.io import ImageReadMode, decode_jpeg

SHORT = 248
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(image, filter_name):
    width, height = image.size
    size = (SHORT, SHORT * height // width) if width < height else (SHORT * width // height, SHORT)
    return image.resize(size, FILTERS[filter_name])


def main():
    torch.set_num_threads(1)
    contents = [f.read_bytes() for f in sorted(pathlib.Path(sys.argv[1]).glob("*.jpg"))]
    tensors = [torch.frombuffer(bytearray(c), dtype=torch.uint8) for c in contents]
    images = [Image.open(io.BytesIO(c)).convert("RGB") for c in contents]
    transforms = {name: transforms_imagenet_eval(224, crop_pct=0.875, interpolation=name, use_prefetcher=True) for name in FILTERS}

    train = {name: transforms_imagenet_train(224, color_jitter=None, interpolation=name, use_prefetcher=True) for name in FILTERS}
    deit = {name: transforms_imagenet_train(224, color_jitter=None, auto_augment="rand-m9-mstd0.5-inc1", interpolation=name, re_prob=0.25,
                                            re_mode="pixel", re_count=1) for name in FILTERS}

    def pillow(i):
        return Image.open(io.BytesIO(contents[i])).convert("RGB")

    def decode(i):
        return decode_jpeg(tensors[i], mode=ImageReadMode.RGB)

    def load(i, filter_name):
        return resize(Image.fromarray(decode(i).permute(1, 2, 0).numpy()), filter_name)

    tasks = {
        "decode": lambda i, _: decode(i),
        "resize": lambda i, name: resize(images[i], name),
        "load": load,
        "transform": lambda i, name: transforms[name](pillow(i)),
        "train": lambda i, name: train[name](pillow(i)),
        "deit": lambda i, name: deit[name](pillow(i)),
    }
    channels_first = {"decode", "transform", "train", "deit"}
    print("ready", flush=True)
    for line in sys.stdin:
        task, filter_name = line.split()
        work = tasks[task]
        started = time.process_time()
        results = [work(i, filter_name) for i in range(len(contents))]
        seconds = time.process_time() - started
        digest = hashlib.sha256()
        for result in results:
            pixels = np.asarray(result)
            digest.update(np.ascontiguousarray(pixels.transpose(1, 2, 0) if task in channels_first else pixels).tobytes())
        print(seconds, digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
