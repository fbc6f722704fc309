"""Class weights in the entries of a config: what is built from the counts of a run."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest
import torch
from pydantic import Field, TypeAdapter, ValidationError

from shelfmark.core import dist
from shelfmark.losses.balanced_softmax import BalancedSoftmaxConfig
from shelfmark.losses.cdt import CDTConfig
from shelfmark.losses.class_weights import DeferredWeights
from shelfmark.losses.config import LossContext
from shelfmark.losses.cross_entropy import CrossEntropy, CrossEntropyConfig
from shelfmark.losses.focal import FocalConfig
from shelfmark.losses.label_aware_smoothing import LabelAwareSmoothingConfig
from shelfmark.losses.ldam import LDAM, LDAMConfig
from shelfmark.losses.logit_adjusted import LogitAdjustedConfig
from shelfmark.losses.softmax_eql import SoftmaxEQL, SoftmaxEQLConfig

COUNTS = [100, 50, 20, 10, 5, 2]
CONTEXT = LossContext(counts=torch.tensor(COUNTS), device=torch.device("cpu"), seed=9)
ENTRIES = {
    "cross_entropy": {},
    "focal": {"gamma": 1.5},
    "ldam": {"max_margin": 0.3, "scale": 20.0},
    "balanced_softmax": {},
    "logit_adjusted": {"tau": 0.5},
    "cdt": {"gamma": 0.2},
    "softmax_eql": {"gamma": 0.9, "threshold": 0.1},
    "label_aware_smoothing": {"head_smoothing": 0.2, "tail_smoothing": 0.1, "shape": "exp", "exponent": 3.0},
}
Union = (
    CrossEntropyConfig
    | FocalConfig
    | LDAMConfig
    | BalancedSoftmaxConfig
    | LogitAdjustedConfig
    | CDTConfig
    | SoftmaxEQLConfig
    | LabelAwareSmoothingConfig
)
entry = TypeAdapter(Annotated[Union, Field(discriminator="name")])
each_entry = pytest.mark.parametrize("name", list(ENTRIES))


def built(name, **options):
    return entry.validate_python({"name": name, **ENTRIES[name], **options}).build(CONTEXT)


@each_entry
def test_every_entry_hands_its_options_and_the_run_s_counts_to_its_loss(name):
    loss = built(name)
    for option, value in ENTRIES[name].items():
        assert getattr(loss, option.removesuffix("_smoothing") if name.startswith("label_aware") else option) == value
    if name not in ("cross_entropy", "focal"):
        assert loss.counts.tolist() == COUNTS
    assert loss.weight is None


@each_entry
def test_weights_by_the_effective_number_of_images_are_the_hand_check_s(name):
    weight = built(name, class_weights="effective_number").weight
    np.testing.assert_allclose(weight, [0.0685, 0.1367, 0.3411, 0.6819, 1.3635, 3.4083], atol=5e-5)
    assert built(name, class_weights="effective_number", beta=0.0).weight.tolist() == pytest.approx([1.0] * 6)


@each_entry
def test_weights_by_a_power_of_the_count_sum_to_the_classes(name):
    weight = built(name, class_weights="power", power=0.5).weight
    expected = np.array(COUNTS) ** -0.5
    np.testing.assert_allclose(weight, 6 * expected / expected.sum(), rtol=1e-12)


@each_entry
def test_deferred_weights_come_in_with_their_step(name):
    options = {"class_weights": "power", "power": 1.0}
    loss = built(name, **options, class_weights_from_epoch=100)
    assert isinstance(loss, DeferredWeights)
    logits = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(12) % 6
    plain, weighted = built(name), built(name, **options)
    assert torch.equal(loss(logits, labels), plain(logits, labels))
    assert torch.equal(loss(logits, labels, 99), plain(logits, labels, 99))
    assert torch.equal(loss(logits, labels, 100), weighted(logits, labels, 100))
    assert torch.equal(loss.over_ranks(logits, labels, step=100), weighted(logits, labels, 100))
    assert not torch.equal(loss(logits, labels, 99), loss(logits, labels, 100))


def test_deferred_weights_are_shared_by_the_processes(monkeypatch):
    loss = built("cross_entropy", class_weights="power", class_weights_from_epoch=5)
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "sum_over_ranks", lambda of_rank: 2 * of_rank)
    monkeypatch.setattr(dist, "sum_of_parts", lambda part: 2 * part)
    logits, labels = torch.zeros(2, 6), torch.tensor([0, 5])
    for step in (4, 5):
        assert float(loss.over_ranks(logits, labels, step=step)) == pytest.approx(float(loss(logits, labels, step)))


def test_weights_from_the_first_step_need_no_second_loss():
    assert isinstance(built("ldam", class_weights="power"), LDAM)
    assert isinstance(built("ldam", class_weights="none", class_weights_from_epoch=100), LDAM)


def test_a_class_without_images_has_no_weight():
    context = LossContext(counts=torch.tensor([4, 0, 1]), device=torch.device("cpu"))
    for kind in ("effective_number", "power"):
        weight = CrossEntropyConfig(class_weights=kind, beta=0.5, power=1.0).build(context).weight
        assert float(weight[1]) == 0
        assert float(weight.sum()) == pytest.approx(3)


def test_cross_entropy_without_class_weights_is_what_it_was():
    loss = CrossEntropyConfig(label_smoothing=0.1, smoothing_form="others").build(CONTEXT)
    assert isinstance(loss, CrossEntropy)
    assert (loss.label_smoothing, loss.smoothing_form, loss.weight) == (0.1, "others", None)


def test_the_draws_go_by_the_seed_of_the_run():
    loss = built("softmax_eql")
    assert isinstance(loss, SoftmaxEQL)
    assert loss.seed == 9


@each_entry
def test_an_entry_stands_on_the_classifier_and_takes_the_batch_of_all_processes(name):
    config = entry.validate_python({"name": name, **ENTRIES[name]})
    assert config.head == "classifier"
    assert config.takes == ("cosines" if name == "ldam" else "logits")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"class_weights": "effectiv"}, "'none', 'effective_number' or 'power'"),
        ({"beta": 1.0}, "beta=1.0 must be at least 0 and below 1"),
        ({"power": -1.0}, "power=-1.0 must be a finite number, 0 or above"),
        ({"class_weights_from_epoch": -1}, "class_weights_from_epoch=-1 must be a finite number, 0 or above"),
        ({"weight": -1.0}, "weight=-1.0"),
    ],
)
def test_a_wrong_option_of_the_class_weights_is_refused(options, text):
    with pytest.raises(ValidationError) as error:
        entry.validate_python({"name": "balanced_softmax", **options})
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "focal", "gamma": -1.0}, "gamma=-1.0"),
        ({"name": "ldam", "scale": 0.0}, "scale=0.0"),
        ({"name": "logit_adjusted", "tau": -1.0}, "tau=-1.0"),
        ({"name": "cdt"}, "gamma"),
        ({"name": "softmax_eql", "gamma": 0.9}, "threshold"),
        ({"name": "softmax_eql", "gamma": 2.0, "threshold": 0.1}, "gamma=2.0 must lie in 0..1"),
        ({"name": "label_aware_smoothing", "head_smoothing": 1.0}, "head=1.0 must be at least 0 and below 1"),
        ({"name": "label_aware_smoothing", "shape": "round"}, "'concave', 'linear', 'convex' or 'exp'"),
    ],
)
def test_what_a_loss_refuses_its_entry_refuses(options, text):
    with pytest.raises(ValidationError) as error:
        entry.validate_python(options)
    assert text in str(error.value)


@each_entry
def test_every_option_of_its_own_is_described_in_the_schema(name):
    config = type(entry.validate_python({"name": name, **ENTRIES[name]}))
    properties = entry.json_schema()["$defs"][config.__name__]["properties"]
    for option in config.__annotations__.keys() & properties.keys() - {"name"}:
        assert properties[option]["description"]
