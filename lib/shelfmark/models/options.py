"""Options of the network and of its parts. Nothing here imports what a network is built with, which takes seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from shelfmark.config.section import NotNegative, Positive, Section, option


class ClassifierOptions(Section):
    type: Literal["linear", "cosine"] = option("linear", "linear: w.x + b; cosine: scale * cos(w, x)")
    bias: bool = option(True, "whether the linear classifier has a bias")
    scale: float = option(16.0, "the cosine classifier's factor; without one its loss cannot fall", gt=0)
    init: Literal["random", "class_means"] = option(
        "random", "first weights; class_means: of a cosine classifier on a pretrained backbone, a pass over the images"
    )

    @model_validator(mode="after")
    def _only_directions_begin_with_means(self) -> ClassifierOptions:
        if self.init == "class_means" and self.type != "cosine":
            raise ValueError(f"init=class_means gives each class a direction; type={self.type} needs type: cosine")
        return self


class HeadOptions(Section):
    type: Literal["metric", "proxy"] = option(
        "metric", "metric: vectors of length 1; proxy: those, and learned points of each class"
    )
    dim: NotNegative = option(0, "dimension of a linear projection before the norm; 0 takes the embedding itself")
    hidden_dim: NotNegative = option(0, "width of a layer with ReLU before the projection; 0 is none")
    centers_per_class: Positive = option(1, "of a proxy head: learned points for each class")

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
    name: Literal["backbone", "avg", "max", "gem"] = option(
        "backbone", "how the backbone's last map becomes its features; backbone: its own way"
    )
    p: float = option(3.0, "gem: the power; 1 is the average, and the larger, the nearer the maximum", gt=0)
    trainable: bool = option(False, "gem: p begins there and learns")

    @model_validator(mode="after")
    def _only_gem_learns(self) -> PoolingOptions:
        if self.trainable and self.name != "gem":
            raise ValueError(f"trainable=true is an option of gem; name={self.name} has nothing that learns")
        return self


class AdapterOptions(Section):
    rank: NotNegative = option(0, "dimensions of each adapter; 0 is none. The rest of the backbone is frozen")
    alpha: float = option(16.0, "alpha / rank is the factor of what the adapters add", gt=0)
    modules: tuple[str, ...] = option(
        ("qkv", "fc1", "fc2"), "linear layers that get an adapter, by the end of their name", min_length=1
    )


class ModelOptions(Section):
    backbone: str = option("resnet50", "a timm model, resnet32_cifar, or a 2020 name (res50, resnest50 ...)")
    weights: str = option("", "'' starts from the seed; 'pretrained' finds ImageNet weights; or a file")
    backbone_options: dict[str, bool | int | float | str | tuple[int, ...]] = option(
        {}, "arguments of the timm model: {drop_path_rate: 0.1}, of a transformer {global_pool: avg} ..."
    )
    adapters: AdapterOptions = AdapterOptions()
    last_stride: Literal[1, 2] = option(2, "of a ResNet's last stage; 1 gives a map of twice the height and width")
    pooling: PoolingOptions = PoolingOptions()
    embedding_dim: NotNegative = option(0, "width of the embedding layer; 0 takes the backbone's features as they are")
    neck: Literal["none", "bn"] = option(
        "none", "bn: a batch norm without shift behind the embedding layer; the embedding is what comes out of it"
    )
    experts: Positive = option(
        1, "parts that share the backbone's early stages, each with logits of its own, which are averaged (RIDE, SADE)"
    )
    expert_stages: Positive = option(2, "last stages of the backbone that each of several experts has of its own")
    classifier: ClassifierOptions = ClassifierOptions()
    heads: dict[str, HeadOptions] = option({}, "metric and proxy heads on the embedding, by name")
    freeze: tuple[str, ...] = option(
        (),
        "names of modules whose parameters and BN statistics stay, as `backbone`, and of parameters that stay, as"
        " `backbone.cls_token`",
    )
    freeze_bn: bool = option(False, "keep all batch-norm statistics but the neck's; scale and shift still learn")
    freeze_bn_affine: bool = option(False, "with freeze_bn: scale and shift of the backbone's batch norms stay too")
    sync_bn: bool = option(
        False, "on several GPUs: batch norm normalises by the whole batch, not by each process's part of it"
    )
    channels_last: bool = option(False, "memory format; speeds ResNet up, slows ResNeSt down")

    @model_validator(mode="after")
    def _classifier_is_not_a_head(self) -> ModelOptions:
        if "classifier" in self.heads:
            raise ValueError("heads: `classifier` is the classifier's own name; call the head something else")
        return self

    @model_validator(mode="after")
    def _frozen_scales_have_frozen_statistics(self) -> ModelOptions:
        if self.freeze_bn_affine and not self.freeze_bn:
            raise ValueError("freeze_bn_affine=true keeps scale and shift where freeze_bn=true keeps the statistics")
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
