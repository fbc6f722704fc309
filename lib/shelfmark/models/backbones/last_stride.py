"""A finer last feature map: a ResNet whose last stage does not halve the map."""

from __future__ import annotations

from torch import nn

from shelfmark.core.errors import UserError


def unstride_last_stage(backbone: nn.Module) -> None:
    """Sets every stride of `layer4` to 1, so that the last map has twice the height and the width; weights stay.

    No dilation replaces the stride, unlike timm's output_stride=16. UserError: the network is no such ResNet.
    Source: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-Identification", CVPRW 2019.
    """
    stage = getattr(backbone, "layer4", None)
    strided = [] if stage is None else _strided(stage)
    if stage is None or not strided or not all(_can_unstride(stage.get_submodule(place)) for place in strided):
        raise UserError(
            f"model.last_stride=1: {type(backbone).__name__} has no last stage `layer4` of convolutions of stride 2."
            " Take a ResNet, ResNeXt or ResNeSt, such as model.backbone=resnet50, or set model.last_stride=2."
        )
    for place in strided:
        _unstride(stage, place)


def _strided(stage: nn.Module) -> list[str]:
    """The layers that halve the map. A block only says which stride its layers have."""
    layers = [(place, module) for place, module in stage.named_modules() if not list(module.children())]
    return [place for place, module in layers if getattr(module, "stride", 1) in (2, (2, 2))]


def _can_unstride(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.AvgPool2d))


def _unstride(stage: nn.Module, place: str) -> None:
    module = stage.get_submodule(place)
    parent, _, name = place.rpartition(".")
    if isinstance(module, nn.AvgPool2d) and not module.padding:
        # A pool of 2 x 2 in a shortcut: built with stride 1, timm has none.
        setattr(stage.get_submodule(parent), name, nn.Identity())
    else:
        assert isinstance(module, (nn.Conv2d, nn.AvgPool2d))
        module.stride = (1, 1)
