"""The lists and the pickles of PSS, from tiny ones in their true form."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.data.converters.pss import prepare_pss
from shelfmark.data.converters.pss_pickles import prepare_pss_clusters, prepare_pss_features

# Class 10 stands before 2 among strings, behind it among numbers. Of kind Aves, 2 and 10 are known.
LABELLED = [*(f"Aves/2/l{number}.jpg" for number in range(3)), *(f"Aves/10/l{number}.jpg" for number in range(2))]
KNOWN = ["Aves/2/u0.jpg", "Aves/10/u0.jpg"]
NEW = ["Aves/3/a.jpg", "Aves/3/b.jpg", "Fungi/7/a.jpg"]
TEST = ["Fungi/8/a.jpg", "Fungi/8/b.jpg"]
LISTS = {
    "lin_train_set1": LABELLED,
    "uin_train_set1": KNOWN,
    "uout_train_set1": NEW,
    "in_train_set1": [*LABELLED, *KNOWN],
    "train_set1": [*LABELLED, *KNOWN, *NEW],
    "Inaturalist_test_set1": TEST,
}


def tree(
    root: Path, *names: str, pictures: str = "", lists: str = "", changed: dict[str, list[str]] | None = None
) -> Path:
    """A copy with the lists `names`, or all."""
    for name, paths in ({name: LISTS[name] for name in names or LISTS} | (changed or {})).items():
        file = root / lists / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"train_val2018/{path}\n" for path in paths))
        for path in paths:
            picture = root / pictures / "train_val2018" / path
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.touch()
    return root


def records(file: Path) -> list[dict[str, Any]]:
    return orjson.loads(file.read_bytes())["annotations"]


def test_each_picture_has_the_role_of_its_list_and_an_unlabelled_one_its_class_for_the_report_alone(
    tmp_path: Path,
) -> None:
    prepared = prepare_pss(tree(tmp_path / "pss"), tmp_path / "out")
    file = tmp_path / "out" / "discovery.json"
    assert prepared.options == {"data.root": tmp_path / "pss", "discovery.annotations": file}
    table = read_annotations(file, tmp_path / "pss")
    assert table.class_names == ("Aves/2", "Aves/3", "Aves/10", "Fungi/7", "Fungi/8")
    assert table.groups == ("Aves", "Aves", "Aves", "Fungi", "Fungi")
    assert table.roles is not None
    assert table.true_labels is not None
    assert Counter(table.roles) == {"labelled": 5, "unlabelled": 5, "test": 2}
    by_role = {
        role: {table.paths[row]: int(column[row]) for row, one in enumerate(table.roles) if one == role}
        for role, column in (("labelled", table.labels), ("unlabelled", table.true_labels), ("test", table.labels))
    }
    assert by_role["labelled"] == {f"train_val2018/{path}": 0 if "/2/" in path else 2 for path in LABELLED}
    assert list(by_role["unlabelled"].values()) == [0, 2, 1, 1, 3]
    assert set(by_role["test"].values()) == {4}
    assert all((one["category_id"] is None) == (one["role"] == "unlabelled") for one in records(file))


@pytest.mark.parametrize(
    "names",
    [
        ["lin_train_set1", "train_set1", "Inaturalist_test_set1"],
        ["lin_train_set1", "uin_train_set1", "train_set1", "Inaturalist_test_set1"],
        ["lin_train_set1", "uin_train_set1", "uout_train_set1", "Inaturalist_test_set1"],
    ],
)
def test_the_list_of_all_takes_the_place_of_the_unlabelled_ones_in_any_order_of_its_lines(
    tmp_path: Path, names: list[str]
) -> None:
    prepare_pss(tree(tmp_path / "whole"), tmp_path / "expected")
    source = tree(tmp_path / "part", *names)
    if "train_set1" in names:
        file = source / "train_set1.txt"
        file.write_text("\n".join(reversed(file.read_text().split())))
    prepare_pss(source, tmp_path / "out")
    expected, found = (records(tmp_path / name / "discovery.json") for name in ("expected", "out"))
    assert sorted(found, key=lambda one: one["fpath"]) == sorted(expected, key=lambda one: one["fpath"])


def test_the_original_s_own_folder_and_paths_with_folders_in_front_are_read_too(tmp_path: Path) -> None:
    source = tree(tmp_path / "a", pictures="Inaturalist", lists="Inaturalist")
    file = source / "Inaturalist" / "uin_train_set1.txt"
    file.write_text("".join(f"/home/someone/data/train_val2018/{path}\n" for path in KNOWN))
    prepared = prepare_pss(source, tmp_path / "out")
    assert prepared.options["data.root"] == source / "Inaturalist"
    assert {one["fpath"] for one in records(tmp_path / "out" / "discovery.json")} == {
        f"train_val2018/{path}" for path in [*LABELLED, *KNOWN, *NEW, *TEST]
    }


def test_the_test_stands_alone_too_with_classes_of_its_own(tmp_path: Path) -> None:
    prepare_pss(tree(tmp_path / "pss"), tmp_path / "out")
    table = read_annotations(tmp_path / "out" / "test.json", tmp_path / "pss")
    assert (table.class_names, table.labels.tolist()) == (("Fungi/8",), [0, 0])


def test_the_command_tells_what_it_wrote_and_how_to_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tree(tmp_path / "pss")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        assert main(["prepare", "pss", "--source", "pss"]) == 0
    assert "12 images in 5 classes: 5 of lin_train_set1, 2 of uin_train_set1, 3 of uout_train_set1" in caplog.text
    assert caplog.text.rstrip().endswith(" discover --config discovery/pss_inat data.root=pss")


def test_a_copy_of_another_size_than_the_published_one_is_told(tmp_path: Path) -> None:
    notes = "\n".join(prepare_pss(tree(tmp_path / "pss"), tmp_path / "out").notes)
    for expected in (
        "lin_train_set1: expected 29,011 images in 948 classes, as published, but found 5 images in 2 classes",
        "uin_train_set1: expected 18,403 images in 948 classes, as published, but found 2 images in 2 classes",
        "uout_train_set1: expected 278,432 images in 4,742 classes, as published, but found 3 images in 2 classes",
        "Inaturalist_test_set1: expected 136,093 images in 2,452 classes",
    ):
        assert expected in notes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"uin_train_set1": [LABELLED[0]]}, "stands in lin_train_set1.txt and in uin_train_set1.txt"),
        ({"Inaturalist_test_set1": ["Aves/3/c.jpg"]}, "1 classes are in Inaturalist_test_set1.txt and in the training"),
        ({"uout_train_set1": ["Aves/2/c.jpg"]}, "1 classes are in uout_train_set1.txt and in lin_train_set1.txt"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(tmp_path: Path, changed: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        prepare_pss(tree(tmp_path / "pss", changed=changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["lin_train_set1", "Inaturalist_test_set1", "train_set1"])
def test_a_missing_list_is_named_with_where_to_get_it(tmp_path: Path, missing: str) -> None:
    without = {missing, "uout_train_set1"} if missing == "train_set1" else {missing}
    source = tree(tmp_path / "pss", *(name for name in LISTS if name not in without))
    with pytest.raises(UserError, match=rf"{missing}\.txt.*train_val2018\.tar\.gz"):
        prepare_pss(source, tmp_path / "out")


# The pickles.

FEATURES = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
PATHS = [f"/home/someone/data/train_val2018/Aves/{name}.jpg" for name in "abcde"]


def write(file: Path, value: object) -> Path:
    # The original's Python wrote the third protocol.
    file.write_bytes(pickle.dumps(value, protocol=3))
    return file


def five(labels: list[int], masks: list[int], further: list[int] | None = None) -> list[object]:
    # A dict in another order than its rows.
    rows = {PATHS[row]: row for row in (3, 1, 4, 0, 2)}
    return [rows, FEATURES, np.array(labels), np.array(further or labels), np.array(masks, dtype=np.float64)]


def test_a_features_pickle_becomes_embeddings_in_the_order_of_its_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "T_train.pkl", five([0, 0, 1, 1, 2], [0] * 5))
    prepared = prepare_pss_features(file, tmp_path / "out")
    read = read_embeddings(tmp_path / "out")
    np.testing.assert_array_equal(read.features, FEATURES)
    assert read.labels.tolist() == [0, 0, 1, 1, 2]
    assert list(read.paths) == [f"train_val2018/Aves/{name}.jpg" for name in "abcde"]
    assert list(read.image_ids) == list(read.paths)
    assert list(prepared.files) == [tmp_path / "out"]


def test_masks_divide_a_features_pickle_into_labelled_and_unlabelled(tmp_path: Path) -> None:
    file = write(tmp_path / "all_train.pkl", five([0, 1, 2, 3, 4], [0, 2, 1, 0, 2], further=[0, 1, 2, 3, 9]))
    prepared = prepare_pss_features(file, tmp_path / "out")
    labelled, unlabelled = (read_embeddings(tmp_path / "out" / name) for name in ("labelled", "unlabelled"))
    assert (labelled.rows.tolist(), unlabelled.rows.tolist()) == ([0, 3], [1, 2, 4])
    assert (labelled.labels.tolist(), unlabelled.labels.tolist()) == ([0, 3], [1, 2, 4])
    np.testing.assert_array_equal(unlabelled.features, FEATURES[[1, 2, 4]])
    assert any("two rows of labels differ" in note for note in prepared.notes)
    with pytest.raises(UserError, match="there already"):
        prepare_pss_features(file, tmp_path / "out")


def test_a_pickle_of_features_and_labels_alone_becomes_embeddings_too(tmp_path: Path) -> None:
    prepare_pss_features(
        write(tmp_path / "faces.pkl", [FEATURES.astype(np.float64), [0, 0, 1, 1, 2]]), tmp_path / "out"
    )
    read = read_embeddings(tmp_path / "out")
    assert (list(read.image_ids), read.labels.tolist()) == (list("01234"), [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(read.features, FEATURES)


def test_a_clusters_pickle_becomes_annotations_with_compact_classes_roles_and_sources(tmp_path: Path) -> None:
    # Class 0 is known; 5 and 9 are clusters whose numbers the original leaves with gaps.
    prepare_pss_clusters(write(tmp_path / "clusters.pkl", five([0, 9, -1, 5, 9], [0, 1, 2, 1, 1])), tmp_path / "out")
    found = [
        tuple(one.get(key) for key in ("category_id", "role", "source")) for one in records(tmp_path / "out/train.json")
    ]
    assert found == [
        (0, "labelled", None),
        (2, "unlabelled", "pseudo"),
        (1, "unlabelled", "pseudo"),
        (2, "unlabelled", "pseudo"),
        (None, "unlabelled", None),
    ]
    table = read_annotations(tmp_path / "out" / "train.json", tmp_path, check_files=False)
    assert (table.num_classes, table.class_names) == (3, ("0", "5", "9"))
    assert [Path(path).stem for path in table.paths] == list("abdec")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1}, "holds a dict; expected"),
        ([1, 2, 3], "holds a list of 3"),
        ([FEATURES[0], [0]], "its features are float32 of shape"),
        ([FEATURES * np.nan, [0] * 5], "not all finite"),
        ([FEATURES, [0] * 4], "its labels are"),
        ([FEATURES, [0.5] * 5], "its labels are"),
        (five([0] * 5, [3] * 5), "masks other than 0"),
        ([{PATHS[0]: 0}, *five([0] * 5, [0] * 5)[1:]], "gives each of 5 rows one path"),
        (pickle.loads, "could run foreign code"),
    ],
)
def test_what_is_no_such_pickle_is_refused_and_nothing_is_written(tmp_path: Path, value: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        prepare_pss_features(write(tmp_path / "a.pkl", value), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_that_no_cluster_labels_are_no_clusters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gives no image a label"):
        prepare_pss_clusters(write(tmp_path / "a.pkl", five([-1] * 5, [2] * 5)), tmp_path / "out")
    with pytest.raises(UserError, match="is not a file"):
        prepare_pss_clusters(tmp_path / "none.pkl", tmp_path / "out")
