"""Mixed images with mixed labels: mixup, CutMix, Remix. Legend: N images of this process's batch, C classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.rng import numpy_generator

_REMIX_TAU = 0.5


class Mixing:
    """Mixes every image of a batch with a partner of the same batch, and their labels in the same proportion.

    mixup: alpha of Beta(alpha, alpha), from which each step draws its proportion; 0 is off. The images are averaged.
    cutmix: alpha likewise. A rectangle of the partner, of that part of the area, replaces the same rectangle of the
    image. If both are on, each step draws one of them. remix: kappa, 0 is off. If one of the two classes has at least
    kappa times the training images of the other and makes up less than half of the picture, the rarer class gets the
    whole label. counts: (C,) training images a class.

    The kind, the proportion and the place of the rectangle follow from (seed, step); the partners are drawn among the
    images of the same process.
    Sources: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Yun et al., "CutMix", ICCV 2019;
    Chou et al., "Remix: Rebalanced Mixup", ECCV Workshops 2020, eq. 6 with tau = 0.5.
    """

    def __init__(self, mixup: float, cutmix: float, remix: float, counts: np.ndarray, seed: int) -> None:
        self.mixup, self.cutmix, self.remix = mixup, cutmix, remix
        self.counts = torch.as_tensor(counts)
        self.seed = seed

    def __call__(self, images: Tensor, labels: Tensor, step: int, rank: int = 0) -> tuple[Tensor, Tensor]:
        """Mixed images (N, 3, H, W) and the probabilities of their classes (N, C) float32.

        labels: (N,) int64, all of them known.
        """
        generator = numpy_generator(self.seed, "mixing", step)
        cuts = bool(self.cutmix) and (not self.mixup or generator.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        own = float(generator.beta(alpha, alpha))
        partners = torch.from_numpy(numpy_generator(self.seed, "mixing_partners", step, rank).permutation(len(images)))
        partners = partners.to(images.device)
        if cuts:
            images, own = _cut(images, partners, own, generator)
        else:
            images = torch.lerp(images[partners], images, own)
        return images, self._targets(labels, labels[partners], own)

    def _targets(self, labels: Tensor, others: Tensor, own: float) -> Tensor:
        share = torch.full(labels.shape, own, device=labels.device)
        if self.remix:
            counts = self.counts.to(labels.device)
            ratio = counts[labels].clamp_min(1) / counts[others].clamp_min(1)
            share[(ratio >= self.remix) & (own < _REMIX_TAU)] = 0
            share[(ratio <= 1 / self.remix) & (1 - own < _REMIX_TAU)] = 1
        targets = torch.zeros(len(labels), len(self.counts), device=labels.device)
        targets.scatter_add_(1, labels[:, None], share[:, None])
        return targets.scatter_add_(1, others[:, None], 1 - share[:, None])


def _cut(images: Tensor, partners: Tensor, own: float, generator: np.random.Generator) -> tuple[Tensor, float]:
    """The images with a rectangle of their partners, and the part of the area that stayed their own."""
    height, width = images.shape[2:]
    # A rectangle of the picture's shape, with 1 - own of its area, around any point; the part outside is cut off.
    half_height, half_width = (round(side * (1 - own) ** 0.5 / 2) for side in (height, width))
    y, x = int(generator.integers(height)), int(generator.integers(width))
    rows = slice(max(0, y - half_height), min(height, y + half_height))
    columns = slice(max(0, x - half_width), min(width, x + half_width))
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[partners][:, :, rows, columns]
    replaced = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - replaced / (height * width)
