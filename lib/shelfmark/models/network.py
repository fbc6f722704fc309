"""The network: backbone, embedding, classifier, metric and proxy heads.

Legend: N batch, H x W pixels, F backbone features, D embedding, C classes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shelfmark.core.contracts import Outputs
from shelfmark.core.errors import UserError, choose, did_you_mean
from shelfmark.core.rng import derive_seed
from shelfmark.core.seeding import seeded
from shelfmark.models.adapters import add_adapters
from shelfmark.models.backbones.experts import ExpertBackbone, ExpertEmbedding
from shelfmark.models.backbones.shape import BackboneShape
from shelfmark.models.heads import Classifier, CosineClassifier, LinearClassifier, MetricHead, ProxyHead
from shelfmark.models.heads.unit_rows import at_least_float32
from shelfmark.models.neck import BatchNormNeck
from shelfmark.models.weights import load_backbone_weights
from shelfmark.ops.experts import expert_logits

HeadType = Literal["metric", "proxy"]


@dataclass(frozen=True)
class HeadOptions:
    """What a head is built with.

    dim: 0 takes the embedding itself. centers_per_class: of a proxy head. hidden_dim: width of a layer before the
    projection, 0 is none.
    """

    dim: int = 0
    type: HeadType = "metric"
    centers_per_class: int = 1
    hidden_dim: int = 0


@dataclass(frozen=True)
class AdapterOptions:
    """Low-rank adapters of the backbone, see `add_adapters`. rank: 0 is none."""

    rank: int = 0
    alpha: float = 16.0
    modules: tuple[str, ...] = ()


class Network(nn.Module):
    """Images (N, 3, H, W) to Outputs.

    freeze: names of modules whose parameters keep their values and which stay in eval mode, so that
    batch-norm statistics do not drift and dropout is off; and of single parameters that keep theirs.
    freeze_bn: the statistics of every batch norm but the neck's stay; its scale and shift still learn, unless
    freeze_bn_affine, which keeps those of the backbone.
    num_experts: X; above 1 the embedding is that of the experts side by side, and the heads of the experts' logits come
    beside that of the classifier, see `ops.experts`.
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
        freeze_bn_affine: bool = False,
        channels_last: bool = False,
        num_experts: int = 1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = embedding
        self.classifier = classifier
        self.heads = nn.ModuleDict(heads)
        self.freeze_bn = freeze_bn
        self.num_experts = num_experts
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.to(memory_format=torch.channels_last)
        if freeze_bn_affine:
            for module in _batch_norms(backbone):
                module.requires_grad_(False)
        # Some parameters are never to learn: these, a neck's shift, what has adapters, and some of a backbone's own.
        self._learning = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        self.freeze(freeze)

    def freeze(self, names: Sequence[str], update_batch_norm: bool = False) -> None:
        """Freezes these modules and parameters, and no others. UserError: an unknown name, or nothing left to train.

        update_batch_norm: their batch norms go on to normalise by the batch and to learn its statistics. While the
        classifier has class factors, these learn and its weight and bias do not.
        """
        self.frozen, self.update_batch_norm = tuple(names), update_batch_norm
        for name in self._learning:
            self.get_parameter(name).requires_grad_(True)
        scale = self.classifier.class_scale
        if scale is not None:
            self.classifier.requires_grad_(False)
            scale.requires_grad_(True)
        for name in self.frozen:
            _part(self, name).requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise UserError(f"model.freeze={list(self.frozen)} leaves nothing to train; take out a name.")
        self.train()

    def restart_classifier(self, seed: int, role: str) -> None:
        """Gives the classifier fresh first weights, which follow from seed and role alone."""
        fresh = copy.deepcopy(self.classifier).cpu()
        with seeded(derive_seed(seed, role)):
            fresh.reset_parameters()
        self.classifier.load_state_dict(fresh.state_dict())

    def scale_classifier(self) -> None:
        """Gives the classifier a factor for each class, 1 at first; `freeze` then lets these learn alone."""
        if not isinstance(self.classifier, LinearClassifier):
            raise UserError("class factors scale a linear classifier; a cosine classifier's rows have no length.")
        self.classifier.begin_scale()

    def fold_class_scale(self) -> None:
        """Makes the class factors, if there are some, part of the classifier's weight and bias: the scores stay."""
        if isinstance(self.classifier, LinearClassifier):
            self.classifier.fold_scale()

    def forward(self, images: Tensor) -> Outputs:
        return self.outputs(self.embed(images))

    def embed(self, images: Tensor) -> Tensor:
        """The embedding (N, D), un-normalised, float32 under autocast too."""
        if len(images) == 1 and self.learns_statistics:
            raise UserError(
                "batch norm cannot learn from a batch of one image (ResNeSt and small images fail outright)."
                " Raise train.batch_size to at least 2 per process (and train.grad_cache, if it is on, to at least 3),"
                " or set model.freeze_bn=true (which leaves model.neck=bn to learn)."
            )
        features = self.backbone(images.contiguous(memory_format=self.memory_format))
        return at_least_float32(self.embedding(features))

    def outputs(self, embedding: Tensor) -> Outputs:
        """What the classifier and the heads make of an embedding (N, D)."""
        heads = {name: head(embedding) for name, head in self.heads.items()}
        if self.num_experts > 1:
            heads.update(self._expert_heads(embedding))
        return Outputs(embedding, {"classifier": self.logits(embedding), **heads})

    def _expert_heads(self, embedding: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.classifier, LinearClassifier)
        logits = expert_logits(embedding, *self.classifier.scoring_tensors(), self.num_experts)
        return {"experts": logits, **{f"expert_{n}": one for n, one in enumerate(logits.unbind(1), start=1)}}

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
        for part in (_part(self, name) for name in self.frozen):
            if isinstance(part, nn.Module):
                part.eval()
                if self.update_batch_norm:
                    for module in _batch_norms(part):
                        module.train(mode)
        if self.freeze_bn:
            for module in _batch_norms(self):
                if not isinstance(module, BatchNormNeck):
                    module.eval()
        return self


def build_network(
    *,
    backbone: str,
    num_classes: int,
    weights: str = "",
    shape: BackboneShape = BackboneShape(),  # noqa: B008
    adapters: AdapterOptions = AdapterOptions(),
    embedding_dim: int = 0,
    neck: str = "none",
    classifier: str = "linear",
    bias: bool = True,
    scale: float = 16.0,
    heads: Mapping[str, HeadOptions | int] | None = None,
    freeze: Sequence[str] = (),
    freeze_bn: bool = False,
    freeze_bn_affine: bool = False,
    channels_last: bool = False,
    experts: int = 1,
    expert_stages: int = 2,
    seed: int = 0,
) -> Network:
    """A network on the CPU, in training mode; each part's first weights follow from the seed and its name alone.

    weights: see `load_backbone_weights`. embedding_dim: 0 takes the backbone's features as the embedding. neck: `none`,
    or `bn`: the embedding is what a batch norm makes of that. classifier: `linear` (with or without bias) or `cosine`
    (with scale). heads: by name; a number stands for a metric head of that dimension. experts: each has the last
    `expert_stages` stages of the backbone, and an embedding layer, of its own. Raises UserError for what does not exist
    or does not fit.
    """
    if num_classes < 1:
        raise UserError(f"data.num_classes={num_classes}: a classifier needs at least one class.")
    if experts > 1 and classifier == "cosine":
        raise UserError(f"model.experts={experts} share a linear classifier; set model.classifier.type=linear.")
    if experts > 1 and neck != "none":
        raise UserError(f"model.neck={neck} normalises one embedding; set model.experts=1, or model.neck=none.")
    body, num_features = shape.build(backbone, seed)
    load_backbone_weights(body, backbone, weights)
    body = shape.finish(body)
    if experts > 1:
        body = _expert_backbone(body, backbone, shape, experts, expert_stages, seed, pretrained=bool(weights))
    if adapters.rank:
        body = add_adapters(body, adapters.rank, adapters.alpha, adapters.modules, seed)
    with seeded(derive_seed(seed, "model.embedding")):
        embedding = _build_embedding(num_features, embedding_dim, experts, neck)
    dim = experts * (embedding_dim or num_features)
    with seeded(derive_seed(seed, "model.classifier")):
        classes = _build_classifier(classifier, dim, num_classes, bias, scale)
    return Network(
        body,
        embedding,
        classes,
        {name: _build_head(name, options, dim, num_classes, seed) for name, options in (heads or {}).items()},
        freeze=freeze,
        freeze_bn=freeze_bn,
        freeze_bn_affine=freeze_bn_affine,
        channels_last=channels_last,
        num_experts=experts,
    )


def _expert_backbone(
    body: nn.Module,
    name: str,
    shape: BackboneShape,
    num_experts: int,
    num_stages: int,
    seed: int,
    pretrained: bool,
) -> ExpertBackbone:
    others = range(2, num_experts + 1)
    if pretrained:
        return ExpertBackbone([body, *(copy.deepcopy(body) for _ in others)], num_stages)
    roles = [f"model.backbone.expert{number}" for number in others]
    return ExpertBackbone([body, *(shape.finish(shape.build(name, seed, role)[0]) for role in roles)], num_stages)


def _build_embedding(num_features: int, dim: int, num_experts: int, neck: str) -> nn.Module:
    if num_experts > 1:
        return ExpertEmbedding(num_experts, num_features, dim)
    layer = nn.Linear(num_features, dim) if dim else nn.Identity()
    if choose("model.neck", neck, ["none", "bn"]) == "none":
        return layer
    return nn.Sequential(OrderedDict(layer=layer, neck=BatchNormNeck(dim or num_features)))


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
    with seeded(derive_seed(seed, f"model.heads.{name}")):
        if options.type == "proxy":
            return ProxyHead(num_features, num_classes, options.dim, options.centers_per_class, options.hidden_dim)
        return MetricHead(num_features, options.dim, options.hidden_dim)


def _part(network: nn.Module, name: str) -> nn.Module | nn.Parameter:
    """The module or the parameter of that name."""
    found: nn.Module | nn.Parameter = network
    place = "the network"
    for step in name.split("."):
        held: dict[str, nn.Module | nn.Parameter] = {}
        if isinstance(found, nn.Module):
            held |= dict(found.named_children()) | dict(found.named_parameters(recurse=False))
        if step not in held:
            close = did_you_mean(step, held)
            meant = f" Did you mean {close!r}?" if close else ""
            holds = f"holds: {', '.join(held)}" if held else "holds no modules and no parameters"
            raise UserError(f"model.freeze: there is no module or parameter {name!r}; {place} {holds}.{meant}")
        found, place = held[step], step if place == "the network" else f"{place}.{step}"
    return found


def _batch_norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
