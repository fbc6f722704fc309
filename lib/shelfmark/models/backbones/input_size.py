"""Which sizes of images a backbone takes: its patches have to fill them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from shelfmark.core.errors import UserError


def require_sizes(backbone: nn.Module, name: str, sizes: Mapping[str, Sequence[int]]) -> None:
    """Raises a UserError if the backbone does not take images of one of `sizes`: option -> its sides in pixels.

    Known of networks that divide an image into patches, as timm builds them; others take any size.
    """
    # timm's own check is an assertion in the forward pass.
    layers = (module for module in backbone.modules() if hasattr(module, "strict_img_size"))
    patches: Any = next(layers, None)
    if patches is None or getattr(patches, "img_size", None) is None:
        return
    own, patch = int(patches.img_size[0]), int(patches.patch_size[0])
    for option, sides in sizes.items():
        for side in sides:
            if patches.strict_img_size and side != own:
                takes, proper = f"images of {own} px alone", own
            elif not patches.strict_img_size and not patches.dynamic_img_pad and side % patch:
                takes, proper = f"images whose side is a multiple of its patches, {patch} px", _nearest(side, patch)
            else:
                continue
            raise UserError(f"{option}: {side} px; model.backbone={name} takes {takes}. Give {proper} there.")


def _nearest(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch
