"""The original Hi-LANDER's state dicts: their names, and the options that their shapes tell. Legend as in lander.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from shelfmark.core.errors import UserError

_LAYER = re.compile(r"conv\.(\d+)\.(.+)")
_WRAPPER = "module."
_IN_A_LAYER = {
    "gcn_layer.mlp.weight": "weight",
    "gcn_layer.mlp.bias": "bias",
    "gcn_layer.fc.weight": "weight",
    "gcn_layer.attn_l": "neighbour_attention",
    "gcn_layer.attn_r": "node_attention",
    "gcn_layer.bias": "head_bias",
    "bias": "bias",
}
_AROUND = {
    "src_mlp.weight": "neighbour_side.weight",
    "src_mlp.bias": "neighbour_side.bias",
    "dst_mlp.weight": "node_side.weight",
    "dst_mlp.bias": "node_side.bias",
    "classifier_conn.0.weight": "edges.slopes",
    "classifier_conn.1.weight": "edges.inner_weight",
    "classifier_conn.1.bias": "edges.inner_bias",
    "classifier_conn.2.weight": "edges.inner_slopes",
    "classifier_conn.3.weight": "edges.outer_weight",
    "classifier_conn.3.bias": "edges.outer_bias",
}
_GCN = ("gcn_layer.mlp.weight", "gcn_layer.mlp.bias")
_GAT = ("gcn_layer.fc.weight", "gcn_layer.attn_l", "gcn_layer.attn_r", "gcn_layer.bias", "bias")
_SUBJECT = "The state dict of the original network"


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the original's names, as they are or below `module.`."""
    return any(name.startswith(("conv.", "src_mlp.", "dst_mlp.", "classifier_conn.")) for name in _unwrapped(state))


def options_of_original(state: Mapping[str, Tensor], cluster_features: bool = False) -> dict[str, Any]:
    """The options of `Lander` for an original state dict.

    Whether it has cluster features is to be said: the first layer is then twice as wide, as it is for twice the
    dimensions. UserError where names are missing or unknown.
    """
    state = _unwrapped(state)
    _require_names(state)
    layers = {found[1] for found in map(_LAYER.fullmatch, state) if found}
    is_gat = "conv.0.gcn_layer.fc.weight" in state
    first = state["conv.0.gcn_layer.fc.weight" if is_gat else "conv.0.gcn_layer.mlp.weight"]
    heads, hidden = state["conv.0.gcn_layer.attn_l"].shape[-2:] if is_gat else (1, first.shape[0])
    width = first.shape[1] // (1 if is_gat else 2)
    if cluster_features and width % 2:
        raise UserError(f"{_SUBJECT} takes {width} numbers a node, an odd number: it has no cluster features.")
    return {
        "dim": width // (1 + cluster_features),
        "hidden": int(hidden),
        "num_layers": len(layers),
        "layer": "gat" if is_gat else "gcn",
        "heads": int(heads),
        "cluster_features": cluster_features,
    }


def renamed_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names and in the shapes of `Lander`. UserError where names are missing or unknown."""
    state = _unwrapped(state)
    _require_names(state)
    renamed = {_AROUND[name]: weights for name, weights in state.items() if name in _AROUND}
    for name, weights in state.items():
        if found := _LAYER.fullmatch(name):
            part = _IN_A_LAYER[found[2]]
            renamed[f"convolutions.{found[1]}.{part}"] = _reshaped(found[2], weights, state, found[1])
    return renamed


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that DataParallel and its like put before every name."""
    names = list(state)
    while names and all(name.startswith(_WRAPPER) for name in names):
        names = [name.removeprefix(_WRAPPER) for name in names]
    return dict(zip(names, state.values()))


def _reshaped(part: str, weights: Tensor, state: Mapping[str, Tensor], layer: str) -> Tensor:
    """The original lays its heads side by side; here they are a dimension of their own."""
    if part == "gcn_layer.fc.weight":
        heads, width = state[f"conv.{layer}.gcn_layer.attn_l"].shape[-2:]
        return weights.reshape(heads, width, weights.shape[1])
    if part in ("gcn_layer.attn_l", "gcn_layer.attn_r"):
        return weights.reshape(weights.shape[-2:])
    if part == "gcn_layer.bias":
        return weights.reshape(state[f"conv.{layer}.gcn_layer.attn_l"].shape[-2:])
    if part == "bias":
        # (heads, out), added before the mean over heads: the mean of the biases does the same.
        return weights.reshape(state[f"conv.{layer}.gcn_layer.attn_l"].shape[-2:]).mean(dim=0)
    return weights


def _require_names(state: Mapping[str, Tensor]) -> None:
    num_layers = len({found[1] for found in map(_LAYER.fullmatch, state) if found})
    kinds = _GAT if "conv.0.gcn_layer.fc.weight" in state else _GCN
    expected = {*_AROUND, *(f"conv.{layer}.{part}" for layer in range(max(1, num_layers)) for part in kinds)}
    missing, unknown = sorted(expected - state.keys()), sorted(state.keys() - expected)
    if missing or unknown:
        told = [f"lacks {', '.join(missing[:4])}"] if missing else []
        told += [f"has {', '.join(unknown[:4])} besides"] if unknown else []
        raise UserError(
            f"{_SUBJECT} {' and '.join(told)}. Give the state dict of the original's LANDER, as its training writes it,"
            " with names such as conv.0.gcn_layer.fc.weight."
        )
