"""Soft-rank losses: implementations, split of queries and gallery, working memory, precision, saturation, errors."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shelfmark.core.errors import UserError
from shelfmark.ops.soft_rank import Ranking, chunked, reference, soft_rank_loss
from shelfmark.ops.soft_rank.chunked import WorkingMemory
from shelfmark.ops.soft_rank.groups import group_queries


class CountAhead:
    """PNP-O: the number of negatives ahead."""

    uses_rank = False
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        return torch.ones_like(ahead), torch.zeros_like(rank)


class Imprecision:
    """Smooth-AP: N / (R + N)."""

    uses_rank = True
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead / (rank + ahead)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        return rank / (rank + ahead) ** 2, -ahead / (rank + ahead) ** 2


SCORES = [CountAhead(), Imprecision()]


def batch(labels: list[int] | Tensor, dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(labels)
    x = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return normalize(x).requires_grad_(), labels


def in_batch(x: Tensor, labels: Tensor, score=SCORES[1], temperature: float = 0.05, **options) -> Tensor:
    rows = torch.arange(len(labels))
    return soft_rank_loss(x, labels, x, labels, rows, score=score, temperature=temperature, **options)


def loss_of(implementation, *arguments: Tensor, memory: WorkingMemory | None = None, **options) -> Tensor:
    more = {} if memory is None else {"memory": memory}
    total, num_queries = implementation.soft_rank_total(Ranking(*arguments, **options), **more)
    return total / max(1, num_queries)


def gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, inputs)


# --- implementations ---


@settings(max_examples=30, deadline=None)
@given(
    query_labels=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    gallery_labels=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    num_own=st.integers(0, 9),
    include_self=st.booleans(),
    temperature=st.sampled_from([0.002, 0.05, 3.0]),
    tile=st.sampled_from([1, 200, 2**20]),
    seed=st.integers(0, 10**6),
)
def test_chunked_and_reference_agree_for_queries_partly_in_the_gallery(
    query_labels, gallery_labels, num_own, include_self, temperature, tile, seed
):
    num_own = min(num_own, len(query_labels))
    query, labels = batch(query_labels, seed=seed)
    others, other_labels = batch(gallery_labels, seed=seed + 1)
    # The first queries stand at the gallery's end, in reverse.
    gallery = torch.cat([others, query[:num_own].flip(0)]).detach().requires_grad_()
    all_labels = torch.cat([other_labels, labels[:num_own].flip(0)])
    self_index = torch.full((len(labels),), -1)
    self_index[:num_own] = len(all_labels) - 1 - torch.arange(num_own)
    arguments = (query, labels, gallery, all_labels, self_index)
    for score in SCORES:
        options = {"score": score, "temperature": temperature, "include_self": include_self}
        expected = loss_of(reference, *arguments, **options)
        loss = loss_of(chunked, *arguments, **options, memory=WorkingMemory(block=1, tile=tile))
        torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-15)
        for ours, theirs in zip(gradients(loss, query, gallery), gradients(expected, query, gallery)):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("memory", [(1, 1), (1, 5000), (2**14, 2**12), (2**22, 2**20)])
def test_the_working_memory_does_not_change_the_result(score, memory):
    x, labels = batch([0] * 40 + [1] * 3 + [2] * 2 + [3] + [4] * 30)
    rows = torch.arange(len(labels))
    options = {"score": score, "temperature": 0.05, "include_self": False}
    expected = loss_of(reference, x, labels, x, labels, rows, **options)
    loss = loss_of(chunked, x, labels, x, labels, rows, **options, memory=WorkingMemory(*memory))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(loss, x)[0], gradients(expected, x)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_the_gradient_is_that_of_finite_differences(score, include_self):
    x, labels = batch([0, 1, 0, 2, 1, 0, 3], dim=3)
    assert torch.autograd.gradcheck(
        lambda vectors: in_batch(vectors, labels, score, temperature=0.3, include_self=include_self), (x,)
    )


class Witness(TorchDispatchMode):
    """Notes what is computed, and the most elements that any result has."""

    def __init__(self) -> None:
        super().__init__()
        self.num_elements = 0
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.__name__)
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.num_elements = max([self.num_elements, *sizes])
        return result


@pytest.mark.parametrize("sizes", [[100, 100], [100, *[2] * 50], [4] * 50])
def test_no_tensor_outgrows_the_working_memory_however_large_a_class_is(sizes):
    x, labels = batch(torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)))
    rows, memory = torch.arange(200), WorkingMemory(block=2**15, tile=2**15)
    options = {"score": SCORES[1], "temperature": 0.05, "include_self": False, "memory": memory}
    with Witness() as witness:
        loss_of(chunked, x, labels, x, labels, rows, **options).backward()
    # A block has 32 rows of similarities at least; one query of the large class alone has 99 * 200 pairs.
    assert witness.num_elements <= 32 * 200


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("temperature", [0.001, 0.004, 0.02, 10.0])
def test_float32_keeps_its_digits_at_any_temperature(temperature, score):
    for seed in range(10):
        x, labels = batch(torch.arange(5).repeat_interleave(7), dim=64, seed=seed)
        coarse = x.detach().float().requires_grad_()
        (ours,) = gradients(in_batch(coarse, labels, score, temperature), coarse)
        fine = coarse.detach().double().requires_grad_()
        (exact,) = gradients(in_batch(fine, labels, score, temperature), fine)
        assert (ours - exact).abs().max() < 2e-5 * exact.abs().max()


# --- properties ---


def test_the_order_of_the_rows_does_not_matter():
    x, labels = batch([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(4))
    loss = in_batch(x, labels)
    moved = x[order].detach().requires_grad_()
    moved_loss = in_batch(moved, labels[order])
    torch.testing.assert_close(moved_loss, loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(moved_loss, moved)[0], gradients(loss, x)[0][order], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("score", SCORES)
def test_only_differences_within_a_row_of_similarities_count(score):
    # With unit vectors as the gallery, the queries are the rows of similarities and their gradient is by them.
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    similarity = torch.randn(6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64).requires_grad_()
    gallery = torch.eye(6, dtype=torch.float64)

    def loss(rows: Tensor) -> Tensor:
        return soft_rank_loss(rows, labels, gallery, labels, torch.arange(6), score=score, temperature=0.3)

    (gradient,) = gradients(loss(similarity), similarity)
    assert gradient.abs().max() > 1e-3
    assert gradient.sum(1).abs().max() < 1e-15
    torch.testing.assert_close(loss(similarity + torch.arange(6)[:, None]), loss(similarity), rtol=1e-12, atol=0)


def test_a_query_out_of_its_own_ranking_gets_no_gradient_on_its_diagonal():
    labels = torch.tensor([0, 0, 1, 1])
    for include_self in (False, True):
        similarity = torch.rand(4, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64).requires_grad_()
        loss = soft_rank_loss(
            similarity,
            labels,
            torch.eye(4, dtype=torch.float64),
            labels,
            torch.arange(4),
            score=SCORES[0],
            temperature=0.3,
            include_self=include_self,
        )
        assert bool(gradients(loss, similarity)[0].diagonal().any()) == include_self


def test_rows_without_a_label_take_no_part():
    x, labels = batch([0, -1, 0, 1, -1, 1, 1, -1])
    kept = labels >= 0
    fewer = x[kept].detach().requires_grad_()
    expected = in_batch(fewer, labels[kept])
    loss = in_batch(x, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-14, atol=0)
    (gradient,) = gradients(loss, x)
    torch.testing.assert_close(gradient[kept], gradients(expected, fewer)[0])
    assert not gradient[~kept].any()


def test_a_gallery_row_without_a_label_takes_no_part_and_the_others_keep_their_own_rows():
    query, labels = batch([0, 1, 0, -1], seed=7)
    gallery = torch.cat([batch([0, 0], seed=8)[0], query]).detach()
    gallery_labels = torch.tensor([-1, 1, 0, 1, 0, -1])
    loss = soft_rank_loss(
        query, labels, gallery, gallery_labels, torch.tensor([2, 3, 4, 5]), score=SCORES[1], temperature=0.05
    )
    kept = torch.tensor([1, 2, 3, 4])
    expected = loss_of(
        reference,
        query[:3],
        labels[:3],
        gallery[kept],
        gallery_labels[kept],
        torch.tensor([1, 2, 3]),
        score=SCORES[1],
        temperature=0.05,
        include_self=False,
    )
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("labels", [[], [3], [0, 1, 2, 3], [-1, -1, -1], [0, -1, 1]])
def test_without_any_positive_the_loss_is_exactly_zero_and_still_in_the_graph(labels):
    x, labels = batch(torch.tensor(labels, dtype=torch.int64))
    loss = in_batch(x, labels)
    assert (loss.shape, float(loss.detach())) == ((), 0.0)
    assert not gradients(loss, x)[0].any()


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_one_class_alone_costs_exactly_nothing_at_any_size(score, include_self):
    x, labels = batch([5] * 3000)
    loss = in_batch(x, labels, score, include_self=include_self)
    assert float(loss.detach()) == 0.0
    assert not gradients(loss, x)[0].any()


def test_an_empty_gallery_costs_nothing():
    query, labels = batch([0, 0, -1])
    gallery = query[:0].detach()
    loss = soft_rank_loss(query, labels, gallery, labels[:0], torch.full((3,), -1), score=SCORES[1], temperature=0.1)
    assert float(loss.detach()) == 0.0


def test_queries_are_grouped_by_their_number_of_positives():
    labels = torch.tensor([4, 1, 4, 2, 1, 4, 9])
    x = torch.zeros(7, 2)
    ranking = Ranking(x, labels, x, labels, torch.arange(7), SCORES[1], temperature=0.1)
    num_queries, groups = group_queries(ranking)
    positives = {
        int(row): columns.tolist() for group in groups for row, columns in zip(group.rows, group.columns().sort(1)[0])
    }
    assert num_queries == 5
    assert positives == {0: [2, 5], 2: [0, 5], 5: [0, 2], 1: [4], 4: [1]}
    num_queries, groups = group_queries(dataclasses.replace(ranking, include_self=True))
    assert num_queries == 7
    assert sorted((group.num_positives, group.rows.tolist()) for group in groups) == [
        (1, [3, 6]),
        (2, [1, 4]),
        (3, [0, 2, 5]),
    ]


# --- numbers ---


@pytest.mark.parametrize(
    ("difference", "slope"),
    [(50.0, math.exp(-50)), (-50.0, math.exp(-50)), (50.001, 0.0), (-50.001, 0.0), (math.inf, 0.0), (0.0, 0.25)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_step_is_flat_beyond_fifty_and_not_at_fifty(difference, slope, dtype):
    # One query, one positive at 0, one negative at `difference`; unit vectors as the gallery.
    similarity = torch.tensor([[0.0, min(max(difference, -1e4), 1e4)]], dtype=dtype, requires_grad=True)
    loss = soft_rank_loss(
        similarity,
        torch.tensor([0]),
        torch.eye(2, dtype=dtype),
        torch.tensor([0, 1]),
        torch.tensor([-1]),
        score=SCORES[0],
        temperature=1.0,
    )
    clipped = min(max(difference, -50.0), 50.0)
    assert float(loss.detach()) == pytest.approx(1 / (1 + math.exp(-clipped)), rel=1e-5)
    (gradient,) = gradients(loss, similarity)
    assert gradient[0].tolist() == pytest.approx([-slope, slope], rel=1e-5, abs=0)


@pytest.mark.parametrize("difference", [-40.0, -20.0, 20.0, 40.0])
def test_the_slope_keeps_its_digits_at_both_ends_in_float32(difference):
    similarity = torch.tensor([[0.0, difference]], requires_grad=True)
    labels = torch.tensor([0, 1])
    loss = soft_rank_loss(
        similarity, labels[:1], torch.eye(2), labels, torch.tensor([-1]), score=SCORES[0], temperature=1.0
    )
    slope = math.exp(-abs(difference)) / (1 + math.exp(-abs(difference))) ** 2
    assert float(gradients(loss, similarity)[0][0, 1]) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("score", SCORES)
def test_half_precision_vectors_are_compared_in_float32(dtype, score):
    x, labels = batch(torch.arange(8).repeat_interleave(4), dim=16)
    half = x.detach().to(dtype).requires_grad_()
    loss = in_batch(half, labels, score, temperature=0.01)
    exact = half.detach().double().requires_grad_()
    expected = in_batch(exact, labels, score, temperature=0.01)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    gradient, expected_gradient = gradients(loss, half)[0], gradients(expected, exact)[0]
    assert gradient.dtype == dtype
    assert (gradient.double() - expected_gradient).abs().max() < 0.01 * expected_gradient.abs().max()


def test_autocast_around_forward_and_backward_changes_no_digit():
    x, labels = batch(torch.arange(8).repeat_interleave(4), dim=64)
    x = x.detach().float().requires_grad_()
    expected = in_batch(x, labels)
    (expected_gradient,) = gradients(expected, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = in_batch(x, labels)
        (gradient,) = gradients(loss, x)
    assert torch.equal(loss, expected)
    assert torch.equal(gradient, expected_gradient)


def test_the_value_is_the_same_without_gradient_and_scales_with_what_comes_after():
    x, labels = batch([0, 1, 0, 1, 0, 2])
    loss = in_batch(x, labels)
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
    (tripled,) = torch.autograd.grad(3 * loss, x)
    torch.testing.assert_close(tripled, 3 * gradient)
    with Witness() as trained:
        in_batch(x, labels)
    with torch.no_grad(), Witness() as watched:
        assert torch.equal(in_batch(x, labels), loss)
    assert {"baddbmm_.default", "index_add_.default"} <= trained.names - watched.names


def test_the_gradient_goes_only_where_it_is_wanted():
    query, labels = batch([0, 1, 0], seed=1)
    gallery, gallery_labels = batch([0, 1, 2, 0], seed=2)
    nowhere = torch.full((3,), -1)
    options = {"score": SCORES[1], "temperature": 0.1}
    both = soft_rank_loss(query, labels, gallery, gallery_labels, nowhere, **options)
    expected = gradients(both, query, gallery)
    alone = soft_rank_loss(query, labels, gallery.detach(), gallery_labels, nowhere, **options)
    torch.testing.assert_close(gradients(alone, query)[0], expected[0])
    alone = soft_rank_loss(query.detach(), labels, gallery, gallery_labels, nowhere, **options)
    torch.testing.assert_close(gradients(alone, gallery)[0], expected[1])


# --- errors ---


def test_a_second_derivative_is_refused_and_the_reference_has_it():
    x, labels = batch([0, 1, 0, 1])
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(in_batch(x, labels), x, create_graph=True)
    options = {"score": SCORES[1], "temperature": 0.3, "include_self": False}
    loss = loss_of(reference, x, labels, x, labels, torch.arange(4), **options)
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), x)[0].isfinite().all()


def test_values_that_are_not_finite_are_refused_by_row():
    x, labels = batch(torch.arange(20) // 2)
    broken = x.detach().clone()
    broken[[3, 17]] = math.nan
    broken[5, 2] = -math.inf
    with pytest.raises(UserError, match=r"embedding .* not finite in rows 3, 5, 17 of 20.*optim.lr"):
        in_batch(broken, labels)
    broken[8:] = math.nan
    with pytest.raises(UserError, match=r"rows 3, 5, 8, 9, 10 and 9 more of 20"):
        in_batch(broken, labels)
    with pytest.raises(UserError, match=r"gallery .* rows 3, 5"):
        soft_rank_loss(x, labels, broken, labels, torch.arange(20), score=SCORES[0], temperature=0.1)


def test_vectors_whose_products_overflow_are_refused():
    x, labels = batch([0, 0, 1, 1])
    with pytest.raises(UserError, match=r"overflow. Normalise the vectors"):
        in_batch(x.detach().float() * 1e19, labels)
    assert in_batch(x.detach().float() * 1e15, labels).isfinite()


def test_inputs_that_do_not_fit_are_refused():
    x, labels = batch([0, 0, 1, 1])
    rows = torch.arange(4)
    options = {"score": SCORES[0], "temperature": 0.1}
    with pytest.raises(ValueError, match=r"labels must be 4 whole numbers"):
        soft_rank_loss(x, labels[:3], x, labels[:3], rows, **options)
    with pytest.raises(ValueError, match=r"labels must be 4 whole numbers.*float32"):
        soft_rank_loss(x, labels.float(), x, labels.float(), rows, **options)
    with pytest.raises(ValueError, match=r"must be \(rows, dimensions\) of floats"):
        soft_rank_loss(x[0], labels, x[0], labels, rows, **options)
    with pytest.raises(ValueError, match=r"queries have 6 dimensions, the gallery has 5"):
        soft_rank_loss(x, labels, x[:, :5], labels, rows, **options)
    with pytest.raises(ValueError, match=r"self_index must hold one row for each of 4 queries"):
        soft_rank_loss(x, labels, x, labels, rows[:2], **options)
