"""Backbones by name: timm's, and one of our own. Legend: N batch, F features."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import timm
from torch import nn

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.core.seeding import seeded
from shelfmark.models.backbones.cifar_resnet import CifarResNet

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
"""Backbones that timm does not have."""

# Without groups of convolutions, such as those of resnext50_32x4d, which a narrow network could not be split into.
_PLAIN_RESNET = re.compile(r"res(net|nest)\d+[cdest]?")


def backbone_name(name: str) -> str:
    """The present name of the backbone `name`. Raises UserError for an unknown one, with the nearest names."""
    name = FORMER_NAMES.get(name, name)
    if name in OWN or (timm.is_model(name) and "." not in name):
        return name
    if timm.is_model(name):
        _require_known_weights(name)
        return name
    close = difflib.get_close_matches(name.lower(), [*FORMER_NAMES, *OWN, *timm.list_models()], n=3)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UserError(
        f"model.backbone={name!r} is not a timm model nor a 2020 name ({', '.join(FORMER_NAMES)}) nor one of ours"
        f" ({', '.join(OWN)}).{meant}"
        " timm.list_models('*net*') lists what there is."
    )


def _require_known_weights(name: str) -> None:
    """Raises a UserError if `resnet50.TAG` has a tag that timm does not know."""
    architecture, _, tag = name.partition(".")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        tags = [one.partition(".")[2] for one in timm.list_models(f"{architecture}.*", pretrained=True)]
        close = difflib.get_close_matches(tag, tags, n=1)
        meant = f" Did you mean {architecture}.{close[0]}?" if close else ""
        raise UserError(
            f"model.backbone={name!r}: timm has {architecture} with the weights {', '.join(tags) or 'of none'}, not"
            f" {tag!r}.{meant}"
        ) from None


def build_backbone(
    name: str, seed: int, role: str = "model.backbone", options: Mapping[str, Any] | None = None
) -> tuple[nn.Module, int]:
    """A network from images (N, 3, H, W) to pooled features (N, F), and F; weights by seed and role.

    options: of timm.create_model. A transformer takes images of any size that its patches fill, as long as its
    positions can be interpolated. Raises UserError for an unknown name, or an option that the backbone has not.
    """
    known = backbone_name(name)
    try:
        backbone: Any = _built(known, seed, role, dict(options or {}))
    except RuntimeError as error:
        raise UserError(f"model.backbone={name!r} cannot be built: {error}") from error
    except (TypeError, ValueError, AssertionError) as error:
        if not options:
            raise
        raise UserError(
            f"model.backbone_options={dict(options)}: {name} cannot be built with them ({error}). They are"
            " arguments of its architecture in timm; drop_path_rate, and of a transformer global_pool, are usual ones."
        ) from error
    # Some models (MobileNetV3, VGG) widen their features after `num_features`.
    return backbone, getattr(backbone, "head_hidden_size", None) or backbone.num_features


def narrow_options(name: str) -> dict[str, Any]:
    """Options that make a vision transformer, a ResNet or a ResNeSt narrow, with all its blocks, for a trial run.

    None for other backbones.
    """
    name = backbone_name(name)
    if _is_vision_transformer(name):
        return {"embed_dim": 96, "num_heads": 3}
    return {"channels": [16, 32, 64, 128]} if _PLAIN_RESNET.fullmatch(name.split(".")[0]) else {}


def _built(name: str, seed: int, role: str, options: dict[str, Any]) -> nn.Module:
    if name in OWN:
        with seeded(derive_seed(seed, role)):
            return OWN[name](**options)
    if _is_vision_transformer(name) and "dynamic_img_size" not in options:
        # Some transformers cannot take images of any size. Any other error is raised again below.
        with suppress(TypeError):
            return _built(name, seed, role, {**options, "dynamic_img_size": True})
    with seeded(derive_seed(seed, role)):
        return timm.create_model(name, pretrained=False, num_classes=0, **options)


def _is_vision_transformer(name: str) -> bool:
    """Whether it is one of timm's plain ones, which have one width through all blocks."""
    return name not in OWN and name.startswith(("vit_", "deit", "eva02_", "beit"))
