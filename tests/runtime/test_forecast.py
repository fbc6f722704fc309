"""The arithmetic of a forecast, by hand, and its measurements against each other."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_network
from steps import step_of

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.sizes import memory_size, size_text
from shelfmark.engine.options import EmaOptions
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy
from shelfmark.runtime.forecast.forecast import Shape, Time, forecast
from shelfmark.runtime.forecast.measured import Held, MeasuredStep, Peak, measured_step

HELD = Held(weights=100, gradients=90, optimizer=180, average=0, memories=0)
# Of 8 images a step adds 1000, of one more 100; 90 of it are gradients.
STEP = MeasuredStep(HELD, (Peak(4, 600, 400), Peak(8, 1000, 800)), at_once=8, step_s=2.0, is_whole=True)
SHAPE = Shape(batch_size=16, size_px=1, num_classes=5, grad_cache=0)
TIME = Time(num_steps=(10, 5), step_s=(2.0, 1.0), read_s=1.5, evaluation_s=7.0, has_workers=True)
ABOUT = {"device": "cpu", "precision": "fp32"}


def test_the_rows_of_the_memory_add_up_and_the_largest_batch_is_the_last_that_fits() -> None:
    found = forecast([STEP], [SHAPE], program_bytes=50, limit_bytes=10_000, time=TIME, about=ABOUT)
    # 16 pictures of one pixel: 3 numbers of 4 bytes each.
    assert found.memory.inputs == 192
    assert found.memory.total == 50 + (100 + 180) + 192 + 1000
    assert found.memory.logits == 8 * 5 * 4
    # In two parts a batch of 2n pictures takes 24n bytes, and its step 200 + 100n: 50 + 280 + 200 + 124n <= 9500.
    assert found.largest_at_once == 72
    assert found.largest_batch == 144
    assert found.total_at(4) == found.memory.total - 400
    assert not forecast([STEP], [SHAPE], 50, 1_500, TIME, ABOUT).memory.fits


def test_a_small_step_whose_gradients_are_the_highest_point_does_not_hide_what_an_image_takes() -> None:
    flat = MeasuredStep(HELD, (Peak(4, 95, 40), Peak(8, 95, 80)), at_once=8, step_s=2.0, is_whole=True)
    assert flat.image_bytes == 10
    assert MeasuredStep(HELD, (Peak(8, 95, 80),), 8, 2.0, True).image_bytes == 10


def test_steps_wait_for_pictures_and_without_workers_add_to_them() -> None:
    assert TIME.training_s == 10 * 2.0 + 5 * 1.5
    assert TIME.total_s == TIME.training_s + 7
    alone = Time((10, 5), (2.0, 1.0), 1.5, 7.0, has_workers=False)
    assert alone.training_s == 10 * 3.5 + 5 * 2.5
    assert TIME.waits
    assert not alone.waits


def test_what_is_held_is_counted_and_a_larger_step_is_as_foretold() -> None:
    network = small_network(num_classes=11)
    numbers = sum(one.numel() for one in network.parameters())
    adam = torch.optim.Adam(network.parameters())
    terms = [LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy())]
    step = step_of(network, terms, adam, ema=EmaOptions(decay=0.9))
    batch = Batch(torch.randn(32, 3, 48, 48), torch.arange(32) % 11, torch.arange(32))
    part = Batch(batch.images[:8], batch.labels[:8], batch.rows[:8])
    small = measured_step(step.state, step, part, 1e-3, 1 << 34)
    whole = measured_step(step.state, step, batch, 1e-3, 1 << 34)
    assert small.held.gradients == 4 * numbers
    assert small.held.optimizer == 2 * 4 * numbers
    assert small.held.average == small.held.weights > 4 * numbers
    assert [peak.num_images for peak in whole.peaks] == [4, 8, 16, 32]
    assert whole.is_whole
    assert whole.step_s > 0
    assert small.peak_at(32) == pytest.approx(whole.peaks[-1].step, rel=0.15)


def test_what_would_not_fit_is_not_tried() -> None:
    network = small_network(num_classes=11)
    terms = [LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy())]
    step = step_of(network, terms, torch.optim.SGD(network.parameters()))
    batch = Batch(torch.randn(32, 3, 48, 48), torch.arange(32) % 11, torch.arange(32))
    sizes = []
    forward = network.forward
    network.forward = lambda images: (sizes.append(len(images)), forward(images))[1]  # type: ignore[method-assign]
    found = measured_step(step.state, step, batch, 1e-3, limit_bytes=6_000_000)
    assert max(sizes) < 32
    assert not found.is_whole
    assert found.at_once == 32


def test_sizes_are_read_and_written() -> None:
    assert [memory_size(one) for one in ("16GB", "16 GiB", "800mb", "1.5g", "123")] == [
        *(16 * 10**9, 16 << 30, 800 * 10**6, 1_500_000_000, 123)
    ]
    assert [size_text(size) for size in (24e9, 1.5e6, 800)] == ["24.0 GB", "1.5 MB", "800 bytes"]
    for wrong in ("", "much", "-3GB", "16 apples", "0"):
        with pytest.raises(UserError, match="write it as 16GB"):
            memory_size(wrong)
