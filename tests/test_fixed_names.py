"""Names that users' code calls: where they stand, what they take, in which order and with which defaults.

Typed from the page that fixes them. More arguments may follow, with defaults.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

LOSSES = "shelfmark.losses"
OPS = "shelfmark.ops"
CALIBRATION = "shelfmark.calibration"
RETRIEVAL = "shelfmark.retrieval"
EVALUATION = "shelfmark.evaluation"
DISCOVERY = "shelfmark.discovery"
GIVEN = inspect.Parameter.empty

# Where: {name: its arguments, in order; GIVEN for one without a default}.
NAMES: dict[str, dict[str, dict[str, Any]]] = {
    LOSSES: {
        "SmoothAP": {"temperature": 0.01, "include_self": False},
        "PNP": {"variant": "D_q", "temperature": 0.01, "alpha": 1.0, "b": 2.0, "include_self": False},
        "ContrastiveLoss": {},
        "TripletLoss": {"margin": 0.3, "mining": "all"},
        "MultiSimilarityLoss": {},
        "CircleLoss": {"margin": 0.25, "scale": 128},
        "ProxyAnchorLoss": {},
        "CrossEntropy": {"label_smoothing": 0.0, "smoothing_form": "uniform", "weight": None},
        "FocalLoss": {"gamma": GIVEN, "weight": None},
        "LDAM": {"counts": GIVEN, "max_margin": 0.5, "scale": 30, "weight": None},
        "BalancedSoftmax": {"counts": GIVEN},
        "LogitAdjusted": {"counts": GIVEN, "tau": 1.0},
        "CDT": {"counts": GIVEN, "gamma": GIVEN},
        "SoftmaxEQL": {"counts": GIVEN, "gamma": GIVEN, "threshold": GIVEN},
        "LabelAwareSmoothing": {"counts": GIVEN, "head": 0.3, "tail": 0.0, "shape": "concave"},
    },
    f"{OPS}.longtail": {
        "effective_number_weights": {"counts": GIVEN, "beta": GIVEN},
        "ldam_margins": {"counts": GIVEN, "largest": GIVEN},
        "power_weights": {"counts": GIVEN, "gamma": GIVEN},
        "sampling_probabilities": {"counts": GIVEN, "power": 1.0, "progress": None},
        "reverse_probabilities": {"counts": GIVEN},
    },
    f"{OPS}.pooling": {"gem": {"x": GIVEN, "p": 3.0, "eps": 1e-6}, "avg": {"x": GIVEN}, "max": {"x": GIVEN}},
    f"{OPS}.margins": {
        name: {"cosine": GIVEN, "labels": GIVEN, "margin": GIVEN, "scale": GIVEN}
        for name in ("arcface", "cosface", "circle")
    },
    f"{OPS}.rank_metrics": {
        "recall_at_k": {"hits": GIVEN, "ks": GIVEN},
        "average_precision": {"hits": GIVEN},
        "map_at_r": {"hits": GIVEN},
        "r_precision": {"hits": GIVEN},
    },
    f"{OPS}.cluster_metrics": {
        name: {"labels_true": GIVEN, "labels_pred": GIVEN} for name in ("pairwise", "bcubed", "nmi")
    },
    "shelfmark": {"load": {"checkpoint": GIVEN}},
    CALIBRATION: {
        "tau_normalized": {"weight": GIVEN, "tau": GIVEN},
        "TauNorm": {"taus": GIVEN},
        "TauNorm.fit": {"features": GIVEN, "labels": GIVEN, "weight": GIVEN, "bias": None},
        "NearestClassMean": {"form": "plain"},
        "LogitAdjustment": {"counts": GIVEN},
        "Temperature": {},
        "LWS": {},
        "CRT": {},
    },
    RETRIEVAL: {
        "search": {
            "query": GIVEN,
            "gallery": GIVEN,
            "k": GIVEN,
            "engine": "auto",
            "query_ids": None,
            "gallery_ids": None,
        },
        "rerank.alpha_qe": {"query": GIVEN, "gallery": GIVEN, "alpha": 3.0, "k": 5},
        "rerank.k_reciprocal": {"query": GIVEN, "gallery": GIVEN, "k1": 20, "k2": 6, "lambda_": 0.3},
    },
    EVALUATION: {
        "classification.scores": {"logits": GIVEN, "labels": GIVEN, "counts": None},
        "retrieval.scores": {
            "features": GIVEN,
            "labels": GIVEN,
            "ks": GIVEN,
            "gallery": None,
            "gallery_labels": None,
            "metric": "cosine",
        },
    },
    DISCOVERY: {
        "lander.build_graph": {"features": GIVEN, "k": GIVEN},
        "lander.Graph": {"neighbours": GIVEN, "similarities": GIVEN, "valid": GIVEN},
        "lander.density_from_labels": {"graph": GIVEN, "labels": GIVEN},
        "lander.Lander": {
            "dim": GIVEN,
            "hidden": GIVEN,
            "num_layers": 1,
            "layer": "gat",
            "heads": 1,
            "cluster_features": False,
        },
        "lander.Lander.forward": {"features": GIVEN, "graph": GIVEN, "cluster_features": None},
        "lander.loss": {},
        "decode.decode": {"graph": GIVEN, "not_same_probability": GIVEN, "density": GIVEN, "tau": GIVEN},
        "hierarchy.cluster": {
            "features": GIVEN,
            "model": GIVEN,
            "k": GIVEN,
            "tau": GIVEN,
            "levels": 10,
            "early_stop": True,
        },
        "select.by_density": {"labels": GIVEN, "density": GIVEN, "threshold": GIVEN, "offset": GIVEN, "mask": GIVEN},
    },
}
EVERY = [(place, name) for place, names in NAMES.items() for name in names]


def found(place: str, name: str) -> Any:
    """What stands there, by import alone, as `from shelfmark.discovery import decode` does it."""
    *modules, last = name.split(".")
    owner: Any = importlib.import_module(place)
    for module in modules:
        owner = getattr(owner, module, None) or importlib.import_module(f"{place}.{module}")
    return getattr(owner, last)


@pytest.mark.parametrize(("place", "name"), EVERY, ids=[f"{place}.{name}" for place, name in EVERY])
def test_a_fixed_name_takes_its_arguments_in_order_and_any_further_one_has_a_default(place: str, name: str) -> None:
    parameters = dict(inspect.signature(found(place, name)).parameters)
    parameters.pop("self", None)
    fixed = NAMES[place][name]
    positional = [one.name for one in parameters.values() if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional[: len(fixed)] == list(fixed)
    assert {argument: parameters[argument].default for argument in fixed} == fixed
    if fixed:
        assert all(one.default is not GIVEN for argument, one in parameters.items() if argument not in fixed)


def test_rooms_are_reached_as_attributes_of_the_imported_package() -> None:
    rooms = sorted({f"{place}.{name.split('.')[0]}" for place, name in EVERY if "." in name} | {*NAMES})
    code = "import " + ", ".join([LOSSES, OPS, CALIBRATION, RETRIEVAL, EVALUATION, DISCOVERY]) + "\n"
    code += "\n".join(rooms)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
