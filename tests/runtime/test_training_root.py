"""A typed data.root is of other images, or of all images after a move: trained images are recognised either way."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from untrained_models import SIZES, make_place

from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.runtime.promised_pictures import Given, KnownProducts, pictures_of, training_tables
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.trained_model import TrainedModel, open_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model, and annotations of a photograph in `shelves`, of two training images and of one that is none."""
    folder = tmp_path_factory.mktemp("roots")
    make_place(folder)
    (folder / "shelves").mkdir()
    # One name in both folders does not make the folder that of the training.
    shutil.copy(folder / "pictures" / "val_1.png", folder / "shelves" / "train_2.png")
    names = [f"{folder}/pictures/{name}" for name in ("train_0.png", "train_1.png", "val_0.png")] + ["train_2.png"]
    records = [{"fpath": name, "category_id": 0} for name in names]
    document = {"annotations": records, "num_classes": 3, "class_names": ["class 0", "class 1", "class 2"]}
    (folder / "shelves.json").write_text(json.dumps(document))
    with contextlib.chdir(folder):
        yield folder


def opened(*words: str) -> TrainedModel:
    return open_model(Path("log/run/last"), [parse_override(word) for word in words])


def left(model: TrainedModel, annotations: str) -> list[str]:
    """The given pictures that may teach or check thresholds."""
    products, training = KnownProducts.of(model, None), training_tables(model)
    found = pictures_of(model, products, Given(Path(annotations)), training)
    return sorted(Path(path).name for part in (*found.known, *found.unseen) for path in part.table.paths)


def test_given_annotations_are_of_the_typed_root_and_those_of_the_training_of_their_own(place: Path) -> None:
    model = opened("data.root=shelves", "data.extra_roots=[pictures]")
    training = training_tables(model)
    assert training is not None
    assert (training.learned.root, len(training.learned)) == (place / "pictures", SIZES["train"])
    assert left(model, "shelves.json") == ["train_2.png", "val_0.png"]


def test_after_a_move_the_typed_root_is_that_of_all_images(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "pictures", tmp_path / "moved")
    # The former folder is there still: the images would not be known for the same ones.
    model = opened(f"data.root={tmp_path / 'moved'}")
    training = training_tables(model)
    assert training is not None
    assert training.learned.root == tmp_path / "moved"
    records = [{"fpath": f"{split}_0.png", "category_id": 0} for split in ("train", "val")]
    (tmp_path / "some.json").write_text(json.dumps({"annotations": records, "num_classes": 3}))
    assert left(model, str(tmp_path / "some.json")) == ["val_0.png"]


def test_typed_training_annotations_belong_to_the_typed_root(place: Path) -> None:
    with pytest.raises(UserError, match="missing file"):
        training_tables(opened("data.root=shelves", "data.train_json=more.json"))
    assert training_tables(opened("data.root=shelves", "data.train_json=null")) is None


def test_an_evaluation_of_other_images_compares_them_with_the_training(place: Path) -> None:
    words = ("data.root=shelves", "data.extra_roots=[pictures]", "data.retrieval_json=null", "eval.metric=none")
    model = opened(*words, "data.val_json=shelves.json")
    model.checkpoint.manifest["val_is_held_out"] = True
    val, _ = read_evaluation(model)
    assert val is not None
    # Of the leaked images a part is held out of training, and the others are not in val.
    names = {Path(path).name for path in val.paths}
    assert {"val_0.png", "train_2.png"} < names < {"val_0.png", "train_0.png", "train_1.png", "train_2.png"}
    # The checkpoint's own val images are not compared under two folders.
    own = opened(*words)
    own.checkpoint.manifest["val_is_held_out"] = True
    with pytest.raises(UserError, match="missing file"):
        read_evaluation(own)
