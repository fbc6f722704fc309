"""`shelfmark plan`, and what is said to a training that is out of memory."""

from __future__ import annotations

import json
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from untrained_models import make_place, options

from shelfmark.cli import main
from shelfmark.config.load import Loaded
from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.engine.step import TrainStep
from shelfmark.pipelines import memory_help
from shelfmark.recipe import Recipe
from shelfmark.runtime.forecast.forecast import Forecast, Memory, Shape, Time
from shelfmark.runtime.forecast.measured import Held

CPU_WORDS = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    " 800000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    return tmp_path


def planned(place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    words = ["plan", *options(place), "optim.schedule.warmup_epochs=0", "train.batch_size=12", *more, "--json"]
    assert main(words) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_plan_adds_up_counts_every_stage_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(place.rglob("*"))
    stages = ["train.num_epochs=3", "model.freeze=[backbone]", "train.stages=[{from_epoch: 1, freeze: []}]"]
    found = planned(place, capsys, *stages, "optim.name=adamw", "--memory", "16GB")
    memory = found["memory"]
    parts = ("weights", "gradients", "optimizer", "average", "memories", "pictures", "activations", "program")
    assert memory["total"] == sum(memory[name] for name in parts)
    assert memory["limit"] == 16 * 10**9
    # The second stage needs the most: there the whole network learns, with two numbers of AdamW each.
    assert memory["optimizer"] == 2 * memory["gradients"] > memory["weights"]
    assert found["fits"] is True
    # 13 images give one step an epoch: one in the first stage, two in the second.
    assert found["time"]["steps"] == 3
    assert len(found["time"]["step_s"]) == 2
    assert found["time"]["total_s"] == found["time"]["training_s"] + found["time"]["evaluation_s"]
    assert set(place.rglob("*")) == before


def test_parts_lower_the_memory_of_a_step(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = planned(place, capsys, "data.input_size_px=64")
    parts = planned(place, capsys, "data.input_size_px=64", "train.accumulate_steps=3")
    assert (whole["images_at_once"], parts["images_at_once"]) == (12, 4)
    assert parts["memory"]["activations"] < 0.7 * whole["memory"]["activations"]
    assert parts["largest_batch"] == 3 * parts["largest_at_once"]


def test_the_largest_pictures_of_a_training_decide_its_memory(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = planned(place, capsys, "data.input_size_px=96", "train.num_epochs=3")
    grows = ["data.input_size_px=32", "train.num_epochs=3", "augment.sizes=[{from_epoch: 1, size_px: 96}]"]
    growing = planned(place, capsys, *grows)
    assert growing["memory"]["pictures"] == large["memory"]["pictures"] == 12 * 3 * 96 * 96 * 4
    assert growing["memory"]["activations"] == pytest.approx(large["memory"]["activations"], rel=0.1)
    # One step an epoch: one of small pictures, two of large ones.
    assert growing["time"]["steps"] == 3
    small_s, large_s = growing["time"]["step_s"]
    assert growing["time"]["training_s"] == pytest.approx(small_s + 2 * large_s + 3 * growing["time"]["read_s"])


def test_a_smaller_batch_takes_less_at_once_only_as_far_as_its_parts_do() -> None:
    def totals(at_once: int, **train: int) -> dict[str, float]:
        loaded = Loaded(Recipe(), {})
        loaded = memory_help._changed(loaded, "train", {"batch_size": 64, **train})
        loaded = memory_help._changed(loaded, "model", {"grad_checkpointing": True})
        loaded = memory_help._changed(loaded, "data", {"input_size_px": 64})
        held = Held(weights=100, gradients=0, optimizer=0, average=0, memories=0)
        shape = Shape(64, 64, 10, train.get("grad_cache", 0))
        memory = Memory(0, held, inputs=0, activations=10 * at_once, logits=0, limit=500)
        times = Time((1,), (1.0,), 0.0, 0.0, has_workers=False)
        now = Forecast("cpu", "fp32", shape, memory, at_once, 0, None, 10.0, times, ())
        return {option: total for option, _, total in memory_help._measured_options(loaded, None, now)}

    assert totals(64)["train.batch_size=32"] == 100 + 10 * 32
    # Four parts of eight images, and not 32 images at once; a part of GradCache is as large as it was.
    assert totals(16, accumulate_steps=4)["train.batch_size=32"] == 100 + 10 * 8
    assert totals(8, grad_cache=8)["train.batch_size=32"] == 100 + 10 * 8
    assert totals(1, grad_cache=1) == {"train.batch_size=32": 110}


@pytest.mark.parametrize(
    ("error", "head", "first"),
    [
        (RuntimeError(CPU_WORDS), [], "train.accumulate_steps="),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), ["smooth_ap"], "train.grad_cache="),
    ],
)
def test_a_training_out_of_memory_is_told_three_options_with_numbers(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    head: list[str],
    first: str,
) -> None:
    taken = TrainStep.__call__

    def limited(self: TrainStep, batch: Batch, *more: Any, **named: Any) -> Any:
        if len(batch) > 8:
            raise error
        return taken(self, batch, *more, **named)

    monkeypatch.setattr(TrainStep, "__call__", limited)
    losses = ["model.heads.rank.dim=4", f"losses=[{{name: {head[0]}, head: rank}}]"] if head else []
    more = ["name=mine", "data.input_size_px=96", "train.batch_size=12", "train.num_epochs=1"]
    assert main(["train", *options(place), *more, *losses, "optim.schedule.warmup_epochs=0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is not enough memory: ")
    assert "Traceback" not in said
    assert "no checkpoint was saved in log/mine" in said
    helps = [line for line in said.splitlines() if line.startswith("  ")]
    assert len(helps) == 3
    assert helps[0].startswith(f"  {first}")
    assert all(re.search(r"about [\d.,]+ [GM]B", line) for line in helps)
    assert not (place / "log" / "mine").exists()


def test_another_error_of_torch_is_not_taken_for_one_of_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(TrainStep, "__call__", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        main(["train", *options(place), "train.batch_size=12", "train.num_epochs=1", "optim.schedule.warmup_epochs=0"])


def test_the_tensors_of_the_training_are_freed_before_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def work() -> None:
        weights = torch.ones(9)
        kept.append(weakref.ref(weights))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(memory_help, "memory_help", lambda *_: str(alive.append(kept[0]() is not None)))
    with pytest.raises(UserError, match="CUDA out of memory"):
        memory_help.with_memory_help(work, Loaded(Recipe(), {}), None)
    assert alive == [False]
