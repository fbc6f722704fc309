"""Entries of `losses:` in a config: what they build, what they refuse, how they are described."""

from __future__ import annotations

import math
import pickle
import re
from dataclasses import fields
from functools import partial
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field, TypeAdapter, ValidationError

from shelfmark.losses import (
    ENTRIES,
    LOSSES,
    AdaptiveMarginLoss,
    ContrastiveLoss,
    FocalLoss,
    LabelAwareSmoothing,
    LossContext,
    LossEntry,
    LossUnion,
    NPairLoss,
    TripletLoss,
    entry,
)
from shelfmark.losses.entries import options_of

CONTEXT = LossContext(counts=torch.tensor([3, 2, 1]), device=torch.device("cpu"), seed=17)
adapter: Any = TypeAdapter(Annotated[LossUnion, Field(discriminator="name")])

# For each loss a value other than the default of each of its options.
OTHER: dict[str, dict[str, Any]] = {
    "adaptive_margin": {"smallest_margin": 0.1, "largest_margin": 0.4, "power": 0.5, "scale": 30.0},
    "angular": {"angle_deg": 45.0},
    "arcface": {"margin": 0.3, "scale": 30.0},
    "balanced_softmax": {},
    "cdt": {"gamma": 0.2},
    "center": {},
    "circle": {"margin": 0.4, "scale": 80.0},
    "circle_softmax": {"margin": 0.3, "scale": 30.0},
    "contrastive": {
        "distance": "euclidean",
        "positive_margin": 0.1,
        "negative_margin": 0.9,
        "miner": "hard",
        "epsilon": 0.2,
    },
    "cosface": {"margin": 0.3, "scale": 30.0},
    "cross_entropy": {"label_smoothing": 0.1, "smoothing_form": "others", "adaptive_factor": 0.3},
    "expert_diversity": {"temperature": 2.0, "count_share": 0.1},
    "focal": {"gamma": 1.5},
    "gpaco": {"alpha": 0.1, "beta": 0.5, "temperature": 0.3, "center_temperature": 2.0},
    "inverse_softmax": {"strength": 1.0},
    "label_aware_smoothing": {
        "head_smoothing": 0.2,
        "tail_smoothing": 0.1,
        "shape": "exp",
        "exponent": 3.0,
        "smoothing_form": "uniform",
    },
    "ldam": {"max_margin": 0.3, "scale": 20.0},
    "lifted_structure": {"margin": 0.5},
    "logit_adjusted": {"tau": 0.5},
    "multi_similarity": {"alpha": 3.0, "beta": 40.0, "base": 0.4, "miner": "hard", "epsilon": 0.2},
    "n_pair": {},
    "nt_xent": {"temperature": 0.2},
    "pair_cosface": {"margin": 0.4, "scale": 80.0},
    "pnp": {"variant": "I_b", "temperature": 0.1, "alpha": 4.0, "b": 3.0, "include_self": True},
    "proxy_anchor": {"margin": 0.2, "alpha": 8.0},
    "proxy_nca": {"temperature": 0.5},
    "ranked_list": {
        "margin": 0.3,
        "boundary": 1.1,
        "negative_temperature": 5.0,
        "positive_temperature": 2.0,
        "balance": 0.4,
    },
    "recall_at_k": {"ks": (1, 3), "temperature": 0.1, "rank_temperature": 0.5, "include_self": True},
    "smooth_ap": {"temperature": 0.1, "include_self": True},
    "soft_triple": {"scale": 9.0, "gamma": 0.3, "margin": 0.02, "tau": 0.4},
    "softmax_eql": {"gamma": 0.9, "threshold": 0.1},
    "sup_con": {"temperature": 0.2},
    "triplet": {"margin": 0.1, "mining": "hard", "distance": "cosine", "include_self": True},
}
REQUIRED: dict[str, dict[str, Any]] = {
    "cdt": {"gamma": 0.5},
    "gpaco": {"vectors_head": "contrast"},
    "softmax_eql": {"gamma": 0.5, "threshold": 0.2},
}
CONSUMED = {
    "logits": "balanced_softmax cdt cross_entropy focal inverse_softmax label_aware_smoothing logit_adjusted"
    " softmax_eql",
    "vectors": "angular circle contrastive lifted_structure multi_similarity n_pair nt_xent pair_cosface pml pnp"
    " ranked_list recall_at_k smooth_ap sup_con triplet",
    "cosines": "adaptive_margin arcface circle_softmax cosface ldam proxy_anchor proxy_nca",
    "proxies": "center soft_triple",
    "logits_and_vectors": "gpaco",
    "experts": "expert_diversity",
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def validated(name: str, **options: Any) -> LossEntry:
    head = {} if LOSSES[name].default_head else {"head": "h"}
    return adapter.validate_python({"name": name, **head, **REQUIRED.get(name, {}), **options})


@pytest.mark.parametrize("name", OTHER)
def test_every_option_of_a_loss_and_what_the_run_knows_reach_it(name):
    options = options_of(LOSSES[name])
    assert [one.key for one in options] == list(OTHER[name])
    default, other = validated(name), validated(name, **OTHER[name])
    built = other.build(CONTEXT)
    for one in options:
        assert getattr(built, one.name) == OTHER[name][one.key] != getattr(default, one.key, None)
    run = {"counts": CONTEXT.counts, "seed": 17}
    assert all(
        torch.equal(torch.as_tensor(getattr(built, key)), torch.as_tensor(value))
        for key, value in run.items()
        if key in {one.name for one in fields(LOSSES[name])}
    )


def test_every_loss_stands_on_the_head_whose_output_it_consumes():
    assert {name: loss.consumes for name, loss in LOSSES.items()} == {
        name: consumed for consumed, names in CONSUMED.items() for name in names.split()
    }
    for name, loss in LOSSES.items():
        of_classifier = loss.consumes in ("logits", "logits_and_vectors") or name == "ldam"
        assert loss.default_head == ("classifier" if of_classifier else "experts" if name == "expert_diversity" else "")
    assert entry("smooth_ap", head="rank").inputs == {"head": ("rank", "vectors")}
    assert entry("gpaco", head="expert_1", vectors_head="contrast").inputs == {
        "head": ("expert_1", "logits"),
        "vectors_head": ("contrast", "vectors"),
    }


def test_which_losses_take_the_labels_of_mixed_images_is_known_without_one():
    assert {name for name, loss in LOSSES.items() if loss.takes_probabilities} == {
        *CONSUMED["logits"].split(),
        "expert_diversity",
    } - {"softmax_eql"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "pnp"}, "head"),
        ({"name": "pnp", "varian": "O"}, "varian"),
        ({"name": "pnp", "variant": "D_z"}, "variant='D_z' is not one of: O, I_u, I_b, D_s, D_q"),
        ({"name": "pnp", "alpha": 0}, "alpha=0.0 must be a finite number above 0"),
        ({"name": "pnp", "weight": math.nan}, "weight=nan"),
        ({"name": "pnp", "from_epoch": -1}, "from_epoch=-1 must be a finite number, 0 or above"),
        ({"name": "pnp", "from_epoch": 3, "until_epoch": 3}, "until_epoch=3 must be above from_epoch=3, or 0"),
        ({"name": "pnp", "memory_rows": -1}, "memory_rows=-1 must be a finite number, 0 or above"),
        ({"name": "pnp", "memory_from_step": -1}, "memory_from_step=-1 must be a finite number, 0 or above"),
        ({"name": "tripletloss"}, "'sup_con', 'triplet'"),
        ({"name": "smooth_ap", "temperature": -1}, "temperature=-1.0"),
        ({"name": "cross_entropy", "label_smoothing": 1}, "label_smoothing=1.0"),
        ({"name": "cross_entropy", "smoothing_form": "other"}, "'uniform' or 'others'"),
        ({"name": "cross_entropy", "weight": -1}, "weight=-1.0 must be a finite number, 0 or above"),
        ({"name": "balanced_softmax", "class_weights": "effectiv"}, "'none', 'effective_number' or 'power'"),
        ({"name": "balanced_softmax", "beta": 1.0}, "beta=1.0 must be at least 0 and below 1"),
        ({"name": "balanced_softmax", "power": -1.0}, "power=-1.0 must be a finite number, 0 or above"),
        ({"name": "balanced_softmax", "class_weights_from_epoch": -1}, "class_weights_from_epoch=-1 must be a finite"),
        ({"name": "focal", "gamma": -1.0}, "gamma=-1.0 must be a finite number, 0 or above"),
        ({"name": "focal", "gamma": math.nan}, "gamma=nan"),
        ({"name": "ldam", "max_margin": -0.1}, "max_margin=-0.1 must be a finite number, 0 or above"),
        ({"name": "ldam", "scale": 0}, "scale=0.0 must be a finite number above 0"),
        ({"name": "logit_adjusted", "tau": -1.0}, "tau=-1.0"),
        ({"name": "cdt"}, "gamma"),
        ({"name": "softmax_eql", "gamma": 0.9}, "threshold"),
        ({"name": "softmax_eql", "gamma": 2.0, "threshold": 0.1}, "gamma=2.0 must lie in 0..1"),
        ({"name": "inverse_softmax", "strength": -1}, "strength=-1.0 must be a finite number, 0 or above"),
        ({"name": "label_aware_smoothing", "head_smoothing": 1.0}, "head=1.0 must be at least 0 and below 1"),
        ({"name": "label_aware_smoothing", "tail_smoothing": -0.1}, "tail=-0.1"),
        ({"name": "label_aware_smoothing", "shape": "round"}, "'concave', 'linear', 'convex' or 'exp'"),
        ({"name": "label_aware_smoothing", "exponent": 0}, "exponent=0.0 must be a finite number above 0"),
        ({"name": "expert_diversity", "temperature": 0}, "temperature=0.0 must be a finite number above 0"),
        ({"name": "expert_diversity", "count_share": 1}, "count_share=1.0 must be at least 0 and below 1"),
        ({"name": "gpaco", "vectors_head": "h", "alpha": -0.1}, "alpha=-0.1"),
        ({"name": "gpaco", "vectors_head": "h", "beta": 0.0}, "beta=0.0"),
        ({"name": "gpaco", "vectors_head": "h", "temperature": 0.0}, "temperature=0.0"),
        ({"name": "gpaco", "vectors_head": "h", "center_temperature": -1.0}, "center_temperature=-1.0"),
        ({"name": "arcface", "margin": 28.6}, "margin=28.6 must lie in 0..1.5708: radians, where 0.5 is 28.6 degrees"),
        ({"name": "arcface", "margin": math.nan}, "margin=nan"),
        ({"name": "arcface", "scale": 0}, "scale=0.0 must be a finite number above 0"),
        ({"name": "cosface", "margin": -0.1}, "margin=-0.1 must lie in 0..2"),
        ({"name": "cosface", "scale": math.inf}, "scale=inf"),
        ({"name": "circle_softmax", "margin": 1.0}, "margin=1.0 must lie within -1..1"),
        ({"name": "circle_softmax", "margin": -1.0}, "margin=-1.0 must lie within -1..1"),
        ({"name": "circle_softmax", "scale": -1}, "scale=-1.0"),
        ({"name": "adaptive_margin", "smallest_margin": 0.6}, "smallest_margin=0.6 must not exceed largest_margin=0.5"),
        ({"name": "adaptive_margin", "smallest_margin": -0.1}, "smallest_margin=-0.1 must lie in"),
        ({"name": "adaptive_margin", "largest_margin": 2.0}, "largest_margin=2.0 must lie in"),
        ({"name": "adaptive_margin", "power": 0}, "power=0.0"),
        ({"name": "adaptive_margin", "scale": 0}, "scale=0.0"),
        ({"name": "proxy_nca", "temperature": 0}, "temperature=0.0"),
        ({"name": "proxy_anchor", "margin": -0.1}, "margin=-0.1 must be a finite number, 0 or above"),
        ({"name": "proxy_anchor", "margin": math.inf}, "margin=inf"),
        ({"name": "proxy_anchor", "alpha": 0}, "alpha=0.0"),
        ({"name": "soft_triple", "scale": 0}, "scale=0.0"),
        ({"name": "soft_triple", "gamma": 0}, "gamma=0.0"),
        ({"name": "soft_triple", "margin": -0.1}, "margin=-0.1"),
        ({"name": "soft_triple", "tau": math.nan}, "tau=nan"),
        ({"name": "nt_xent", "temperature": 0}, "temperature=0.0 must be a finite number above 0"),
        ({"name": "sup_con", "temperature": math.nan}, "temperature=nan must be a finite number above 0"),
        ({"name": "multi_similarity", "alpha": 0}, "alpha=0.0 must be a finite number above 0"),
        ({"name": "multi_similarity", "beta": -1}, "beta=-1.0 must be a finite number above 0"),
        ({"name": "multi_similarity", "base": math.inf}, "base=inf must be a finite number"),
        ({"name": "multi_similarity", "epsilon": -0.1}, "epsilon=-0.1"),
        ({"name": "multi_similarity", "miner": "harder"}, "'distance_weighted'"),
        ({"name": "contrastive", "positive_margin": math.nan}, "positive_margin=nan must be a finite number"),
        ({"name": "contrastive", "negative_margin": math.inf}, "negative_margin=inf must be a finite number"),
        ({"name": "contrastive", "epsilon": -1}, "epsilon=-1.0 must be a finite number, 0 or above"),
        ({"name": "triplet", "margin": -0.1}, "margin=-0.1 must be a finite number, 0 or above; 0 is the soft margin"),
        ({"name": "triplet", "margin": math.inf}, "margin=inf must be a finite number"),
        ({"name": "triplet", "mining": "all", "include_self": True}, "an option of mining=hard and soft alone"),
        ({"name": "triplet", "mining": "semihard", "include_self": True}, "an option of mining=hard and soft alone"),
        ({"name": "lifted_structure", "margin": math.nan}, "margin=nan must be a finite number"),
        ({"name": "circle", "margin": -0.1}, "margin=-0.1 must be a finite number, 0 or above"),
        ({"name": "circle", "scale": 0}, "scale=0.0 must be a finite number above 0"),
        ({"name": "pair_cosface", "margin": math.nan}, "margin=nan must be a finite number, 0 or above"),
        ({"name": "pair_cosface", "scale": -1}, "scale=-1.0 must be a finite number above 0"),
        ({"name": "angular", "angle_deg": 0}, "angle_deg=0.0 must lie between 0 and 90, both excluded"),
        ({"name": "angular", "angle_deg": 90}, "angle_deg=90.0 must lie between 0 and 90, both excluded"),
        ({"name": "ranked_list", "margin": 1.3}, "margin=1.3 must lie between 0 and boundary=1.2"),
        ({"name": "ranked_list", "margin": -0.1}, "margin=-0.1 must lie between 0 and boundary=1.2"),
        ({"name": "ranked_list", "boundary": 0}, "boundary=0.0 must be a finite number above 0"),
        ({"name": "ranked_list", "negative_temperature": -1}, "negative_temperature=-1.0 must be a finite number, 0"),
        ({"name": "ranked_list", "positive_temperature": math.inf}, "positive_temperature=inf must be a finite number"),
        ({"name": "ranked_list", "balance": 1.1}, "balance=1.1 must lie between 0 and 1"),
        ({"name": "recall_at_k", "ks": []}, "ks=[] must be different whole numbers of 1 or above, at least one"),
        ({"name": "recall_at_k", "ks": [0, 1]}, "ks=[0, 1]"),
        ({"name": "recall_at_k", "ks": [2, 2]}, "ks=[2, 2]"),
        ({"name": "recall_at_k", "rank_temperature": 0}, "rank_temperature=0.0"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_reason_before_there_is_a_run(options, text):
    name = options["name"]
    needs_head = name in LOSSES and not LOSSES[name].default_head and text != "head"
    with pytest.raises(ValidationError) as error:
        adapter.validate_python({**({"head": "h"} if needs_head else {}), **options})
    assert text in str(error.value)


@each_loss
def test_every_option_is_described_in_the_schema_for_editors_and_in_the_docs_with_its_default(name, checkout):
    schema = TypeAdapter(ENTRIES[name]).json_schema()
    options = schema["properties"]
    assert schema["description"]
    assert {"head", "weight", "from_epoch", "until_epoch"} < set(options)
    assert [key for key, option in options.items() if key != "name" and "description" not in option] == []
    section = (checkout / "docs" / "losses.md").read_text().split(f"### `{name}`: ")[1].split("\n### ")[0]
    for one in options_of(LOSSES[name]):
        rows = re.findall(rf"^\| `{one.key}` \| (.*?) ?\|", section, re.MULTILINE)
        assert rows, one.key
        says = rows[-1].strip("`").removesuffix(" in a config")
        default = options[one.key].get("default")
        if one.key not in ("positive_margin", "negative_margin"):  # the table above says them
            assert says == _written(default)


def _written(default: Any) -> str:
    if isinstance(default, list):
        return ", ".join(map(str, default))
    if default is None or isinstance(default, bool):
        return "none" if default is None else str(default).lower()
    return "1/9" if default == 1 / 9 else f"{default:g}" if isinstance(default, float) else default


def test_an_entry_is_made_in_python_and_in_a_config_alike_and_survives_pickle():
    pnp = validated("pnp", weight=0.5, variant="PNP-I_b", b=3)
    assert pnp == entry("pnp", head="h", weight=0.5, variant="PNP-I_b", b=3.0)
    assert pickle.loads(pickle.dumps(pnp)) == pnp
    assert isinstance(pnp, LossEntry)
    assert pnp.build(CONTEXT).variant == "I_b"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (partial(ContrastiveLoss, "cosine"), "distance='cosine' is not one of: dot, euclidean"),
        (partial(ContrastiveLoss, miner="soft"), "miner='soft' is not one of: none, hard"),
        (partial(TripletLoss, mining="easy"), "mining='easy' is not one of: all, semihard, hard, soft, distance_weigh"),
        (partial(TripletLoss, distance="l1"), "distance='l1' is not one of: euclidean, squared_euclidean, cosine"),
        (partial(LabelAwareSmoothing, [1], shape="convexe"), "concave, linear, convex, exp. Did you mean 'convex'?"),
        (partial(LabelAwareSmoothing, [1], smoothing_form="other"), "uniform, others. Did you mean 'others'?"),
        (partial(NPairLoss, -0.1), "l2_weight=-0.1 must be a finite number, 0 or above"),
        (partial(AdaptiveMarginLoss, torch.zeros(2)), "counts must be"),
        (partial(FocalLoss, 2.0, torch.tensor([-1.0])), "class weights must be finite and not negative"),
    ],
)
def test_a_loss_made_in_python_refuses_what_the_types_of_a_config_do_not_allow(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
