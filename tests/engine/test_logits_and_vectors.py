"""A loss of two heads at once: what it is given, and what its memory holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import step_of
from torch import Tensor, nn

from shelfmark.core.contracts import Batch, Outputs
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.precision import Precision
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import GPaCo

FP32 = Precision("fp32", torch.device("cpu"))


class TwoHeads(nn.Module):
    """Logits and vectors are the means of the images' channels, times a parameter each."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.tensor([2.0, 0.5]))

    def forward(self, images: Tensor) -> Outputs:
        means = images.mean(dim=(2, 3))
        return Outputs(means, {"classifier": means * self.factors[0], "contrast": means * self.factors[1]})


def batch(seed: int = 0) -> Batch:
    images = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(images, torch.tensor([0, 1, 0, 2]), torch.arange(4))


def step_with(memory: CrossBatchMemory | None = None, vectors_head: str = "contrast") -> TrainStep:
    network = TwoHeads()
    loss = GPaCo([5, 3, 1], alpha=1.0)
    term = LossTerm("gpaco", "classifier", 1.0, loss, "logits_and_vectors", memory=memory, vectors_head=vectors_head)
    return step_of(network, [term], torch.optim.SGD(network.parameters(), lr=1.0), FP32)


def test_the_loss_gets_the_logits_of_one_head_and_the_vectors_of_the_other_and_both_learn() -> None:
    step = step_with()
    outputs = step.state.network(batch().images)
    expected = GPaCo([5, 3, 1], alpha=1.0)(outputs.heads["classifier"], batch().labels, outputs.heads["contrast"])
    before = step.state.network.factors.detach().clone()  # type: ignore[union-attr, operator]
    assert float(step(batch(), learning_rate=0.1).losses["gpaco"]) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert (step.state.network.factors.detach() != before).all()  # type: ignore[union-attr, operator]


def test_the_memory_holds_the_vectors_and_changes_the_next_loss() -> None:
    step = step_with(CrossBatchMemory(8))
    vectors = step.state.network(batch().images).heads["contrast"].detach()
    step(batch(), learning_rate=0.0)
    remembered = step.state.terms[0].memory.rows_at(1)  # type: ignore[union-attr]
    assert remembered is not None
    assert torch.equal(remembered[0], vectors)
    outputs = step.state.network(batch(1).images)
    expected = GPaCo([5, 3, 1], alpha=1.0).over_ranks(
        outputs.heads["classifier"], batch(1).labels, outputs.heads["contrast"], memory=(vectors, batch().labels)
    )
    found = float(step(batch(1), learning_rate=0.0, step=1).losses["gpaco"])
    assert found == pytest.approx(float(expected.detach()), rel=1e-6)
    assert found != pytest.approx(float(step_with()(batch(1), learning_rate=0.0).losses["gpaco"]), rel=1e-3)


def test_a_saved_memory_belongs_to_the_head_of_the_vectors(caplog: pytest.LogCaptureFixture) -> None:
    first, same = step_with(CrossBatchMemory(8)), step_with(CrossBatchMemory(8))
    first(batch(), learning_rate=0.0)
    state = first.state.state_dict()
    assert state["memories"]["gpaco"]["head"] == "contrast"
    same.state.load_state_dict(state)
    assert len(same.state.terms[0].memory) == 4
    assert not caplog.text
    other = step_with(CrossBatchMemory(8), vectors_head="rank")
    other.state.load_state_dict(state)
    assert len(other.state.terms[0].memory) == 0
    assert "the memory of gpaco starts empty: there is none of head rank to go on from" in caplog.text


def test_a_loss_of_one_head_compares_that_head() -> None:
    term = step_with().state.terms[0]
    assert term.compared_head == "contrast"
    assert replace(term, vectors_head="").compared_head == "classifier"
