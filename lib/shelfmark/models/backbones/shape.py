"""What a backbone is changed in, against the one that timm builds. Legend: N batch, F features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import build_backbone
from shelfmark.models.backbones.last_stride import unstride_last_stage
from shelfmark.models.backbones.pooling import replace_pooling


@dataclass(frozen=True)
class BackboneShape:
    """pooling: `backbone` is its own. p, learnable_p: of gem. last_stride: 1 or 2, of a ResNet's last stage.

    options: of timm.create_model.
    """

    pooling: Literal["backbone", "avg", "max", "gem"] = "backbone"
    p: float = 3.0
    learnable_p: bool = False
    last_stride: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, name: str, seed: int, role: str = "model.backbone") -> tuple[nn.Module, int]:
        """As `build_backbone`, with the parameters that a file of weights has; `finish` is still to come."""
        if self.last_stride not in (1, 2):
            raise UserError(f"model.last_stride={self.last_stride} must be 2, as built, or 1, for a finer last map.")
        backbone, num_features = build_backbone(name, seed, role, self.options)
        if self.last_stride == 1:
            unstride_last_stage(backbone)
        return backbone, num_features

    def finish(self, backbone: nn.Module) -> nn.Module:
        """The backbone with its pooling, whose p no file of weights has."""
        if self.pooling != "backbone":
            replace_pooling(backbone, self.pooling, self.p, self.learnable_p)
        return backbone
