"""Files of weights: what tensors a file holds, and which of them are a backbone's."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.log import say

TRAINED = ("state_dict_ema", "state_dict", "model")
"""Where trainings put the network in their files. The average of the weights comes first, as in timm: what timm scores
is the average."""
CLASSIFIER_PREFIXES = ("fc.", "head.", "classifier.")
# Files older than PyTorch 0.4.1 have no such counters, and nothing here reads them.
_COUNTER = "num_batches_tracked"
_MAX_DEPTH = 8


class Mismatch(NamedTuple):
    """Names of tensors that do not fit; falsy where all do."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.reshaped}
        return "; ".join(f"{len(keys)} {what} ({_first(keys)})" for what, keys in parts.items() if keys)


def mismatch(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Mismatch:
    """What of `given` does not fit the names and shapes of `own`."""
    return Mismatch(
        missing=[key for key in own if key not in given],
        unexpected=[key for key in given if key not in own],
        reshaped=[
            f"{key} {list(given[key].shape)} where the model has {list(tensor.shape)}"
            for key, tensor in own.items()
            if key in given and tensor.shape != given[key].shape
        ],
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a file; those in groups of groups under dotted names. Of a training's file, those that stand under
    one of `TRAINED`; where there are several, the first of them, and a line says so.

    UserError: the file is damaged, holds no tensors, or holds objects that could run code.
    """
    try:
        is_pickle = path.suffix != ".safetensors"
        content: Any = torch.load(path, map_location="cpu", weights_only=True) if is_pickle else load_file(path)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # Of a file of another kind torch names the byte that it did not know, or nothing.
        why = "." if isinstance(error, (EOFError, KeyError)) else f": {error}"
        raise UserError(f"{path} cannot be read as weights: it is cut short, or of another kind{why}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds more than tensors, which is not loaded because it could run foreign code."
            " If you trust it, write its tensors anew with torch.save(model.state_dict(), FILE)."
        ) from error
    # A model's group may hold its state_dict, or the other way round.
    content = _trained(_trained(content, path), path)
    state = dict(_tensors(content)) if isinstance(content, Mapping) else {}
    if not state:
        raise UserError(
            f"{path} holds no state_dict: expected names and tensors, as they are or under 'state_dict' or 'model'."
        )
    return state


def _trained(content: Any, path: Path) -> Any:
    """The group of a training's file that holds the network; `content` itself where no group is known."""
    groups = [key for key in TRAINED if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)]
    if not groups:
        return content
    if len(groups) > 1:
        say(f"{path} has {' and '.join(groups)}: {groups[0]} is taken")
    return content[groups[0]]


def backbone_part(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, prefix: str | None = None
) -> tuple[dict[str, Tensor], str]:
    """The backbone's tensors under its own names, and the prefix under which they stand in the file.

    own: the backbone's. prefix: the user's choice; None takes the one under which all of them fit. A classifier is left
    out. UserError, which begins with `what`: they fit under no prefix, or other ones fit under another.
    """
    given = _by_prefix(state, own)
    fitting = [one for one, tensors in given.items() if _fits(own, tensors)]
    chosen = prefix
    if chosen is None and fitting:
        _require_one(fitting, given, own, what)
        chosen = fitting[0]
    if chosen is None:
        chosen = max(given, key=lambda one: len(given[one]), default="")
        # What few names happen to end alike says nothing about the file.
        chosen = chosen if 2 * len(given.get(chosen, {})) >= len(own) else ""
    part = _under(state, own, chosen, [one for one in fitting if one != chosen])
    found = mismatch(own, part)
    found = found._replace(missing=[key for key in found.missing if not key.endswith(_COUNTER)])
    if found:
        raise UserError(
            f"{what}, which has {len(own)} tensors: {_count(own, part, chosen)}{found}. {_way_out(fitting)}"
        )
    return part, chosen


def _require_one(
    fitting: list[str], given: Mapping[str, Mapping[str, Tensor]], own: Mapping[str, Tensor], what: str
) -> None:
    """Raises a UserError if the tensors under two prefixes differ: no rule knows which network is meant."""
    first, *others = [given[one] for one in fitting]
    for other in others:
        if not all(torch.equal(first[key], other[key]) for key in own if not key.endswith(_COUNTER)):
            names = " and under ".join(map(repr, fitting))
            raise UserError(
                f"{what} in one way alone: all tensors of the backbone stand under {names}, and they differ. Say behind"
                f" the file's name which are meant: model.weights='FILE#{fitting[0]}'."
            )


def _by_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The backbone's tensors, by their own names, under each prefix (`''`, `module.encoder_q.`) that some have."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        parts = key.split(".")
        for length in range(len(parts)):
            name = ".".join(parts[length:])
            if name in own:
                found.setdefault("".join(f"{part}." for part in parts[:length]), {})[name] = tensor
    return found


def _fits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    return all(
        key in tensors and tensors[key].shape == tensor.shape
        for key, tensor in own.items()
        if not key.endswith(_COUNTER)
    )


def _under(state: Mapping[str, Tensor], own: Mapping[str, Tensor], prefix: str, others: list[str]) -> dict[str, Tensor]:
    """What stands under the prefix and is neither a classifier's nor another network's."""
    inside = [one for one in others if one.startswith(prefix)]
    part = {
        key.removeprefix(prefix): tensor
        for key, tensor in state.items()
        if key.startswith(prefix) and not any(key.startswith(one) for one in inside)
    }
    # Some backbones have a `head.` of their own, whose norm belongs to the features.
    return {key: tensor for key, tensor in part.items() if key in own or not key.startswith(CLASSIFIER_PREFIXES)}


def _count(own: Mapping[str, Tensor], part: Mapping[str, Tensor], prefix: str) -> str:
    if not prefix:
        return ""
    num_fitting = sum(key in part and part[key].shape == tensor.shape for key, tensor in own.items())
    return f"under the prefix {prefix!r}, {num_fitting} of them fit: "


def _way_out(fitting: list[str]) -> str:
    if not fitting:
        return "It seems to be of another backbone; change model.backbone or model.weights."
    names = " and under ".join(map(repr, fitting))
    return f"All tensors of the backbone stand under {names}: model.weights='FILE#{fitting[0]}'."


def _tensors(group: Mapping[Any, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Tensor]]:
    for key, value in group.items():
        if torch.is_tensor(value):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
            yield from _tensors(value, f"{prefix}{key}.", depth + 1)


def _first(keys: list[str], num_shown: int = 3) -> str:
    return ", ".join(keys[:num_shown]) + (", ..." if len(keys) > num_shown else "")
