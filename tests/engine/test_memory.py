"""The cross-batch memory: what it holds, who sees it when, and that it survives being saved."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import step_of
from torch import Tensor, nn

from shelfmark.core.contracts import Batch, Outputs
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.precision import Precision
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import QueryBlock, RetrievalLoss, Sums

FP32 = Precision("fp32", torch.device("cpu"))


def filled(num_rows: int, *batches: list[int]) -> CrossBatchMemory:
    """A memory that was given these labels; the vector of label l is (l, -l)."""
    memory = CrossBatchMemory(num_rows)
    for labels in batches:
        column = torch.tensor(labels, dtype=torch.float32)[:, None]
        memory.add(torch.cat([column, -column], dim=1), torch.tensor(labels, dtype=torch.int64))
    return memory


def labels_in(memory: CrossBatchMemory) -> list[int]:
    rows = memory.rows_at(step=0)
    if rows is None:
        return []
    vectors, labels = rows
    assert torch.equal(vectors, torch.stack([labels, -labels], dim=1).float()), "a vector lost its label"
    return labels.tolist()


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(st.lists(st.integers(-1, 50), max_size=6), max_size=6),
    num_rows=st.integers(1, 9),
)
def test_it_holds_the_newest_rows_oldest_first(batches: list[list[int]], num_rows: int) -> None:
    assert labels_in(filled(num_rows, *batches)) == [label for batch in batches for label in batch][-num_rows:]


def test_what_a_loss_was_given_does_not_change_with_the_next_batch() -> None:
    memory = filled(3, [1, 2, 3])
    vectors, labels = memory.rows_at(step=0) or pytest.fail("it is not empty")
    memory.add(torch.zeros(2, 2), torch.tensor([8, 9]))
    assert labels.tolist() == [1, 2, 3]
    assert vectors[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_its_rows_are_float32_without_gradient() -> None:
    memory = CrossBatchMemory(4)
    memory.add(torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True), torch.tensor([0, 1]))
    vectors, _ = memory.rows_at(step=0) or pytest.fail("it is not empty")
    assert (vectors.dtype, vectors.requires_grad) == (torch.float32, False)


def test_it_shows_nothing_while_empty_or_too_early() -> None:
    memory = CrossBatchMemory(4, from_step=2)
    assert memory.rows_at(step=5) is None
    memory.add(torch.ones(1, 2), torch.tensor([0]))
    assert memory.rows_at(step=1) is None
    assert memory.rows_at(step=2) is not None


@pytest.mark.parametrize(("num_rows", "kept"), [(3, [2, 3, 4]), (2, [3, 4]), (9, [2, 3, 4])])
def test_a_saved_memory_comes_back_and_another_size_keeps_the_newest_that_fit(num_rows: int, kept: list[int]) -> None:
    saved = filled(3, [1, 2], [3, 4]).state_dict()
    memory = CrossBatchMemory(num_rows)
    memory.load_state_dict(saved)
    assert labels_in(memory) == kept
    memory.add(torch.tensor([[7.0, -7.0]]), torch.tensor([7]))
    assert labels_in(memory) == [*kept, 7][-num_rows:]


def test_a_saved_memory_holds_its_own_rows_alone_and_does_not_follow_the_run() -> None:
    memory = filled(2, list(range(5000)))
    state = memory.state_dict()
    memory.add(torch.tensor([[7.0, -7.0]]), torch.tensor([7]))
    assert state["labels"].tolist() == [4998, 4999]
    stream = io.BytesIO()
    torch.save(state, stream)
    assert stream.tell() < 5000


class Seeing(RetrievalLoss):
    """Remembers the labels of every gallery that it was given, and the first column of its vectors."""

    def __init__(self) -> None:
        self.galleries: list[list[int]] = []
        self.columns: list[list[float]] = []

    def sums(self, block: QueryBlock) -> Sums:
        self.galleries.append(block.gallery_labels.tolist())
        self.columns.append(block.gallery[:, 0].tolist())
        return Sums(block.query.sum()[None], torch.ones(1))


class Scaled(nn.Module):
    """The vectors are the images' means, times a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Outputs:
        embedding = images.mean(dim=(2, 3)) * self.factor
        return Outputs(embedding, {"rank": embedding})


def run_of(loss: Seeing, memory: CrossBatchMemory | None, head: str = "rank") -> TrainStep:
    network = Scaled()
    term = LossTerm("seeing", head, 1.0, loss, consumes="vectors", memory=memory)
    return step_of(network, [term], torch.optim.SGD(network.parameters(), lr=1.0), FP32)


def batch_of(*labels: int) -> Batch:
    images = torch.tensor(labels, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 2, 2)
    return Batch(images, torch.tensor(labels), torch.tensor(labels))


def test_a_batch_joins_the_memory_after_its_own_loss_and_is_filled_before_it_is_used() -> None:
    loss = Seeing()
    step = run_of(loss, CrossBatchMemory(3, from_step=2))
    for index, labels in enumerate([(1, 2), (3, 4), (5, 6), (7, 8)]):
        step(batch_of(*labels), learning_rate=0.0, step=index)
    assert loss.galleries == [[1, 2], [3, 4], [5, 6, 2, 3, 4], [7, 8, 4, 5, 6]]


def test_the_memory_holds_vectors_as_they_were_at_their_own_step() -> None:
    loss = Seeing()
    step = run_of(loss, CrossBatchMemory(2))
    # The loss falls by 9 with the factor, so the factor goes from 1 to -8.
    step(batch_of(1, 2), learning_rate=1.0, step=0)
    step(batch_of(3), learning_rate=0.0, step=1)
    assert loss.columns == [[1.0, 2.0], [3.0 * -8.0, 1.0, 2.0]]


def test_a_step_goes_on_from_its_state_with_the_memory() -> None:
    first, second = run_of(Seeing(), CrossBatchMemory(3)), run_of(Seeing(), CrossBatchMemory(3))
    first(batch_of(1, 2), learning_rate=0.0)
    second.state.load_state_dict(first.state.state_dict())
    second(batch_of(5), learning_rate=0.0, step=1)
    assert second.state.terms[0].function.galleries == [[5, 1, 2]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("lacks", ["key", "term", "head"])
def test_without_a_saved_memory_of_its_head_a_term_starts_with_an_empty_one_and_says_so(
    lacks: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_of(Seeing(), CrossBatchMemory(3))
    first(batch_of(1, 2), learning_rate=0.0)
    state = first.state.state_dict()
    if lacks == "key":
        del state["memories"]
    elif lacks == "term":
        state["memories"] = {}
    else:
        state["memories"]["seeing"]["head"] = "other"
    second = run_of(Seeing(), CrossBatchMemory(3))
    second.state.load_state_dict(state)
    second(batch_of(5), learning_rate=0.0, step=1)
    assert second.state.terms[0].function.galleries == [[5]]  # type: ignore[attr-defined]
    assert "the memory of seeing starts empty" in caplog.text


def test_a_run_without_memory_leaves_a_saved_one_aside() -> None:
    first, second = run_of(Seeing(), CrossBatchMemory(3)), run_of(Seeing(), None)
    first(batch_of(1, 2), learning_rate=0.0)
    second.state.load_state_dict(first.state.state_dict())
    assert second.state.state_dict()["memories"] == {}
