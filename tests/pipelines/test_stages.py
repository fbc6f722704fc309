"""Training in stages: what each freezes, restarts and samples, and that a resume lands in the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import SMALL, UNSCORED

from shelfmark.cli import main
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint
from shelfmark.engine.metrics_log import read_metrics

STAGES = [
    *SMALL,
    *UNSCORED,
    "losses=[{name: cross_entropy, label_smoothing: 0.1}, {name: smooth_ap, head: rank, until_epoch: 1}]",
    "train.num_epochs=3",
    "train.steps_per_epoch=4",
    "train.stages=[{from_epoch: 1, freeze: [backbone], classifier: restart, sampling: class_balanced, lr: 0.5}]",
    "augment.sizes=[{from_epoch: 0, size_px: 24}, {from_epoch: 2, size_px: 40}]",
]


def _train_records(folder: Path) -> dict[int, Any]:
    return {record["step"]: record for record in read_metrics(folder / "metrics.jsonl") if record["kind"] == "train"}


def _backbone(checkpoint: Checkpoint) -> torch.Tensor:
    return torch.cat([value.flatten().float() for name, value in checkpoint.read_model().items() if "backbone" in name])


def test_a_stage_freezes_restarts_and_samples_and_every_resume_gives_the_same_digits(kept: dict[int, Path]) -> None:
    assert main(["train", *STAGES, "name=whole"]) == 0
    whole, records = load_checkpoint(Path("log/whole/last")), _train_records(Path("log/whole"))
    # Checkpoints every three steps and at the ends of epochs.
    points = {step: load_checkpoint(folder) for step, folder in kept.items()}
    assert sorted(points) == [3, 4, 6, 8, 9, 12]
    assert not torch.equal(_backbone(points[3]), _backbone(points[4]))
    for step in (6, 8, 9):
        assert torch.equal(_backbone(points[step]), _backbone(points[4]))
    moved = points[6].read_model()["classifier.weight"] - points[4].read_model()["classifier.weight"]
    assert moved.abs().min(1).values.median() > 1e-3
    # The rate: half a cosine over the first epoch, then over the two of the stage.
    assert [records[step]["lr"] for step in (1, 4, 5, 12)] == pytest.approx([0.05, 0.0, 0.5, 0.0], abs=1e-9)
    assert records[4]["loss"] == pytest.approx(records[4]["cross_entropy"] + records[4]["smooth_ap"])
    assert records[5]["loss"] == pytest.approx(records[5]["cross_entropy"])
    for step in (3, 4, 6, 8, 9):
        assert main(["train", "--RESUME_MODEL", str(kept[step]), f"name=from_{step}"]) == 0
        resumed = load_checkpoint(Path(f"log/from_{step}/last"))
        theirs = resumed.read_model()
        for name, value in whole.read_model().items():
            assert torch.equal(value, theirs[name]), (step, name)
        assert all(records[at] == record for at, record in _train_records(Path(f"log/from_{step}")).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["train.stages=[{from_epoch: 2}, {from_epoch: 1}]"], "stages begin at epochs [2, 1]"),
        (["train.stages=[{from_epoch: 2}]"], "a stage begins at epoch 2, and num_epochs=2 ends before it"),
        (["train.stages=[{from_epoch: 1, classifier: scales}]"], "train.stages.0.classifier='scales'"),
        (
            ["augment.sizes=[{from_epoch: 1, size_px: 32}, {from_epoch: 1, size_px: 40}]"],
            "sizes begin at epochs [1, 1]",
        ),
        (["augment.remix=3"], "set mixup or cutmix too"),
        (["augment.mixup=0.2"], "which the loss smooth_ap cannot take"),
        (["train.stages=[{from_epoch: 1, mixup: 0.2}]"], "which the loss smooth_ap cannot take"),
        (["train.stages=[{from_epoch: 1, remix: 3}]"], "train.stages.0.remix=3.0 shifts the labels"),
        (["train.stages=[{from_epoch: 1, cutmix: 1, remix: 0.3}]"], "how many times rarer a class must be"),
        (
            ["augment.mixup=0.2", "losses=[{name: focal, from_epoch: 1}]", "train.stages=[{from_epoch: 1, mixup: 0}]"],
            "none counts in epochs 0 to 0",
        ),
        (
            ["train.stages=[{from_epoch: 1, classifier: scale, freeze: [classifier]}]"],
            "`classifier` is in freeze; remove it there",
        ),
        (
            ["train.stages=[{from_epoch: 1, classifier: scale}]", "model.classifier.type=cosine"],
            "model.classifier.type=linear",
        ),
        (
            ["train.stages=[{from_epoch: 1, classifier: scale}]", "losses=[{name: smooth_ap, head: rank}]"],
            "a loss on the head classifier, and there is none",
        ),
        (
            ["train.stages=[{from_epoch: 1, adapt_frozen_bn_statistics: true}]", "model.freeze_bn=true"],
            "train.stages.0.adapt_frozen_bn_statistics=true updates the statistics",
        ),
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
        *UNSCORED,
        "losses=[{name: balanced_softmax}]",
        "train.steps_per_epoch=3",
        "augment.mixup=0.4",
        "augment.cutmix=1.0",
        "augment.remix=3",
    ]
    assert main(["train", *mixed, "name=whole"]) == 0
    assert main(["train", "--RESUME_MODEL", str(kept[3]), "name=resumed"]) == 0
    whole, resumed = (load_checkpoint(Path("log", name, "last")).weights_hash for name in ("whole", "resumed"))
    assert whole == resumed
