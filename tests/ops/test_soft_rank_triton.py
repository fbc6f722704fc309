"""The soft-rank engine's kernels, carried out by Triton's interpreter; and which implementation is taken where.

Triton decides when it is imported whether it interprets, so the kernels run in a process of their own.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shelfmark.core.errors import UserError
from shelfmark.ops.soft_rank import (
    Ranking,
    choice,
    chunked,
    programs,
    reference,
    soft_rank_loss,
    soft_rank_total,
    triton,
)

CPU = torch.device("cpu")


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


class Place:
    """The squared place in the whole ranking, over the number of positives: a query without a negative has one too."""

    uses_rank = True
    needs_negatives = False

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return (rank + ahead) ** 2 / num_positives

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        slope = 2 * (rank + ahead) / num_positives
        return slope, slope


SCORES = [CountAhead(), Imprecision(), Place()]


# --- the process that interprets ---


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable]:
    """Calls a function of this file where Triton interprets its kernels; arrays and numbers go there and back."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("this machine has no triton")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
            assert pool.submit(os.getenv, "TRITON_INTERPRET").result() == "1"
        yield lambda function, *arguments, **options: pool.submit(function, *arguments, **options).result()


class Evaluated(NamedTuple):
    """gradients: by the query and, where it is another, by the gallery."""

    total: np.ndarray
    num_queries: int
    gradients: list[np.ndarray]


def evaluated(
    implementation: str,
    query: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    self_index: np.ndarray | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    constants: dict[str, int] | None = None,
    **options: Any,
) -> Evaluated:
    """What the door says. Without a gallery the queries are it. constants: of `programs`, to be changed."""
    x = torch.tensor(query, dtype=dtype, requires_grad=True)
    rows = np.arange(len(labels)) if self_index is None else self_index
    y, y_labels = x, labels
    if gallery is not None:
        y, y_labels = torch.tensor(gallery, dtype=dtype, requires_grad=True), gallery_labels
    ranking = Ranking(x, torch.tensor(labels), y, torch.tensor(y_labels), torch.tensor(rows), **options)
    with mock.patch.dict(vars(programs), constants or {}):
        total, num_queries = soft_rank_total(ranking, implementation)
    gradients = torch.autograd.grad(total, [x] if gallery is None else [x, y])
    return Evaluated(total.detach().double().numpy(), num_queries, [each.double().numpy() for each in gradients])


def assert_same(ours: Evaluated, theirs: Evaluated, tolerance: float = 1e-4) -> None:
    """The values, and the gradients as a whole, agree in relative terms; a gradient of 0 may be off by rounding."""
    assert ours.num_queries == theirs.num_queries
    assert ours.total == pytest.approx(theirs.total, rel=tolerance, abs=1e-12)
    assert len(ours.gradients) == len(theirs.gradients)
    for our, their in zip(ours.gradients, theirs.gradients):
        assert our.shape == their.shape
        assert np.linalg.norm(our - their) <= tolerance * np.linalg.norm(their) + 1e-5


def batch(sizes: list[int], dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors that float32 holds exactly, of classes with so many rows each, in any order; and their labels."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(sum(sizes), dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32).astype(np.float64), generator.permutation(np.repeat(np.arange(len(sizes)), sizes))


# --- against the definition ---


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize(
    ("score", "definition"),
    [(SCORES[0], functools.partial(oracles.pnp, variant="O")), (SCORES[1], oracles.smooth_ap)],
)
def test_a_ragged_batch_costs_what_the_loops_say(interpreted, score, definition, include_self):
    x, labels = batch([1, 1, 2, 3, 5, 7], dim=5)
    options = {"temperature": 0.05, "include_self": include_self}
    loss, gradient = definition(x, labels, **options)
    num_queries = 19 if include_self else 17
    ours = interpreted(evaluated, "triton", x, labels, score=score, **options)
    assert_same(ours, Evaluated(loss * num_queries, num_queries, [gradient * num_queries]))


@settings(max_examples=25, deadline=None)
@given(
    query_labels=st.lists(st.integers(-1, 4), min_size=1, max_size=9),
    gallery_labels=st.lists(st.integers(-1, 4), min_size=1, max_size=14),
    num_own=st.integers(0, 9),
    include_self=st.booleans(),
    temperature=st.sampled_from([0.02, 0.3, 3.0]),
    dim=st.sampled_from([1, 7, 40]),
    score=st.sampled_from(SCORES),
    seed=st.integers(0, 10**6),
)
def test_the_kernels_and_the_reference_agree_for_queries_partly_in_the_gallery(
    interpreted, query_labels, gallery_labels, num_own, include_self, temperature, dim, score, seed
):
    num_own = min(num_own, len(query_labels))
    query, _ = batch([len(query_labels)], dim, seed)
    others, _ = batch([len(gallery_labels)], dim, seed + 1)
    # The first queries stand at the gallery's end, in reverse.
    gallery = np.concatenate([others, query[:num_own][::-1]])
    labels = np.array(query_labels)
    all_labels = np.array([*gallery_labels, *query_labels[:num_own][::-1]])
    self_index = np.full(len(labels), -1)
    self_index[:num_own] = len(all_labels) - 1 - np.arange(num_own)
    arguments = (query, labels, gallery, all_labels, self_index)
    options = {"score": score, "temperature": temperature, "include_self": include_self}
    expected = evaluated("reference", *arguments, dtype=torch.float64, **options)
    assert_same(interpreted(evaluated, "triton", *arguments, **options), expected)


# Blocks are of 64 rows, or of 128 where vectors are longer than 128; 150 rows leave a part of one over.
@pytest.mark.parametrize(("dim", "score"), [(40, SCORES[0]), (40, SCORES[1]), (40, SCORES[2]), (130, SCORES[1])])
def test_batches_of_several_blocks_agree_with_chunked(interpreted, score, dim):
    x, labels = batch([1, 2, 3, 4, 5, 6, *[3] * 28, 1, 44], dim)
    options = {"score": score, "temperature": 0.05}
    expected = evaluated("chunked", x, labels, dtype=torch.float64, **options)
    assert_same(interpreted(evaluated, "triton", x, labels, **options), expected)
    part = np.arange(0, 150, 2)
    arguments = (x[part], labels[part], x, labels, part)
    expected = evaluated("chunked", *arguments, dtype=torch.float64, **options)
    assert_same(interpreted(evaluated, "triton", *arguments, **options), expected)


@pytest.mark.parametrize(
    "constants", [{"_NUM_PROGRAMS": 1}, {"_NUM_PROGRAMS": 5}, {"_STRIP_ROWS": 30}, {"_STRIP_ROWS": 70}]
)
def test_the_division_of_work_does_not_change_the_result(interpreted, constants):
    x, labels = batch([4] * 20, dim=3)
    options = {"score": SCORES[1], "temperature": 0.1}
    expected = evaluated("chunked", x, labels, dtype=torch.float64, **options)
    assert_same(interpreted(evaluated, "triton", x, labels, **options, constants=constants), expected, 1e-5)


@pytest.mark.parametrize("sizes", [[100], [1, 1, 1], [1], []])
@pytest.mark.parametrize("score", SCORES[:2])
def test_without_a_negative_or_a_positive_there_is_nothing_to_pay(interpreted, sizes, score):
    ours = interpreted(evaluated, "triton", *batch(sizes, dim=3), score=score, temperature=0.1)
    assert ours.total == 0
    assert ours.num_queries == (sum(sizes) if sizes == [100] else 0)
    assert not ours.gradients[0].any()


@pytest.mark.parametrize("size", [2, 33, 34])
def test_one_class_alone_has_places_all_the_same(interpreted, size):
    x, labels = batch([size], dim=3)
    options = {"score": SCORES[2], "temperature": 0.1}
    expected = evaluated("reference", x, labels, dtype=torch.float64, **options)
    assert expected.total > 0
    assert_same(interpreted(evaluated, "triton", x, labels, **options), expected)


# --- numbers ---


@pytest.mark.parametrize(
    ("difference", "slope"),
    [(50.0, math.exp(-50)), (-50.0, math.exp(-50)), (50.001, 0.0), (-50.001, 0.0), (1e4, 0.0), (-1e4, 0.0)]
    + [(u, math.exp(-abs(u)) / (1 + math.exp(-abs(u))) ** 2) for u in (-40.0, -20.0, 0.0, 20.0, 40.0)],
)
def test_the_step_is_flat_beyond_fifty_and_its_slope_keeps_its_digits_within(interpreted, difference, slope):
    # One query, one positive at 0, one negative at `difference`; unit vectors as the gallery.
    ours = interpreted(
        evaluated,
        "triton",
        np.array([[0.0, difference]]),
        np.array([0]),
        np.eye(2),
        np.array([0, 1]),
        np.array([-1]),
        score=SCORES[0],
        temperature=1.0,
    )
    assert float(ours.total) == pytest.approx(1 / (1 + math.exp(-min(max(difference, -50), 50))), rel=1e-5)
    assert ours.gradients[0][0].tolist() == pytest.approx([-slope, slope], rel=1e-5, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_vectors_are_compared_in_float32(interpreted, dtype):
    x, labels = batch([4] * 8, dim=16)
    x = torch.tensor(x).to(dtype).double().numpy()
    options = {"score": SCORES[1], "temperature": 0.02}
    expected = evaluated("chunked", x, labels, dtype=torch.float64, **options)
    ours = interpreted(evaluated, "triton", x, labels, dtype=dtype, **options)
    assert float(ours.total) == pytest.approx(float(expected.total), rel=1e-5)
    assert_same(ours, expected, 0.01)


def test_float64_is_left_to_chunked(interpreted):
    x, labels = batch([4] * 5, dim=3)
    options = {"score": SCORES[1], "temperature": 0.1, "dtype": torch.float64}
    assert_same(
        interpreted(evaluated, "triton", x, labels, **options), evaluated("chunked", x, labels, **options), 1e-14
    )


def evaluated_by_columns(x: np.ndarray, labels: np.ndarray, **options: Any) -> list[np.ndarray]:
    """The total and the gradient of vectors that lie in memory dimension by dimension."""
    vectors = torch.tensor(x.T.copy(), dtype=torch.float32).T.requires_grad_()
    t = torch.tensor(labels)
    total, _ = soft_rank_total(Ranking(vectors, t, vectors, t, torch.arange(len(t)), **options), "triton")
    return [total.detach().numpy(), torch.autograd.grad(total, vectors)[0].numpy()]


def test_vectors_may_lie_in_memory_in_any_order(interpreted):
    # 32 dimensions need no padding, which would put them in order.
    x, labels = batch([3] * 5, dim=32)
    options = {"score": SCORES[1], "temperature": 0.1}
    expected = interpreted(evaluated, "triton", x, labels, **options)
    total, gradient = interpreted(evaluated_by_columns, x, labels, **options)
    assert total == pytest.approx(expected.total, rel=1e-6)
    np.testing.assert_allclose(gradient, expected.gradients[0], rtol=1e-4, atol=1e-6)


# --- what is computed ---


class Witness(TorchDispatchMode):
    """Notes the most elements that any result has; but for the bytes that the interpreter moves to and fro."""

    def __init__(self) -> None:
        super().__init__()
        self.num_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.dtype != torch.uint8]
        self.num_elements = max([self.num_elements, *(tensor.numel() for tensor in tensors)])
        return result


def most_elements(*arguments: Any, **options: Any) -> int:
    """Of any tensor on the way to the gradient."""
    with Witness() as witness:
        evaluated(*arguments, **options)
    return witness.num_elements


@pytest.mark.parametrize(("constants", "num_rows"), [({"_STRIP_ROWS": 50}, 50), ({"_STRIP_ELEMENTS": 1}, 64)])
def test_no_tensor_outgrows_a_strip_of_similarities(interpreted, constants, num_rows):
    x, labels = batch([2] * 150, dim=3)
    options = {"score": SCORES[1], "temperature": 0.1, "constants": {"_NUM_PROGRAMS": 1, **constants}}
    assert interpreted(most_elements, "triton", x, labels, **options) == num_rows * 300


def gradients_that_are_wanted(query: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
    """The value, and the gradients that there are, for each choice of what needs one."""
    found: dict[str, list[Any]] = {}
    rows = torch.full((len(labels),), -1)
    for wanted in ("both", "query", "gallery", "neither"):
        x = torch.tensor(query, requires_grad=wanted in ("both", "query"))
        y = torch.tensor(gallery, requires_grad=wanted in ("both", "gallery"))
        t = torch.tensor(labels)
        with torch.set_grad_enabled(wanted != "neither"):
            loss = soft_rank_loss(x, t, y, t, rows, score=SCORES[1], temperature=0.1, implementation="triton")
        if loss.requires_grad:
            (3 * loss).backward()
        found[wanted] = [float(loss.detach()), *(None if v.grad is None else v.grad.numpy() for v in (x, y))]
    return found


def test_the_gradient_goes_only_where_it_is_wanted_and_scales_with_what_comes_after(interpreted):
    (query, labels), (gallery, _) = batch([3, 2, 2], dim=4), batch([7], dim=4, seed=1)
    found = interpreted(gradients_that_are_wanted, query.astype(np.float32), gallery.astype(np.float32), labels)
    value, by_query, by_gallery = found["both"]
    arguments = (query, labels, gallery, labels, np.full(7, -1))
    expected = evaluated("reference", *arguments, dtype=torch.float64, score=SCORES[1], temperature=0.1)
    assert value == pytest.approx(float(expected.total) / 7, rel=1e-5)
    np.testing.assert_allclose(by_query, expected.gradients[0] * 3 / 7, atol=1e-5)
    np.testing.assert_allclose(by_gallery, expected.gradients[1] * 3 / 7, atol=1e-5)
    for wanted, gradients in (("query", (by_query, None)), ("gallery", (None, by_gallery)), ("neither", (None, None))):
        assert found[wanted][0] == value
        for ours, theirs in zip(found[wanted][1:], gradients):
            np.testing.assert_array_equal(ours, theirs)


def refusal_of_a_second_derivative(x: np.ndarray, labels: np.ndarray) -> str:
    """The text of the error."""
    vectors, t = torch.tensor(x, requires_grad=True, dtype=torch.float32), torch.tensor(labels)
    loss = soft_rank_loss(
        vectors, t, vectors, t, torch.arange(len(t)), score=SCORES[0], temperature=0.1, implementation="triton"
    )
    with pytest.raises(NotImplementedError) as refused:
        torch.autograd.grad(loss, vectors, create_graph=True)
    return str(refused.value)


def test_a_second_derivative_is_refused(interpreted):
    assert "no second derivative" in interpreted(refusal_of_a_second_derivative, *batch([2, 2], dim=3))


# --- the compiler ---


class NoGPU:
    """As much of a driver as the compiler asks for."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled_kernels(cache: str, dim: int) -> list[tuple[str, int]]:
    """The kernels that one trial needs, compiled for Hopper and not run; and the shared memory of a program of each."""
    os.environ["TRITON_CACHE_DIR"] = cache
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(NoGPU())
    programs._precision = lambda device: "tf32x3"
    compiled = []
    run = JITFunction.run

    def compile_only(kernel: Any, *arguments: Any, warmup: bool, **options: Any) -> None:
        metadata = run(kernel, *arguments, warmup=True, **options).metadata
        compiled.append((kernel.__name__, metadata.shared))

    JITFunction.run = compile_only
    choice.largest_difference(triton.soft_rank_total, CPU, dim)
    return compiled


def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("this machine has no triton")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        compiled = pool.submit(compiled_kernels, str(tmp_path), 512).result()
    assert [name for name, _ in compiled] == ["count_ahead", "similarity_gradient"] * 2
    # Of the 227 KiB that a program may have there.
    assert all(0 < size <= 227 * 1024 for _, size in compiled)


# --- which implementation ---


def test_a_cpu_takes_chunked_and_any_can_be_named():
    query = ranking_of(torch.zeros(4, 3))
    assert choice.chosen_implementation("auto", query) is chunked.soft_rank_total
    assert choice.chosen_implementation("chunked", query) is chunked.soft_rank_total
    assert choice.chosen_implementation("reference", query) is reference.soft_rank_total
    with pytest.raises(ValueError, match=r"implementation='cuda' is not one of: auto, reference, chunked, triton"):
        choice.chosen_implementation("cuda", query)


def test_the_kernels_by_name_need_a_gpu_and_triton(monkeypatch):
    query = ranking_of(torch.zeros(4, 3))
    monkeypatch.setattr(programs, "_kernels", lambda: SimpleNamespace(INTERPRETS=False))
    with pytest.raises(
        UserError, match=r"needs vectors on a CUDA device; these are on 'cpu'.*implementation='chunked'"
    ):
        choice.chosen_implementation("triton", query)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "shelfmark.ops.soft_rank.kernels", raising=False)
    with pytest.raises(UserError, match=r"needs the package triton, which cannot be imported here"):
        choice.chosen_implementation("triton", query)


def ranking_of(vectors: Any, temperature: float = 0.01) -> Ranking:
    """As much of a ranking as the choice depends on."""
    rows = torch.arange(4)
    return Ranking(vectors, rows, vectors, rows, rows, SCORES[1], temperature)


@pytest.fixture
def on_gpu(monkeypatch) -> Iterator[Callable[..., Any]]:
    """The implementation that `auto` takes for vectors on a GPU, where the trial of the kernels runs on the CPU."""
    trial = choice.largest_difference
    monkeypatch.setattr(choice, "largest_difference", lambda function, device, dim: trial(function, CPU, dim))
    query = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0), dtype=torch.float32, shape=(4, 512))
    choice._agrees.cache_clear()
    yield lambda temperature=0.01: choice.chosen_implementation("auto", ranking_of(query, temperature))
    choice._agrees.cache_clear()


def test_a_gpu_takes_kernels_that_agree_after_one_trial(on_gpu, monkeypatch, caplog):
    trials = []

    def right(ranking: Ranking) -> tuple[Tensor, int]:
        trials.append(len(ranking.query))
        return chunked.soft_rank_total(ranking)

    monkeypatch.setattr(triton, "soft_rank_total", right)
    assert on_gpu() is right
    assert on_gpu() is right
    # Similarities are taken in float64 there.
    assert on_gpu(0.005) is chunked.soft_rank_total
    assert trials == [150, 75]
    assert caplog.text == ""


def in_tf32(ranking: Ranking) -> tuple[Tensor, int]:
    """`chunked` of vectors that have lost the digits which TF32 has not."""

    def shortened(vectors: Tensor) -> Tensor:
        scale = vectors.detach().abs().log2().floor().exp2() / 1024
        return vectors + ((vectors / scale).round() * scale - vectors).detach()

    short = shortened(ranking.query)
    gallery = short if ranking.one_batch else shortened(ranking.gallery)
    return chunked.soft_rank_total(ranking.with_vectors(short, gallery))


def broken(ranking: Ranking) -> tuple[Tensor, int]:
    raise RuntimeError("no kernel image is available")


def undefined(ranking: Ranking) -> tuple[Tensor, int]:
    return (ranking.query * math.nan).sum() + (ranking.gallery * math.nan).sum(), 3


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [(in_tf32, "differ from torch's result by "), (broken, "RuntimeError: no kernel image"), (undefined, "by nan")],
)
def test_a_gpu_whose_kernels_do_not_agree_takes_chunked_and_says_so_once(on_gpu, monkeypatch, caplog, kernels, reason):
    monkeypatch.setattr(triton, "soft_rank_total", kernels)
    assert on_gpu() is chunked.soft_rank_total
    assert on_gpu() is chunked.soft_rank_total
    [warning] = caplog.messages
    assert warning.startswith("warning: the ranking losses do without Triton's kernels on cuda:0")
    assert reason in warning


# --- a GPU ---


def on_cuda(sizes: list[int], dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, their labels and their row numbers."""
    x, labels = batch(sizes, dim)
    vectors = torch.tensor(x, dtype=torch.float32, device="cuda").requires_grad_()
    return vectors, torch.tensor(labels, device="cuda"), torch.arange(len(x), device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("one_batch", [True, False])
@pytest.mark.parametrize(("sizes", "dim"), [([4] * 512, 512), ([1, 2, 3, 30, 50, *[5] * 180], 70)])
def test_on_a_gpu_the_kernels_agree_with_chunked(score, one_batch, sizes, dim):
    gallery, labels, rows = on_cuda(sizes, dim)
    results = []
    for implementation, dtype in (("triton", torch.float32), ("chunked", torch.float64)):
        y = gallery.detach().to(dtype).requires_grad_()
        x = y if one_batch else y.detach()[::3].requires_grad_()
        own = rows if one_batch else rows[::3]
        total, _ = soft_rank_total(Ranking(x, labels[own], y, labels, own, score, temperature=0.01), implementation)
        results.append([total.detach(), *torch.autograd.grad(total, [x] if one_batch else [x, y])])
    for ours, theirs in zip(*results):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.gpu
def test_on_a_gpu_auto_takes_the_kernels_and_two_runs_agree_to_the_last_bit():
    x, labels, rows = on_cuda([4] * 500 + [40, 30, 1], 512)
    assert choice.chosen_implementation("auto", ranking_of(x)) is triton.soft_rank_total
    losses = [soft_rank_loss(x, labels, x, labels, rows, score=SCORES[1], temperature=0.01) for _ in range(2)]
    gradients = [torch.autograd.grad(loss, x)[0] for loss in losses]
    assert torch.equal(*losses)
    assert torch.equal(*gradients)


@pytest.mark.gpu
def test_on_a_gpu_the_memory_is_far_below_that_of_all_similarities():
    x, labels, rows = on_cuda([4] * 8192, 64)
    choice.chosen_implementation("auto", ranking_of(x))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    soft_rank_loss(x, labels, x, labels, rows, score=SCORES[1], temperature=0.01, implementation="triton").backward()
    assert torch.cuda.max_memory_allocated() - before < 32768**2 * 4 / 8
