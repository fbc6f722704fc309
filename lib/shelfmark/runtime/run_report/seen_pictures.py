"""Pictures of the first training batch as the network saw them. Legend: n pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.data.dataset import ImageDataset
from shelfmark.data.samplers import rank_batches
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe, assemble


@dataclass(frozen=True, eq=False)
class SeenPictures:
    """pixels, mixed: (n, H, W, 3) uint8 each; mixed is None where nothing was mixed. labels: (n,) int64.

    shares: of each mixed picture its classes with their shares, the greater first.
    """

    pixels: np.ndarray
    labels: np.ndarray
    mixed: np.ndarray | None = None
    shares: tuple[tuple[tuple[int, float], ...], ...] = ()


def seen_pictures(recipe: Recipe, table: Table, most: int = 16) -> SeenPictures:
    """The first pictures of epoch 0, augmented as in training, and mixed where that epoch mixes."""
    draws = next(iter(rank_batches(assemble.epoch_order(recipe, table), 0)))[:most]
    dataset = ImageDataset(
        assemble.image_source(recipe, table),
        table.labels,
        assemble.sized_augmentation(recipe),
        seed=recipe.seed,
        on_bad_image="skip",
        replace_bad=True,
        max_pixels=recipe.data.max_image_pixels,
        profiles=recipe.data.color_profiles,
    )
    samples = [dataset[draw] for draw in draws]
    images = torch.stack([one.image for one in samples if one.image is not None])
    labels = torch.tensor([one.label for one in samples if one.image is not None])
    seen = SeenPictures(_pixels(images, recipe), labels.numpy())
    mixing = assemble.mixing(recipe, table) if bool((labels >= 0).all()) else None
    if mixing is None:
        return seen
    mixed, targets = mixing(images, labels, 0)
    return SeenPictures(seen.pixels, seen.labels, _pixels(mixed, recipe), tuple(_shares(one) for one in targets))


def _pixels(images: Tensor, recipe: Recipe) -> np.ndarray:
    """(n, H, W, 3) uint8 of normalised images (n, 3, H, W)."""
    settings = recipe.data.input_settings
    mean, std = (torch.tensor(values)[:, None, None] for values in (settings.mean, settings.std))
    pixels = (images.float() * std + mean).clamp(0, 1) * 255
    return pixels.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _shares(target: Tensor) -> tuple[tuple[int, float], ...]:
    values, classes = target.topk(min(2, len(target)))
    return tuple((int(label), float(share)) for label, share in zip(classes, values) if share > 0)
