"""`make bench-loader`: all readers make the same input of the same picture, and a mosaic is made of photographs."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_loader
import photograph_sets

from shelfmark.data.options import DataOptions

COLOUR = (120, 60, 200)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One colour, but for the left half of the first."""
    made = []
    for number in range(4):
        image = Image.new("RGB", (340, 310), COLOUR)
        if number == 0:
            image.paste((10, 200, 30), (0, 0, 170, 310))
        made.append(tmp_path / f"{number}.jpg")
        image.save(made[-1], quality=80 + number)
    return made


def test_every_reader_makes_the_same_input_and_has_its_row(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_loader, "SIZE_PX", 24)
    monkeypatch.setattr(bench_loader, "BATCH", 2)
    settings = DataOptions().input_settings
    mean, std = (torch.tensor(values)[:, None, None] for values in (settings.mean, settings.std))
    expected = (torch.tensor(COLOUR)[:, None, None] / 255 - mean) / std
    readers = bench_loader.readers(files[1:], tmp_path, target=1e-9)
    for reader in readers:
        batch = next(reader.batches)
        images = batch.images if hasattr(batch, "images") else batch[0]
        assert images.shape == (2, 3, 24, 24)
        if "GPU" in reader.name:
            assert images.dtype == torch.uint8
            images = (images / 255 - torch.tensor(settings.mean)[:, None, None]) / torch.tensor(settings.std)[
                :, None, None
            ]
        # The decoders round colours by a level.
        assert float((images - expected).abs().max()) < 2 / 255 / 0.22, reader.name
    copy = bench_loader.packed_copy(files[1:], tmp_path, size_px=32)
    packed = bench_loader.packed_readers(copy, files[1:], tmp_path)
    images = next(packed[0].batches).images
    assert float((images - expected).abs().max()) < 2 / 255 / 0.22
    assert len(list(bench_loader._table("packed", packed, Namespace(rounds=1, batches=1)))) == 3 + len(packed)
    lines = list(bench_loader._table("some", readers, Namespace(rounds=2, batches=1)))
    assert len(lines) == 3 + len(readers)
    assert lines[3].startswith("| ours, version 2 | ")
    assert lines[3].endswith(" | 100% | 0: met |")


def test_a_mosaic_has_squares_of_photographs_encoded_as_the_first(files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "mosaics"
    folder.mkdir()
    made = photograph_sets.write_mosaics(files, folder, number=3)
    again = photograph_sets.write_mosaics(files, tmp_path, number=1)
    assert made[0].read_bytes() == again[0].read_bytes()
    with Image.open(files[0]) as first, Image.open(made[2]) as mosaic:
        assert mosaic.size == (900, 900)
        assert mosaic.quantization == first.quantization
        pixels = np.asarray(mosaic, dtype=int)
    for top in range(0, 900, 300):
        for left in range(0, 900, 300):
            # The right half of each square has the colour, whichever photograph it is of.
            assert np.abs(pixels[top + 20 : top + 280, left + 170 : left + 280] - COLOUR).max() <= 12
