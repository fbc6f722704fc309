"""Experts from the recipe to a prediction: training, resuming, finetuning, stages, recalibration, weighing."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.engine import checkpointer
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.ops.experts import weighed_experts
from shelfmark.runtime.trained_model import open_model

EXPERTS = [
    *SMALL,
    "model.heads={}",
    "model.experts=2",
    "losses=[{name: cross_entropy, head: expert_1}, {name: inverse_softmax, head: expert_2}, {name: expert_diversity}]",
    "train.steps_per_epoch=4",
    "train.stages=[{from_epoch: 1, freeze: [backbone], classifier: restart, sampling: class_balanced, lr: 0.5}]",
    "data.test_json=test_small.json",
    "data.retrieval_json=null",
]


@pytest.fixture(scope="module")
def shop(shop_root: Path, tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """A folder with few pictures, and in log/run two epochs, the second with a frozen backbone and a new classifier.

    points/3 is the checkpoint after three steps of eight, within the first epoch.
    """
    folder = tmp_path_factory.mktemp("experts")
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop_root)
    (folder / "configs").symlink_to(checkout / "configs")
    for name, kind in (("train", "annotations"), ("val", "annotations"), ("test", "images")):
        document = json.loads((shop_root / f"{name}.json").read_text())
        document[kind] = document[kind][:: len(document[kind]) // 60]
        (folder / f"{name}_small.json").write_text(json.dumps(document))

    def keep(to: Path, model: Any, state: Any, facts: Any, previous: Path | None) -> None:
        save_checkpoint(to, model, state, facts, previous)
        shutil.copytree(to, folder / "points" / str(facts["step"]), dirs_exist_ok=True)

    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpointer, "save_checkpoint", keep)
        assert main(["train", *EXPERTS, "name=run"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)


def _weights(folder: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(Path(folder)).read_model()


def test_a_resumed_run_of_experts_ends_with_the_same_digits_and_its_stage_restarts_the_classifier_alone() -> None:
    assert main(["train", "--RESUME_MODEL", "points/3", "name=resumed"]) == 0
    whole, resumed = _weights("log/run/last"), _weights("log/resumed/last")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    first, last = _weights("points/4"), _weights("points/8")
    changed = {name for name, value in first.items() if not torch.equal(value, last[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_experts_finetune_and_serve_the_later_commands() -> None:
    more = ["train.stages=[]", "train.num_epochs=1", "train.steps_per_epoch=1", "optim.lr=1e-4", "name=tuned"]
    tuned = ["--RESUME_MODEL", "points/8", "data.train_json=train_small.json", *more]
    assert main(["train", *tuned]) == 0
    before, after = _weights("points/8"), _weights("log/tuned_finetune/last")
    name = "backbone.experts.1.layer4.0.conv1.weight"
    assert not torch.equal(before[name], after[name])
    torch.testing.assert_close(before[name], after[name], rtol=0, atol=2e-4)
    assert main(["tau-norm", "--RESUME_MODEL", "log/run/best_model", "output.tau_root=tau"]) == 0
    assert main(["evaluate", "--RESUME_MODEL", "tau/run/best_model", "--out", "scores"]) == 0
    assert 0 <= json.loads(Path("scores/summary.json").read_text())["top1"] <= 1


def test_stored_features_score_as_the_whole_pass() -> None:
    assert main(["embed", "--RESUME_MODEL", "log/run/best_model", "--out", "features"]) == 0
    stored = torch.from_numpy(read_embeddings(Path("features")).features.copy())
    network = open_model(Path("log/run/best_model")).network
    assert stored.shape[1] == network.classifier.weight.shape[1]
    with torch.inference_mode():
        outputs = network.outputs(stored)
    torch.testing.assert_close(outputs.heads["experts"].mean(1), outputs.logits, rtol=1e-4, atol=1e-4)


def test_weights_from_the_test_images_stand_in_the_classifier_and_the_manifest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weigh = ["weigh-experts", "--RESUME_MODEL", "log/run/best_model"]
    assert main([*weigh, "output.tau_root=weighed"]) == 0
    printed = capsys.readouterr().out
    calibration = load_checkpoint(Path("weighed/run/best_model")).manifest["calibration"]
    shares = calibration["weights"]
    assert calibration["method"] == "expert_weights"
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert min(shares) >= 0.05
    assert calibration["stability"] > calibration["equal_stability"]
    assert all(f"{100 * share:.1f}%" in printed for share in shares)
    before, after = _weights("log/run/best_model"), _weights("weighed/run/best_model")
    expected = weighed_experts(before["classifier.weight"], torch.tensor(shares, dtype=torch.float64))
    torch.testing.assert_close(after["classifier.weight"], expected, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(after[name], before[name]) for name in before if name != "classifier.weight")

    # The same again, beside the first; and by a folder of photographs.
    assert main([*weigh, "output.tau_root=weighed"]) == 0
    (again,) = (folder for folder in Path("weighed").iterdir() if folder.name != "run")
    assert torch.equal(_weights(f"{again}/best_model")["classifier.weight"], after["classifier.weight"])
    Path("photos").mkdir()
    for path in sorted(Path("dataset/shop/test").iterdir())[:9]:
        shutil.copy(path, "photos")
    assert main([*weigh, "--images", "photos", "output.tau_root=by_photos"]) == 0
    assert json.loads(Path("by_photos/run/summary.json").read_text())["num_images"] == 9
    assert main(["test", "--RESUME_MODEL", "weighed/run/best_model"]) == 0
    assert Path("weighed/run/submission.csv").is_file()


def test_weighed_experts_and_a_single_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weigh-experts", "--RESUME_MODEL", "log/run/best_model", "output.tau_root=once"]) == 0
    assert main(["tau-norm", "--RESUME_MODEL", "once/run/best_model", "output.tau_root=twice"]) == 0
    for checkpoint in ("once/run/best_model", "twice/run/best_model"):
        assert main(["weigh-experts", "--RESUME_MODEL", checkpoint]) == 2
        assert "are weighed already; give the checkpoint that it was made from" in capsys.readouterr().err
    single = ["model.experts=1", "losses=[{name: cross_entropy}]", "train.stages=[]", "train.num_epochs=1"]
    assert main(["train", *EXPERTS, *single, "train.steps_per_epoch=1", "name=plain"]) == 0
    assert main(["weigh-experts", "--RESUME_MODEL", "log/plain/best_model"]) == 2
    assert "has a single expert, so there is nothing to weigh" in capsys.readouterr().err
