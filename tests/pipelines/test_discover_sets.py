"""The sets of a discovery run: by role and never by position, with classes kept apart for validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.sets import read_sets, set_table
from shelfmark.recipe import Recipe

NUM_CLASSES = 12


def records() -> list[dict[str, Any]]:
    """Classes 1, 3, 5, 7, 9 have four labelled pictures each; 0 to 11 two hidden ones; 10 and 11 two of the test."""
    found: list[dict[str, Any]] = []
    for label in (1, 3, 5, 7, 9):
        found += [{"category_id": label, "role": "labelled"} for _ in range(4)]
    for label in range(NUM_CLASSES):
        found += [{"category_id": None, "true_category_id": label, "role": "unlabelled"} for _ in range(2)]
    found += [{"category_id": label, "role": "test"} for label in (10, 11) for _ in range(2)]
    return [{**one, "fpath": f"{number}.jpg"} for number, one in enumerate(found)]


def recipe(folder: Path, annotations: list[dict[str, Any]], *overrides: str) -> Recipe:
    """Of these annotations, whose pictures are there, if only as empty files."""
    for one in annotations:
        (folder / one["fpath"]).touch()
    (folder / "all.json").write_text(json.dumps({"annotations": annotations, "num_classes": NUM_CLASSES}))
    words = [f"data.root={folder}", f"discovery.annotations={folder}/all.json", *overrides]
    return load(Recipe, None, [parse_override(word) for word in words]).config


def paths_by_set(folder: Path, annotations: list[dict[str, Any]], *overrides: str) -> dict[str, set[str]]:
    table, _, rows = read_sets(recipe(folder, annotations, *overrides))
    return {name: {table.paths[int(row)] for row in of_set} for name, of_set in rows.items()}


def test_a_picture_s_set_is_told_by_its_role_wherever_it_stands(tmp_path: Path) -> None:
    straight = records()
    mixed = [straight[place] for place in np.random.default_rng(0).permutation(len(straight))]
    found = paths_by_set(tmp_path, straight)
    assert paths_by_set(tmp_path, mixed) == found
    assert found["unlabelled"] == {one["fpath"] for one in straight if one["role"] == "unlabelled"}
    assert found["test"] == {one["fpath"] for one in straight if one["role"] == "test"}


def test_labelled_classes_are_kept_apart_whole_where_there_is_no_val(tmp_path: Path) -> None:
    _, sets, rows = read_sets(recipe(tmp_path, records(), "discovery.val_classes=0.4"))
    assert sets.val_is_carved
    assert len(sets.val_classes) == 2
    assert set(sets.known_classes) | set(sets.val_classes) == {1, 3, 5, 7, 9}
    assert not set(sets.known_classes) & set(sets.val_classes)
    assert (len(rows["val"]), len(rows["labelled"])) == (8, 12)
    drawn = {
        read_sets(recipe(tmp_path, records(), "discovery.val_classes=0.4", f"seed={seed}"))[1].val_classes
        for seed in range(8)
    }
    assert len(drawn) > 1
    whole = read_sets(recipe(tmp_path, records(), "discovery.val_classes=0"))[1]
    assert (whole.known_classes, whole.val_classes, whole.val_is_carved) == ((1, 3, 5, 7, 9), (), False)


def test_val_of_its_own_is_taken_and_must_be_of_other_classes(tmp_path: Path) -> None:
    own = [*records(), *({"category_id": 2, "role": "val", "fpath": f"val{number}.jpg"} for number in range(2))]
    _, sets, rows = read_sets(recipe(tmp_path, own))
    assert (sets.val_is_carved, sets.val_classes, len(rows["val"])) == (False, (2,), 2)
    assert sets.known_classes == (1, 3, 5, 7, 9)
    with pytest.raises(UserError, match="both labelled and val images, such as category_id 3"):
        read_sets(recipe(tmp_path, [*own, {"category_id": 3, "role": "val", "fpath": "val9.jpg"}]))


def test_known_classes_are_numbered_in_order_and_hidden_ones_not_at_all(tmp_path: Path) -> None:
    told = records()
    # A label that an unlabelled record has by mistake is not read.
    told = [{**one, "category_id": 4} if one["role"] == "unlabelled" else one for one in told]
    _, sets, rows = read_sets(recipe(tmp_path, told, "discovery.val_classes=0"))
    run = RunFiles(tmp_path / "run")
    run.write_sets(sets, rows)
    assert run.read_sets() == sets
    labelled, hidden = set_table(run, "labelled"), set_table(run, "unlabelled")
    assert sorted(set(labelled.labels.tolist())) == [0, 1, 2, 3, 4]
    assert labelled.num_classes == 5
    first = told.index(next(one for one in told if one["category_id"] == 7 and one["role"] == "labelled"))
    assert labelled.labels[first] == 3
    assert (hidden.labels == -1).all()
    assert hidden.true_labels is None


def test_a_trial_takes_a_few_whole_classes(tmp_path: Path) -> None:
    _, sets, rows = read_sets(recipe(tmp_path, records(), "discovery.max_images=9", "discovery.val_classes=0"))
    assert sets.images == {"labelled": 8, "unlabelled": 9, "val": 0, "test": 4}
    assert len(sets.known_classes) == 2
    assert len(np.unique(rows["unlabelled"])) == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "lablled"}, "role='lablled' of 0.jpg is not one of labelled, unlabelled, val, test"),
        ({"role": "test", "category_id": None}, "category_id"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    told = records()
    told[0] = {**told[0], **change}
    with pytest.raises(UserError, match=message):
        read_sets(recipe(tmp_path, told))


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    for role, words, message in (
        ("unlabelled", [], "no record has role='unlabelled'"),
        ("labelled", [], "no record has role='labelled'"),
        ("test", ["discovery.val_classes=0.9"], "two classes on either side"),
    ):
        told = [one for one in records() if one["role"] != role]
        with pytest.raises(UserError, match=message):
            read_sets(recipe(tmp_path, told, *words))
    bare = [{key: value for key, value in one.items() if key != "role"} for one in records() if one["category_id"]]
    with pytest.raises(UserError, match="no record has a role"):
        read_sets(recipe(tmp_path, bare))
