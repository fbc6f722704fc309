"""How fast a network is on this machine: a few batches, measured before a length of training is chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from shelfmark.core import dist
from shelfmark.data.images import decode_rgb
from shelfmark.data.sources import ImageSource, UnreadableImage
from shelfmark.engine.precision_trial import precision_of_training
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.first_run import Speed

NUM_PICTURES = 24
"""Pictures that are read, evenly spread over the folder."""
_NUM_IN_BATCH = 16


def sample(source: ImageSource) -> tuple[list[np.ndarray], float]:
    """Some pictures, (H, W, 3) uint8, and the seconds that one took to be read."""
    rows = np.unique(np.linspace(0, len(source) - 1, NUM_PICTURES).round().astype(int)).tolist()
    pictures = []
    began = time.perf_counter()
    for row in rows:
        try:
            pictures.append(decode_rgb(source.read(row), source.name(row)))
        except UnreadableImage:
            continue
    return pictures, (time.perf_counter() - began) / len(rows)


def measured_speed(recipe: Recipe, num_classes: int, pictures: Sequence[np.ndarray], read_s: float) -> Speed:
    """Seconds of an image in a pass and in a step of training, the second time that each is done.

    pictures: to augment. read_s: of an image, before it is augmented. The network has random weights.
    """
    device = dist.local_device(recipe.train.device)
    images, load_s = _augmented(pictures, assemble.sized_augmentation(recipe).at(0))
    loading_s = (read_s + load_s / len(pictures)) / max(1, recipe.data.num_workers)
    batch = images[torch.arange(min(_NUM_IN_BATCH, recipe.train.batch_size)) % len(images)].to(device)
    network = assemble.network(recipe, num_classes, load_weights=False).to(device)
    precision = precision_of_training(recipe.train.precision, network.backbone, recipe.data.input_size_px, device)

    def one_pass() -> None:
        network.eval()
        with torch.inference_mode(), precision.autocast():
            network.embed(batch)

    def one_step() -> None:
        network.train()
        with precision.autocast():
            logits = network(batch).heads["classifier"].float()
        logits.logsumexp(1).mean().backward()
        network.zero_grad(set_to_none=True)

    pass_s, step_s = (_second_time(work, device) / len(batch) for work in (one_pass, one_step))
    if recipe.data.num_workers:
        return Speed(max(loading_s, pass_s), max(loading_s, step_s))
    return Speed(loading_s + pass_s, loading_s + step_s)


def _augmented(
    pictures: Sequence[np.ndarray], transform: Callable[[np.ndarray, int], torch.Tensor]
) -> tuple[torch.Tensor, float]:
    began = time.perf_counter()
    images = torch.stack([transform(picture, seed) for seed, picture in enumerate(pictures)])
    return images, time.perf_counter() - began


def _second_time(work: Callable[[], None], device: torch.device) -> float:
    work()
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
