"""The network: backbone, embedding, classifier, metric and proxy heads.

Legend: N batch, H x W pixels, F backbone features, D embedding, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shelfmark.core.contracts import Outputs
from shelfmark.core.errors import UserError, choose, nearest
from shelfmark.models.backbones import build_backbone
from shelfmark.models.heads import Classifier, CosineClassifier, LinearClassifier, MetricHead, ProxyHead
from shelfmark.models.heads.unit_rows import at_least_float32
from shelfmark.models.seeding import seeded
from shelfmark.models.weights import load_backbone_weights

HeadType = Literal["metric", "proxy"]


@dataclass(frozen=True)
class HeadOptions:
    """What a head is built with. dim: 0 takes the embedding itself. centers_per_class: of a proxy head."""

    dim: int = 0
    type: HeadType = "metric"
    centers_per_class: int = 1


class Network(nn.Module):
    """Images (N, 3, H, W) to Outputs.

    freeze: names of modules whose parameters keep their values and which stay in eval mode, so that
    batch-norm statistics do not drift and dropout is off. freeze_bn: every batch norm's statistics stay;
    its scale and shift still learn.
    """

    def __init__(
        self,
        backbone: nn.Module,
        embedding: nn.Module,
        classifier: Classifier,
        heads: Mapping[str, nn.Module],
        *,
        freeze: Sequence[str] = (),
        freeze_bn: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = embedding
        self.classifier = classifier
        self.heads = nn.ModuleDict(heads)
        self.freeze_bn = freeze_bn
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.to(memory_format=torch.channels_last)
        # Some backbones hold parameters that are never to learn.
        self._learning = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        self.freeze(freeze)

    def freeze(self, names: Sequence[str]) -> None:
        """Freezes these modules, and no others. UserError: an unknown name, or nothing left to train."""
        self.frozen = tuple(names)
        for name in self._learning:
            self.get_parameter(name).requires_grad_(True)
        for name in self.frozen:
            _submodule(self, name).requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise UserError(f"model.freeze={list(self.frozen)} leaves nothing to train; take out a name.")
        self.train()

    def restart_classifier(self, seed: int, role: str) -> None:
        """Gives the classifier fresh first weights, which follow from seed and role alone."""
        fresh = copy.deepcopy(self.classifier).cpu()
        with seeded(seed, role):
            fresh.reset_parameters()
        self.classifier.load_state_dict(fresh.state_dict())

    def forward(self, images: Tensor) -> Outputs:
        return self.outputs(self.embed(images))

    def embed(self, images: Tensor) -> Tensor:
        """The embedding (N, D), un-normalised, float32 under autocast too."""
        if len(images) == 1 and self.learns_statistics:
            raise UserError(
                "batch norm cannot learn from a batch of one image (ResNeSt and small images fail outright)."
                " Raise train.batch_size to at least 2 per process (and train.grad_cache, if it is on, to at least 3),"
                " or set model.freeze_bn=true."
            )
        features = self.backbone(images.contiguous(memory_format=self.memory_format))
        return at_least_float32(self.embedding(features))

    def outputs(self, embedding: Tensor) -> Outputs:
        """What the classifier and the heads make of an embedding (N, D)."""
        heads = {name: head(embedding) for name, head in self.heads.items()}
        return Outputs(embedding, {"classifier": self.logits(embedding), **heads})

    def logits(self, embedding: Tensor) -> Tensor:
        """Class scores (N, C) of an embedding (N, D).

        In eval mode always in the embedding's own precision: scores from stored features are then those of
        the whole pass.
        """
        if self.training:
            return self.classifier(embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            return self.classifier(embedding)

    @property
    def learns_statistics(self) -> bool:
        """Whether a batch norm normalises by the batch and counts it in."""
        return any(module.training for module in _batch_norms(self))

    def train(self, mode: bool = True) -> Network:
        """Training mode for all that learns; what is frozen stays in eval mode."""
        super().train(mode)
        for name in self.frozen:
            _submodule(self, name).eval()
        if self.freeze_bn:
            for module in _batch_norms(self):
                module.eval()
        return self


def build_network(
    *,
    backbone: str,
    num_classes: int,
    weights: str = "",
    embedding_dim: int = 0,
    classifier: str = "linear",
    bias: bool = True,
    scale: float = 16.0,
    heads: Mapping[str, HeadOptions | int] | None = None,
    freeze: Sequence[str] = (),
    freeze_bn: bool = False,
    channels_last: bool = False,
    seed: int = 0,
) -> Network:
    """A network on the CPU, in training mode; each part's first weights follow from the seed and its name alone.

    weights: see `load_backbone_weights`. embedding_dim: 0 takes the backbone's features as the embedding.
    classifier: `linear` (with or without bias) or `cosine` (with scale). heads: by name; a number stands for a metric
    head of that dimension. Raises UserError for what does not exist or does not fit.
    """
    if num_classes < 1:
        raise UserError(f"data.num_classes={num_classes}: a classifier needs at least one class.")
    body, num_features = build_backbone(backbone, seed)
    load_backbone_weights(body, backbone, weights)
    with seeded(seed, "model.embedding"):
        embedding = nn.Linear(num_features, embedding_dim) if embedding_dim else nn.Identity()
    dim = embedding_dim or num_features
    with seeded(seed, "model.classifier"):
        classes = _build_classifier(classifier, dim, num_classes, bias, scale)
    return Network(
        body,
        embedding,
        classes,
        {name: _build_head(name, options, dim, num_classes, seed) for name, options in (heads or {}).items()},
        freeze=freeze,
        freeze_bn=freeze_bn,
        channels_last=channels_last,
    )


def _build_classifier(kind: str, num_features: int, num_classes: int, bias: bool, scale: float) -> Classifier:
    choose("model.classifier.type", kind, ["linear", "cosine"])
    if kind == "cosine":
        return CosineClassifier(num_features, num_classes, scale)
    return LinearClassifier(num_features, num_classes, bias)


def _build_head(
    name: str, options: HeadOptions | int, num_features: int, num_classes: int, seed: int
) -> MetricHead | ProxyHead:
    # A dot would break the names in a state_dict, and words such as `keys` are nn.ModuleDict's own.
    if not name.isidentifier() or name == "classifier" or hasattr(nn.ModuleDict, name):
        raise UserError(f"model.heads: {name!r} cannot be a head's name; take a plain word such as 'metric'.")
    if isinstance(options, int):
        options = HeadOptions(options)
    choose(f"model.heads.{name}.type", options.type, get_args(HeadType))
    with seeded(seed, f"model.heads.{name}"):
        if options.type == "proxy":
            return ProxyHead(num_features, num_classes, options.dim, options.centers_per_class)
        return MetricHead(num_features, options.dim)


def _submodule(network: nn.Module, name: str) -> nn.Module:
    module, place = network, "the network"
    for part in name.split("."):
        children = dict(module.named_children())
        if part not in children:
            close = nearest(part, children)
            meant = f" Did you mean {close!r}?" if close else ""
            holds = f"holds: {', '.join(children)}" if children else "holds no modules"
            raise UserError(f"model.freeze: there is no module {name!r}; {place} {holds}.{meant}")
        module, place = children[part], part if place == "the network" else f"{place}.{part}"
    return module


def _batch_norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
