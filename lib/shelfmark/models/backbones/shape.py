"""The backbone that options describe: built by timm, then changed. Legend: N batch, F features."""

from __future__ import annotations

from torch import nn

from shelfmark.models.backbones import build_backbone
from shelfmark.models.backbones.last_stride import unstride_last_stage
from shelfmark.models.backbones.pooling import replace_pooling
from shelfmark.models.options import ModelOptions


def unpooled_backbone(options: ModelOptions, seed: int, role: str = "model.backbone") -> tuple[nn.Module, int]:
    """As `build_backbone`, before `replace_pooling`: with the parameters that a file of weights has.

    Such a file has no p of a pooling.
    """
    backbone, num_features = build_backbone(options.backbone, seed, role, options.backbone_options)
    if options.last_stride == 1:
        unstride_last_stage(backbone)
    return backbone, num_features


def shaped_backbone(options: ModelOptions, seed: int, role: str = "model.backbone") -> tuple[nn.Module, int]:
    """The backbone with first weights of the seed and its pooling, and F, as `build_backbone` gives them."""
    backbone, num_features = unpooled_backbone(options, seed, role)
    replace_pooling(backbone, options.pooling)
    return backbone, num_features
