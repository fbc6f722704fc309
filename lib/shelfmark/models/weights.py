"""Weights into a network: published ones, any file's, and those of a checkpoint with other classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.models.backbones import backbone_name
from shelfmark.models.heads import LinearClassifier, ProxyHead
from shelfmark.models.heads.classifier import CLASS_FACTORS
from shelfmark.models.hub import hub_name, hub_weights
from shelfmark.models.options import PRETRAINED
from shelfmark.models.published import PRETRAIN_MODELS, by_hand, published
from shelfmark.models.starter import how_to_get, renamed
from shelfmark.models.weight_files import backbone_part, mismatch, read_state


def load_backbone_weights(backbone: nn.Module, name: str, weights: str, folder: Path = PRETRAIN_MODELS) -> None:
    """Fills the backbone in place and says from where.

    weights: '' leaves it as it is. 'pretrained' takes what `published` finds. Anything else is a file (or a checkpoint
    folder), as a path or as a name in `folder`; behind a `#` the prefix under which the backbone's tensors stand.
    A classifier in the file is left out. Raises UserError if there is no such file, or it does not fit.
    """
    if not weights:
        return
    name = backbone_name(name)
    if weights != PRETRAINED:
        file, prefix = _named_file(weights, folder)
        _load_state(backbone, name, read_state(file), str(file), prefix)
        return
    source = published(name, folder)
    if source.file is None:
        _load_from_hub(backbone, name, folder)
        return
    _load_state(backbone, name, read_state(source.file), str(source))


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
    found = mismatch({key: tensor for key, tensor in own.items() if key not in fresh}, wanted)
    if found:
        raise UserError(
            f"the checkpoint is of another network than model.* describes: {found}."
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


def _named_file(weights: str, folder: Path) -> tuple[Path, str | None]:
    """The file, and the prefix that is named behind a `#`."""
    before, mark, prefix = weights.rpartition("#")
    for name, chosen in ((weights, None), (before, f"{prefix.strip('.')}." if prefix else "")):
        for path in (Path(name), folder / name) if name else ():
            if path.is_dir():
                path = path / "model.safetensors"
            if path.is_file():
                return path, chosen
    raise UserError(
        f"model.weights={(before if mark else weights)!r}: there is no such file, here or in {folder}."
        " Give a .pth or .safetensors file, 'pretrained' for published weights, or '' to start from the seed."
    )


def _load_state(
    backbone: nn.Module, name: str, state: Mapping[str, Tensor], source: str, prefix: str | None = None
) -> None:
    what = f"{source} does not fit model.backbone={name}"
    own = backbone.state_dict()
    # The installed file, also where a user copied it, trained on with it, or names it by hand.
    part, found = backbone_part(renamed(state, own), own, what, prefix)
    backbone.load_state_dict(part, strict=False)
    say(f"backbone weights: {source}" + (f", under {found!r}" if found else ""))


def _load_from_hub(backbone: nn.Module, name: str, folder: Path) -> None:
    try:
        backbone.load_state_dict(hub_weights(name))
    except UserError as error:
        file, at_hub = by_hand(name, folder)
        pip = how_to_get(name)
        raise UserError(
            f"model.weights=pretrained: {folder} holds no file for {name}, and timm gave none: {error}"
            + (f" {pip}" if pip else "")
            + f" Put one at {file}{at_hub}, name any other with model.weights=FILE, or start from the seed with"
            " model.weights=''."
        ) from error
    say(f"backbone weights: timm's, {hub_name(name)}")
