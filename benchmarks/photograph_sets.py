"""Folders of photographs for the benchmarks of reading: originals, and large pictures that are put together of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

TILE = 300
"""Side of the square that each photograph gives to a mosaic, in pixels, cut out of its middle and not resized."""


def write_mosaics(photographs: Sequence[Path], folder: Path, number: int, a_side: int = 3) -> list[Path]:
    """`number` JPEG files of `a_side` x `a_side` squares, of photographs drawn by a fixed seed.

    They are encoded with the quantisation tables and the chroma of the first photograph: so a pixel takes as many bytes
    as in the originals.
    """
    draw = np.random.default_rng(0)
    with Image.open(photographs[0]) as first:
        tables = first.quantization
    files = []
    for index in range(number):
        chosen = [photographs[at] for at in draw.integers(len(photographs), size=a_side**2)]
        squares = [_middle(file) for file in chosen]
        rows = [np.hstack(squares[at : at + a_side]) for at in range(0, a_side**2, a_side)]
        files.append(folder / f"{index:03}.jpg")
        Image.fromarray(np.vstack(rows)).save(files[-1], qtables=tables, subsampling="4:2:0")
    return files


def _middle(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = ((side - TILE) // 2 for side in pixels.shape[:2])
    return pixels[top : top + TILE, left : left + TILE]
