"""A trained Hi-LANDER on disk, and the state of a fit in progress."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path, read_json, sha256_file, write_json
from shelfmark.discovery.lander import Lander

FORMAT_VERSION = 1
WEIGHTS, FACTS = "lander.safetensors", "lander.json"


def save_lander(folder: Path, model: Lander, facts: Mapping[str, Any] | None = None) -> None:
    """Writes the weights, then their hash, the network's options and `facts` about it beside other files of a folder.

    A kill between the two leaves a pair that does not fit, which `load_lander` refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as beside:
        save_file(weights, beside)
    write_json(
        folder / FACTS,
        {
            "format_version": FORMAT_VERSION,
            "sha256": sha256_file(folder / WEIGHTS),
            "options": model.options,
            "facts": dict(facts or {}),
        },
    )


def load_lander(folder: Path) -> Lander:
    """The network that `save_lander` wrote, in eval mode; a UserError names what is missing or damaged."""
    told = read_json(folder / FACTS)
    if not isinstance(told, dict) or not {"options", "sha256"} <= told.keys():
        raise UserError(f"{folder / FACTS} is not of a Hi-LANDER network.")
    if told.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder / FACTS} has format {told.get('format_version')!r}; this Shelfmark reads {FORMAT_VERSION}."
        )
    file = folder / WEIGHTS
    if not file.is_file():
        raise UserError(f"{file} is missing. {_REMAKE}")
    if sha256_file(file) != told["sha256"]:
        raise UserError(f"{file} does not match the SHA-256 in {FACTS}: it is damaged or of another fit. {_REMAKE}")
    try:
        weights = load_file(file)
        _require_sizes(told["options"], weights)
        model = Lander(**told["options"]).to(weights["node_side.weight"].dtype)
        model.load_state_dict(weights)
    except (SafetensorError, UserError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{folder} does not fit together: {error}. {_REMAKE}") from None
    return model.eval()


def _require_sizes(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """ValueError where the options are of a larger network than the weights: building it could take all memory."""
    largest = max((size for tensor in weights.values() for size in tensor.shape), default=0)
    for name, value in dict(options).items():
        if isinstance(value, int | float) and not value <= largest:
            raise ValueError(f"{name}={value} in {FACTS}, but no side of a weight in {WEIGHTS} is above {largest}")


_REMAKE = "Fit the clusterer again."


def write_state(file: Path, key: str, epoch: int, model: Lander, optimizer: torch.optim.Optimizer) -> None:
    """Writes what a fit needs to go on after `epoch` epochs. key: of its data and options."""
    state = {"key": key, "epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with atomic_path(file) as beside:
        torch.save(state, beside)


def read_state(file: Path, key: str, model: Lander, optimizer: torch.optim.Optimizer) -> int:
    """The number of epochs done, the model and optimizer set to it; 0 where there is no file, or one of another fit.

    UserError where the file is damaged.
    """
    if not file.is_file():
        return 0
    try:
        state = torch.load(file, map_location=model.node_side.weight.device, weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("key"), str):
            raise ValueError("it is not the state of a fit")
        if state["key"] != key:
            return 0
        epoch = state["epoch"]
        if type(epoch) is not int or epoch < 0:
            raise ValueError(f"epoch={epoch!r} is not a number of epochs")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except Exception as error:
        # Of damaged bytes, the unpickler and what takes up their content raise nearly any kind of error.
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{file} cannot be read: {told}. Delete it, and the fit begins anew.") from None
    return epoch


def data_hash(features: Tensor, labels: Tensor) -> str:
    """The SHA-256 of both tensors' numbers, dtypes and shapes."""
    digest = hashlib.sha256()
    for tensor in (features, labels):
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
