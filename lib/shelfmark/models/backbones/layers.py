"""The layer of each parameter of a backbone, for learning rates that differ by layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from timm.models import group_parameters
from torch import nn

from shelfmark.core.errors import UserError


def layers_below_the_top(backbone: nn.Module) -> dict[str, int]:
    """For each parameter's name the number of layers above its own, the head being one: 1 for the last block.

    Layers are as timm counts them: the blocks of a transformer or of a ResNet. 0 is for parameters behind all blocks,
    such as those of a pooling. UserError: timm does not number the layers of this backbone.
    """
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise UserError(
            f"optim.layer_decay: timm does not say how the layers of {type(backbone).__name__} follow each other; take"
            " another model.backbone, model.experts=1, or optim.layer_decay=1."
        )
    head = "head.weight"
    # timm numbers the layers of whatever has named parameters; ours has no head, which is the layer on top.
    whole = SimpleNamespace(named_parameters=lambda: [*backbone.named_parameters(), (head, None)])
    numbers: dict[str, int] = group_parameters(whole, matcher(coarse=False), reverse=True)
    top = numbers.pop(head)
    return {name: top - number for name, number in numbers.items()}
