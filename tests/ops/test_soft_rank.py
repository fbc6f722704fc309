"""What the soft-rank losses cost, and their gradients, by each implementation; kernels run in Triton's interpreter."""

from __future__ import annotations

import functools
import importlib.util
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from soft_rank_cases import (
    AHEAD,
    IMPRECISION,
    PLACE,
    SCORES,
    Evaluated,
    Witness,
    batch,
    evaluated,
    gradients_that_are_wanted,
    most_elements,
)
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.soft_rank import Ranking, soft_rank_loss
from shelfmark.ops.soft_rank.groups import group_queries

TOLERANCES = {"reference": 1e-9, "chunked": 1e-9, "triton": 1e-4}
FAST = pytest.mark.parametrize("implementation", ["chunked", "triton"])


@pytest.fixture(scope="module")
def run() -> Iterator[Callable]:
    """Calls function(implementation, ...), where Triton interprets its kernels if these are meant."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:

        def run(function: Callable, implementation: str, *arguments: Any, **options: Any) -> Any:
            if implementation != "triton":
                return function(implementation, *arguments, **options)
            if importlib.util.find_spec("triton") is None:
                pytest.skip("this machine has no triton")
            with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
                return pool.submit(function, implementation, *arguments, **options).result()

        yield run


def assert_same(ours: Evaluated, theirs: Evaluated, tolerance: float, term: float = 1.0) -> None:
    """The values, and the gradients as a whole, agree in relative terms.

    term: the size of what a gradient is summed of, so that one whose terms cancel may be off by their rounding.
    """
    assert ours.num_queries == theirs.num_queries
    assert ours.total == pytest.approx(theirs.total, rel=tolerance, abs=1e-12)
    assert len(ours.gradients) == len(theirs.gradients)
    for our, their in zip(ours.gradients, theirs.gradients):
        assert our.shape == their.shape
        assert np.linalg.norm(our - their) <= tolerance * (np.linalg.norm(their) + term)


def in_batch(x: Tensor, labels: Tensor, score: Any = IMPRECISION, temperature: float = 0.05, **options: Any) -> Tensor:
    rows = torch.arange(len(labels))
    return soft_rank_loss(x, labels, x, labels, rows, score=score, temperature=temperature, **options)


def tensors(sizes: list[int], dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    x, labels = batch(sizes, dim, seed)
    return torch.tensor(x, requires_grad=True), torch.tensor(labels)


# --- values and gradients ---


@pytest.mark.parametrize("implementation", TOLERANCES)
@pytest.mark.parametrize("include_self", [False, True])
def test_a_ragged_batch_costs_what_the_loops_say(run, implementation, include_self):
    x, labels = batch([1, 1, 2, 3, 5, 7], dim=5)
    num_queries = 19 if include_self else 17
    for score, definition in ((AHEAD, functools.partial(oracles.pnp, variant="O")), (IMPRECISION, oracles.smooth_ap)):
        options = {"temperature": 0.05, "include_self": include_self}
        loss, gradient = definition(x, labels, **options)
        expected = Evaluated(loss * num_queries, num_queries, [gradient * num_queries])
        assert_same(
            run(evaluated, implementation, x, labels, score=score, **options), expected, TOLERANCES[implementation]
        )


def labelled_part(query, labels, gallery, gallery_labels, self_index):
    """The arguments without the rows that have no label, and which rows of the queries and the gallery are left."""
    asked, listed = np.flatnonzero(labels >= 0), np.flatnonzero(gallery_labels >= 0)
    places = {int(row): place for place, row in enumerate(listed)}
    own = np.array([places.get(int(row), -1) for row in self_index[asked]], dtype=np.int64)
    return (query[asked], labels[asked], gallery[listed], gallery_labels[listed], own), (asked, listed)


@FAST
@settings(max_examples=25, deadline=None)
@given(
    query_labels=st.lists(st.integers(-1, 4), min_size=1, max_size=9),
    gallery_labels=st.lists(st.integers(-1, 4), min_size=1, max_size=14),
    num_own=st.integers(0, 9),
    one_batch=st.booleans(),
    include_self=st.booleans(),
    temperature=st.sampled_from([0.002, 0.02, 0.3, 3.0]),
    dim=st.sampled_from([1, 7, 40]),
    tile=st.sampled_from([1, 200, 2**20]),
    score=st.sampled_from(SCORES),
    seed=st.integers(0, 10**6),
)
def test_each_agrees_with_the_formula_over_the_labelled_rows_of_a_batch_or_of_queries_partly_in_the_gallery(
    run, implementation, query_labels, gallery_labels, num_own, one_batch, temperature, dim, tile, seed, **options
):
    num_own = min(num_own, len(query_labels))
    query, _ = batch([len(query_labels)], dim, seed)
    others, _ = batch([len(gallery_labels)], dim, seed + 1)
    labels = np.array(query_labels)
    # The first queries stand at the gallery's end, in reverse.
    gallery = query if one_batch else np.concatenate([others, query[:num_own][::-1]])
    all_labels = labels if one_batch else np.array([*gallery_labels, *query_labels[:num_own][::-1]])
    self_index = np.arange(len(labels))
    if not one_batch:
        self_index = np.where(self_index < num_own, len(all_labels) - 1 - self_index, -1)
    if implementation == "triton":
        temperature = max(temperature, 0.02)
    options = {"temperature": temperature, **options}
    part, (asked, listed) = labelled_part(query, labels, gallery, all_labels, self_index)
    expected = evaluated("reference", *part, **options)
    arguments = (query, labels) if one_batch else (query, labels, gallery, all_labels, self_index)
    memory = (1, tile) if implementation == "chunked" else None
    ours = run(evaluated, implementation, *arguments, **options, memory=memory)
    by_query, by_gallery = np.zeros_like(query), np.zeros_like(gallery)
    by_query[asked], by_gallery[listed] = expected.gradients
    gradients = [by_query + by_gallery] if one_batch else [by_query, by_gallery]
    whole = Evaluated(expected.total, expected.num_queries, gradients)
    # A smoothed step is at most 1 / (4 temperature) steep.
    assert_same(ours, whole, TOLERANCES[implementation], term=max(1, 1 / (4 * temperature)))
    for our, kept in zip(ours.gradients, (asked, listed)):
        assert not np.delete(our, kept, axis=0).any()


@pytest.mark.parametrize("score", [AHEAD, IMPRECISION])
@pytest.mark.parametrize("memory", [(1, 1), (1, 5000), (2**12, 2**12), (2**22, 2**20)])
def test_the_working_memory_does_not_change_the_result(score, memory):
    x, labels = batch([20, 3, 2, 1, 16], dim=6)
    options = {"score": score, "temperature": 0.05}
    expected = evaluated("reference", x, labels, **options)
    assert_same(evaluated("chunked", x, labels, **options, memory=memory), expected, 1e-11)


# Blocks are of 64 rows, or of 128 where vectors are longer than 128; the last one is not full. Queries with more than
# 32 positives are computed elsewhere.
@pytest.mark.parametrize(("dim", "score", "sizes"), [(40, PLACE, [1, 2, 3, 5, 25, 36]), (130, IMPRECISION, [3] * 50)])
def test_batches_of_several_blocks_agree_with_chunked(run, dim, score, sizes):
    x, labels = batch(sizes, dim)
    part = np.arange(0, len(x), 2)
    for arguments in ((x, labels), (x[part], labels[part], x, labels, part)):
        options = {"score": score, "temperature": 0.05}
        expected = evaluated("chunked", *arguments, **options)
        assert_same(run(evaluated, "triton", *arguments, **options), expected, 1e-4)


@pytest.mark.parametrize(
    "constants", [{"_NUM_PROGRAMS": 1, "_STRIP_ROWS": 30}, {"_NUM_PROGRAMS": 5, "_STRIP_ROWS": 70}]
)
def test_the_division_of_work_does_not_change_the_result(run, constants):
    x, labels = batch([4] * 20, dim=3)
    options = {"score": IMPRECISION, "temperature": 0.1}
    expected = evaluated("chunked", x, labels, **options)
    assert_same(run(evaluated, "triton", x, labels, **options, constants=constants), expected, 1e-5)


@FAST
def test_without_a_negative_or_a_positive_there_is_nothing_to_pay(run, implementation):
    for sizes, score in (
        ([100], AHEAD),
        ([100], IMPRECISION),
        ([1, 1, 1], IMPRECISION),
        ([1], AHEAD),
        ([], IMPRECISION),
    ):
        ours = run(evaluated, implementation, *batch(sizes, dim=3), score=score, temperature=0.1)
        assert (ours.total, ours.num_queries) == (0, 100 if sizes == [100] else 0)
        assert not ours.gradients[0].any()


@pytest.mark.parametrize("size", [2, 33, 34])
def test_one_class_alone_has_places_all_the_same(run, size):
    x, labels = batch([size], dim=3)
    options = {"score": PLACE, "temperature": 0.1}
    expected = evaluated("reference", x, labels, **options)
    assert expected.total > 0
    assert_same(run(evaluated, "triton", x, labels, **options), expected, 1e-4)


@pytest.mark.parametrize("labels", [[], [-1, -1, -1], [0, -1, 1]])
def test_without_any_positive_the_loss_is_exactly_zero_and_still_in_the_graph(labels):
    x = torch.randn(len(labels), 3, requires_grad=True)
    loss = in_batch(x, torch.tensor(labels, dtype=torch.int64))
    assert (loss.shape, float(loss.detach())) == ((), 0.0)
    assert not torch.autograd.grad(loss, x)[0].any()


def test_an_empty_gallery_costs_nothing():
    query, labels = tensors([2, 1])
    gallery, nowhere = query[:0].detach(), torch.full((3,), -1)
    loss = soft_rank_loss(query, labels, gallery, labels[:0], nowhere, score=IMPRECISION, temperature=0.1)
    assert float(loss.detach()) == 0.0


def test_queries_are_grouped_by_their_number_of_positives():
    x, labels = torch.zeros(7, 2), torch.tensor([4, 1, 4, 2, 1, 4, 9])
    ranking = functools.partial(Ranking, x, labels, x, labels, torch.arange(7), IMPRECISION, 0.1)
    num_queries, groups = group_queries(ranking(include_self=False))
    positives = {
        int(row): columns.tolist() for group in groups for row, columns in zip(group.rows, group.columns().sort(1)[0])
    }
    assert num_queries == 5
    assert positives == {0: [2, 5], 2: [0, 5], 5: [0, 2], 1: [4], 4: [1]}
    num_queries, groups = group_queries(ranking(include_self=True))
    assert num_queries == 7
    assert sorted((group.num_positives, group.rows.tolist()) for group in groups) == [
        (1, [3, 6]),
        (2, [1, 4]),
        (3, [0, 2, 5]),
    ]


# --- numbers ---


@pytest.mark.parametrize(
    ("implementation", "dtype"),
    [("chunked", torch.float32), ("chunked", torch.float64), ("triton", torch.float32)],
)
def test_the_step_is_flat_beyond_fifty_and_its_slope_keeps_its_digits_within(run, implementation, dtype):
    # Queries with one positive at 0 and one negative at `difference`; unit vectors as the gallery.
    differences = [50.0, -50.0, 50.001, -50.001, 1e4, -1e4, -40.0, -20.0, 0.0, 20.0, 40.0]
    query = np.array([[0.0, difference] for difference in differences])
    labels, nowhere = np.zeros(len(query), dtype=np.int64), np.full(len(query), -1)
    ours = run(
        evaluated,
        implementation,
        query,
        labels,
        np.eye(2),
        np.arange(2),
        nowhere,
        dtype=dtype,
        score=AHEAD,
        temperature=1.0,
    )
    clipped = np.clip(differences, -50, 50)
    assert ours.total == pytest.approx(float((1 / (1 + np.exp(-clipped))).sum()), rel=1e-6)
    powers = np.exp(-np.abs(clipped))
    slopes = np.where(np.abs(differences) > 50, 0, powers / (1 + powers) ** 2)
    np.testing.assert_allclose(ours.gradients[0], np.stack([-slopes, slopes], 1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("temperature", [0.001, 0.004, 0.02, 10.0])
def test_float32_keeps_its_digits_at_any_temperature(temperature):
    for score in (AHEAD, IMPRECISION):
        for seed in range(5):
            x, labels = batch([7] * 5, dim=64, seed=seed)
            options = {"score": score, "temperature": temperature}
            exact = evaluated("chunked", x, labels, **options).gradients[0]
            ours = evaluated("chunked", x, labels, dtype=torch.float32, **options).gradients[0]
            assert np.abs(ours - exact).max() < 2e-5 * np.abs(exact).max()


@FAST
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_vectors_are_compared_in_float32(run, implementation, dtype):
    x, labels = batch([4] * 8, dim=16)
    x = torch.tensor(x).to(dtype).double().numpy()
    options = {"score": IMPRECISION, "temperature": 0.02}
    expected = evaluated("chunked", x, labels, **options)
    ours = run(evaluated, implementation, x, labels, dtype=dtype, **options)
    assert ours.total == pytest.approx(expected.total, rel=1e-5)
    assert_same(ours, expected, 0.01)


def test_the_kernels_leave_float64_to_chunked_and_take_vectors_in_any_order_of_memory(run):
    # 32 dimensions need no padding, which would put them in order.
    x, labels = batch([3] * 5, dim=32)
    options = {"score": IMPRECISION, "temperature": 0.1}
    expected = evaluated("chunked", x, labels, **options)
    assert_same(run(evaluated, "triton", x, labels, dtype=torch.float64, **options), expected, 1e-14)
    assert_same(run(evaluated, "triton", x, labels, by_columns=True, **options), expected, 1e-5)


def test_autocast_around_forward_and_backward_changes_no_digit():
    x, labels = tensors([4] * 8, dim=64)
    x = x.detach().float().requires_grad_()
    expected = in_batch(x, labels)
    (expected_gradient,) = torch.autograd.grad(expected, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = in_batch(x, labels)
        (gradient,) = torch.autograd.grad(loss, x)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(gradient, expected_gradient)


# --- what is computed ---


@pytest.mark.parametrize("sizes", [[50, 50], [50, *[2] * 25], [4] * 25])
def test_no_tensor_outgrows_the_working_memory_however_large_a_class_is(sizes):
    # A block has 32 rows of similarities at least; one query of the large class alone has 49 * 100 pairs.
    options = {"score": IMPRECISION, "temperature": 0.05, "memory": (2**13, 2**13)}
    assert most_elements("chunked", *batch(sizes, dim=6), **options) <= 32 * 100


@pytest.mark.parametrize(("constants", "num_rows"), [({"_STRIP_ROWS": 50}, 50), ({"_STRIP_ELEMENTS": 1}, 64)])
def test_no_tensor_outgrows_a_strip_of_similarities(run, constants, num_rows):
    x, labels = batch([2] * 75, dim=3)
    options = {"score": IMPRECISION, "temperature": 0.1, "constants": {"_NUM_PROGRAMS": 1, **constants}}
    assert run(most_elements, "triton", x, labels, **options) == num_rows * 150


@FAST
def test_the_gradient_goes_only_where_it_is_wanted_and_scales_with_what_comes_after(run, implementation):
    (query, labels), (gallery, _) = batch([3, 2, 2], dim=4), batch([7], dim=4, seed=1)
    found = run(gradients_that_are_wanted, implementation, query, gallery, labels)
    value, by_query, by_gallery = found["both"]
    nowhere = np.full(7, -1)
    expected = evaluated("reference", query, labels, gallery, labels, nowhere, score=IMPRECISION, temperature=0.1)
    assert value == pytest.approx(expected.total / 7, rel=1e-5)
    np.testing.assert_allclose(by_query, expected.gradients[0] * 3 / 7, atol=1e-5)
    np.testing.assert_allclose(by_gallery, expected.gradients[1] * 3 / 7, atol=1e-5)
    for wanted, gradients in (("query", (by_query, None)), ("gallery", (None, by_gallery)), ("neither", (None, None))):
        assert found[wanted][0] == value
        for ours, theirs in zip(found[wanted][1:], gradients):
            np.testing.assert_array_equal(ours, theirs)


def test_without_gradient_its_part_of_the_work_is_left_out():
    x, labels = tensors([2, 3, 1])
    with Witness() as trained:
        loss = in_batch(x, labels)
    with torch.no_grad(), Witness() as watched:
        assert torch.equal(in_batch(x, labels), loss)
    assert {"baddbmm_", "index_add_"} <= trained.names - watched.names


def test_queries_without_a_negative_are_left_out_where_they_cost_nothing():
    x, labels = tensors([8])
    for score, is_computed in ((AHEAD, False), (PLACE, True)):
        with Witness() as witness:
            in_batch(x, labels, score)
        assert ("baddbmm_" in witness.names) == is_computed


# --- errors ---


def test_a_second_derivative_is_refused_and_the_reference_has_it():
    x, labels = tensors([2, 2])
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(in_batch(x, labels), x, create_graph=True)
    loss = in_batch(x, labels, temperature=0.3, implementation="reference")
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), x)[0].isfinite().all()


def test_values_that_are_not_finite_are_refused_by_row():
    x, labels = tensors([2] * 10)
    broken = x.detach().clone()
    broken[[3, 17]] = math.nan
    broken[5, 2] = -math.inf
    with pytest.raises(UserError, match=r"embedding .* not finite in rows 3, 5, 17 of 20.*optim.lr"):
        in_batch(broken, labels)
    broken[8:] = math.nan
    with pytest.raises(UserError, match=r"rows 3, 5, 8, 9, 10 and 9 more of 20"):
        in_batch(broken, labels)
    with pytest.raises(UserError, match=r"gallery .* rows 3, 5"):
        soft_rank_loss(x, labels, broken, labels, torch.arange(20), score=AHEAD, temperature=0.1)


def test_vectors_whose_products_overflow_are_refused():
    x, labels = tensors([2, 2])
    with pytest.raises(UserError, match=r"overflow. Normalise the vectors"):
        in_batch(x.detach().float() * 1e19, labels)
    assert in_batch(x.detach().float() * 1e15, labels).isfinite()


def test_inputs_that_do_not_fit_are_refused():
    x, labels = tensors([2, 2])
    rows = torch.arange(4)
    for message, arguments in (
        (r"labels must be 4 whole numbers", (x, labels[:3], x, labels[:3], rows)),
        (r"labels must be 4 whole numbers.*float32", (x, labels.float(), x, labels.float(), rows)),
        (r"must be \(rows, dimensions\) of floats", (x[0], labels, x[0], labels, rows)),
        (r"queries have 6 dimensions, the gallery has 5", (x, labels, x[:, :5], labels, rows)),
        (r"self_index must hold one row for each of 4 queries", (x, labels, x, labels, rows[:2])),
    ):
        with pytest.raises(ValueError, match=message):
            soft_rank_loss(*arguments, score=AHEAD, temperature=0.1)
