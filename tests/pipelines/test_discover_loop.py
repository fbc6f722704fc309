"""`shelfmark discover`: what is done is skipped, what was stopped goes on, what has changed is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked_runs import on_two_ranks
from small_discovery import write_small_discovery

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.core.files import sha256_file
from shelfmark.engine import checkpointer
from shelfmark.parallel import launch
from shelfmark.pipelines.discover import cluster as cluster_stage
from shelfmark.pipelines.discover import embed as embed_stage
from shelfmark.pipelines.discover import files, loop, report
from shelfmark.pipelines.discover import select as select_stage
from shelfmark.pipelines.discover import train as train_stage
from shelfmark.pipelines.discover.files import STAGES, RunFiles
from shelfmark.recipe import Recipe

COMMAND = [
    "discover",
    *("--config", "configs/discovery/shop.yaml", "--smoke"),
    "model.backbone=test_resnet",
    "data.input_size_px=32",
    "data.num_workers=0",  # a process takes longer to import torch than to read these pictures
    "train.num_epochs=2",
    "train.steps_per_epoch=2",
    "discovery.annotations=small.json",
    "discovery.max_images=0",
    "discovery.selection.density_threshold=0.2",
    "discovery.selection.min_size=2",
    "discovery.selection.weight_by_density=true",
    "sampling.type=weighted",
]


class Killed(BaseException):
    """Stops a run where nothing catches it."""


def run_named(name: str, *more: str) -> RunFiles:
    assert main([*COMMAND, f"name={name}", *more]) == 0
    return RunFiles(Path("log") / name)


def copied(whole: RunFiles, name: str) -> RunFiles:
    """The run under another name."""
    shutil.copytree(whole.folder, Path("log") / name)
    return RunFiles(Path("log") / name)


def results(run: RunFiles) -> dict[str, str]:
    """What a run is for, byte by byte."""
    wanted = [run.model(1) / "model.safetensors", run.train_json(1)]
    wanted += [file for number in (0, 1) for file in (run.selection(number), run.clusters(number), run.report(number))]
    return {str(file.relative_to(run.folder)): sha256_file(file) for file in wanted}


@pytest.fixture(scope="module")
def place(shop_root: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the shop."""
    folder = tmp_path_factory.mktemp("discover")
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop_root)
    (folder / "configs").symlink_to(checkout / "configs")
    write_small_discovery(shop_root, folder / "small.json")
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> RunFiles:
    """A run that nothing stopped. Tests leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        go_to(place, patch)
        run_named("whole")
    return RunFiles(place / "log" / "whole")


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_to(place, monkeypatch)


def go_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the working folder. Pictures, which take longer than all the rest, are drawn in other tests."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(report, "_draw", lambda *given, **named: None)


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool) -> None:
    """The run dies at the numbered call, from 1 on, of a function of `owner`, before or after the function's work."""
    real: Callable[..., Any] = getattr(owner, name)
    calls: list[str] = []

    def dies(*given: Any, **named: Any) -> Any:
        calls.append(name)
        result = real(*given, **named) if after or len(calls) < call else None
        if len(calls) == call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, dies)


def test_two_rounds_leave_every_file_and_train_on_what_was_selected(whole: RunFiles) -> None:
    assert whole.finished_rounds == [0, 1]
    for number in (0, 1):
        for stage in STAGES:
            manifest = json.loads((whole.stage(number, stage) / "manifest.json").read_text())
            assert (manifest["stage"], manifest["round"]) == (stage, number)
            assert manifest["outputs"]
    sets, selection = whole.read_sets(), whole.read_selection(0)
    assert selection.is_selected.any()
    records = json.loads(whole.train_json(1).read_text())["annotations"]
    pseudo = [one for one in records if one.get("source") == "pseudo"]
    assert len(records) - len(pseudo) == sets.images["labelled"]
    assert len(pseudo) == selection.is_selected.sum()
    chosen = dict(zip(selection.rows[selection.is_selected].tolist(), selection.labels[selection.is_selected].tolist()))
    label_of = {whole.table.paths[row]: label for row, label in chosen.items()}
    density_of = {
        whole.table.paths[row]: value for row, value in zip(selection.rows.tolist(), selection.density.tolist())
    }
    for one in pseudo:
        assert one["category_id"] == label_of[one["fpath"]]
        assert one["weight"] == pytest.approx(min(1, max(0, density_of[one["fpath"]])), abs=1e-5)
    classes = {one["category_id"] for one in records}
    assert classes == set(range(json.loads(whole.train_json(1).read_text())["num_classes"]))


def test_the_second_round_begins_with_the_backbone_of_the_first(whole: RunFiles) -> None:
    config = json.loads((whole.model(1) / "manifest.json").read_text())["config"]
    assert Path(config["model"]["weights"]).parts[-3:] == ("round_0", "train", "best_model")
    assert json.loads((whole.model(0) / "manifest.json").read_text())["config"]["model"]["weights"] == ""


def test_no_truth_and_no_test_image_reaches_training_or_choice(whole: RunFiles) -> None:
    table, sets = whole.table, whole.read_sets()
    for number in (0, 1):
        text = whole.train_json(number).read_text()
        assert "true_category_id" not in text
        trained = {one["fpath"] for one in json.loads(text)["annotations"]}
        held_out = {table.paths[int(row)] for name in ("val", "test") for row in whole.rows(name)}
        assert not trained & held_out
        assert (whole.read_embeddings(number, "unlabelled").labels == -1).all()
    assert not set(sets.known_classes) & set(sets.val_classes)


def test_a_run_that_is_done_is_not_touched(whole: RunFiles, caplog: pytest.LogCaptureFixture) -> None:
    before = {file: file.stat().st_mtime_ns for file in whole.folder.rglob("*") if file.is_file()}
    run_named("whole")
    assert {file: file.stat().st_mtime_ns for file in whole.folder.rglob("*") if file.is_file()} == before
    assert caplog.text.count("done before") == 2 * len(STAGES)


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(
    whole: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFiles(Path("log/killed"))
    points: list[tuple[Any, str, int, bool]] = [
        (checkpointer, "save_checkpoint", 2, False),
        (train_stage, "train", 1, True),
        (embed_stage, "write_embeddings", 1, True),
        (cluster_stage, "write_arrays", 1, True),
        (select_stage, "selected_labels", 1, False),
        (loop, "write_report", 1, True),
        (train_stage, "write_text", 1, True),
    ]
    for owner, name, call, after in points:
        with monkeypatch.context() as patch:
            kill_at(patch, owner, name, call, after)
            with pytest.raises(Killed):
                main([*COMMAND, "name=killed"])
        if owner is checkpointer:
            assert (run.stage(0, "train") / "last").is_dir()
            assert not run.manifest(0, "train").exists()
    run_named("killed")
    assert results(run) == results(whole)


@pytest.mark.dist
def test_two_processes_train_and_embed_and_one_does_the_rest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*COMMAND[1:], "name=two", "discovery.rounds=1"]
    assert on_two_ranks("discover", words, place).count("round 0, selection") == 1
    monkeypatch.setattr(launch, "relaunch", lambda num_processes: {2: 7}[num_processes])
    assert main(["discover", *words, "--num-gpus", "2"]) == 7
    run = RunFiles(Path("log/two"))
    assert run.finished_rounds == [0]
    by_two = {name: run.read_embeddings(0, name) for name in files.EMBEDDED_SETS}
    shutil.rmtree(run.stage(0, "embed"))
    embed_stage.embed(run, 0, load(Recipe, run.folder / "config.yaml").config)
    for name, found in by_two.items():
        by_one = run.read_embeddings(0, name)
        np.testing.assert_array_equal(found.rows, run.rows(name))
        np.testing.assert_array_equal(found.rows, by_one.rows)
        np.testing.assert_array_equal(found.labels, by_one.labels)
        np.testing.assert_allclose(found.features, by_one.features, atol=0.02 * np.abs(by_one.features).max())


def test_a_changed_option_is_refused_by_name_and_redone_on_demand(
    whole: RunFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    run, before = copied(whole, "changed"), results(whole)
    change = "discovery.selection.min_size=4"
    assert main([*COMMAND, "name=changed", change]) == 2
    said = capsys.readouterr().err
    assert "stage selection of round 0" in said
    assert "discovery.selection.min_size was 2, now 4" in said
    assert "--redo 0/selection" in said
    assert results(run) == before
    # What does not shape a stage changes nothing.
    assert main([*COMMAND, "name=changed", "train.log_every_steps=5"]) == 0
    assert main([*COMMAND, "name=changed", change, "discovery.rounds=1", "--redo", "0/selection"]) == 0
    assert run.finished_rounds == [0]
    redone = run.read_selection(0)
    sizes = np.unique(redone.labels[redone.labels >= len(run.read_sets().known_classes)], return_counts=True)[1]
    assert (sizes >= 4).all()
    assert sha256_file(run.clusters(0)) == before["round_0/clusters/clusters.npz"]


def test_other_annotations_are_refused(whole: RunFiles, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((place / "small.json").read_text())
    document["annotations"] = document["annotations"][:-1]
    Path("other.json").write_text(json.dumps(document))
    assert main([*COMMAND, "name=whole", "discovery.annotations=other.json"]) == 2
    said = capsys.readouterr().err
    assert "was begun with other sets" in said
    assert f"discovery.annotations was {place / 'small.json'} and is {place / 'other.json'}" in said
    assert "the annotations say something else" in said
    assert main([*COMMAND, "name=whole", "seed=7"]) == 2
    assert "discovery.val_classes, discovery.max_images or seed has changed" in capsys.readouterr().err


def test_a_review_stops_the_run_and_is_obeyed(
    whole: RunFiles, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(whole, "reviewed")
    run_named("reviewed", "--review", "--redo", "report")
    assert run.finished_rounds == [0]
    assert "edit" in caplog.text
    lines = run.review(0).read_text(encoding="utf-8-sig").splitlines()
    header, first = lines[0].split(","), lines[1].split(",")
    first[header.index("decision")] = "drop"
    dropped = int(first[header.index("cluster")])
    run.review(0).write_text("\n".join([lines[0], ",".join(first), *lines[2:]]), encoding="utf-8")
    run_named("reviewed")
    assert run.finished_rounds == [0, 1]
    selection = run.read_selection(0)
    out = {run.table.paths[row] for row in selection.rows[selection.is_selected & (selection.clusters == dropped)]}
    kept = {run.table.paths[row] for row in selection.rows[selection.is_selected & (selection.clusters != dropped)]}
    trained = {one["fpath"] for one in json.loads(run.train_json(1).read_text())["annotations"] if "source" in one}
    assert out
    assert trained == kept
    # An edit after the next round was trained would have no effect, so it is refused.
    run.review(0).write_text("\n".join(lines), encoding="utf-8")
    assert main([*COMMAND, "name=reviewed"]) == 2
    assert "train.json changed since" in capsys.readouterr().err


def test_what_is_frozen_stays_and_leaves_the_pool(whole: RunFiles) -> None:
    run = copied(whole, "frozen")
    options = ["discovery.reselect=false", "discovery.selection.density_threshold=0.35"]
    run_named("frozen", *options, "--redo", "clusters")
    first, second = run.read_selection(0), run.read_selection(1)
    chosen = first.is_selected
    assert chosen.any()
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(second.labels[chosen], first.labels[chosen])
    np.testing.assert_array_equal(second.density[chosen], first.density[chosen])
    assert (second.selected_in[chosen] == 0).all()
    assert (second.clusters[chosen] == -1).all()
    assert not np.isin(run.read_clusters(1).rows, first.rows[chosen]).any()
    new = second.labels[second.selected_in == 1]
    num_known = len(run.read_sets().known_classes)
    assert not np.isin(new[new >= num_known], first.labels).any()


def test_a_recipe_that_cannot_choose_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["eval.metric=top1"], "score of trained classes"),
        (["sampling.type=instance"], "weight_by_density=true has no effect"),
        (["discovery.val_classes=0"], "there are no val images"),
        (["--redo", "cluster"], "Did you mean"),
        (["discovery.annotations=null"], "discovery.annotations is not set"),
    ):
        assert main([*COMMAND, "name=refused", *words]) == 2
        assert message in capsys.readouterr().err
    assert not list(Path("log/refused").glob("round_*"))


def test_equal_arrays_are_equal_bytes(tmp_path: Path) -> None:
    value = files.ClustersFile(np.arange(3), np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.float32))
    for name in ("a.npz", "b.npz"):
        files.write_arrays(tmp_path / name, value)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
