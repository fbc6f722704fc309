"""The network: backbone, embedding, classifier, metric and proxy heads.

Legend: N batch, H x W pixels, F backbone features, D embedding, C classes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shelfmark.core.contracts import Outputs
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.rng import derive_seed
from shelfmark.core.seeding import seeded
from shelfmark.models.adapters import add_adapters
from shelfmark.models.backbones.checkpointing import checkpoint_gradients
from shelfmark.models.backbones.experts import ExpertBackbone, ExpertEmbedding
from shelfmark.models.backbones.pooling import replace_pooling
from shelfmark.models.backbones.shape import shaped_backbone, unpooled_backbone
from shelfmark.models.full_precision import full_precision
from shelfmark.models.heads import Classifier, CosineClassifier, LinearClassifier, MetricHead, ProxyHead
from shelfmark.models.heads.unit_rows import at_least_float32
from shelfmark.models.neck import BatchNormNeck
from shelfmark.models.options import ClassifierOptions, HeadOptions, ModelOptions
from shelfmark.models.weights import load_backbone_weights
from shelfmark.ops.experts import expert_logits


class Network(nn.Module):
    """Images (N, 3, H, W) to Outputs.

    freeze: replaces options.freeze. Names of modules and of parameters that keep their values. Frozen modules stay in
    eval mode, so that batch-norm statistics do not drift and dropout is off.
    options.experts: above 1, the embedding is those of the experts side by side, and the outputs have the logits of
    each expert beside those of the classifier, see `ops.experts`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        embedding: nn.Module,
        classifier: Classifier,
        heads: Mapping[str, nn.Module],
        options: ModelOptions,
        freeze: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = embedding
        self.classifier = classifier
        self.heads = nn.ModuleDict(heads)
        self.freeze_bn = options.freeze_bn
        self.num_experts = options.experts
        self.memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
        if options.channels_last:
            self.to(memory_format=torch.channels_last)
        if options.freeze_bn_affine:
            for module in _batch_norms(backbone):
                module.requires_grad_(False)
        # These parameters never learn: a neck's shift, layers with adapters, and some of a backbone's own.
        self._learning = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        self.freeze(options.freeze if freeze is None else freeze)

    def freeze(self, names: Sequence[str], adapt_frozen_bn_statistics: bool = False) -> None:
        """Freezes these modules and parameters, and no others. UserError: an unknown name, or nothing left to train.

        adapt_frozen_bn_statistics: frozen batch norms go on to normalise by the batch and to update their statistics.
        While the classifier has class factors, only the factors of it learn.
        """
        self.frozen, self.adapt_frozen_bn_statistics = tuple(names), adapt_frozen_bn_statistics
        for name in self._learning:
            self.get_parameter(name).requires_grad_(True)
        factors = self.classifier.class_scale
        if factors is not None:
            self.classifier.requires_grad_(False)
            factors.requires_grad_(True)
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

    def add_class_factors(self) -> None:
        """Gives the classifier a factor for each class, 1 at first; `freeze` then lets these learn alone."""
        if not isinstance(self.classifier, LinearClassifier):
            raise UserError("class factors scale a linear classifier; a cosine classifier's rows have no length.")
        self.classifier.add_class_factors()

    def fold_class_factors(self) -> None:
        """Multiplies the class factors, if there are any, into the classifier's weight and bias; the scores stay."""
        if isinstance(self.classifier, LinearClassifier):
            self.classifier.fold_class_factors()

    def forward(self, images: Tensor) -> Outputs:
        return self.outputs(self.embed(images))

    def embed(self, images: Tensor, backbone: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The embedding (N, D), un-normalised, float32 under autocast too. backbone: stands in for the network's own,
        such as a compiled form of it."""
        return self.embedding_of(self.features(images, backbone))

    def features(self, images: Tensor, backbone: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The backbone's features (N, F); of experts theirs side by side. Under autocast in its precision."""
        self.require_statistics_of(images.shape[0])
        return (backbone or self.backbone)(images.contiguous(memory_format=self.memory_format))

    def embedding_of(self, features: Tensor) -> Tensor:
        """The embedding (N, D) of the backbone's features (N, F)."""
        self.require_statistics_of(features.shape[0])
        return at_least_float32(self.embedding(features))

    def require_statistics_of(self, num_images: int) -> None:
        """Raises a UserError if a batch norm cannot learn from so many images."""
        # In this order: a network that is exported has a number of images that is not known yet.
        if self.learns_statistics and num_images == 1:
            raise UserError(
                "batch norm cannot learn from a batch of one image (ResNeSt and small images fail outright)."
                " Raise train.batch_size to at least 2 per process (with train.accumulate_steps, 2 for each part; and"
                " train.grad_cache, if it is on, to at least 3), or set model.freeze_bn=true (which leaves"
                " model.neck=bn to learn)."
            )

    def outputs(self, embedding: Tensor) -> Outputs:
        """The outputs of the classifier and the heads for an embedding (N, D)."""
        heads = {name: head(embedding) for name, head in self.heads.items()}
        if self.num_experts > 1:
            heads.update(self._expert_outputs(embedding))
        return Outputs(embedding, {"classifier": self.logits(embedding), **heads})

    def _expert_outputs(self, embedding: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.classifier, LinearClassifier)
        logits = expert_logits(embedding, *self.classifier.scoring_tensors(), self.num_experts)
        return {"experts": logits, **{f"expert_{n}": one for n, one in enumerate(logits.unbind(1), start=1)}}

    def logits(self, embedding: Tensor) -> Tensor:
        """Class scores (N, C) of an embedding (N, D).

        In eval mode always in the embedding's own precision, so that scores from stored features equal those of the
        whole pass.
        """
        if self.training:
            return self.classifier(embedding)
        with full_precision(embedding.device):
            return self.classifier(embedding)

    @property
    def learns_statistics(self) -> bool:
        """Whether any batch norm normalises by the batch and updates its statistics."""
        return any(module.training for module in _batch_norms(self))

    def train(self, mode: bool = True) -> Network:
        """Training mode for all modules but the frozen ones, which stay in eval mode."""
        super().train(mode)
        for part in (_part(self, name) for name in self.frozen):
            if isinstance(part, nn.Module):
                part.eval()
                if self.adapt_frozen_bn_statistics:
                    for module in _batch_norms(part):
                        module.train(mode)
        if self.freeze_bn:
            for module in _batch_norms(self):
                if not isinstance(module, BatchNormNeck):
                    module.eval()
        return self


def build_network(
    options: ModelOptions,
    num_classes: int,
    seed: int = 0,
    *,
    load_weights: bool = True,
    freeze: Sequence[str] | None = None,
) -> Network:
    """A network on the CPU, in training mode; each part's first weights follow from the seed and its name alone.

    load_weights: False ignores options.weights, for a network that a checkpoint fills. freeze: replaces options.freeze.
    UserError: a backbone, a weights file or a module does not exist or does not fit.
    """
    if num_classes < 1:
        raise UserError(f"data.num_classes={num_classes}: a classifier needs at least one class.")
    if options.experts > 1 and options.neck != "none":
        raise UserError(f"model.neck={options.neck} normalises one embedding; set model.experts=1, or model.neck=none.")
    if options.experts > 1 and options.grad_checkpointing:
        raise UserError(
            "model.grad_checkpointing=true computes a backbone's own blocks again, not those of experts; set"
            " model.experts=1, or model.grad_checkpointing=false."
        )
    body, num_features = _build_body(options, seed, options.weights if load_weights else "")
    if options.grad_checkpointing:
        checkpoint_gradients(body)
    body = add_adapters(body, options.adapters, seed)
    with seeded(derive_seed(seed, "model.embedding")):
        embedding = _build_embedding(num_features, options)
    dim = options.experts * (options.embedding_dim or num_features)
    with seeded(derive_seed(seed, "model.classifier")):
        classifier = _build_classifier(dim, num_classes, options.classifier)
    heads = {name: _build_head(name, head, dim, num_classes, seed) for name, head in options.heads.items()}
    return Network(body, embedding, classifier, heads, options, freeze)


def _build_body(options: ModelOptions, seed: int, weights: str) -> tuple[nn.Module, int]:
    """The backbone, or one with a part for each expert, and the number of features of one expert."""
    body, num_features = unpooled_backbone(options, seed)
    load_backbone_weights(body, options.backbone, weights)
    replace_pooling(body, options.pooling)
    if options.experts == 1:
        return body, num_features
    numbers = range(2, options.experts + 1)
    if weights:
        others = [copy.deepcopy(body) for _ in numbers]
    else:
        others = [shaped_backbone(options, seed, f"model.backbone.expert{number}")[0] for number in numbers]
    return ExpertBackbone([body, *others], options.expert_stages), num_features


def _build_embedding(num_features: int, options: ModelOptions) -> nn.Module:
    dim = options.embedding_dim
    if options.experts > 1:
        return ExpertEmbedding(options.experts, num_features, dim)
    layer = nn.Linear(num_features, dim) if dim else nn.Identity()
    if options.neck == "none":
        return layer
    return nn.Sequential(OrderedDict(layer=layer, neck=BatchNormNeck(dim or num_features)))


def _build_classifier(num_features: int, num_classes: int, options: ClassifierOptions) -> Classifier:
    if options.type == "cosine":
        return CosineClassifier(num_features, num_classes, options.scale)
    return LinearClassifier(num_features, num_classes, options.bias)


def _build_head(
    name: str, options: HeadOptions, num_features: int, num_classes: int, seed: int
) -> MetricHead | ProxyHead:
    # A dot would break the names in a state_dict, and words such as `keys` are nn.ModuleDict's own.
    if not name.isidentifier() or name == "classifier" or hasattr(nn.ModuleDict, name):
        raise UserError(f"model.heads: {name!r} cannot be a head's name; take a plain word such as 'metric'.")
    with seeded(derive_seed(seed, f"model.heads.{name}")):
        if options.type == "proxy":
            return ProxyHead(num_features, num_classes, options)
        return MetricHead(num_features, options)


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
