#!/usr/bin/env python3
"""Goldens of the data pipeline: decoding, resizing and the evaluation transform made with Pillow; arrays with numpy.

Needs pillow 13.0.0, numpy, torchvision 0.26.0 (for the geometry of resize and crop) and simplejpeg 1.9.0 (writes the chroma
layouts 4:4:0 and 4:1:1, which Pillow cannot). Writes

  internal/data/codec/testdata/*.jpg, *.png   encoded images of all kinds
  internal/data/codec/testdata/decode.json    what Image.open(f).convert("RGB") makes of them
  internal/data/codec/testdata/resize.json    Image.resize of images given by a formula
  internal/data/testdata/eval.json            the evaluation transform, for every (size, crop, filter) of the zoo
  internal/data/testdata/scale.json           float32(v)/255 for every byte v
  internal/data/testdata/subset.json          the hashed subset of a made-up list, by hashlib
  internal/data/testdata/*.npy                arrays saved by numpy

Results are SHA-256 of the RGB bytes, row by row. Resizing is done as two calls, width first and then height: Pillow 11 and
later exchange the passes for some tall images, which changes bytes by a few units; width first is the project's rule.

Usage: python scripts/goldens/data_pillow.py [REPOSITORY]     (about a minute; no randomness besides the seed below)
"""

import datetime
import hashlib
import io
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image, features

SEED = 20261123
ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
CODEC = ROOT / "internal/data/codec/testdata"
DATA = ROOT / "internal/data/testdata"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# The distinct (input size, crop fraction, filter) of the 69 models and the extra networks.
TRANSFORMS = [
    (224, 0.875, "bicubic"), (224, 0.875, "bilinear"), (224, 0.9, "bicubic"), (224, 0.94, "bicubic"),
    (224, 0.95, "bicubic"), (224, 0.96, "bicubic"), (224, 1.0, "bicubic"), (240, 0.875, "bicubic"),
    (240, 0.95, "bilinear"), (256, 0.887, "bilinear"), (256, 0.9, "bicubic"), (256, 0.94, "bicubic"),
    (256, 0.95, "bicubic"), (256, 1.0, "bicubic"), (299, 0.903, "bicubic"),
]
# Others that exercise the rules: a crop larger than the resized image (padding), the demo's digits.
EXTRA_TRANSFORMS = [
    (224, 0.965, "bicubic"), (288, 1.0, "bicubic"), (224, 1.25, "bilinear"), (31, 1.3, "bicubic"), (32, 1.0, "bilinear"),
]
SIZES = [
    (375, 500), (500, 333), (101, 203), (641, 427), (257, 255), (224, 224), (97, 640), (640, 97), (1000, 375),
    (1, 1), (2, 3), (500, 375), (256, 256), (8, 8), (1, 90), (70, 1),
]


def header(what, **more):
    return {
        "what": what,
        "tool": f"pillow {PIL.__version__} (libjpeg-turbo {features.version('libjpeg_turbo')}), numpy {np.__version__}",
        "script": "scripts/goldens/data_pillow.py",
        "seed": SEED,
        "date": datetime.date.today().isoformat(),
        "tolerance": "none: equal bytes, because both sides are integer arithmetic with one defined result",
        **more,
    }


def write(path, head, cases):
    lines = ",\n  ".join(json.dumps(c) for c in cases)
    path.write_text('{"header": ' + json.dumps(head, indent=1) + ',\n "cases": [\n  ' + lines + "\n]}\n")
    print(f"{path.relative_to(ROOT)}: {len(cases)} cases")


def sha(image):
    return hashlib.sha256(np.asarray(image, np.uint8).tobytes()).hexdigest()


def formula(width, height, kind):
    """The images that the Go tests make too (function formulaImage)."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    x, y, c = (a.astype(np.uint32) for a in (x, y, c))
    if kind == "noise":
        h = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ (c * np.uint32(83492791))
        h ^= h >> np.uint32(13)
        h *= np.uint32(0x5BD1E995)
        h ^= h >> np.uint32(15)
        return Image.fromarray((h & np.uint32(255)).astype(np.uint8))
    v = x * np.uint32(3) + y * np.uint32(2) + c * np.uint32(40) + (x * y) // np.uint32(64)
    return Image.fromarray((v & np.uint32(255)).astype(np.uint8))


def scene(width, height, rng):
    """A photograph-like image for the encoders: gradients, waves, edges, a little noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(3):
        a, b, p, q = rng.uniform(0.02, 0.3, 2).tolist() + rng.uniform(0, 6, 2).tolist()
        plane = 128 + 60 * np.sin(a * x + p) * np.cos(b * y + q) + 40 * ((x // 19 + y // 13) % 2) - 20
        planes.append(plane + rng.normal(0, 6, plane.shape))
    return Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))


def two_pass_resize(image, size, resampling):
    return image.resize((size[0], image.height), resampling).resize(size, resampling)


def decode_goldens(rng):
    import simplejpeg

    cases = []

    def add(name, data):
        (CODEC / name).write_bytes(data)
        with Image.open(io.BytesIO(data)) as opened:
            mode = opened.mode
            rgb = opened.convert("RGB")
        cases.append({"file": name, "mode": mode, "width": rgb.width, "height": rgb.height, "sha256": sha(rgb)})

    def save(image, form, **options):
        out = io.BytesIO()
        image.save(out, form, **options)
        return out.getvalue()

    for label, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        for width, height in ((101, 203), (57, 33), (16, 16), (1, 1), (3, 2)):
            image = scene(width, height, rng)
            add(f"rgb{label}_{width}x{height}.jpg", save(image, "JPEG", quality=90, subsampling=subsampling))
        image = scene(120, 75, rng)
        add(f"rgb{label}_progressive.jpg", save(image, "JPEG", quality=75, subsampling=subsampling, progressive=True))
        add(f"rgb{label}_low.jpg", save(image, "JPEG", quality=12, subsampling=subsampling, optimize=True))
    for layout in ("440", "411"):
        for width, height in ((101, 67), (35, 64), (2, 5)):
            pixels = np.ascontiguousarray(np.asarray(scene(width, height, rng)))
            add(f"rgb{layout}_{width}x{height}.jpg", simplejpeg.encode_jpeg(pixels, quality=88, colorsubsampling=layout))
    grey = scene(67, 83, rng).convert("L")
    add("grey.jpg", save(grey, "JPEG", quality=85))
    add("grey_progressive.jpg", save(grey, "JPEG", quality=85, progressive=True))
    add("restart.jpg", save(scene(90, 61, rng), "JPEG", quality=80, restart_marker_blocks=3))
    # Pillow writes CMYK with the Adobe marker and inverted samples, as image programs do.
    cmyk = Image.fromarray(np.concatenate([np.asarray(scene(61, 47, rng)), np.asarray(grey.resize((61, 47)))[..., None]], -1), "CMYK")
    add("cmyk.jpg", save(cmyk, "JPEG", quality=90))
    add("cmyk_progressive.jpg", save(cmyk, "JPEG", quality=70, progressive=True))
    add("ycck.jpg", as_ycck(save(cmyk, "JPEG", quality=90)))
    # Colour stored as R, G, B without transformation.
    add("keep_rgb.jpg", save(scene(40, 30, rng), "JPEG", quality=85, keep_rgb=True))
    # Rotation in EXIF is not applied; bytes after the end are ignored.
    exif = Image.Exif()
    exif[0x0112] = 6
    add("exif_rotated.jpg", save(scene(40, 24, rng), "JPEG", quality=85, exif=exif))
    add("trailing_bytes.jpg", save(scene(33, 20, rng), "JPEG", quality=85) + b"trailing bytes")

    small = scene(41, 29, rng)
    alpha = Image.fromarray((np.arange(41 * 29) * 7 % 256).astype(np.uint8).reshape(29, 41))
    rgba = small.copy()
    rgba.putalpha(alpha)
    add("rgb.png", save(small, "PNG"))
    add("rgba.png", save(rgba, "PNG"))
    add("rgb_transparent_colour.png", save(small, "PNG", transparency=small.getpixel((3, 4))))
    add("grey.png", save(small.convert("L"), "PNG"))
    add("grey_transparent.png", save(small.convert("L"), "PNG", transparency=small.convert("L").getpixel((5, 5))))
    add("grey_alpha.png", save(Image.merge("LA", (small.convert("L"), alpha)), "PNG"))
    add("bilevel.png", save(small.convert("1"), "PNG"))
    for colours in (2, 4, 16, 200):
        add(f"palette{colours}.png", save(small.quantize(colours), "PNG"))
    add("palette_transparent.png", save(small.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))))
    for depth in (2, 4):
        add(f"grey{depth}bit.png", grey_png(np.asarray(small.convert("L")) >> (8 - depth), depth))
    add("interlaced.png", interlaced_png(np.asarray(small)))
    # A PNG under a JPEG's name, as ImageNet has one.
    add("png_named.jpg", save(small, "PNG"))

    write(CODEC / "decode.json", header("Image.open(file).convert('RGB')", simplejpeg="1.9.0"), cases)


def as_ycck(data):
    """Marks an Adobe CMYK file as YCCK: the same coefficients, read as Y, Cb, Cr, K."""
    i = data.index(b"Adobe")
    assert data[i + 11] == 0
    return data[: i + 11] + b"\x02" + data[i + 12 :]


def png_chunks(width, height, depth, colour, interlace, raw):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def grey_png(samples, depth):
    rows = []
    for row in samples:
        bits = "".join(f"{v:0{depth}b}" for v in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return png_chunks(samples.shape[1], samples.shape[0], depth, 0, 0, b"".join(rows))


def interlaced_png(pixels):
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, dx, dy in passes:
        for row in pixels[y::dy, x::dx]:
            if row.size:
                raw += b"\0" + row.tobytes()
    return png_chunks(pixels.shape[1], pixels.shape[0], 8, 2, 1, raw)


def resize_goldens():
    cases = []
    pairs = [
        ((500, 375), (330, 248)), ((500, 375), (341, 256)), ((101, 203), (224, 450)), ((640, 97), (1477, 224)),
        ((97, 640), (224, 1477)), ((1, 1), (7, 5)), ((1, 9), (4, 3)), ((9, 1), (3, 4)), ((5, 7), (5, 3)), ((5, 7), (2, 7)),
        ((2, 2), (3, 3)), ((8, 8), (32, 32)), ((33, 17), (32, 18)), ((255, 257), (256, 256)), ((1280, 721), (31, 17)),
        ((300, 200), (1, 1)), ((64, 64), (63, 65)), ((3, 3), (100, 1)), ((37, 41), (37, 41)), ((400, 4), (3, 4)),
    ]
    for (width, height), size in pairs:
        for name, resampling in FILTERS.items():
            for kind in ("noise", "smooth"):
                out = two_pass_resize(formula(width, height, kind), size, resampling)
                cases.append({"width": width, "height": height, "to_width": size[0], "to_height": size[1],
                              "filter": name, "kind": kind, "sha256": sha(out)})
    # Some in full, to see where a difference lies.
    for case in cases:
        if case["to_width"] * case["to_height"] <= 64:
            out = two_pass_resize(formula(case["width"], case["height"], case["kind"]),
                                  (case["to_width"], case["to_height"]), FILTERS[case["filter"]])
            case["pixels"] = np.asarray(out).ravel().tolist()
    write(CODEC / "resize.json", header("Image.resize, width first"), cases)


def evaluate(image, size, crop, name):
    import math

    import torchvision
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    assert torchvision.__version__.startswith("0.26"), torchvision.__version__
    short = math.floor(size / crop)
    resized = F.resize(image, short, InterpolationMode(name))
    target = resized.size  # the geometry is torchvision's; the pixels come from two separate passes
    resized = two_pass_resize(image, target, FILTERS[name])
    return F.center_crop(resized, [size, size]), target


def eval_goldens():
    cases = []
    for width, height in SIZES:
        image = formula(width, height, "noise" if (width + height) % 2 else "smooth")
        for size, crop, name in TRANSFORMS + EXTRA_TRANSFORMS:
            if min(width, height) <= 3 and size > 240:
                continue  # enlarging a line to the full size tells nothing more and takes long
            out, target = evaluate(image, size, crop, name)
            cases.append({"width": width, "height": height, "size": size, "crop_pct": crop, "filter": name,
                          "to_width": target[0], "to_height": target[1], "sha256": sha(out)})
    for file in ("rgb420_101x203.jpg", "grey.jpg", "cmyk.jpg", "rgba.png", "palette200.png", "png_named.jpg"):
        image = Image.open(CODEC / file).convert("RGB")
        for size, crop, name in TRANSFORMS:
            out, target = evaluate(image, size, crop, name)
            cases.append({"file": file, "width": image.width, "height": image.height, "size": size, "crop_pct": crop,
                          "filter": name, "to_width": target[0], "to_height": target[1], "sha256": sha(out)})
    write(DATA / "eval.json", header("short side to floor(size/crop), centre crop, by torchvision 0.26's geometry"), cases)

    scaled = np.arange(256, dtype=np.float32) / np.float32(255)
    write(DATA / "scale.json", header("numpy float32(v)/float32(255), as bits"), [{"bits": scaled.view(np.uint32).tolist()}])


def subset_goldens():
    """Which of 7 classes of 1, 2, ..., 7 images each a subset keeps. Names collide across classes on purpose."""
    names = [(c, f"class{c}/image{(c * i) % 11}_{i}.png") for c in range(7) for i in range(c + 1)]
    key = lambda salt, path: (hashlib.sha256(f"satgo-subset/1:{salt}:{path.split('/')[-1]}".encode()).digest(), path)
    cases = []
    for salt in (0, 1, 18446744073709551615):
        for mode, fraction, number in (("per-class", 0.5, 0), ("per-class", 1, 0), ("per-class", 0, 1), ("uniform", 0.25, 0), ("uniform", 0, 9)):
            groups = [[n for n in names if n[0] == c] for c in range(7)] if mode == "per-class" else [names]
            kept = []
            for group in groups:
                n = number or int(fraction * len(group) + 0.5)
                kept += sorted(group, key=lambda entry: key(salt, entry[1]))[:n]
            kept = [path for _, path in sorted(kept)]
            digest = hashlib.sha256("".join(f"{path[5]}\t{path}\n" for path in kept).encode()).hexdigest()
            cases.append({"mode": mode, "fraction": fraction, "count": number, "salt": str(salt), "kept": kept, "digest": digest})
    write(DATA / "subset.json", header("smallest SHA-256 of satgo-subset/1:<salt>:<name>"), cases)


def array_goldens():
    values = (np.arange(24) / np.float32(23)).astype(np.float32).reshape(2, 3, 2, 2)
    arrays = {
        "float32": values,
        "float64": values.astype(np.float64)[0, 0],
        "int64": np.array([3, 1, 4, 1, 5], np.int64),
        "uint8": np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(2.5, np.float32),
        "fortran": np.asfortranarray(values),
        "float16": values.astype(np.float16),
        "bigendian": values.astype(">f4"),
        "structured": np.zeros(2, [("a", "<f4"), ("b", "<i8")]),
    }
    for name, array in arrays.items():
        np.save(DATA / f"{name}.npy", array)
    for version in ((2, 0), (3, 0)):
        with open(DATA / f"version{version[0]}.npy", "wb") as f:
            np.lib.format.write_array(f, values, version=version)
    print(f"{DATA.relative_to(ROOT)}: {len(arrays) + 2} arrays")


def main():
    assert PIL.__version__ == "13.0.0", PIL.__version__
    CODEC.mkdir(parents=True, exist_ok=True)
    DATA.mkdir(parents=True, exist_ok=True)
    decode_goldens(np.random.default_rng(SEED))
    resize_goldens()
    eval_goldens()
    subset_goldens()
    array_goldens()


if __name__ == "__main__":
    main()
