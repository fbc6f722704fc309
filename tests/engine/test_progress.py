"""Where a run stands, and that it survives being saved."""

from __future__ import annotations

import pytest
import torch

from shelfmark.engine.progress import Progress, random_state, restore_random_state


def test_the_means_of_an_epoch_are_those_of_its_steps() -> None:
    progress = Progress()
    for value in (1.0, 2.0, 6.0):
        progress.add({"loss": torch.tensor(value)})
    assert progress.means() == {"loss": pytest.approx(3.0)}
    assert (progress.step, progress.step_in_epoch) == (3, 3)


def test_an_epoch_interrupted_and_resumed_has_the_same_means_to_the_last_digit() -> None:
    values = [torch.tensor(value) for value in (0.1, 0.7, 1e-4, 3.3)]
    whole = Progress()
    first = Progress()
    for value in values:
        whole.add({"loss": value})
    for value in values[:2]:
        first.add({"loss": value})
    resumed = Progress.from_state(first.state_dict())
    for value in values[2:]:
        resumed.add({"loss": value})
    assert resumed.means() == whole.means()


def test_a_new_epoch_starts_its_sums_anew_and_keeps_the_step() -> None:
    progress = Progress()
    progress.add({"loss": torch.tensor(5.0)})
    progress.next_epoch()
    assert (progress.epoch, progress.step_in_epoch, progress.step, progress.means()) == (1, 0, 1, {})


def test_a_saved_progress_does_not_follow_the_run() -> None:
    progress = Progress()
    progress.add({"loss": torch.tensor(5.0)})
    state = progress.state_dict()
    progress.add({"loss": torch.tensor(5.0)})
    assert (state["step"], float(state["sums"]["loss"])) == (1, 5.0)


def test_the_generators_of_layers_go_on_where_they_were() -> None:
    torch.manual_seed(3)
    state = random_state()
    expected = torch.rand(4)
    restore_random_state(state)
    assert torch.equal(torch.rand(4), expected)


def test_a_loss_that_joins_in_mid_epoch_has_the_mean_of_its_own_steps_and_one_that_leaves_has_none() -> None:
    progress = Progress()
    for _ in range(3):
        progress.add({"loss": torch.tensor(1.0), "old": torch.tensor(1.0)})
    progress.change_losses(["old"], ["new"])
    for _ in range(2):
        progress.add({"loss": torch.tensor(2.0), "new": torch.tensor(2.0)})
    assert progress.means() == {"loss": 7 / 5, "new": 2.0}
    progress.next_epoch()
    progress.add({"loss": torch.tensor(1.0), "new": torch.tensor(4.0)})
    assert progress.means() == {"loss": 1.0, "new": 4.0}
