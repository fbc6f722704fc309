"""What timm knows of published weights: those that it downloads, or has downloaded before, and their input."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
from huggingface_hub import constants
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.core.seeding import seeded

_FILES = ("model.safetensors", "pytorch_model.bin")


def hub_name(name: str) -> str:
    """The hub's repository of a timm model's weights, or '' where it has none."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return (config.hf_hub_id if config else None) or ""


def licence_at_the_hub(name: str) -> str:
    """The licence that timm states for a model's weights, or ''."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return (config.license if config else None) or ""


def trained_with(name: str) -> tuple[dict[str, Any], str] | None:
    """The options of `data` with which a timm model's weights were trained, and timm's whole name of these weights.

    None where timm has no entry. An eval_crop above 1 (a resize to less than the crop) counts as 1.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None:
        return None
    settings = {
        "mean": tuple(map(float, config.mean)),
        "std": tuple(map(float, config.std)),
        "interpolation": config.interpolation if config.interpolation in ("bilinear", "bicubic") else "bicubic",
        "eval_crop": min(1.0, float(config.crop_pct)),
    }
    return settings, ".".join(part for part in (config.architecture, config.tag) if part)


def hub_weights(name: str) -> dict[str, Tensor]:
    """The state_dict of a timm model with its ImageNet weights, without a classifier.

    From the cache without asking the network, else downloaded. Raises UserError with the reason.
    """
    hub = hub_name(name)
    if not hub:
        raise UserError(f"its hub has no weights of {name}.")
    # timm would ask the hub even for a file in the cache, and offline it asks for most of a minute.
    cached = _cached_file(hub)
    if cached is None:
        require_reachable(constants.ENDPOINT)
    overlay = {"file": str(cached), "custom_load": False} if cached else None
    try:
        with seeded(derive_seed(0, "model.hub")):
            model = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    except Exception as error:  # The hub, a proxy, the disk and timm each fail in their own classes.
        raise UserError(f"{str(error).rstrip('.')}.") from error
    return model.state_dict()


def is_downloaded(name: str) -> bool:
    """Whether the weights of a timm model lie in the hub's cache on this machine. The network is not asked."""
    hub = hub_name(name)
    return bool(hub) and _cached_file(hub) is not None


def require_reachable(url: str, timeout_s: float = 5.0) -> None:
    """Raises a UserError at once where the hub at `url` does not answer: its client would try again for long."""
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set and its cache holds no such file.")
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout_s).close()
    except urllib.error.HTTPError:
        return  # Any answer, even a refusal of HEAD, shows that the server can be reached.
    except OSError as error:
        raise UserError(f"{url} cannot be reached ({getattr(error, 'reason', error)}).") from error


def _cached_file(hub: str) -> Path | None:
    for file in _FILES:
        path = huggingface_hub.try_to_load_from_cache(hub, file)
        if isinstance(path, str):
            return Path(path)
    return None
