"""A checkpoint with further classes. Legend: C classes, n rows of new ones, N pictures, D embedding, J proxies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shelfmark.calibration.imprinting import Imprinting
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.models.heads import CosineClassifier, LinearClassifier, ProxyHead
from shelfmark.runtime.recalibration import with_origin
from shelfmark.runtime.trained_model import TrainedModel

METHOD = "grow"


@dataclass(frozen=True, eq=False)
class NewRows:
    """names: (n,) of the new classes. counts: (n,) pictures of each. weight: (n, D). bias: (n,) or None. proxies: of
    each proxy head (n, J, d)."""

    names: Sequence[str]
    counts: np.ndarray
    weight: Tensor
    bias: Tensor | None
    proxies: dict[str, Tensor]


def imprinting_of(model: TrainedModel) -> Imprinting:
    """The method for the model's kind of classifier, not yet fitted."""
    options = model.recipe.model
    return Imprinting(options.classifier.scale if options.classifier.type == "cosine" else None, options.experts)


def new_rows(
    model: TrainedModel, fitted: Imprinting, features: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> NewRows:
    """The rows of new classes from the features (N, D) of their pictures. labels: (N,) 0 to n - 1."""
    numbers = torch.from_numpy(labels)
    counts = np.bincount(labels, minlength=len(names))
    means = _means(fitted.seen(features), numbers, len(names))
    proxies = {}
    for name, head in model.network.heads.items():
        if isinstance(head, ProxyHead):
            with torch.inference_mode():
                directions = head(torch.as_tensor(features).to(head.weight)).embeddings.cpu().double()
            length = head.weight.detach().double().norm(dim=2).mean().cpu()
            one = length * torch.nn.functional.normalize(_means(directions, numbers, len(names)), dim=1)
            proxies[name] = one[:, None].expand(-1, head.weight.shape[1], -1)
    return NewRows(names, counts, *fitted.rows(means), proxies)


def grown_logits(model: TrainedModel, rows: NewRows) -> Callable[[Tensor], Tensor]:
    """Features (n, D) -> logits (n, C + n) of the classifier with these rows behind its own."""
    own = model.network.classifier
    num_classes, dim = own.weight.shape[0] + len(rows.names), own.weight.shape[1]
    weight = torch.cat([own.weight.detach(), rows.weight.to(own.weight)])
    classifier: LinearClassifier | CosineClassifier
    if isinstance(own, CosineClassifier):
        classifier = CosineClassifier(dim, num_classes, own.scale)
        state = {"weight": weight}
    else:
        classifier = LinearClassifier(dim, num_classes, bias=own.bias is not None)
        state = {"weight": weight}
        if own.bias is not None and rows.bias is not None:
            state["bias"] = torch.cat([own.bias.detach(), rows.bias.to(own.bias)])
    classifier.load_state_dict(state)
    classifier = classifier.to(own.weight.device).eval()

    def logits(features: Tensor) -> Tensor:
        with torch.inference_mode():
            return classifier(features.to(own.weight))

    return logits


def save_grown(model: TrainedModel, folder: Path, rows: NewRows) -> None:
    """Writes the checkpoint of `model` with the new classes behind its own, and reads it back.

    The rows of the old classes, and all else that the network has, stay as they are.
    """
    tensors = dict(model.network.state_dict())
    more = {"classifier.weight": rows.weight, "classifier.bias": rows.bias}
    more |= {f"heads.{name}.weight": proxies for name, proxies in rows.proxies.items()}
    for name, new in more.items():
        if new is not None:
            tensors[name] = torch.cat([tensors[name], new.to(tensors[name])])
    facts = {name: value for name, value in model.checkpoint.manifest.items() if name != "files"}
    facts["config"] = copy.deepcopy(facts["config"])
    num_classes = model.num_classes + len(rows.names)
    if facts["config"]["data"]["num_classes"]:
        facts["config"]["data"]["num_classes"] = num_classes
    facts |= {
        "num_classes": num_classes,
        "class_names": [*(model.class_names or ()), *rows.names],
        "counts": [*model.counts.tolist(), *rows.counts.tolist()],
        "calibration": with_origin(model, {"method": METHOD, "unmodified": False, "new_classes": list(rows.names)}),
    }
    # No optimizer state, as of a recalibrated model.
    save_checkpoint(folder, tensors, {}, facts)
    load_checkpoint(folder)


def _means(rows: Tensor, numbers: Tensor, num_classes: int) -> Tensor:
    """(n, D) float64 means of the rows of each class."""
    sums = torch.zeros(num_classes, rows.shape[1]).double().index_add_(0, numbers, rows)
    return sums / torch.bincount(numbers, minlength=num_classes)[:, None]
