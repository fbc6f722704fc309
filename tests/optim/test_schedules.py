"""The learning rate of every step, beside torch's recursive schedulers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from from_options import learning_rate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from shelfmark.core.errors import UserError
from shelfmark.optim import StagedRate


def rates_of_torch(scheduler_class: type[LRScheduler], base: float, num_steps: int, **options: Any) -> list[float]:
    """The rates that torch's own recursive scheduler gives, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = scheduler_class(optimizer, **options)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_2020_schedule_has_its_authors_epochs() -> None:
    rate = learning_rate(0.5, "multistep", steps_per_epoch=7, num_epochs=50, milestones_epochs=(10, 20, 30))
    for first_epoch, last_epoch, expected in [(0, 9, 0.5), (10, 19, 0.05), (20, 29, 0.005), (30, 49, 5e-4)]:
        for step in (first_epoch * 7, last_epoch * 7 + 6):
            assert rate.at(step) == pytest.approx(expected, rel=1e-12)


def test_each_milestone_may_have_its_own_factor() -> None:
    rate = learning_rate(
        0.5,
        "multistep",
        steps_per_epoch=2,
        num_epochs=60,
        milestones_epochs=(10, 20, 30, 50),
        gamma=(0.1, 0.1, 0.1, 0.2),
    )
    assert [rate.at(2 * epoch) for epoch in (9, 10, 20, 30, 49, 50, 59)] == pytest.approx(
        [0.5, 0.05, 0.005, 5e-4, 5e-4, 1e-4, 1e-4], rel=1e-12
    )


def test_warm_up_rises_in_a_straight_line_and_hands_over_at_the_base() -> None:
    rate = learning_rate(0.8, "constant", steps_per_epoch=4, num_epochs=5, warmup_epochs=1, warmup_factor=0.25)
    assert [rate.at(step) for step in range(6)] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8, 0.8])


def test_cosine_starts_at_the_base_after_warm_up_and_ends_at_the_final_factor() -> None:
    rate = learning_rate(0.4, "cosine", steps_per_epoch=10, num_epochs=3, final_factor=0.1, warmup_epochs=0.9)
    assert rate.at(9) == pytest.approx(0.4)
    assert rate.at(19) == pytest.approx((0.4 + 0.04) / 2)
    assert rate.at(29) == pytest.approx(0.04)
    assert rate.at(30) == rate.at(1000) == rate.at(29)


def test_milestones_are_counted_from_the_start_and_may_fall_within_an_epoch() -> None:
    options = {"steps_per_epoch": 4, "num_epochs": 4, "milestones_epochs": (1.5, 3, 9), "gamma": 0.5}
    expected = [1.0] * 6 + [0.5] * 6 + [0.25] * 4
    assert [learning_rate(1.0, "multistep", **options).at(step) for step in range(16)] == expected
    assert learning_rate(1.0, "multistep", **options).at(1000) == 0.25
    warmed = learning_rate(1.0, "multistep", **options, warmup_epochs=1)
    assert [warmed.at(step) for step in range(4, 16)] == expected[4:]


def test_a_milestone_of_a_fraction_of_an_epoch_is_a_whole_step() -> None:
    rate = learning_rate(1.0, "multistep", steps_per_epoch=100, num_epochs=2, milestones_epochs=(0.29,))
    # 0.29 * 100 is 28.999999999999996.
    assert (rate.at(28), rate.at(29)) == (1.0, 0.1)


@given(base=st.floats(1e-4, 10), final=st.floats(0, 1), steps=st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_cosine_equals_torchs(base: float, final: float, steps: int) -> None:
    rate = learning_rate(base, "cosine", steps_per_epoch=steps, num_epochs=1, final_factor=final)
    oracle = rates_of_torch(CosineAnnealingLR, base, steps, T_max=steps - 1, eta_min=base * final)
    assert [rate.at(step) for step in range(steps)] == pytest.approx(oracle, rel=1e-6, abs=1e-9)


def test_multistep_equals_torchs() -> None:
    rate = learning_rate(0.3, "multistep", steps_per_epoch=3, num_epochs=8, milestones_epochs=(2, 5), gamma=0.2)
    oracle = rates_of_torch(MultiStepLR, 0.3, 24, milestones=[6, 15], gamma=0.2)
    assert [rate.at(step) for step in range(24)] == pytest.approx(oracle)


@given(
    name=st.sampled_from(["multistep", "cosine", "constant"]),
    warmup=st.floats(0, 2.9),
    factor=st.floats(0, 1),
    steps=st.integers(1, 9),
)
@settings(max_examples=30, deadline=None)
def test_rates_stay_within_the_base_in_any_order_of_asking(name: str, warmup: float, factor: float, steps: int) -> None:
    options = {"steps_per_epoch": steps, "num_epochs": 3, "milestones_epochs": (1, 2), "warmup_epochs": warmup}
    rate = learning_rate(0.5, name, **options, warmup_factor=factor)
    rates = [rate.at(step) for step in range(3 * steps)]
    assert all(0 <= value <= 0.5 * (1 + 1e-12) for value in rates)
    resumed = learning_rate(0.5, name, **options, warmup_factor=factor)
    assert [resumed.at(step) for step in reversed(range(3 * steps))] == rates[::-1]


def test_a_training_of_one_step_uses_the_base() -> None:
    assert learning_rate(0.5, "cosine", steps_per_epoch=1, num_epochs=1).at(0) == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "multistep"}, r"multistep needs optim\.schedule\.milestones_epochs.*constant"),
        ({"name": "multistep", "milestones_epochs": (20, 10)}, r"\[20\.0, 10\.0\] must be above 0 and rising"),
        ({"name": "multistep", "milestones_epochs": (0, 10)}, r"\[0\.0, 10\.0\] must be above 0 and rising"),
        ({"name": "multistep", "milestones_epochs": (10, 10)}, r"each once"),
        ({"name": "multistep", "milestones_epochs": (1,), "gamma": (0.1, 0.2)}, "gamma has 2 factors for 1 milestones"),
        ({"name": "multistep", "milestones_epochs": (1,), "gamma": 0.0}, r"gamma=\[0\.0\] must be above 0"),
        ({"name": "cosine", "warmup_epochs": 2}, r"warmup_epochs=2 does not end within train\.num_epochs=2"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        learning_rate(0.1, steps_per_epoch=5, num_epochs=2, **options)


def test_each_stage_counts_its_steps_from_its_own_beginning() -> None:
    first = learning_rate(1.0, "cosine", steps_per_epoch=4, num_epochs=2)
    second = learning_rate(0.2, "multistep", steps_per_epoch=4, num_epochs=3, milestones_epochs=(1.0,))
    staged = StagedRate(((0, first), (8, second)))
    assert [staged.at(step) for step in range(8)] == [first.at(step) for step in range(8)]
    assert [staged.at(step) for step in range(8, 24)] == [second.at(step) for step in range(16)]
    assert (staged.at(8), staged.at(12)) == (0.2, pytest.approx(0.02))


def rates_of_fastretri(base: float, smallest: float, epochs: int, steps: int, warmup_steps: int) -> list[float]:
    """Step by step as that project does it: a warm-up by steps, and torch's cosine by epochs once past that."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    num_waves = epochs - -(-warmup_steps // steps)
    cosine = CosineAnnealingLR(optimizer, T_max=num_waves, eta_min=smallest)
    rates = []
    for step in range(epochs * steps):
        warm = min(1.0, 0.1 * (1 - step / warmup_steps) + step / warmup_steps)
        rates.append(optimizer.param_groups[0]["lr"] * warm)
        if (step + 1) % steps == 0 and step > warmup_steps:
            optimizer.step()
            cosine.step()
    return rates


@pytest.mark.parametrize(
    ("base", "smallest", "epochs", "steps", "peak_epoch"),
    [(0.02, 2e-5, 30, 45, 22), (0.003, 3e-5, 20, 465, 2)],
    ids=["cub", "short_sop"],
)
def test_warm_up_by_steps_and_cosine_by_epochs_are_fastretris(
    base: float, smallest: float, epochs: int, steps: int, peak_epoch: int
) -> None:
    rate = learning_rate(
        base,
        "cosine",
        steps_per_epoch=steps,
        num_epochs=epochs,
        final_factor=smallest / base,
        warmup_steps=1000,
        warmup_factor=0.1,
        per_epoch=True,
    )
    oracle = rates_of_fastretri(base, smallest, epochs, steps, warmup_steps=1000)
    assert [rate.at(step) for step in range(epochs * steps)] == pytest.approx(oracle, rel=1e-9, abs=1e-12)
    # Worked out by hand: a tenth at first, more than half at step 500, the base within an epoch, the end in the last.
    assert rate.at(0) == pytest.approx(0.1 * base)
    assert rate.at(500) == pytest.approx(0.55 * base)
    assert rate.at(1000) == base
    assert 1000 // steps == peak_epoch
    assert rate.at(steps * (epochs - 1)) == rate.at(steps * epochs - 1) == pytest.approx(smallest)


def test_the_cosine_by_epochs_of_cub_worked_out_by_hand() -> None:
    rate = learning_rate(
        0.02, "cosine", steps_per_epoch=45, num_epochs=30, final_factor=0.001, warmup_steps=1000, per_epoch=True
    )
    # 30 - ceil(1000 / 45) = 7 falls, with cos(pi k / 7) for k = 1, 2 and 7: 0.9009689, 0.6234898 and -1.
    # 0.00002 + 0.00999 * (1 + cos).
    expected = [0.01901068, 0.01623866, 0.00002]
    assert [rate.at(45 * epoch) for epoch in (23, 24, 29)] == pytest.approx(expected, rel=1e-6)


def test_without_a_warm_up_the_cosine_by_epochs_is_torchs() -> None:
    rate = learning_rate(0.4, "cosine", steps_per_epoch=3, num_epochs=5, final_factor=0.1, per_epoch=True)
    oracle = rates_of_torch(CosineAnnealingLR, 0.4, 5, T_max=5, eta_min=0.04)
    assert [rate.at(3 * epoch + 2) for epoch in range(5)] == pytest.approx(oracle)


def test_a_warm_up_in_steps_must_end() -> None:
    with pytest.raises(UserError, match=r"warmup_steps=10 does not end within the 10 steps"):
        learning_rate(0.1, "cosine", steps_per_epoch=5, num_epochs=2, warmup_steps=10)
