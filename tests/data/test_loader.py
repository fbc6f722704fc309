"""Batches: the same whatever the number of workers and processes, and after a resume."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
import torch
from from_options import build_order, eval_transform, train_transform
from PIL import Image
from torch.utils.data._utils import signal_handling

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import STOPPING
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.loader import TrainLoader, eval_batches
from shelfmark.data.sources import FileSource, UnreadableImage

NUM_ROWS = 26
LABELS = np.arange(NUM_ROWS) % 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for row in range(NUM_ROWS):
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(root / f"{row}.png")
    (root / "spoilt.png").write_bytes(b"spoilt")
    return root


def source(folder: Path, spoilt: tuple[int, ...] = ()) -> FileSource:
    return FileSource(["spoilt.png" if row in spoilt else f"{row}.png" for row in range(NUM_ROWS)], folder)


def training(
    folder: Path,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    spoilt: tuple[int, ...] = (),
    on_bad_image: str = "error",
    sampler: str = "class_balanced",
) -> TrainLoader:
    dataset = ImageDataset(
        source(folder, spoilt),
        LABELS,
        train_transform(8, erasing=0.3),
        seed=5,
        on_bad_image=on_bad_image,
        replace_bad=True,
    )
    order = build_order(sampler, LABELS, 4, 8, seed=5, images_per_class=2, steps_per_epoch=5)
    return TrainLoader(dataset, order, num_workers, rank=rank, world_size=world_size)


def evaluation(folder: Path, spoilt: tuple[int, ...] = (), on_bad_image: str = "error") -> ImageDataset:
    return ImageDataset(source(folder, spoilt), LABELS, eval_transform(8), seed=5, on_bad_image=on_bad_image)


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.rows, other.rows)
        assert one.bad == other.bad


def test_a_batch_holds_images_labels_and_rows_that_belong_together(folder: Path) -> None:
    loader = training(folder)
    batches = list(loader.epoch(0))
    assert len(batches) == loader.num_batches(0) == 5
    for batch in batches:
        assert batch.images.shape == (8, 3, 8, 8)
        assert batch.images.dtype == torch.float32
        assert batch.labels.dtype == batch.rows.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels, LABELS[batch.rows])


def test_the_number_of_workers_changes_nothing_in_any_epoch_or_resume(folder: Path) -> None:
    alone, two = training(folder), training(folder, num_workers=2)
    state = torch.get_rng_state()
    whole = list(alone.epoch(0))
    assert_equal(list(two.epoch(0)), whole)
    assert_equal(list(two.epoch(1)), list(alone.epoch(1)))
    assert_equal(list(two.epoch(0, start_step=3)), whole[3:])
    assert not torch.equal(next(alone.epoch(1)).images, whole[0].images)
    list(eval_batches(evaluation(folder), 10, num_workers=0))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"


def test_two_processes_read_what_one_reads(folder: Path) -> None:
    whole = list(training(folder).epoch(2))
    shares = [list(training(folder, rank=rank, world_size=2).epoch(2)) for rank in range(2)]
    for batch, first, second in zip(whole, *shares):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.rows, torch.cat([first.rows, second.rows]))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_abandoned_epoch_leaves_the_loader_ready_for_the_next(folder: Path, num_workers: int) -> None:
    loader = training(folder, num_workers=num_workers)
    for batch in loader.epoch(0):
        assert len(batch) == 8
        break
    assert_equal(list(loader.epoch(1)), list(training(folder).epoch(1)))


def test_the_workers_live_from_epoch_to_epoch_and_end_with_the_loader(folder: Path) -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    loader = training(folder, num_workers=1)
    list(loader.epoch(0))
    workers = {child.pid for child in multiprocessing.active_children()} - before
    list(loader.epoch(1))
    assert {child.pid for child in multiprocessing.active_children()} - before == workers
    assert len(workers) == 1
    del loader
    assert not {child.pid for child in multiprocessing.active_children()} & workers
    assert os.getpid() not in workers


def test_what_asks_a_run_to_end_leaves_its_workers_reading(folder: Path) -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    loader = training(folder, num_workers=1)
    batches = loader.epoch(0)
    read = [next(batches)]
    (worker,) = {child.pid for child in multiprocessing.active_children()} - before
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"):
        os.kill(worker, getattr(signal, name))
    assert_equal(read + list(batches), list(training(folder, num_workers=0).epoch(0)))


@pytest.mark.parametrize("is_training", [True, False])
def test_workers_end_with_a_loader_that_only_the_collector_frees(folder: Path, is_training: bool) -> None:
    gc.collect()
    before = {child.pid for child in multiprocessing.active_children()}
    loader = training(folder, num_workers=1) if is_training else eval_batches(evaluation(folder), 2, 1)
    batches = loader.epoch(0) if isinstance(loader, TrainLoader) else iter(loader)
    next(batches)
    cycle = [loader, batches]
    cycle.append(cycle)
    assert len({child.pid for child in multiprocessing.active_children()} - before) == 1
    time.sleep(0.3)  # until the thread that feeds the worker waits: then the end of its queue is what it hears first
    del loader, batches, cycle
    gc.collect()
    assert not {child.pid for child in multiprocessing.active_children()} - before


LEFT_IN_A_CYCLE = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
import test_loader

loader = test_loader.training(Path({folder!r}), num_workers=1)
batches = loader.epoch(0)
next(batches)
cycle = [loader, batches]
cycle.append(cycle)
print("read", flush=True)
"""


def test_a_process_ends_though_a_cycle_of_references_keeps_its_workers(folder: Path) -> None:
    here = Path(__file__).parent
    program = LEFT_IN_A_CYCLE.format(path=[str(here), str(here.parent)], folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", program], stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            told, errors = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            raise
    assert (told, errors, process.returncode) == ("read\n", "", 0)


@pytest.mark.parametrize("number", STOPPING)
def test_what_asks_a_run_to_end_spares_a_worker_that_has_only_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    set_handlers = signal_handling._set_worker_signal_handlers

    def and_is_asked_to_end() -> None:
        # In the worker, before anything of ours runs there: torch has just made SIGTERM deadly.
        set_handlers()
        os.kill(os.getpid(), number)

    monkeypatch.setattr(signal_handling, "_set_worker_signal_handlers", and_is_asked_to_end)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert_equal(list(training(folder, num_workers=1).epoch(0)), list(training(folder).epoch(0)))
    assert_equal(list(eval_batches(evaluation(folder), 10, 1)), list(eval_batches(evaluation(folder), 10, 0)))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_picture_is_named_as_it_is_without_workers(folder: Path, num_workers: int) -> None:
    loader = training(folder, num_workers=num_workers, spoilt=tuple(range(NUM_ROWS)))
    with pytest.raises(UnreadableImage, match=f"^{folder / 'spoilt.png'} could not be read: not a JPEG"):
        list(loader.epoch(0))
    with pytest.raises(UnreadableImage):
        list(eval_batches(evaluation(folder, spoilt=(3,)), 10, num_workers=num_workers))


def test_any_error_for_the_user_passes_from_a_worker_as_it_is(folder: Path) -> None:
    loader = training(folder, num_workers=1, spoilt=tuple(range(NUM_ROWS)), on_bad_image="skip")
    with pytest.raises(UserError, match=rf"^{folder / 'spoilt.png'} .* nor could 20 other images in its place"):
        list(loader.epoch(0))


def test_batches_that_cannot_be_split_over_the_processes_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="over 3 processes"):
        next(training(folder, rank=0, world_size=3).epoch(0))


def test_skipped_pictures_keep_the_shape_and_classes_of_training_batches(folder: Path) -> None:
    spoilt = (0, 5, 10)
    whole = list(training(folder, sampler="pk").epoch(0))
    loader = training(folder, num_workers=2, spoilt=spoilt, on_bad_image="skip", sampler="pk")
    batches = list(loader.epoch(0))
    assert_equal(batches, list(training(folder, spoilt=spoilt, on_bad_image="skip", sampler="pk").epoch(0)))
    for batch, undisturbed in zip(batches, whole):
        assert torch.equal(batch.labels, undisturbed.labels)
        assert not set(batch.rows.tolist()) & set(spoilt)
    assert {bad.row for batch in batches for bad in batch.bad} == set(spoilt)


# Evaluation


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_reads_every_row_once_and_in_order(folder: Path, num_workers: int) -> None:
    batches = eval_batches(evaluation(folder), 10, num_workers=num_workers)
    assert len(batches) == 3
    assert [len(batch) for batch in batches] == [10, 10, 6]
    assert torch.cat([batch.rows for batch in batches]).tolist() == list(range(NUM_ROWS))
    np.testing.assert_array_equal(torch.cat([batch.labels for batch in batches]), LABELS)


@pytest.mark.parametrize("world_size", [2, 3, 30])
def test_the_shares_of_an_evaluation_are_the_batches_of_one_process(folder: Path, world_size: int) -> None:
    dataset = evaluation(folder)
    shares = [list(eval_batches(dataset, 5, 0, rank=rank, world_size=world_size)) for rank in range(world_size)]
    batches = [batch.rows.tolist() for share in shares for batch in share]
    assert batches == [list(range(start, min(start + 5, NUM_ROWS))) for start in range(0, NUM_ROWS, 5)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("spoilt", [(0,), (25,), (3, 4, 5), (0, 1, 2), (24, 25), (0, 1, 2, 3, 4, 5, 9, 25)])
def test_a_skipped_picture_is_missing_from_its_batch_and_no_batch_is_empty(folder: Path, spoilt: tuple) -> None:
    batches = list(eval_batches(evaluation(folder, spoilt, "skip"), 3, num_workers=0))
    assert all(len(batch) for batch in batches)
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert rows == [row for row in range(NUM_ROWS) if row not in spoilt]
    assert [bad.row for batch in batches for bad in batch.bad] == list(spoilt)


def test_where_no_picture_can_be_read_one_empty_batch_reports_them_all(folder: Path) -> None:
    (batch,) = eval_batches(evaluation(folder, tuple(range(NUM_ROWS)), "skip"), 5, num_workers=0)
    assert len(batch) == 0
    assert [bad.row for bad in batch.bad] == list(range(NUM_ROWS))


class _Left:
    """Garbage of the training process, whose end says in which process it came."""

    def __init__(self, file: Path) -> None:
        self.file, self.itself = file, self

    def __del__(self) -> None:
        self.file.write_text(str(os.getpid()))


class _Collecting(FileSource):
    def read(self, row: int) -> bytes:
        gc.collect()
        return super().read(row)


def test_a_worker_does_not_end_what_its_parent_left_to_the_collector(folder: Path, tmp_path: Path) -> None:
    dataset = evaluation(folder)
    dataset.source = _Collecting([f"{row}.png" for row in range(NUM_ROWS)], folder)
    gc.collect()
    gc.disable()
    try:
        _Left(tmp_path / "ended")
        batches = list(eval_batches(dataset, 2, 1))
        assert batches
        assert not (tmp_path / "ended").exists()
    finally:
        gc.enable()
    gc.collect()
    assert (tmp_path / "ended").read_text() == str(os.getpid())
