"""A backbone whose last stages exist once for each expert.

Legend: N batch, H x W pixels, X experts, F features of one expert, D embedding of one expert.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shelfmark.core.errors import UserError

_STAGE = re.compile(r"layer\d+")
_AFTER_THE_STAGES = {"global_pool", "fc"}


class ExpertBackbone(nn.Module):
    """Images (N, 3, H, W) to the experts' features side by side, (N, X * F).

    The stem and the early stages are those of the first backbone. Expert x is the last `num_stages` stages of backbone
    x, with its own first weights.
    backbones: X of one architecture, whose modules are moved here. UserError: the architecture has no such stages.
    Source: Wang et al., "Long-tailed Recognition by Routing Diverse Distribution-Aware Experts", ICLR 2021, section 3,
    whose experts are narrower than the backbone's own stages; these are not.
    """

    def __init__(self, backbones: Sequence[nn.Module], num_stages: int) -> None:
        super().__init__()
        names = _own_parts(backbones[0], num_stages)
        experts = [
            nn.Sequential(OrderedDict((name, getattr(backbone, name)) for name in names)) for backbone in backbones
        ]
        self.shared = backbones[0]
        for name in names:
            setattr(self.shared, name, nn.Identity())
        self.experts = nn.ModuleList(experts)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.shared(images)
        return torch.cat([expert(maps) for expert in self.experts], dim=1)


class ExpertEmbedding(nn.Module):
    """The experts' embeddings side by side, each divided by X: (N, X * F) to (N, X * D).

    A classifier on them then gives the mean of the experts' logits: expert x, on its undivided embedding, is scored by
    block x of the weight. dim: D, of a linear layer for each expert; 0 takes the features themselves, so D is F.
    """

    def __init__(self, num_experts: int, num_features: int, dim: int = 0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(num_features, dim) if dim else nn.Identity() for _ in range(num_experts))

    def forward(self, features: Tensor) -> Tensor:
        parts = features.chunk(len(self.layers), dim=1)
        return torch.cat([layer(part) for layer, part in zip(self.layers, parts)], dim=1) / len(self.layers)


def _own_parts(backbone: nn.Module, num_stages: int) -> list[str]:
    """The modules that each expert has of its own, in the order of the pass: its stages and the modules after them."""
    names = [name for name, _ in backbone.named_children()]
    stages = [name for name in names if _STAGE.fullmatch(name)]
    if not stages or not _AFTER_THE_STAGES.issuperset(names[names.index(stages[0]) + len(stages) :]):
        raise UserError(
            f"model.experts: {type(backbone).__name__} cannot be split into experts, because it is no chain of stages"
            " layer1, layer2, ... Take a ResNet, ResNeXt or ResNeSt, such as model.backbone=resnet50, resnext50_32x4d,"
            " resnest50d or resnet32_cifar, or set model.experts=1."
        )
    if not 1 <= num_stages <= len(stages):
        raise UserError(
            f"model.expert_stages={num_stages}: this backbone has {len(stages)} stages; give 1 to {len(stages)}."
        )
    return names[names.index(stages[-num_stages]) :]
