"""A trained backbone as timm's own model of that name has it."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.models.adapters import merge_adapters
from shelfmark.models.backbones import OWN
from shelfmark.models.backbones.pooling import GlobalPooling
from shelfmark.models.options import ModelOptions


def plain_state(backbone: nn.Module, options: ModelOptions) -> dict[str, Tensor]:
    """The backbone's state_dict on the CPU, under timm's names; adapters are merged, parameters of a pooling left out.

    UserError: timm has no such architecture.
    """
    if options.experts > 1:
        raise UserError(
            f"model.experts={options.experts}: each expert has last stages of its own, and no model of timm's is built"
            " so. Use the whole network, or train with model.experts=1."
        )
    if options.backbone in OWN:
        raise UserError(f"model.backbone={options.backbone} is not a model of timm's.")
    if options.adapters.rank:
        backbone = merge_adapters(copy.deepcopy(backbone))
    pooling = [f"{place}." for place, module in backbone.named_modules() if isinstance(module, GlobalPooling)]
    return {
        name: tensor.detach().cpu().clone()
        for name, tensor in backbone.state_dict().items()
        if not name.startswith(tuple(pooling))
    }
