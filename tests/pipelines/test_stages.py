"""Training in stages: what each freezes, restarts and samples, and that a resume lands in the right one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from shelfmark.engine.journal import read_journal
from shelfmark.pipelines import train

STAGES = [
    *SMALL,
    "losses=[{name: cross_entropy, label_smoothing: 0.1}, {name: smooth_ap, head: rank, until_epoch: 1}]",
    "train.num_epochs=3",
    "train.steps_per_epoch=4",
    "train.stages=[{from_epoch: 1, freeze: [backbone], classifier: restart, sampling: class_balanced, lr: 0.5}]",
    "eval.every_epochs=3",
    "augment.sizes=[{from_epoch: 0, size_px: 24}, {from_epoch: 2, size_px: 40}]",
]


def _train_records(folder: Path) -> dict[int, Any]:
    return {record["step"]: record for record in read_journal(folder / "metrics.jsonl") if record["kind"] == "train"}


@pytest.fixture
def kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Path]:
    """Every checkpoint that a run writes, by its step."""
    folders: dict[int, Path] = {}

    def keep(folder: Path, model: Any, state: Any, facts: Any) -> None:
        save_checkpoint(folder, model, state, facts)
        folders[facts["step"]] = small / "points" / str(facts["step"])
        shutil.copytree(folder, folders[facts["step"]], dirs_exist_ok=True)

    monkeypatch.setattr(train, "save_checkpoint", keep)
    return folders


def _backbone(checkpoint: Checkpoint) -> torch.Tensor:
    return torch.cat([value.flatten().float() for name, value in checkpoint.model.items() if "backbone" in name])


def test_a_stage_freezes_restarts_and_samples_and_every_resume_gives_the_same_digits(kept: dict[int, Path]) -> None:
    assert main(["train", *STAGES, "name=whole"]) == 0
    whole, records = load_checkpoint(Path("log/whole/last")), _train_records(Path("log/whole"))
    # Checkpoints every three steps and at the ends of epochs.
    points = {step: load_checkpoint(folder) for step, folder in kept.items()}
    assert sorted(points) == [3, 4, 6, 8, 9, 12]
    assert not torch.equal(_backbone(points[3]), _backbone(points[4]))
    for step in (6, 8, 9):
        assert torch.equal(_backbone(points[step]), _backbone(points[4]))
    moved = points[6].model["classifier.weight"] - points[4].model["classifier.weight"]
    assert moved.abs().min(1).values.median() > 1e-3
    # The rate: half a cosine over the first epoch, then over the two of the stage.
    assert [records[step]["lr"] for step in (1, 4, 5, 12)] == pytest.approx([0.05, 0.0, 0.5, 0.0], abs=1e-9)
    assert records[4]["loss"] == pytest.approx(records[4]["cross_entropy"] + records[4]["smooth_ap"])
    assert records[5]["loss"] == pytest.approx(records[5]["cross_entropy"])
    for step in (3, 4, 6, 8, 9):
        assert main(["train", "--RESUME_MODEL", str(kept[step]), f"name=from_{step}"]) == 0
        resumed = load_checkpoint(Path(f"log/from_{step}/last"))
        for name, value in whole.model.items():
            assert torch.equal(value, resumed.model[name]), (step, name)
        assert all(records[at] == record for at, record in _train_records(Path(f"log/from_{step}")).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["train.stages=[{from_epoch: 2}, {from_epoch: 1}]"], "stages begin at epochs [2, 1]"),
        (["train.stages=[{from_epoch: 2}]"], "below num_epochs=2"),
        (["train.stages=[{from_epoch: 1, classifier: scale}]"], "train.stages.0.classifier='scale'"),
        (
            ["augment.sizes=[{from_epoch: 1, size_px: 32}, {from_epoch: 1, size_px: 40}]"],
            "sizes begin at epochs [1, 1]",
        ),
        (["augment.remix=3"], "set mixup or cutmix too"),
        (["augment.mixup=0.2"], "which the loss smooth_ap cannot take"),
        (["losses=[{name: cross_entropy, from_epoch: 3, until_epoch: 2}]"], "until_epoch=2 must be above from_epoch=3"),
    ],
)
def test_what_does_not_fit_is_refused(
    small: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["train", *SMALL, *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("log").exists()


def test_mixed_images_train_and_a_resume_draws_the_same(kept: dict[int, Path]) -> None:
    mixed = [
        *SMALL,
        "losses=[{name: balanced_softmax}]",
        "train.steps_per_epoch=4",
        "augment.mixup=0.4",
        "augment.cutmix=1.0",
        "augment.remix=3",
    ]
    assert main(["train", *mixed, "name=whole"]) == 0
    assert main(["train", "--RESUME_MODEL", str(kept[6]), "name=resumed"]) == 0
    whole, resumed = (load_checkpoint(Path("log", name, "last")).weights_hash for name in ("whole", "resumed"))
    assert whole == resumed
    assert json.loads(Path("log/whole/summary.json").read_text())["top1"] >= 0
