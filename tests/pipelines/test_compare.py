"""`shelfmark compare`, from folders of runs to the exit status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import SMALL
from untrained_models import make_place

from shelfmark.cli import main
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from shelfmark.runtime import image_pass
from shelfmark.runtime.compared_run import names_of

ORDER = [2, 0, 1]
"""The classes of the copied model, by their numbers in the model that it was copied from."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    return tmp_path


def compared(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", *words, "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["compare", *words]) == 2
    return capsys.readouterr().err


def values(found: dict[str, Any], run: int) -> dict[str, float | None]:
    return {one["score"]: one["runs"][run]["value"] for one in found["scores"]}


def changed_copy(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """A copy of a checkpoint, with its weights and its facts changed in place."""
    checkpoint: Checkpoint = load_checkpoint(source)
    weights, facts = checkpoint.read_model(), dict(checkpoint.manifest)
    change(weights, facts)
    save_checkpoint(target, weights, {}, facts)


def with_data(**options: Any) -> Callable[[dict[str, torch.Tensor], dict[str, Any]], None]:
    """A change of a copy: other options of `data`."""

    def change(weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        facts["config"] = {**facts["config"], "data": {**facts["config"]["data"], **options}}

    return change


def test_two_trained_runs_have_the_scores_of_their_summaries_and_say_where_they_differ(
    base: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["train.num_epochs=1", "train.steps_per_epoch=2", "train.precision=fp32"]
    assert main(["train", *SMALL, *short, "name=other", "optim.lr=0.2"]) == 0
    files = set(small.rglob("*"))
    found = compared(capsys, "log/base", "log/other")
    assert set(small.rglob("*")) == files, "the features of the runs are used where they lie"
    for run, name in enumerate(("base", "other")):
        summary = json.loads((small / "log" / name / "summary.json").read_text())
        for score, value in values(found, run).items():
            assert value == pytest.approx(summary[score], abs=1e-12), score
    first = {one["score"]: one["runs"][0] for one in found["scores"]}
    summary = json.loads((base / "summary.json").read_text())
    for score in ("top1", "mean_class_accuracy", "recall@1", "map"):
        assert (first[score]["low"], first[score]["high"]) == pytest.approx(
            (summary[f"{score}_low"], summary[f"{score}_high"])
        )
    assert [one["option"] for one in found["config"]] == ["optim.lr"]
    assert found["config"][0]["values"] == [0.05, 0.2]
    assert found["config"][0]["origins"] == ["command line: optim.lr=0.05", "command line: optim.lr=0.2"]
    for run in found["runs"]:
        assert run["train_images_per_s"] > 0
        assert run["val_images_per_s"] > 0
        assert run["peak_memory_bytes"] > 1e7
        assert run["num_parameters"] > 300_000
    answers = found["against_first"][0]["answers"]
    parts = ("both_right", "only_first", "only_second", "neither")
    assert sum(answers[part] for part in parts) == answers["num_images"] == found["images"]["num_images"]
    top1 = found["scores"][0]["runs"]
    assert top1[1]["difference"] == pytest.approx(
        (answers["only_second"] - answers["only_first"]) / answers["num_images"]
    )


def test_a_run_whose_classes_have_other_numbers_is_compared_by_their_names(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def reorder(weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        for name in [name for name in weights if name.startswith("classifier.")]:
            weights[name] = weights[name][ORDER]
        facts["class_names"] = [facts["class_names"][label] for label in ORDER]
        facts["counts"] = [facts["counts"][label] for label in ORDER]

    changed_copy(place / "log/run/last", place / "log/ordered/last", reorder)
    found = compared(capsys, "log/run", "log/ordered")
    answers = found["against_first"][0]["answers"]
    assert answers["same"] == answers["num_images"] == 11
    assert values(found, 1) == pytest.approx(values(found, 0), nan_ok=True)
    scored = {one["score"]: one["runs"][1]["verdict"] for one in found["scores"] if one["runs"][1]["value"] is not None}
    assert set(scored.values()) == {"equal"}, scored


def test_a_class_that_a_model_gives_up_is_named_as_worse_and_the_requirement_ends_with_status_3(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def favour(label: int) -> Callable[[dict[str, torch.Tensor], dict[str, Any]], None]:
        def change(weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
            weights["classifier.weight"].zero_()
            weights["classifier.bias"].copy_(torch.eye(3)[label])

        return change

    for label, name in enumerate(("zero", "one")):
        changed_copy(place / "log/run/last", place / f"log/{name}/last", favour(label))
    requirements = ["--require", "top1 >= -5%", "--require", "mean_class_accuracy >= +0%", "--require", "few >= 50%"]
    found = compared(capsys, "log/zero", "log/one", "log/zero", *requirements, status=3)
    # 11 images: 4 of class 0, 4 of class 1, 3 of class 2.
    one, same = found["against_first"]
    assert [(change["name"], change["right_before"], change["right_after"]) for change in one["better"]] == [
        ("class 1", 0, 4)
    ]
    assert [(change["name"], change["difference"]) for change in one["worse"]] == [("class 0", -1.0)]
    assert (one["num_better"], one["num_worse"]) == (1, 1)
    assert one["p_values"]["top1"] == 1.0
    assert (same["num_better"], same["num_worse"], same["better"]) == (0, 0, [])
    met = {(judged["run"], judged["requirement"]): judged["is_met"] for judged in found["requirements"]}
    assert met == {
        **{(run, "top1 >= -5%"): True for run in ("log/one", "log/zero")},
        **{(run, "mean_class_accuracy >= +0%"): True for run in ("log/one", "log/zero")},
        **{(run, "few >= 50%"): False for run in ("log/one", "log/zero")},
    }
    assert found["holds"] is False
    capsys.readouterr()
    assert main(["compare", "log/zero", "log/one", *requirements]) == 3
    printed = capsys.readouterr().out
    assert "NOT met: few >= 50% (log/one): few-shot is 33.33%; the 95% interval" in printed
    assert "1 class better: class 1 (0 -> 4 of 4 right)" in printed
    assert "same answer 0.0%; both right 0.0%, only log/zero 36.4% (4), only log/one 36.4% (4)," in printed
    assert main(["compare", "log/zero", "log/one", *requirements[:2]]) == 0


def test_val_sets_that_differ_are_compared_on_what_they_share(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    document = json.loads((place / "val.json").read_text())
    part = [dict(one) for one in document["annotations"][2:9]]
    part[0]["category_id"] = (part[0]["category_id"] + 1) % 3
    (place / "part.json").write_text(json.dumps({**document, "annotations": part}))

    other = with_data(val_json=str(place / "part.json"), retrieval_json=None)
    changed_copy(place / "log/run/last", place / "log/part/last", other)
    found = compared(capsys, "log/run", "log/part")
    assert found["images"] == {
        "num_images": 6,
        "paired_by": "file",
        "num_left_out": [4, 0],
        "num_other_label": 1,
    }
    assert found["searched_images"] is None
    assert "only some of the runs have retrieval images" in caplog.text
    assert "compared on the 6 images that all runs have; left out: 4 of log/run" in caplog.text
    assert "because the annotations of the runs disagree: 1 image" in caplog.text
    assert found["against_first"][0]["answers"]["same"] == 6
    # An option on the line is of all runs.
    whole = compared(capsys, "log/run", "log/part", f"data.val_json={place}/val.json")
    assert whole["images"]["num_images"] == 11


def test_the_speed_on_stored_features_is_no_speed_of_training_on_images(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def head_first(weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        config = facts["config"]
        train = {"num_epochs": 5, "cache_features": {"views": 1}, "stages": [{"from_epoch": 3, "freeze": []}]}
        changed = {"train": {**config["train"], **train}, "model": {**config["model"], "freeze": ["backbone"]}}
        facts["config"] = {**config, **changed}

    changed_copy(place / "log/run/last", place / "log/head_first/last", head_first)
    speeds = [5000.0, 6000.0, 7000.0, 40.0, 50.0]
    (place / "log/head_first/metrics.jsonl").write_text(
        "".join(
            json.dumps({"kind": "epoch", "step": epoch + 1, "epoch": epoch, "images_per_s": speed}) + "\n"
            for epoch, speed in enumerate(speeds)
        )
    )
    first, other = compared(capsys, "log/run", "log/head_first")["runs"]
    assert (other["train_images_per_s"], other["train_features_per_s"]) == (45.0, 6000.0)
    assert (first["train_images_per_s"], first["train_features_per_s"]) == (None, None)
    assert main(["compare", "log/run", "log/head_first"]) == 0
    assert "on stored features, images/s" in capsys.readouterr().out
    assert main(["compare", "log/run", "log/run"]) == 0
    assert "on stored features" not in capsys.readouterr().out


def test_what_cannot_be_compared_is_told_before_a_picture_is_read(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_pass.ImagePass, "share", lambda *_: pytest.fail("a picture was read"))
    both = ["log/run", "log/experts"]
    assert "a comparison needs two" in refused(capsys, "log/run")
    assert "there is no checkpoint at log/rum" in refused(capsys, "log/run", "log/rum")
    assert "Did you mean 'mean_class_accuracy'" in refused(capsys, *both, "--require", "mean_class_acuracy >= -1%")
    assert "there are recall@1, recall@5, recall@10." in refused(capsys, *both, "--require", "recall@7 >= 1%")
    changed_copy(place / "log/run/last", place / "log/alone/last", with_data(retrieval_json=None))
    assert "do not all have retrieval images" in refused(capsys, "log/run", "log/alone", "--require", "map >= 1%")
    changed_copy(place / "log/run/last", place / "log/moved/last", with_data(val_json=str(place / "train.json")))
    assert "the runs have no validation images in common" in refused(capsys, "log/run", "log/moved")


def test_features_that_had_to_be_computed_are_found_by_the_next_comparison(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compared(capsys, "log/run", "log/experts/last")
    assert (place / "log/run/comparison/last/val/features.npy").is_file()
    monkeypatch.setattr(image_pass.ImagePass, "share", lambda *_: pytest.fail("a picture was read"))
    again = compared(capsys, "log/run", "log/experts/last")
    assert again == first
    shutil.rmtree(place / "log/run/comparison")
    assert first["runs"][0]["checkpoint"].endswith("log/run/last")


def test_runs_with_long_paths_are_called_by_what_differs() -> None:
    long = "/somewhere/that/takes/its/time/grocery_labelled_seed3"
    assert names_of([f"{long}/round_0/train", f"{long}/round_1/train"]) == ["round_0/train", "round_1/train"]
    assert names_of([f"{long}/a", f"{long}/a/b"]) == ["a", "a/b"]
    assert names_of(["log/a", "log/b"]) == ["log/a", "log/b"]
    assert names_of([f"{long}/a", f"{long}/a"]) == [f"{long}/a", f"{long}/a"]
