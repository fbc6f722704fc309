"""Rows of a table as network inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import derive_seed, numpy_generator
from shelfmark.data.images import DEFAULT_LIMITS, ImageLimits, UnreadableImage, read_rgb
from shelfmark.data.samplers import Draw, Groups
from shelfmark.data.table import Table
from shelfmark.data.transforms import SizedTransforms, Transform

NUM_SUBSTITUTES = 20


class Sample(NamedTuple):
    """image: (3, H, W) float32, None where it could not be read. row: whose picture and label it is."""

    image: Tensor | None
    label: int
    row: int
    bad: tuple[BadImage, ...] = ()


class ImageDataset(Dataset[Sample]):
    """`dataset[Draw(row, epoch, occurrence)]` is that row's Sample, augmented by a seed of the draw alone.

    on_bad_image: `error` raises UnreadableImage. `skip` reports the picture in `Sample.bad`; with
    `replace_bad` (training) another picture takes its place, of the same class where one can be read, so
    that a batch keeps its shape; without (evaluation) the sample has no image. limits: larger pictures are unreadable.
    """

    def __init__(
        self,
        table: Table,
        transform: Transform | SizedTransforms,
        *,
        seed: int,
        on_bad_image: str = "error",
        replace_bad: bool = False,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> None:
        self.table = table
        self.transform = transform
        self.seed = seed
        self.limits = limits
        self.skips = choose("data.on_bad_image", on_bad_image, ("error", "skip")) == "skip"
        self.groups = Groups.of(table.labels, table.num_classes) if self.skips and replace_bad else None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, draw: Draw) -> Sample:
        try:
            return self._sample(draw.row, self._augmentation_seed(draw), draw.epoch)
        except UnreadableImage as failure:
            if not self.skips:
                raise
            bad = BadImage(draw.row, failure.path, failure.reason)
        if self.groups is None:
            return Sample(None, int(self.table.labels[draw.row]), draw.row, (bad,))
        return self._substitute(draw, bad, self.groups)

    def _augmentation_seed(self, draw: Draw) -> int:
        repeats = (draw.occurrence,) if draw.occurrence else ()
        return derive_seed(self.seed, "augment", draw.epoch, draw.row, *repeats)

    def _sample(self, row: int, seed: int, epoch: int) -> Sample:
        transform = self.transform.at(epoch) if isinstance(self.transform, SizedTransforms) else self.transform
        image = transform(read_rgb(self.table.path(row), self.limits), seed)
        return Sample(image, int(self.table.labels[row]), row)

    def _substitute(self, draw: Draw, bad: BadImage, groups: Groups) -> Sample:
        failures = [bad]
        for row in self._candidates(draw, groups):
            try:
                seed = derive_seed(self.seed, "augment_substitute", *draw)
                return self._sample(row, seed, draw.epoch)._replace(bad=tuple(failures))
            except UnreadableImage as failure:
                failures.append(BadImage(row, failure.path, failure.reason))
        raise UserError(
            f"{bad.path} could not be read ({bad.reason}), nor could {len(failures) - 1} other images in its"
            f" place, the last of them {failures[-1].path} ({failures[-1].reason}). Is data.root right?"
        )

    def _candidates(self, draw: Draw, groups: Groups) -> Iterator[int]:
        """At most NUM_SUBSTITUTES rows: half of them of the draw's class, as far as it goes, then any."""
        generator = numpy_generator(self.seed, "substitute", *draw)
        label = int(self.table.labels[draw.row])
        same_class = groups.of_class(label) if label >= 0 else groups.rows[:0]
        same_class = generator.permutation(same_class[same_class != draw.row])[: NUM_SUBSTITUTES // 2]
        yield from same_class.tolist()
        yield from generator.choice(groups.rows, NUM_SUBSTITUTES - len(same_class)).tolist()
