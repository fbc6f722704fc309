"""Backbones by name: timm's, and one of our own. Legend: N batch, F features."""

from __future__ import annotations

import difflib
from functools import partial

import timm
from torch import nn

from shelfmark.core.errors import UserError
from shelfmark.models.backbones.cifar_resnet import CifarResNet
from shelfmark.models.seeding import seeded

FORMER_NAMES = {
    "res50": "resnet50",
    "res101": "resnet101",
    "res152": "resnet152",
    "resnest50": "resnest50d",
    "resnest101": "resnest101e",
    "resnest200": "resnest200e",
    "resnest269": "resnest269e",
    "res32_cifar": "resnet32_cifar",
}
"""The 2020 system's names, and today's names for the same architectures."""

OWN = {"resnet32_cifar": partial(CifarResNet, blocks_per_stage=5)}
"""What timm does not have."""


def backbone_name(name: str) -> str:
    """Today's name of the backbone that `name` means. Raises UserError with the nearest names."""
    name = FORMER_NAMES.get(name, name)
    if name in OWN or timm.is_model(name):
        return name
    close = difflib.get_close_matches(name.lower(), [*FORMER_NAMES, *OWN, *timm.list_models()], n=3)
    meant = f" Nearest: {', '.join(close)}." if close else ""
    raise UserError(
        f"model.backbone={name!r} is not a timm model nor a 2020 name ({', '.join(FORMER_NAMES)}) nor one of ours"
        f" ({', '.join(OWN)}).{meant}"
        " timm.list_models('*net*') lists what there is."
    )


def build_backbone(name: str, seed: int, role: str = "model.backbone") -> tuple[nn.Module, int]:
    """A network from images (N, 3, H, W) to pooled features (N, F), and F; weights by seed and role.

    Raises UserError for an unknown name.
    """
    known = backbone_name(name)
    with seeded(seed, role):
        try:
            backbone = OWN[known]() if known in OWN else timm.create_model(known, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise UserError(f"model.backbone={name!r} cannot be built: {error}") from error
    # Some models (MobileNetV3, VGG) widen their features after `num_features`.
    return backbone, getattr(backbone, "head_hidden_size", None) or backbone.num_features
