"""What each position of a picture adds to the score, by the method that fits the network.

Legend: N batch, C classes, H x W pixels of the map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from shelfmark.explain.contrast import Contrast
from shelfmark.explain.decomposition import decomposed, decomposes
from shelfmark.explain.grad_cam import grad_cam
from shelfmark.explain.last_map import LastMap, as_grid, last_map, vision_transformer
from shelfmark.explain.rollout import patch_relevance, readable_attention, require_square
from shelfmark.models.network import Network

METHODS = {
    "exact": "exact decomposition: all positions and a constant sum to the score",
    "grad_cam": "Grad-CAM on the last map: an approximation, whose values do not sum to the score",
    "rollout": "gradient-weighted attention rollout: an approximation, whose values do not sum to the score",
}
"""What each method is, in words for a user."""


class ScoreMaps(NamedTuple):
    """values: (N, H, W); above 0 speaks for the label, below 0 against it (rollout: never below 0).

    scores: (N,) the contrast of the logits. constants: (N,) what no position adds: of the method `exact`,
    `values.sum((1, 2)) + constants` is the score; 0 of the others. method: one of METHODS. last: the map they are of.
    """

    values: Tensor
    scores: Tensor
    constants: Tensor
    method: str
    last: LastMap


def score_maps(network: Network, images: Tensor, contrast: Contrast, method: str | None = None) -> ScoreMaps:
    """The maps of images (N, 3, side, side), in float32, by a network in evaluation mode.

    method: None takes the exact one where there is one. ValueError: that method does not fit the network.
    """
    transformer = vision_transformer(network.backbone)
    if transformer is not None:
        if method not in (None, "rollout"):
            raise ValueError(f"{method} does not explain a transformer")
        return _by_rollout(network, transformer, images, contrast)
    if method in (None, "exact"):
        with torch.no_grad():
            last = last_map(network, images)
            scores = contrast.of(network.logits(network.embedding_of(last.features)))
        if decomposes(network, last):
            values, constants = decomposed(network, last, contrast)
            return ScoreMaps(values, scores, constants, "exact", last)
    if method not in (None, "grad_cam"):
        raise ValueError(f"{method} does not explain this network")
    return _by_grad_cam(network, images, contrast)


def _by_grad_cam(network: Network, images: Tensor, contrast: Contrast) -> ScoreMaps:
    with torch.enable_grad():
        last = last_map(network, _recorded(images))
        scores = contrast.of(network.logits(network.embedding_of(last.features)))
        values = grad_cam(last.parts, scores)
    return _approximate(values, scores, "grad_cam", last)


def _by_rollout(network: Network, transformer: torch.nn.Module, images: Tensor, contrast: Contrast) -> ScoreMaps:
    with torch.enable_grad(), readable_attention(transformer) as attentions:
        last = last_map(network, _recorded(images))
        scores = contrast.of(network.logits(network.embedding_of(last.features)))
        assert last.tokens is not None
        require_square(attentions, last.tokens)
        num_prefix = last.tokens.shape[1] - last.maps[0, 0].numel()
        values = as_grid(patch_relevance(scores, attentions, last.tokens, num_prefix))
    return _approximate(values, scores, "rollout", last)


def _recorded(images: Tensor) -> Tensor:
    """The images with a gradient, so that there is one behind them also where every weight is frozen."""
    return images.detach().clone().requires_grad_()


def _approximate(values: Tensor, scores: Tensor, method: str, last: LastMap) -> ScoreMaps:
    return ScoreMaps(values.detach(), scores.detach(), torch.zeros_like(scores.detach()), method, last)
