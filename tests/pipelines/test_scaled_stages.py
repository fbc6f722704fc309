"""LWS and MiSLAS in stages: class factors, mixing by stage, batch norms that learn in a frozen backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from small_recipe import SMALL, UNSCORED

from shelfmark.cli import main
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.runtime.trained_model import open_model

SCALE = "classifier.class_scale"
MISLAS = [
    *SMALL,
    *UNSCORED,
    "augment.mixup=0.2",
    "losses=[{name: cross_entropy, until_epoch: 1}, {name: label_aware_smoothing, from_epoch: 1},"
    " {name: smooth_ap, head: rank, from_epoch: 1, memory_rows: 64}]",
    "train.num_epochs=3",
    "train.steps_per_epoch=3",
    "train.checkpoint_every_steps=2",
    "train.stages=[{from_epoch: 1, freeze: [backbone], adapt_frozen_bn_statistics: true, classifier: scale, mixup: 0,"
    " sampling: class_balanced, lr: 0.1}, {from_epoch: 2, freeze: [backbone], mixup: 0}]",
]


def _train_records(folder: Path) -> dict[int, Any]:
    return {record["step"]: record for record in read_metrics(folder / "metrics.jsonl") if record["kind"] == "train"}


def _backbone(checkpoint: Checkpoint, statistics: bool) -> torch.Tensor:
    found = {name: value for name, value in checkpoint.read_model().items() if name.startswith("backbone.")}
    return torch.cat([value.flatten().float() for name, value in found.items() if ("running_" in name) is statistics])


def _is_parameter(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_factors_mixing_and_statistics_change_with_the_stage_and_every_resume_gives_the_same_digits(
    kept: dict[int, Path],
) -> None:
    assert main(["train", *MISLAS, "name=whole"]) == 0
    whole, records = load_checkpoint(Path("log/whole/last")), _train_records(Path("log/whole"))
    points = {step: load_checkpoint(folder) for step, folder in kept.items()}
    assert sorted(points) == [2, 3, 4, 6, 8, 9]

    models = {step: point.read_model() for step, point in points.items()}
    assert [step for step, model in models.items() if SCALE in model] == [4, 6]
    assert 0 < float((models[4][SCALE] - 1).abs().median()) < float((models[6][SCALE] - 1).abs().median())
    for name in ("classifier.weight", "classifier.bias"):
        assert all(torch.equal(models[step][name], models[3][name]) for step in (4, 6))
        assert not torch.equal(models[8][name], models[6][name])
    parameters = [name for name in models[3] if name.startswith("backbone.") and _is_parameter(name)]
    for name in parameters:
        assert all(torch.equal(models[step][name], models[3][name]) for step in (4, 6, 8, 9)), name
    assert not torch.equal(_backbone(points[4], True), _backbone(points[3], True))
    assert not torch.equal(_backbone(points[6], True), _backbone(points[4], True))
    assert torch.equal(_backbone(points[9], True), _backbone(points[6], True))

    # Mixed labels are no labels for a loss that compares rows; one that can take them is logged from the first step on.
    assert "smooth_ap" not in records[3]
    assert records[3]["loss"] == records[3]["cross_entropy"]
    assert records[3]["label_aware_smoothing"] > 0
    assert records[4]["smooth_ap"] > 0

    # In the middle of the stage with factors, and at its end, where they are folded.
    for step in (4, 6):
        assert main(["train", "--RESUME_MODEL", str(kept[step]), f"name=from_{step}"]) == 0
        resumed = load_checkpoint(Path(f"log/from_{step}/last"))
        ours, theirs = whole.read_model(), resumed.read_model()
        assert theirs.keys() == ours.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), (step, name)
        assert all(records[at] == record for at, record in _train_records(Path(f"log/from_{step}")).items())


def test_every_reader_of_a_checkpoint_with_factors_sees_the_scaled_classifier(small: Path) -> None:
    lws = [
        *SMALL,
        "losses=[{name: cross_entropy}]",
        "train.steps_per_epoch=3",
        "train.stages=[{from_epoch: 1, freeze: [backbone], classifier: scale, sampling: class_balanced, lr: 0.1}]",
    ]
    assert main(["train", *lws, "name=lws"]) == 0
    last = load_checkpoint(Path("log/lws/last"))
    opened = open_model(Path("log/lws/last"))
    scale, weight, bias = (last.read_model()[f"classifier.{name}"] for name in ("class_scale", "weight", "bias"))
    assert torch.equal(opened.network.classifier.weight.cpu(), scale[:, None] * weight)
    embedding = torch.randn(4, weight.shape[1], generator=torch.Generator().manual_seed(0))
    logits = opened.network.logits(embedding.to(opened.precision.device)).cpu()
    torch.testing.assert_close(logits, scale * (embedding @ weight.T + bias), rtol=1e-5, atol=1e-5)

    # The evaluation of training, of the finished run and of the command are one.
    validated = [record for record in read_metrics(Path("log/lws/metrics.jsonl")) if record["kind"] == "val"][-1]
    summary = json.loads(Path("log/lws/summary.json").read_text())
    assert main(["evaluate", "--RESUME_MODEL", "log/lws/last", "--out", "scores"]) == 0
    assert json.loads(Path("scores/summary.json").read_text()) == summary
    assert (validated["mean_class_accuracy"], validated["top1"]) == (summary["mean_class_accuracy"], summary["top1"])

    # tau 0 that keeps the bias is the model itself; any other tau divides the scaled rows.
    one_tau = ["tau_norm.bias=keep", "tau_norm.start=0", "tau_norm.stop=0"]
    assert main(["tau-norm", "--RESUME_MODEL", "log/lws/last", *one_tau]) == 0
    recalibrated = load_checkpoint(Path("log_tau/lws/best_model"))
    assert SCALE not in recalibrated.read_model()
    reopened = open_model(Path("log_tau/lws/best_model"))
    torch.testing.assert_close(reopened.network.classifier.weight, opened.network.classifier.weight)
    torch.testing.assert_close(reopened.network.classifier.bias, opened.network.classifier.bias)

    # Finetuning begins with the scaled classifier and learns it as one.
    argv = ["train", "--RESUME_MODEL", "log/lws/last", "--mode", "finetune", "train.stages=[]", "optim.lr=1e-12"]
    assert main([*argv, "train.num_epochs=1", "train.steps_per_epoch=1"]) == 0
    tuned = load_checkpoint(Path("log/lws_finetune/last")).read_model()
    assert SCALE not in tuned
    torch.testing.assert_close(tuned["classifier.weight"], scale[:, None] * weight)
