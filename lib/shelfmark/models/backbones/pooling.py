"""The step from a backbone's last map to its features. Legend: N batch, C channels, H x W pixels of the map."""

from __future__ import annotations

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.models.full_precision import full_precision
from shelfmark.models.options import PoolingOptions
from shelfmark.ops import pooling


class GlobalPooling(nn.Module):
    """Maps (N, C, H, W) to (N, C), or to (N, C, 1, 1) without flatten: `avg`, `max` or `gem`, see `ops.pooling`.

    A p of gem that does not learn is a number and in no state_dict.
    """

    def __init__(self, options: PoolingOptions, flatten: bool = True) -> None:
        super().__init__()
        self.name = options.name
        self.p = nn.Parameter(torch.tensor([options.p])) if options.trainable else options.p
        self.flatten = flatten

    def forward(self, maps: Tensor) -> Tensor:
        with full_precision(maps.device):
            pooled = self._pooled(maps)
        return pooled if self.flatten else pooled[:, :, None, None]

    def _pooled(self, maps: Tensor) -> Tensor:
        match self.name:
            case "avg":
                return pooling.avg(maps)
            case "max":
                return pooling.max(maps)
            case _:
                return pooling.gem(maps, self.p)

    def extra_repr(self) -> str:
        return f"name={self.name}" + (f", p={float(self.p):g}" if self.name == "gem" else "")


def replace_pooling(backbone: nn.Module, options: PoolingOptions) -> None:
    """Replaces the backbone's pooling by a `GlobalPooling`, except for options.name=backbone. Later modules stay.

    Raises UserError for a backbone that does not pool a map (N, C, H, W).
    """
    if options.name == "backbone":
        return
    found = [
        (place, module)
        for place, module in backbone.named_modules()
        if place.rpartition(".")[2] == "global_pool" and isinstance(module, (SelectAdaptivePool2d, GlobalPooling))
    ]
    if len(found) != 1 or not pools_channels_first(found[0][1]):
        raise UserError(
            f"model.pooling.name={options.name}: {type(backbone).__name__} has no map of channels and pixels that is"
            " pooled. A transformer's features are a token, or the mean of its tokens: choose with"
            " model.backbone_options.global_pool=token or avg, and set model.pooling.name=backbone. Backbones with a"
            " map are the families of ResNet, RegNet, EfficientNet, ConvNeXt and others."
        )
    place, former = found[0]
    parent, _, attribute = place.rpartition(".")
    flatten = former.flatten if isinstance(former, GlobalPooling) else _flattens(former)
    setattr(backbone.get_submodule(parent), attribute, GlobalPooling(options, flatten))


def pools_channels_first(module: nn.Module) -> bool:
    """Whether it takes maps (N, C, H, W), not (N, H, W, C).

    timm says in which order it pools by the dimensions of its fast pools; the others know one order only.
    """
    return tuple(getattr(getattr(module, "pool", None), "dim", (2, 3))) == (2, 3)


def _flattens(module: SelectAdaptivePool2d) -> bool:
    probe = torch.zeros(1, 1, 2, 2)
    return bool(module(probe).ndim == 2)
