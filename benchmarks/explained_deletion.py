"""The check of an explanation by deletion: what the score loses when the named part of the picture is taken out.

Legend: N pictures, H x W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.explain import blurred, infilled, score_maps
from shelfmark.explain.contrast import Contrast
from shelfmark.explain.infill import mean_filled
from shelfmark.explain.overlay import on_input
from shelfmark.models.network import Network

SHARE = 0.2
FILLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {"blurred": blurred, "mean": mean_filled}
WINDOWS_A_SIDE, BLOCKS_A_SIDE, NUM_RANDOM, BATCH = 7, 8, 5, 16


@dataclass(frozen=True)
class Maps:
    """maps: name -> (side, side), what is said of each pixel. seconds, passes: of those that are computed.

    method: of ours. score: the contrast of the logits.
    """

    maps: dict[str, np.ndarray]
    seconds: dict[str, float]
    passes: dict[str, int]
    method: str
    score: float


@dataclass(frozen=True)
class Deleted:
    """One picture. score: the contrast of the logits. left: map -> filling -> the score without the named part."""

    score: float
    left: dict[str, dict[str, float]]
    found: Maps


def deleted(network: Network, image: Tensor, contrast: Contrast, generator: np.random.Generator) -> Deleted:
    """Takes SHARE of the picture (1, 3, side, side) out, as three maps and random blocks say."""
    side, found = image.shape[-1], maps_of(network, image, contrast)
    removed = {name: [most(values)] for name, values in found.maps.items()}
    removed["random blocks"] = [random_blocks(side, generator) for _ in range(NUM_RANDOM)]
    left: dict[str, dict[str, float]] = {name: {} for name in removed}
    for filling, fill in FILLINGS.items():
        filled = fill(image)
        for name, masks in removed.items():
            stacked = torch.from_numpy(np.stack(masks)).to(image.device)
            scores = _scores(network, infilled(image.expand(len(masks), -1, -1, -1), filled, stacked), contrast)
            left[name][filling] = float(scores.mean())
    return Deleted(found.score, left, found)


def maps_of(network: Network, image: Tensor, contrast: Contrast) -> Maps:
    """The three maps of a picture (1, 3, side, side)."""
    side = image.shape[-1]
    began = time.perf_counter()
    found = score_maps(network, image, contrast)
    ours = on_input(found.values[0].cpu().numpy(), side)
    middle = time.perf_counter()
    occluded, passes = occlusion(network, image, contrast)
    seconds = {"ours": middle - began, "occlusion": time.perf_counter() - middle}
    maps = {"ours": ours, "occlusion": occluded, "centre": centre_prior(side)}
    return Maps(maps, seconds, {"ours": 1, "occlusion": passes}, found.method, float(found.scores[0]))


def most(values: np.ndarray, share: float = SHARE) -> np.ndarray:
    """(side, side) bool: the share of the pixels with the greatest values; of equal ones the first."""
    number = round(share * values.size)
    mask = np.zeros(values.size, dtype=bool)
    mask[np.argsort(-values.ravel(), kind="stable")[:number]] = True
    return mask.reshape(values.shape)


def centre_prior(side: int) -> np.ndarray:
    """(side, side): from 1 at the centre down to 0 in the corners."""
    axis = np.arange(side) - (side - 1) / 2
    distance = np.hypot(axis[:, None], axis[None, :])
    return 1 - distance / distance.max()


def random_blocks(side: int, generator: np.random.Generator, share: float = SHARE) -> np.ndarray:
    """(side, side) bool: as many blocks of an eighth of the side as the share asks for, drawn at random."""
    blocks = np.zeros(BLOCKS_A_SIDE**2, dtype=bool)
    blocks[generator.permutation(blocks.size)[: round(share * blocks.size)]] = True
    places = np.minimum(np.arange(side) * BLOCKS_A_SIDE // side, BLOCKS_A_SIDE - 1)
    return blocks.reshape(BLOCKS_A_SIDE, BLOCKS_A_SIDE)[places[:, None], places[None, :]]


def occlusion(network: Network, image: Tensor, contrast: Contrast) -> tuple[np.ndarray, int]:
    """(side, side) what the score loses under a window of a quarter of the side that is blurred, the mean over the
    windows that cover a pixel; and the number of pictures that passed through the network.

    Windows overlap by half. Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
    """
    side = image.shape[-1]
    edges = np.linspace(0, side, WINDOWS_A_SIDE + 2).round().astype(int)
    masks = np.zeros((WINDOWS_A_SIDE**2, side, side), dtype=bool)
    for number in range(len(masks)):
        row, column = divmod(number, WINDOWS_A_SIDE)
        masks[number, edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = True
    filled, scores = blurred(image), [_scores(network, image, contrast)]
    for start in range(0, len(masks), BATCH):
        part = torch.from_numpy(masks[start : start + BATCH]).to(image.device)
        scores.append(_scores(network, infilled(image.expand(len(part), -1, -1, -1), filled, part), contrast))
    every = torch.cat(scores).double().cpu().numpy()
    lost = np.tensordot(every[0] - every[1:], masks.astype(np.float64), axes=1)
    return lost / masks.sum(axis=0), len(every)


def share_inside(values: np.ndarray, region: np.ndarray) -> float:
    """Of all in the map that is above 0, the share that lies in the region (side, side) bool; 0 of nothing."""
    positive = np.maximum(values, 0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else 0.0


def _scores(network: Network, images: Tensor, contrast: Contrast) -> Tensor:
    """(N,) of images (N, 3, side, side), all of the first label of the contrast."""
    with torch.no_grad():
        logits = network.logits(network.embed(images))
    labels = contrast.labels[:1].expand(len(images))
    others = None if contrast.others is None else contrast.others[:1].expand(len(images))
    return Contrast(labels, others).of(logits)
