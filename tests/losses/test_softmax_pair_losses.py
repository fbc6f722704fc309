"""What holds for every softmax-type pair loss. What is particular to one stands in that loss's own test."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from pair_cases import LABELS, assert_equals_oracle, loss_of, unit_rows, value_and_gradient, whole_batch
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import normalize

from shelfmark.losses import LossContext, pairs
from shelfmark.losses.angular import AngularConfig, AngularLoss
from shelfmark.losses.circle import CircleConfig, CircleLoss, PairCosFaceConfig, PairCosFaceLoss
from shelfmark.losses.config import ComparingLossConfig
from shelfmark.losses.multi_similarity import MultiSimilarityConfig, MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairConfig, NPairLoss
from shelfmark.losses.nt_xent import NTXentConfig, NTXentLoss
from shelfmark.losses.ranked_list import RankedListConfig, RankedListLoss
from shelfmark.losses.sup_con import SupConConfig, SupConLoss

CONTEXT = LossContext(counts=torch.tensor([3, 2, 1]), device=torch.device("cpu"), seed=5)

LOSSES = {
    "nt_xent": (NTXentLoss(), oracles.nt_xent),
    "n_pair": (NPairLoss(0.3), partial(oracles.n_pair, l2_weight=0.3)),
    "sup_con": (SupConLoss(), oracles.sup_con),
    "multi_similarity": (MultiSimilarityLoss(), oracles.multi_similarity),
    "multi_similarity_mined": (
        MultiSimilarityLoss(miner="multi_similarity"),
        partial(oracles.multi_similarity, miner="multi_similarity"),
    ),
    "circle": (CircleLoss(), oracles.circle),
    "pair_cosface": (PairCosFaceLoss(), oracles.pair_cosface),
    "angular": (AngularLoss(), oracles.angular),
    "ranked_list": (RankedListLoss(), oracles.ranked_list),
}


@dataclass(frozen=True)
class Entry:
    """A config entry, its loss, and a value other than the default for each option."""

    config: type[ComparingLossConfig]
    loss: type
    options: dict[str, object]


ENTRIES = {
    "nt_xent": Entry(NTXentConfig, NTXentLoss, {"temperature": 0.2}),
    "n_pair": Entry(NPairConfig, NPairLoss, {}),
    "sup_con": Entry(SupConConfig, SupConLoss, {"temperature": 0.2}),
    "multi_similarity": Entry(
        MultiSimilarityConfig,
        MultiSimilarityLoss,
        {"alpha": 3.0, "beta": 40.0, "base": 0.4, "miner": "hard", "epsilon": 0.2},
    ),
    "circle": Entry(CircleConfig, CircleLoss, {"margin": 0.4, "scale": 80.0}),
    "pair_cosface": Entry(PairCosFaceConfig, PairCosFaceLoss, {"margin": 0.4, "scale": 80.0}),
    "angular": Entry(AngularConfig, AngularLoss, {"angle_deg": 45.0}),
    "ranked_list": Entry(
        RankedListConfig,
        RankedListLoss,
        {
            "margin": 0.5,
            "boundary": 1.1,
            "negative_temperature": 5.0,
            "positive_temperature": 2.0,
            "balance": 0.3,
        },
    ),
}

of_every_loss = pytest.mark.parametrize("name", LOSSES)
of_every_entry = pytest.mark.parametrize("name", ENTRIES)


@of_every_loss
@pytest.mark.parametrize("rows_per_block", [1, 3])
def test_blocks_change_nothing(name, rows_per_block, monkeypatch):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    expected, expected_gradient = value_and_gradient(loss, x, labels)
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": rows_per_block * len(LABELS) * 8})
    value, gradient = value_and_gradient(loss, x, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


@of_every_loss
def test_the_order_of_the_rows_changes_nothing(name):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS), seed=1), torch.tensor(LABELS)
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(2))
    value, gradient = value_and_gradient(loss, x, labels)
    shuffled, shuffled_gradient = value_and_gradient(loss, x[order], labels[order])
    torch.testing.assert_close(shuffled, value, rtol=1e-12, atol=0)
    torch.testing.assert_close(shuffled_gradient, gradient[order], rtol=1e-10, atol=1e-12)


@of_every_loss
def test_rows_without_label_change_nothing_and_get_no_gradient(name):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(14, seed=3), torch.tensor([0, 1, 0, 2, 1, 1, 2, 3, 0, 2, -1, -1, -1, -1])
    expected, expected_gradient = value_and_gradient(loss, x[:10], labels[:10])
    value, gradient = value_and_gradient(loss, x, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[:10], expected_gradient, rtol=1e-10, atol=1e-12)
    assert gradient[10:].abs().max() == 0


@of_every_loss
def test_float32_agrees_with_float64_also_on_similar_rows(name):
    loss, _ = LOSSES[name]
    labels = torch.arange(8).repeat(4)
    for x in (unit_rows(32, 16, seed=4), normalize(1 + 0.3 * unit_rows(32, 16, seed=5))):
        x = x.float().double()
        expected, expected_gradient = value_and_gradient(loss, x, labels)
        value, gradient = value_and_gradient(loss, x.float(), labels)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=1e-6)
        assert (gradient - expected_gradient).abs().max() < 2e-4 * expected_gradient.abs().max()


@of_every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_under_autocast_too(name, dtype):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS), 16, seed=6).to(dtype), torch.tensor(LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, x, labels)
    expected, expected_gradient = value_and_gradient(loss, x.float(), labels)
    assert value == expected
    assert gradient.dtype == dtype
    # As queries and as gallery the rows have a gradient each, rounded to `dtype` before the two are added.
    assert (gradient - expected_gradient).abs().max() < 2 * torch.finfo(dtype).eps * expected_gradient.abs().max()


@of_every_loss
@pytest.mark.parametrize("labels", [[5], [0, 1, 2], [3, 3, 3], [-1, -1], [0, 0, -1, 1]])
@pytest.mark.parametrize("rows", ["apart", "collapsed", "zero"])
def test_batches_without_a_contrast_and_collapsed_ones_follow_the_formula(name, labels, rows):
    loss, oracle = LOSSES[name]
    x = {"apart": unit_rows(len(labels)), "collapsed": unit_rows(1).expand(len(labels), 5), "zero": torch.zeros(4, 5)}
    # No step of the backward pass is NaN, not even one that a mask hides.
    with torch.autograd.set_detect_anomaly(True):
        assert_equals_oracle(loss, oracle, whole_batch(x[rows][: len(labels)].double(), labels))


@of_every_loss
@pytest.mark.parametrize("gallery_labels", [[0, 0, 1, 1], []])
def test_a_process_without_rows_adds_nothing(name, gallery_labels):
    loss, _ = LOSSES[name]
    gallery = unit_rows(len(gallery_labels)).requires_grad_()
    labels = torch.tensor(gallery_labels, dtype=torch.int64)
    none = torch.arange(0)
    value = loss_of(loss, oracles.Batch(gallery[none], labels[none], gallery, labels, none))
    (gradient,) = torch.autograd.grad(value, gallery)
    assert value == 0
    assert not gradient.any()


@of_every_loss
@pytest.mark.parametrize("length", [1.0, 30.0])
def test_opposite_and_long_vectors_stay_finite_in_float32(name, length):
    loss, _ = LOSSES[name]
    x = length * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    value, gradient = value_and_gradient(loss, x, torch.tensor([0, 0, 1, 1, 1]))
    assert value.isfinite()
    assert gradient.isfinite().all()


@of_every_entry
def test_an_entry_s_defaults_are_the_loss_s_own_and_every_option_reaches_it(name):
    entry = ENTRIES[name]
    seed = {"seed": 5} if name == "multi_similarity" else {}
    assert entry.config(head="rank").build(CONTEXT) == entry.loss(**seed)
    assert entry.config.name == name
    config = TypeAdapter(entry.config).validate_python({"name": name, "head": "rank", **entry.options})
    assert config.build(CONTEXT) == entry.loss(**entry.options, **seed)


@of_every_entry
def test_the_options_above_are_all_there_are_and_differ_from_the_defaults(name):
    entry = ENTRIES[name]
    shared = {field.name for field in fields(ComparingLossConfig)}
    assert {field.name for field in fields(entry.config)} - shared - {"name"} == set(entry.options)
    assert all(getattr(entry.config, option) != value for option, value in entry.options.items())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("nt_xent", {"temperature": 0}, "temperature=0.0 must be a finite number above 0"),
        ("sup_con", {"temperature": float("nan")}, "temperature=nan must be a finite number above 0"),
        ("multi_similarity", {"alpha": 0}, "alpha=0.0 must be a finite number above 0"),
        ("multi_similarity", {"beta": -1}, "beta=-1.0 must be a finite number above 0"),
        ("multi_similarity", {"base": float("inf")}, "base=inf must be a finite number"),
        ("multi_similarity", {"epsilon": -0.1}, "epsilon=-0.1"),
        ("multi_similarity", {"miner": "harder"}, "multi_similarity"),
        ("circle", {"margin": -0.1}, "margin=-0.1 must be a finite number, 0 or above"),
        ("circle", {"scale": 0}, "scale=0.0 must be a finite number above 0"),
        ("pair_cosface", {"margin": float("nan")}, "margin=nan must be a finite number, 0 or above"),
        ("pair_cosface", {"scale": -1}, "scale=-1.0 must be a finite number above 0"),
        ("angular", {"angle_deg": 0}, "angle_deg=0.0 must lie between 0 and 90, both excluded"),
        ("angular", {"angle_deg": 90}, "angle_deg=90.0 must lie between 0 and 90, both excluded"),
        ("ranked_list", {"margin": 1.3}, "margin=1.3 must lie between 0 and boundary=1.2"),
        ("ranked_list", {"margin": -0.1}, "margin=-0.1 must lie between 0 and boundary=1.2"),
        ("ranked_list", {"boundary": 0}, "boundary=0.0 must be a finite number above 0"),
        ("ranked_list", {"negative_temperature": -1}, "negative_temperature=-1.0 must be a finite number, 0 or above"),
        ("ranked_list", {"positive_temperature": float("inf")}, "positive_temperature=inf must be a finite number"),
        ("ranked_list", {"balance": 1.1}, "balance=1.1 must lie between 0 and 1"),
        ("n_pair", {"memory_rows": -1}, "memory_rows=-1 must be a finite number, 0 or above"),
    ],
)
def test_a_bad_option_is_refused_by_the_entry_with_the_reason(name, options, text):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(ENTRIES[name].config).validate_python({"name": name, "head": "rank", **options})
    assert text in str(error.value)


def test_a_bad_option_is_refused_by_the_loss_itself():
    with pytest.raises(ValueError, match=r"l2_weight=-0.1 must be a finite number, 0 or above"):
        NPairLoss(-0.1)
    with pytest.raises(ValueError, match=r"miner='harder' is not one of: none, hard"):
        MultiSimilarityLoss(miner="harder")
