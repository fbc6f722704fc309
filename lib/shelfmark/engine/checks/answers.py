"""What the heads answer about a batch. Legend: N rows of this process's batch, C classes, X experts, d dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core import dist
from shelfmark.core.contracts import Outputs, Proxies
from shelfmark.engine.state import TrainState
from shelfmark.ops.proxies import proxy_cosines


def right_answers(state: TrainState, images: Tensor, labels: Tensor, step: int, num_parts: int = 1) -> dict[str, float]:
    """For each head that a loss of this step trains, the share of the batch of all processes that it answers right.

    A head of logits or proxies is right about a picture if its best class is the picture's. A head of vectors is right
    if the nearest other picture of the process's batch is of the same class; pictures that are alone in their class
    are left out, and a head without any other picture has no entry. The network stays in training mode, as in the step.
    """
    with torch.no_grad(), state.precision.autocast():
        parts = [state.wrapped(part) for part in images.tensor_split(num_parts)]
    shares = {}
    for head in _trained_heads(state, step):
        right = _right(parts, head, labels)
        counts = torch.tensor([float(right.sum()), float(len(right))], device=labels.device)
        number_right, number = dist.sum_over_ranks(counts).tolist()
        if number:
            shares[head] = number_right / number
    return shares


def _trained_heads(state: TrainState, step: int) -> list[str]:
    terms = [term for term in state.terms if term.weight_at(step)]
    return list(dict.fromkeys(head for term in terms for head in (term.head, term.vectors_head) if head))


def _right(parts: list[Outputs], head: str, labels: Tensor) -> Tensor:
    """(n,) bool, of the labelled pictures that can be judged."""
    outputs = [part.heads[head] for part in parts]
    first = outputs[0]
    if isinstance(first, Proxies):
        cosines = torch.cat(
            [proxy_cosines(one.embeddings, first.weight) for one in outputs if isinstance(one, Proxies)]
        )
        return _of_classes(cosines if cosines.ndim == 2 else cosines.amax(2), labels)
    values = torch.cat([one for one in outputs if isinstance(one, Tensor)]).float()
    if values.ndim == 3:
        values = values.mean(1)
    is_logits = head in ("classifier", "experts") or head.startswith("expert_")
    return _of_classes(values, labels) if is_logits else _of_neighbours(values, labels)


def _of_classes(scores: Tensor, labels: Tensor) -> Tensor:
    return (scores.argmax(1) == labels)[labels >= 0]


def _of_neighbours(vectors: Tensor, labels: Tensor) -> Tensor:
    similarities = F.normalize(vectors, dim=1) @ F.normalize(vectors, dim=1).T
    similarities.fill_diagonal_(-math.inf)
    same = (labels[:, None] == labels[None]) & (labels >= 0)[:, None]
    has_other = same.sum(1) > 1
    return (labels[similarities.argmax(1)] == labels)[has_other]
