"""One pass over pictures: source, transform and model give rows of features or logits, over any number of processes.

Legend: N pictures, n pictures of a batch, V views, F features, D embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import BadImage
from shelfmark.core.heartbeat import beat
from shelfmark.core.rng import derive_seed
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.colour_profiles import ColourProfiles
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.limits import MAX_PIXELS
from shelfmark.data.loader import eval_batches
from shelfmark.data.sources import ImageSource
from shelfmark.data.transforms import NUM_VIEWS, SizedTransforms, Transform, eval_transform, view_transform
from shelfmark.engine.precision import Precision
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe, assemble

PassOutput = Literal["features", "logits", "backbone"]
"""features: the embedding. logits: of the classifier. backbone: the backbone's features, before the embedding layer."""


CPU_BATCH = 32
"""Images that a CPU passes at a time. The activations of a larger batch fit into no cache, which is slower."""


class PassedBatch(NamedTuple):
    """rows: (n,) int64. values: (n, D) features, (n, C) logits or (n, F) features of the backbone, on the model's
    device; (n, V, ...) of several views.

    bad: the pictures of the batch that could not be read; they have no row. n is 0 only if no picture of the share
    could be read; then `values` means nothing.
    """

    rows: np.ndarray
    values: Tensor
    bad: tuple[BadImage, ...]


@dataclass(frozen=True)
class ImagePass:
    """A pass over the pictures of a source. It holds nothing that is open, so it can be pickled.

    transform: returns (3, S, S), or (V, 3, S, S) for V views. network: in evaluation mode, on precision's device.
    batch_size: pictures. seed: of a random transform. epochs: of the training, one for each view; see `ImageDataset`,
    also for the other fields.
    """

    source: ImageSource
    transform: Transform | SizedTransforms
    network: Network
    precision: Precision
    output: PassOutput = "features"
    batch_size: int = 64
    num_workers: int = 0
    on_bad_image: str = "error"
    max_pixels: int = MAX_PIXELS
    profiles: ColourProfiles = "ignore"
    seed: int = 0
    epochs: tuple[int, ...] = ()

    def share(
        self, bad_images: BadImageLog | None = None, alone: bool = False, rows: range | None = None
    ) -> Iterator[PassedBatch]:
        """This process's batches, in row order. The shares in rank order are the batches of one process alone.

        bad_images: counts and lists the pictures that this process could not read; raises if there are too many. The
        pass has no collectives, since shares may be empty. Iterate inside `together()` or `bad_images.over_ranks()`, so
        that an error or a signal (`Stopped`) in one process ends the pass in all.
        alone: all batches, in a program whose processes ask about pictures of their own. rows: consecutive ones, to
        pass these alone.
        """
        dataset = ImageDataset(
            self.source,
            None,
            self.transform,
            seed=self.seed,
            on_bad_image=self.on_bad_image,
            max_pixels=self.max_pixels,
            profiles=self.profiles,
            epochs=self.epochs,
        )
        rank, world_size = (0, 1) if alone else (dist.rank(), dist.world_size())
        batches = eval_batches(dataset, self.batch_size, self.num_workers, rank, world_size, rows)
        for batch in batches:
            beat("evaluation")
            raise_if_stopped()
            if bad_images is not None:
                bad_images.add(batch.bad)
            values = self._values(batch.images) if len(batch) else batch.images
            yield PassedBatch(batch.rows.numpy(), values, batch.bad)
        if bad_images is not None:
            bad_images.write()

    def _values(self, images: Tensor) -> Tensor:
        views = images.shape[:-3]
        with torch.inference_mode():
            with self.precision.autocast():
                flat = images.flatten(0, -4).to(self.precision.device, non_blocking=True)
                values = self.network.features(flat) if self.output == "backbone" else self.network.embed(flat)
            if self.output == "logits":
                values = self.network.logits(values)
        return values.unflatten(0, views)


def evaluation_pass(
    recipe: Recipe, network: Network, precision: Precision, source: ImageSource, output: PassOutput = "features"
) -> ImagePass:
    """Each picture as evaluation sees it: resized and cropped, without augmentation."""
    transform = eval_transform(recipe.data.input_size_px, recipe.data)
    return _pass(recipe, network, precision, source, transform, output)


def views_pass(
    recipe: Recipe,
    network: Network,
    precision: Precision,
    source: ImageSource,
    views: str,
    size_px: int,
    output: PassOutput = "features",
) -> ImagePass:
    """As `evaluation_pass`, at one size, with several views of each picture."""
    transform = view_transform(size_px, views, recipe.data)
    batch_size = max(1, recipe.eval.batch_size // NUM_VIEWS[views])
    return _pass(recipe, network, precision, source, transform, output, batch_size)


def augmented_pass(recipe: Recipe, network: Network, precision: Precision, source: ImageSource, view: int) -> ImagePass:
    """As `evaluation_pass`, but each picture augmented as in training; each `view` has draws of its own."""
    transform = assemble.augmentation(recipe)(recipe.data.input_size_px)
    seed = derive_seed(recipe.seed, "augmented_view", view)
    return _pass(recipe, network, precision, source, transform, "features", seed=seed)


def training_views_pass(
    recipe: Recipe, network: Network, precision: Precision, source: ImageSource, epochs: Sequence[int]
) -> ImagePass:
    """The backbone's features of each picture as the training draws it first in each of V epochs: (n, V, F)."""
    images = _pass(recipe, network, precision, source, assemble.sized_augmentation(recipe), "backbone")
    batch_size = max(1, images.batch_size // len(epochs))
    return replace(images, batch_size=batch_size, seed=recipe.seed, epochs=tuple(epochs))


def _pass(
    recipe: Recipe,
    network: Network,
    precision: Precision,
    source: ImageSource,
    transform: Transform | SizedTransforms,
    output: PassOutput,
    batch_size: int | None = None,
    seed: int = 0,
) -> ImagePass:
    data, batch_size = recipe.data, batch_size or recipe.eval.batch_size
    if output == "backbone" and precision.device.type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    return ImagePass(
        source,
        transform,
        network,
        precision,
        output,
        batch_size=batch_size,
        num_workers=data.num_workers,
        on_bad_image=data.on_bad_image,
        max_pixels=data.max_image_pixels,
        profiles=data.color_profiles,
        seed=seed,
    )
