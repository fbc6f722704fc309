"""Rows of a source as network inputs. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import derive_seed
from shelfmark.data.colour_profiles import ColourProfiles
from shelfmark.data.crop_first import CropFirst
from shelfmark.data.images import Picture, open_picture, read_rgb
from shelfmark.data.limits import MAX_PIXELS
from shelfmark.data.samplers import Draw
from shelfmark.data.sources import ImageSource, UnreadableImage
from shelfmark.data.substitutes import Substitutes
from shelfmark.data.transforms import SizedTransforms, Transform


class Sample(NamedTuple):
    """image: (3, H, W) float32, None where it could not be read; uint8 if the dataset leaves the rest of the
    augmentation to `data.finish`, and then draws is what that reads. row: whose picture and label it is."""

    image: Tensor | None
    label: int
    row: int
    bad: tuple[BadImage, ...] = ()
    draws: Tensor | None = None


class ImageDataset(Dataset[Sample]):
    """`dataset[Draw(row, epoch, occurrence)]` is that row's Sample, augmented by a seed of the draw alone.

    on_bad_image: `error` raises UnreadableImage. `skip` reports the picture in `Sample.bad`; with
    `replace_bad` (training) another picture takes its place, of the same class where one can be read, so
    that a batch keeps its shape; without (evaluation) the sample has no image. labels: (N,) int64, -1 for none;
    None where no picture has one. max_pixels: larger pictures are unreadable. profiles: as of `decode_rgb`. epochs:
    numbers of V epochs, or none. With them, the image of a sample is (V, 3, H, W): view v is the augmentation that the
    row gets when epoch v of the list draws it for the first time. finishes: whether a CropFirst does its whole work.
    """

    def __init__(
        self,
        source: ImageSource,
        labels: np.ndarray | None,
        transform: Transform | SizedTransforms,
        *,
        seed: int,
        on_bad_image: str = "error",
        replace_bad: bool = False,
        max_pixels: int = MAX_PIXELS,
        profiles: ColourProfiles = "ignore",
        epochs: Sequence[int] = (),
        finishes: bool = True,
    ) -> None:
        self.source = source
        self.labels = np.full(len(source), -1) if labels is None else labels
        self.transform = transform
        self.seed = seed
        self.max_pixels = max_pixels
        self.profiles = profiles
        self.epochs = epochs
        self.finishes = finishes
        self.skips = choose("data.on_bad_image", on_bad_image, ("error", "skip")) == "skip"
        self.substitutes = Substitutes(self.labels, seed) if self.skips and replace_bad else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw) -> Sample:
        try:
            return self._views(draw.row) if self.epochs else self._sample(draw.row, self._seed(draw), draw.epoch)
        except UnreadableImage as failure:
            if not self.skips:
                raise
            bad = BadImage(draw.row, failure.path, failure.reason)
        if self.substitutes is None:
            return Sample(None, int(self.labels[draw.row]), draw.row, (bad,))
        return self._substitute(draw, bad, self.substitutes)

    def _seed(self, draw: Draw) -> int:
        repeats = (draw.occurrence,) if draw.occurrence else ()
        return derive_seed(self.seed, "augment", draw.epoch, draw.row, *repeats)

    def _sample(self, row: int, seed: int, epoch: int) -> Sample:
        transform, label = self._transform_at(epoch), int(self.labels[row])
        if not isinstance(transform, CropFirst):
            return Sample(transform(self._rgb(row), seed), label, row)
        if self.finishes:
            return Sample(transform(self._picture(row), seed), label, row)
        pixels, draws = transform.begun(self._picture(row), seed)
        return Sample(pixels, label, row, draws=draws)

    def _views(self, row: int) -> Sample:
        crops_first = any(isinstance(self._transform_at(epoch), CropFirst) for epoch in self.epochs)
        # A CropFirst takes pixels too, but would then cut its views out of a picture that was decoded whole.
        picture: Any = self._picture(row) if crops_first else self._rgb(row)
        views = [self._transform_at(epoch)(picture, self._seed(Draw(row, epoch))) for epoch in self.epochs]
        return Sample(torch.stack(views), int(self.labels[row]), row)

    def _rgb(self, row: int) -> np.ndarray:
        return read_rgb(self.source, row, self.max_pixels, self.profiles)

    def _picture(self, row: int) -> Picture:
        return open_picture(self.source, row, self.max_pixels, self.profiles)

    def _transform_at(self, epoch: int) -> Transform:
        return self.transform.at(epoch) if isinstance(self.transform, SizedTransforms) else self.transform

    def _substitute(self, draw: Draw, bad: BadImage, substitutes: Substitutes) -> Sample:
        failures = [bad]
        for row in substitutes.rows_for(draw):
            try:
                seed = derive_seed(self.seed, "augment_substitute", *draw)
                return self._sample(row, seed, draw.epoch)._replace(bad=tuple(failures))
            except UnreadableImage as failure:
                failures.append(BadImage(row, failure.path, failure.reason))
        raise UserError(
            f"{bad.path} could not be read ({bad.reason}), nor could {len(failures) - 1} other images in its"
            f" place, the last of them {failures[-1].path} ({failures[-1].reason}). Is data.root right?"
        )
