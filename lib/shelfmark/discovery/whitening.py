"""Whitening by the variance inside classes, before clustering. Legend: N images, C classes, D embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.core.types import Array
from shelfmark.discovery.known import known_means
from shelfmark.retrieval.vectors import comparable
from shelfmark.retrieval.whitening import PCAWhitening

FILE = "whitening.safetensors"
_PARTS = ("mean_", "components_", "variances_", "scales_")


def within_class_whitening(features: Array, labels: Array, shrinkage: float = 0.1) -> PCAWhitening:
    """The whitening under which the pictures of a labelled class vary alike in all directions.

    Directions in which pictures of one product differ, such as pose and light, shrink against those that tell products
    apart. All D directions stay: those in which no class varies tell the most. Learned on normalised features less the
    mean of their class.

    features: (N, D). labels: (N,), -1 leaves an image out. shrinkage: as in `PCAWhitening`, above 0.
    Raises a UserError where no class has two images.
    Source: Hatch, Kajarekar, Stolcke, "Within-class covariance normalization for SVM-based speaker recognition",
    Interspeech 2006.
    """
    vectors, _ = comparable(features, features[:0], "cosine")
    given = torch.as_tensor(labels).to(vectors.device)
    vectors = vectors[given >= 0]
    classes, own = given[given >= 0].unique(return_inverse=True)
    if len(classes) == len(own):
        raise UserError(
            f"whitening learns how images of one class differ; of the {len(classes)} labelled classes none has two"
            " images. Set discovery.clusterer.whiten=false."
        )
    whitening = PCAWhitening(vectors.shape[1], shrinkage).fit(vectors - known_means(vectors, own)[own])
    whitening.mean_ = vectors.double().mean(dim=0).to(vectors.dtype)
    return whitening


def whiten_features(whitening: PCAWhitening | None, features: Tensor) -> Tensor:
    """(N, D) the normalised features, whitened; as they are without a whitening. features: (N, D)."""
    return features if whitening is None else whitening.transform(comparable(features, features[:0], "cosine")[0])


def save_whitening(folder: Path, whitening: PCAWhitening) -> None:
    """Writes it beside a clusterer."""
    with atomic_path(folder / FILE) as beside:
        parts = {name: getattr(whitening, name).cpu().contiguous() for name in _PARTS}
        save_file(parts, beside, metadata={"sha256": _digest(parts)})


def load_whitening(folder: Path) -> PCAWhitening | None:
    """The whitening that `save_whitening` wrote; None where there is none. A UserError says what is damaged."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            told = opened.metadata() or {}
            parts = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{file} is damaged: {error}. Fit the clusterer again.") from None
    if parts.keys() != set(_PARTS):
        raise UserError(f"{file} is no whitening: it holds {', '.join(sorted(parts))}. Fit the clusterer again.")
    # Version 0.1.0 wrote no digest.
    if told and told.get("sha256") != _digest(parts):
        raise UserError(f"{file} is damaged: it does not match its own digest. Fit the clusterer again.")
    whitening = PCAWhitening()
    for name, value in parts.items():
        setattr(whitening, name, value)
    return whitening


def _digest(parts: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in _PARTS:
        digest.update(f"{name} {parts[name].dtype} {tuple(parts[name].shape)}".encode())
        digest.update(parts[name].cpu().contiguous().numpy().data)
    return digest.hexdigest()
