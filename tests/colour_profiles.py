"""Colour profiles (ICC version 2), written byte by byte, and the sRGB colours that they mean by the formulas."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

# XYZ of red, green and blue, in columns, under the profiles' white D50.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
D50 = np.array([0.9642, 1.0, 0.8249])


def rgb_profile(primaries: np.ndarray, gamma: float) -> bytes:
    curve = _curve(gamma)
    columns = {name + b"XYZ": _xyz(column) for name, column in zip((b"r", b"g", b"b"), primaries.T)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**columns, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile(inks: np.ndarray) -> bytes:
    """inks: (2, 2, 2, 2, 3) Lab, by cyan, magenta, yellow and black, each absent or whole; between them linear."""
    even = bytes(range(256))
    nodes = np.round(inks.reshape(-1, 3) * [2.55, 1, 1] + [0, 128, 128]).astype(np.uint8)
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int).ravel()))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + even * 4 + nodes.tobytes() + even * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def srgb_of_rgb(pixels: np.ndarray, primaries: np.ndarray, gamma: float) -> np.ndarray:
    """(..., 3) uint8 -> (..., 3) float in 0..255."""
    return srgb_of_xyz((pixels / 255.0) ** gamma @ primaries.T)


def srgb_of_lab(lab: np.ndarray) -> np.ndarray:
    middle = (lab[..., 0] + 16) / 116
    roots = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    return srgb_of_xyz(D50 * np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)))


def srgb_of_xyz(xyz: np.ndarray) -> np.ndarray:
    linear = np.clip(xyz @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, between: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _xyz(D50), **tags}
    listed, data, begin = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        listed += name + struct.pack(">II", begin + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s28s", begin + len(data), b"", 0x02400000, kind, space, between, b"", b"acsp", b""
    )
    return head + _xyz(D50)[8:] + bytes(128 - len(head) - 12) + listed + data
