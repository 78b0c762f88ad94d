"""Seeded numbers that Go makes too, bit for bit: the fill of all weights and the inputs of a module's check.

Number i of the stream called NAME is splitmix64's finaliser of k + (i+1)*0x9E3779B97F4A7C15 (mod 2^64), where k is the
first 8 bytes, big-endian, of SHA-256("sat-check\\0SEED\\0NAME"). Its upper 53 bits over 2^53 are a uniform double u in
[0,1). A weight is float32(low + (high - low)*u), every operation rounded to double on its own (no fused multiply-add).
"""
import hashlib

import numpy as np

GENERATOR = "splitmix64/1"
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 20


def _key(seed, name):
    return np.uint64(int.from_bytes(hashlib.sha256(f"sat-check\0{seed}\0{name}".encode()).digest()[:8], "big"))


def bits(seed, name, count, start=0):
    """Numbers start, ..., start+count-1 of a stream, 64 bits each."""
    with np.errstate(over="ignore"):
        z = _key(seed, name) + (np.arange(start + 1, start + count + 1, dtype=np.uint64)) * _GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed, name, count, start=0):
    """The same as doubles in [0,1)."""
    return (bits(seed, name, count, start) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def values(seed, name, count, low, high):
    """float32 numbers in [low, high)."""
    out = np.empty(count, np.float32)
    for start in range(0, count, _CHUNK):
        n = min(_CHUNK, count - start)
        out[start:start + n] = low + (high - low) * uniform(seed, name, n, start)
    return out


def images(seed, n, channels, height, width):
    """n images in [0,1): the mean of noise per pixel and of noise per cell of an 8x8 grid. White noise alone would look
    the same to every network with a pooling layer."""
    name = f"images/{n}"
    fine = uniform(seed, name, n * channels * height * width).reshape(n, channels, height, width)
    cells = uniform(seed, name + "/cells", n * channels * 64).reshape(n, channels, 8, 8)
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    return (0.5 * fine + 0.5 * cells[:, :, rows][:, :, :, columns]).astype(np.float32)


def labels(seed, n, classes):
    return (bits(seed, f"labels/{n}", n) % np.uint64(classes)).astype(np.int64)
