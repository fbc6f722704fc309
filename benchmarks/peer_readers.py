"""Training pictures as others read them: timm's loader, torchvision's decoder and transforms, a plain OpenCV worker.

Each draws a crop of 8 to 100% of the area, resizes it with antialiasing, flips a half, and normalises: float32 batches.
They read in the calling process, on one thread.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from shelfmark.data.options import DataOptions

MEAN, STD = DataOptions().input_settings[:2]


def timm_batches(files: Sequence[Path], size_px: int, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Pillow, and the transforms of timm's create_loader."""
    from timm.data import create_loader

    loader: Iterable[tuple[Tensor, Tensor]] = create_loader(
        _Opened(files),
        input_size=(3, size_px, size_px),
        batch_size=batch_size,
        is_training=True,
        use_prefetcher=False,
        color_jitter=None,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=0,
        persistent_workers=False,
    )
    return loader


def torchvision_batches(files: Sequence[Path], size_px: int, batch_size: int) -> DataLoader[tuple[Tensor, int]]:
    """torchvision.io.decode_jpeg and torchvision.transforms.v2."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size_px, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return DataLoader(_Decoded(files, transform), batch_size, shuffle=True, drop_last=True)


def opencv_batches(files: Sequence[Path], size_px: int, batch_size: int) -> DataLoader[tuple[Tensor, int]]:
    """cv2.imread, and numpy. Its antialiased resize is INTER_AREA, for a crop that is larger than the input."""
    return DataLoader(_ByOpenCV(files, size_px), batch_size, shuffle=True, drop_last=True)


class _Files(Dataset[tuple[Tensor, int]]):
    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(map(str, files))

    def __len__(self) -> int:
        return len(self.files)


class _Opened(_Files):
    """timm sets the transform."""

    transform = None

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.files[row]) as image:
            picture = image.convert("RGB")
        return (picture if self.transform is None else self.transform(picture)), 0


class _Decoded(_Files):
    def __init__(self, files: Sequence[Path], transform: v2.Compose) -> None:
        super().__init__(files)
        self.transform = transform

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(decode_jpeg(read_file(self.files[row]), ImageReadMode.RGB)), 0


class _ByOpenCV(_Files):
    def __init__(self, files: Sequence[Path], size_px: int) -> None:
        super().__init__(files)
        self.size_px = size_px
        self.mean, self.std = (np.array(values, np.float32) * 255 for values in (MEAN, STD))

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        picture = cv2.cvtColor(cv2.imread(self.files[row]), cv2.COLOR_BGR2RGB)
        whole = torch.empty(1).expand(3, *picture.shape[:2])
        top, left, height, width = transforms.RandomResizedCrop.get_params(whole, [0.08, 1.0], [0.75, 4 / 3])
        is_larger = min(height, width) > self.size_px
        crop = cv2.resize(
            picture[top : top + height, left : left + width],
            (self.size_px, self.size_px),
            interpolation=cv2.INTER_AREA if is_larger else cv2.INTER_LINEAR,
        )
        if random.random() < 0.5:
            crop = crop[:, ::-1]
        normalised = (crop - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1))), 0
