"""Which options shape a stage of discovery, so that another value of theirs makes it anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.pipelines.discover.files import RunFiles, Stage
from shelfmark.pipelines.discover.manifests import StageManifest, outputs_hash, shaping_options
from shelfmark.recipe import Recipe


def shaped_by(stage: Stage, *words: str) -> dict[str, Any]:
    return shaping_options(
        load(Recipe, None, [parse_override(word) for word in words]).config.model_dump(mode="json"), stage
    )


def test_a_target_shapes_the_selection_only_where_something_is_calibrated_for_it() -> None:
    target, join = "discovery.selection.target_precision=0.3", "discovery.selection.join_precision=0.5"
    assert shaped_by("selection", target) != shaped_by("selection")
    assert shaped_by("selection", join) != shaped_by("selection")
    fixed = ("discovery.selection.density_threshold=0.8", "discovery.selection.join_known=false")
    assert shaped_by("selection", target, join, *fixed) == shaped_by("selection", *fixed)
    assert shaped_by("selection", *fixed) != shaped_by("selection", fixed[0])


def test_what_only_speeds_or_logs_shapes_nothing() -> None:
    assert shaped_by("train", "data.num_workers=3", "train.log_every_steps=7", "train.keep_last=1") == shaped_by(
        "train"
    )
    assert shaped_by("train", "train.num_epochs=3") != shaped_by("train")


def stage(folder: Path, *words: str) -> StageManifest:
    (folder / "round_0" / "train").mkdir(parents=True, exist_ok=True)
    return StageManifest(RunFiles(folder), 0, "train", shaped_by("train", *words), {"train.json": "a" * 64})


def test_a_stage_fits_what_it_was_made_with_and_names_what_differs(tmp_path: Path) -> None:
    stage(tmp_path).finish({})
    stage(tmp_path).require_fit()
    assert stage(tmp_path).is_done
    with pytest.raises(UserError, match=r"with other options: optim.lr was 0.1, now 0.2; seed was 0, now 3\. --redo"):
        stage(tmp_path, "seed=3", "optim.lr=0.2").require_fit()
    with pytest.raises(UserError, match="made from other files: train.json changed since"):
        replace(stage(tmp_path), inputs={"train.json": "b" * 64}).require_fit()


def test_a_stage_of_an_earlier_version_fits_where_younger_options_are_at_their_defaults(tmp_path: Path) -> None:
    """As version 0.1.0 wrote it, when three of the options were not there yet."""
    now = stage(tmp_path, "losses=[{name: cross_entropy}]")
    options = json.loads(json.dumps(dict(now.options)))
    del options["model.last_stride"], options["data.mean"], options["losses"][0]["label_smoothing"]
    old = {"stage": "train", "round": 0, "options": options, "inputs": now.inputs, "seconds": 1.5, "outputs": {}}
    (tmp_path / "round_0" / "train" / "manifest.json").write_text(json.dumps(old))
    now.require_fit()
    with pytest.raises(UserError, match="model.last_stride was 2, now 1"):
        stage(tmp_path, "losses=[{name: cross_entropy}]", "model.last_stride=1").require_fit()
    with pytest.raises(UserError, match="losses was"):
        stage(tmp_path, "losses=[{name: cross_entropy, label_smoothing: 0.1}]").require_fit()


def test_a_stage_s_manifest_of_which_a_byte_changed_is_refused(tmp_path: Path) -> None:
    now = stage(tmp_path)
    now.finish({})
    file = tmp_path / "round_0" / "train" / "manifest.json"
    whole = file.read_text()
    for before, after in (('"data.input_size_px": 224', '"data.input_size_px": 225'), ('"digest"', '"digesu"')):
        assert before in whole
        file.write_text(whole.replace(before, after))
        with pytest.raises(UserError, match="is damaged"):
            now.require_fit()
        with pytest.raises(UserError, match="is damaged"):
            outputs_hash(now.run, 0, "train")
