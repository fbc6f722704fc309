"""Triton's kernels where they are compiled, and which implementation of the soft-rank losses is taken where."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from soft_rank_cases import IMPRECISION, SCORES, batch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops import soft_rank
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


def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path, monkeypatch):
    pytest.importorskip("triton", reason="this machine has no triton")
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    shared_memory: dict[str, int] = {}
    run = JITFunction.run

    def compile_only(kernel: Any, *arguments: Any, warmup: bool, **options: Any) -> None:
        shared_memory[kernel.__name__] = run(kernel, *arguments, warmup=True, **options).metadata.shared
        kernel.device_caches.clear()

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(programs, "_precision", lambda device: "tf32x3")
    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(driver, "_active", NoGPU())
    # Where the queries are the gallery, the second kernel has all its branches.
    choice._small_case(triton.soft_rank_total, CPU, 512, torch.float32, one_batch=True)
    assert list(shared_memory) == ["count_ahead", "similarity_gradient"]
    # Of the 227 KiB that a program may have there.
    assert all(0 < size <= 227 * 1024 for size in shared_memory.values())


# --- which implementation ---


def ranking_of(vectors: Any, temperature: float = 0.01) -> Ranking:
    """As much of a ranking as the choice depends on."""
    rows = torch.arange(4)
    return Ranking(vectors, rows, vectors, rows, rows, IMPRECISION, temperature)


def test_a_cpu_takes_chunked_and_any_can_be_named():
    ranking = ranking_of(torch.zeros(4, 3))
    assert choice.chosen_implementation("auto", ranking) is chunked.soft_rank_total
    assert choice.chosen_implementation("chunked", ranking) is chunked.soft_rank_total
    assert choice.chosen_implementation("reference", ranking) is reference.soft_rank_total
    with pytest.raises(ValueError, match=r"implementation='cuda' is not one of: auto, reference, chunked, triton"):
        choice.chosen_implementation("cuda", ranking)


def test_the_kernels_by_name_need_a_gpu_and_triton(monkeypatch):
    ranking = ranking_of(torch.zeros(4, 3))
    monkeypatch.setattr(programs, "_kernels", lambda: SimpleNamespace(INTERPRETS=False))
    with pytest.raises(UserError, match=r"needs vectors on a CUDA device; these are on 'cpu'.*'chunked'"):
        choice.chosen_implementation("triton", ranking)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "shelfmark.ops.soft_rank.kernels", raising=False)
    monkeypatch.delattr(soft_rank, "kernels", raising=False)
    with pytest.raises(UserError, match=r"needs the package triton, which cannot be imported here"):
        choice.chosen_implementation("triton", ranking)


@pytest.fixture
def on_gpu(monkeypatch) -> Iterator[Callable[..., Any]]:
    """The implementation that `auto` takes for vectors on a GPU, where the trial of the kernels runs on the CPU."""
    trial = choice.largest_difference
    monkeypatch.setattr(choice, "largest_difference", lambda function, device, dim: trial(function, CPU, dim))
    vectors = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0), dtype=torch.float32, shape=(4, 512))
    choice._agrees.cache_clear()
    yield lambda temperature=0.01: choice.chosen_implementation("auto", ranking_of(vectors, temperature))
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
    losses = [soft_rank_loss(x, labels, x, labels, rows, score=IMPRECISION, temperature=0.01) for _ in range(2)]
    gradients = [torch.autograd.grad(loss, x)[0] for loss in losses]
    assert torch.equal(*losses)
    assert torch.equal(*gradients)


@pytest.mark.gpu
def test_on_a_gpu_the_memory_is_far_below_that_of_all_similarities():
    x, labels, rows = on_cuda([4] * 8192, 64)
    choice.chosen_implementation("auto", ranking_of(x))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    options = {"score": IMPRECISION, "temperature": 0.01, "implementation": "triton"}
    soft_rank_loss(x, labels, x, labels, rows, **options).backward()
    assert torch.cuda.max_memory_allocated() - before < 32768**2 * 4 / 8
