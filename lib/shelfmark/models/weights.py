"""Weights into a network: ImageNet's by name, any file's, and those of a checkpoint with other classes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.models.backbones import backbone_name
from shelfmark.models.heads import LinearClassifier, ProxyHead
from shelfmark.models.heads.classifier import CLASS_FACTORS
from shelfmark.models.hub import hub_name, hub_weights

PUBLISHED = {
    "resnet18": ("resnet18-f37072fd.pth",),
    "resnet34": ("resnet34-b627a593.pth",),
    "resnet50": ("resnet50-19c8e357.pth", "resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    "resnet101": ("resnet101-5d3b4d8f.pth", "resnet101-63fe2227.pth", "resnet101-cd907fc2.pth"),
    "resnet152": ("resnet152-394f9c45.pth", "resnet152-f82ba261.pth"),
    "resnest50d": ("resnest50-528c19ca.pth",),
    "resnest101e": ("resnest101-22405ba7.pth",),
    "resnest200e": ("resnest200-75117900.pth",),
    "resnest269e": ("resnest269-0cc87c48.pth",),
}
"""The names under which torchvision and ResNeSt publish ImageNet weights; the first that is there is taken."""

CLASSIFIER_PREFIXES = ("fc.", "head.", "classifier.")


def load_backbone_weights(backbone: nn.Module, name: str, weights: str, folder: Path = Path("pretrain_models")) -> None:
    """Fills the backbone in place and says from where.

    weights: '' leaves it as it is. 'pretrained' looks in `folder` for a published file of this backbone,
    then in timm's cache, and then lets timm download it. Anything else is a file (or a checkpoint folder),
    as a path or as a name in `folder`.
    A classifier in the file is left out. Raises UserError if there is no such file, or it does not fit.
    """
    if not weights:
        return
    name = backbone_name(name)
    if weights != "pretrained":
        _load_file(backbone, name, _named_file(weights, folder))
        return
    for file in _published_files(name, folder):
        if file.is_file():
            _load_file(backbone, name, file)
            return
    _load_from_hub(backbone, name, folder)


def load_matching(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Loads `state`, except a classifier of another shape and proxies of other classes, for finetuning with other
    classes. Returns the names of the tensors that kept their fresh values.

    Class factors come with the state. Raises UserError where any other tensor is missing or of another shape.
    """
    for name, module in network.named_modules():
        if isinstance(module, LinearClassifier) and f"{name}.{CLASS_FACTORS}" in state:
            module.add_class_factors()
    own = network.state_dict()
    classifier = {key for key in [*own, *state] if key.startswith("classifier.")}
    # The classifier is loaded whole or not at all.
    fits = all(key in own and key in state and own[key].shape == state[key].shape for key in classifier)
    unfit = _proxies_of_other_classes(network, state) | (set() if fits else classifier)
    wanted = {key: tensor for key, tensor in state.items() if key not in unfit}
    fresh = [key for key in own if key in unfit]
    mismatch = _compare({key: tensor for key, tensor in own.items() if key not in fresh}, wanted)
    if mismatch:
        raise UserError(
            f"the checkpoint is of another network than model.* describes: {mismatch}."
            " Only the classifier and the number of classes may differ; give the options of model that it was trained"
            " with."
        )
    network.load_state_dict(wanted, strict=False)
    return fresh


def _proxies_of_other_classes(network: nn.Module, state: Mapping[str, Tensor]) -> set[str]:
    proxies = {
        f"{name}.weight": module.weight for name, module in network.named_modules() if isinstance(module, ProxyHead)
    }
    return {
        key
        for key, weight in proxies.items()
        if key in state and len(weight) != len(state[key]) and weight.shape[1:] == state[key].shape[1:]
    }


class _Mismatch(NamedTuple):
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.reshaped}
        return "; ".join(f"{len(keys)} {what} ({_first(keys)})" for what, keys in parts.items() if keys)


def _first(keys: list[str], num_shown: int = 3) -> str:
    return ", ".join(keys[:num_shown]) + (", ..." if len(keys) > num_shown else "")


def _compare(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> _Mismatch:
    return _Mismatch(
        missing=[key for key in own if key not in given],
        unexpected=[key for key in given if key not in own],
        reshaped=[
            f"{key} {list(given[key].shape)} where the model has {list(tensor.shape)}"
            for key, tensor in own.items()
            if key in given and tensor.shape != given[key].shape
        ],
    )


def _published_files(name: str, folder: Path) -> list[Path]:
    return [folder / file for file in (*PUBLISHED.get(name, ()), f"{name}.safetensors", f"{name}.pth")]


def _named_file(weights: str, folder: Path) -> Path:
    for path in (Path(weights), folder / weights):
        if path.is_dir():
            path = path / "model.safetensors"
        if path.is_file():
            return path
    raise UserError(
        f"model.weights={weights!r}: there is no such file, here or in {folder}."
        " Give a .pth or .safetensors file, 'pretrained' for ImageNet weights, or '' to start from the seed."
    )


def _load_file(backbone: nn.Module, name: str, path: Path) -> None:
    own = backbone.state_dict()
    state = _backbone_part(_read_state(path), own)
    mismatch = _compare(own, state)
    # Files older than PyTorch 0.4.1 have no such counters, and nothing here reads them.
    mismatch = mismatch._replace(missing=[k for k in mismatch.missing if not k.endswith("num_batches_tracked")])
    if mismatch:
        raise UserError(
            f"{path} does not fit model.backbone={name}, which has {len(own)} tensors: {mismatch}."
            " It seems to be of another backbone; change model.backbone or model.weights."
        )
    backbone.load_state_dict(state, strict=False)
    say(f"backbone weights: {path}")


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        is_pickle = path.suffix != ".safetensors"
        content: Any = torch.load(path, map_location="cpu", weights_only=True) if is_pickle else load_file(path)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as weights; it may be cut short: {error}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds more than tensors, which is not loaded because it could run foreign code."
            " If you trust it, write its tensors anew with torch.save(model.state_dict(), FILE)."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(torch.is_tensor(v) for v in content.values()):
        raise UserError(
            f"{path} holds no state_dict: expected names and tensors, as they are or under 'state_dict' or 'model'."
        )
    return dict(content)


def _backbone_part(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors under its own names, out of a whole network's or a DataParallel module's."""
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    if any(key.startswith("backbone.") for key in state):
        state = {key.removeprefix("backbone."): state[key] for key in state if key.startswith("backbone.")}
    # Some backbones have a `head.` of their own, whose norm belongs to the features.
    return {key: tensor for key, tensor in state.items() if key in own or not key.startswith(CLASSIFIER_PREFIXES)}


def _load_from_hub(backbone: nn.Module, name: str, folder: Path) -> None:
    try:
        backbone.load_state_dict(hub_weights(name))
    except UserError as error:
        hub = "" if name in PUBLISHED else hub_name(name)
        where = f" (the file model.safetensors of {hub} on the Hugging Face hub)" if hub else ""
        raise UserError(
            f"model.weights=pretrained: {folder} holds no file for {name}, and timm gave none: {error}"
            f" Put one at {_published_files(name, folder)[0]}{where}, name any other with model.weights=FILE, or start"
            " from the seed with model.weights=''."
        ) from error
    say(f"backbone weights: timm's, {hub_name(name)}")
