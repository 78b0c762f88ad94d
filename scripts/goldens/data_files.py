#!/usr/bin/env python3
"""Goldens of the whole way from a file to the pixels that a network sees: JPEG and PNG files of every kind under every
evaluation transform of the zoo.

Needs pillow 13.0.0, numpy, timm 1.0.31 and simplejpeg 1.9.0 (writes 4:4:0 and 4:1:1, which Pillow cannot). Writes

  internal/data/testdata/files.tar    the encoded files, val/KIND/SIZE; committed, because encoders differ
  internal/data/testdata/files.json   for each file and each transform, the start of the SHA-256 of the uint8 [H,W,3] result

The result is timm's own evaluation transform (timm.data.transforms_factory.transforms_imagenet_eval, before normalisation) of
Image.open(file).convert("RGB"), with the one exception that the resize is two calls, width first and then height: Pillow 11 and
later run the vertical pass first for some tall images that shrink. The script runs both, and fails if timm's bytes differ for any other
reason; how often they do is in the header.

Usage: third_party/peers/bin/python scripts/goldens/data_files.py      (a few minutes)
"""

import hashlib
import io
import json
import tarfile

import numpy as np
import simplejpeg
import timm
from data_pillow import DATA, FILTERS, SEED, TRANSFORMS, as_ycck, evaluate, grey_png, header, interlaced_png, two_pass_resize
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

SMALL = [
    (1, 1), (1, 2), (2, 1), (3, 5), (7, 3), (8, 8), (15, 17), (16, 16), (17, 8), (31, 33), (1, 90), (70, 1), (64, 48), (100, 100),
    (101, 203), (127, 129), (199, 300), (224, 224), (240, 240), (248, 248), (256, 256), (257, 255), (255, 257), (299, 331),
    (97, 640), (640, 97), (333, 500), (375, 500), (500, 333), (500, 375), (512, 384), (640, 480), (641, 427),
]
LARGE = [(1000, 375), (1024, 768), (1365, 2048), (3000, 2000), (2000, 3000), (3000, 180), (160, 3000), (300, 1000)]
DIGITS = 16  # of each SHA-256: enough to tell, and the file stays small


def scene(width, height, rng, levels=256):
    """Gradients, waves and edges, which small files hold well; with few levels, also PNG does."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(3):
        a, b, p, q = (rng.uniform(4, 40, 2) / max(width, height, 40)).tolist() + rng.uniform(0, 6, 2).tolist()
        edge = max(width, height) // 6 + 5
        plane = 128 + 90 * np.sin(a * x + p) * np.cos(b * y + q) + 50 * ((x // edge + y // edge) % 2) - 25
        planes.append(plane)
    step = 256 // levels
    return Image.fromarray((np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8) // step * step).astype(np.uint8))


def save(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def jpeg(layout, **options):
    def encode(width, height, rng):
        image = scene(width, height, rng)
        quality = int(rng.integers(4, 12) if width * height > 500_000 else rng.integers(15, 60) if width * height > 50_000 else rng.integers(35, 98))
        if layout in ("440", "411"):
            return simplejpeg.encode_jpeg(np.ascontiguousarray(np.asarray(image)), quality=quality, colorsubsampling=layout)
        subsampling = {"444": 0, "422": 1, "420": 2}[layout]
        return save(image, "JPEG", quality=quality, subsampling=subsampling, **options)

    return encode


def grey_jpeg(width, height, rng):
    return save(scene(width, height, rng).convert("L"), "JPEG", quality=40)


def cmyk(width, height, rng):
    bands = [*scene(width, height, rng).split(), scene(width, height, rng).convert("L")]
    return save(Image.merge("CMYK", bands), "JPEG", quality=20)


def png(make):
    return lambda width, height, rng: save(make(scene(width, height, rng, 16), rng), "PNG", optimize=True)


def with_alpha(image, rng):
    image = image.copy()
    image.putalpha(scene(*image.size, rng, 8).convert("L"))
    return image


def grey_alpha(image, rng):
    return Image.merge("LA", (image.convert("L"), scene(*image.size, rng, 8).convert("L")))


# Kind, file name ending, encoder. The first five are made in every size.
KINDS = [
    ("rgb444", "JPEG", jpeg("444")),
    ("rgb422", "jpg", jpeg("422")),
    ("rgb420", "JPEG", jpeg("420")),
    ("rgb440", "jpeg", jpeg("440")),
    ("rgb411", "JPG", jpeg("411")),
    ("grey", "JPEG", grey_jpeg),
    ("progressive", "JPEG", jpeg("420", progressive=True)),
    ("progressive444", "JPEG", jpeg("444", progressive=True)),
    ("restart", "JPEG", jpeg("420", restart_marker_blocks=5)),
    ("restart422", "JPEG", jpeg("422", restart_marker_rows=2)),
    ("cmyk", "JPEG", cmyk),
    ("ycck", "JPEG", lambda w, h, rng: as_ycck(cmyk(w, h, rng))),
    ("png", "png", png(lambda image, rng: image)),
    ("png-named-jpeg", "JPEG", png(lambda image, rng: image)),
    ("palette", "png", png(lambda image, rng: image.quantize(64))),
    ("palette-transparent", "png", lambda w, h, rng: save(scene(w, h, rng, 16).quantize(16), "PNG", transparency=bytes(range(0, 256, 16)))),
    ("rgba", "png", png(with_alpha)),
    ("grey-png", "png", png(lambda image, rng: image.convert("L"))),
    ("grey-alpha", "png", png(grey_alpha)),
    ("bilevel", "png", png(lambda image, rng: image.convert("1"))),
    ("grey4", "png", lambda w, h, rng: grey_png(np.asarray(scene(w, h, rng).convert("L")) >> 4, 4)),
    ("interlaced", "png", lambda w, h, rng: interlaced_png(np.asarray(scene(w, h, rng, 8)))),
]
EVERY_SIZE = 5


def files():
    rng = np.random.default_rng(SEED + 1)
    out = {}

    def add(kind, width, height):
        name, ending, encode = kind
        out[f"val/{name}/{width}x{height}.{ending}"] = encode(width, height, rng)

    others = KINDS[EVERY_SIZE:]
    for i, (width, height) in enumerate(SMALL):
        for kind in KINDS[:EVERY_SIZE] + [others[(4 * i + k) % len(others)] for k in range(4)]:
            add(kind, width, height)
    for i, (width, height) in enumerate(LARGE):
        for kind in KINDS[i % EVERY_SIZE], KINDS[(i + 2) % EVERY_SIZE], others[i % 6]:
            add(kind, width, height)
    return dict(sorted(out.items()))


def pack(contents):
    with tarfile.open(DATA / "files.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def vertical_first(image, size, resampling):
    return image.resize((image.width, size[1]), resampling).resize(size, resampling)


def main():
    contents = files()
    pack(contents)
    theirs = [transforms_imagenet_eval(size, crop_pct=crop, interpolation=name, use_prefetcher=True) for size, crop, name in TRANSFORMS]
    cases, exchanged = [], 0
    for file, data in contents.items():
        image = Image.open(io.BytesIO(data)).convert("RGB")
        digests = []
        for (size, crop, name), transform in zip(TRANSFORMS, theirs):
            out, target = evaluate(image, size, crop, name)
            ours = np.asarray(out)
            timms = np.asarray(transform(image)).transpose(1, 2, 0)
            if not np.array_equal(ours, timms):
                other = vertical_first(image, target, FILTERS[name])
                box = [round((target[0] - size) / 2), round((target[1] - size) / 2)]
                other = np.asarray(other.crop((*box, box[0] + size, box[1] + size)))
                assert image.height > target[1] and np.array_equal(other, timms), (file, size, crop, name)
                exchanged += 1
            digests.append(hashlib.sha256(np.ascontiguousarray(ours).tobytes()).hexdigest()[:DIGITS])
        cases.append({"file": file.removeprefix("val/"), "width": image.width, "height": image.height, "sha256": digests})
    head = header("timm's evaluation transform of Image.open(file).convert('RGB'), uint8 [H,W,3]; horizontal pass first",
                  timm=timm.__version__, simplejpeg="1.9.0", cases=len(cases) * len(TRANSFORMS), vertical_first_in_pillow=exchanged,
                  transforms=[{"size": s, "crop_pct": c, "filter": n} for s, c, n in TRANSFORMS])
    head["script"] = "scripts/goldens/data_files.py"
    lines = ",\n  ".join(json.dumps(c) for c in cases)
    (DATA / "files.json").write_text('{"header": ' + json.dumps(head, indent=1) + ',\n "cases": [\n  ' + lines + "\n]}\n")
    print(f"{len(cases)} files, {sum(map(len, contents.values())) / 1e6:.1f} MB, {len(TRANSFORMS)} transforms; Pillow exchanges the passes in {exchanged} cases")


if __name__ == "__main__":
    main()
