"""Backbones by name, through timm. Legend: N batch, F features."""

from __future__ import annotations

import difflib

import timm
from torch import nn

from shelfmark.core.errors import UserError
from shelfmark.models.seeding import seeded

FORMER_NAMES = {
    "res50": "resnet50",
    "res101": "resnet101",
    "res152": "resnet152",
    "resnest50": "resnest50d",
    "resnest101": "resnest101e",
    "resnest200": "resnest200e",
    "resnest269": "resnest269e",
}
"""The 2020 system's names, and timm's names for the same architectures."""


def backbone_name(name: str) -> str:
    """timm's name of the backbone that `name` means. Raises UserError with the nearest names."""
    name = FORMER_NAMES.get(name, name)
    if name == "res32_cifar":
        raise UserError(
            "model.backbone='res32_cifar' is not offered: it was made for 32 px CIFAR pictures and gives 64 features,"
            " too few to tell products apart. The smallest of its kind here is resnet18."
        )
    if timm.is_model(name):
        return name
    close = difflib.get_close_matches(name.lower(), [*FORMER_NAMES, *timm.list_models()], n=3)
    meant = f" Nearest: {', '.join(close)}." if close else ""
    raise UserError(
        f"model.backbone={name!r} is not a timm model nor a 2020 name ({', '.join(FORMER_NAMES)}).{meant}"
        " timm.list_models('*net*') lists what there is."
    )


def build_backbone(name: str, seed: int) -> tuple[nn.Module, int]:
    """A network from images (N, 3, H, W) to pooled features (N, F), and F; its weights follow from the seed.

    Raises UserError for an unknown name.
    """
    known = backbone_name(name)
    with seeded(seed, "model.backbone"):
        try:
            backbone = timm.create_model(known, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise UserError(f"model.backbone={name!r} cannot be built: {error}") from error
    # Some models (MobileNetV3, VGG) widen their features after `num_features`.
    return backbone, getattr(backbone, "head_hidden_size", None) or backbone.num_features
