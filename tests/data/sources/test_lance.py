"""A Lance dataset of pictures gives what their files give: the same batches, reasons and names."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from untrained_models import make_place, options

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped, StopSignals
from shelfmark.data import lance_writing
from shelfmark.data.sources import FileSource, UnreadableImage
from shelfmark.data.sources.lance_images import FORMAT, LanceImages, open_images
from shelfmark.data.sources.lance_source import LanceSource
from shelfmark.pipelines.to_lance import to_lance
from shelfmark.recipe import Recipe, assemble

lance = pytest.importorskip("lance")
pyarrow = pytest.importorskip("pyarrow")

pytestmark = pytest.mark.timeout(200)
NUM_PICTURES = 31  # train 13, val 11, retrieval 7


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a dataset of them, `shop.lance`."""
    folder = tmp_path_factory.mktemp("lance")
    make_place(folder)
    to_lance(recipe(folder), str(folder / "shop.lance"))
    return folder


def recipe(place: Path, words: Sequence[str] = ()) -> Recipe:
    return load(Recipe, None, [parse_override(word) for word in (*options(place), *words)]).config


def batches(place: Path, words: Sequence[str]) -> list[Batch]:
    """Those of two epochs."""
    asked = recipe(place, ["train.batch_size=6", "data.input_size_px=12", *words])
    table, _ = assemble.read_training(asked)
    loader = assemble.train_loader(asked, table, torch.device("cpu"))
    return [batch for epoch in range(2) for batch in loader.epoch(epoch)]


PK = ["sampling.type=pk", "sampling.images_per_class=3"]


# Lance says this before any fork of a process that imported it.
@pytest.mark.filterwarnings("error:lance is not fork-safe")
@pytest.mark.parametrize(
    "words", [PK, [*PK, "data.num_workers=2"], ["data.pipeline=2"]], ids=["P x K", "P x K in workers", "pipeline 2"]
)
def test_the_batches_are_those_of_files_to_the_bit(place: Path, tmp_path: Path, words: list[str]) -> None:
    files = batches(place, [word for word in words if "workers" not in word])
    # The files themselves are not asked for.
    (place / "pictures").rename(tmp_path / "away")
    try:
        stored = batches(place, [*words, f"data.source=lance://{place / 'shop.lance'}"])
    finally:
        (tmp_path / "away").rename(place / "pictures")
    assert len(files) == len(stored) >= 4
    for one, other in zip(files, stored):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.images, other.images)


def source_of(
    place: Path, images: LanceImages | None = None, max_bytes: int = 1 << 20
) -> tuple[FileSource, LanceSource]:
    table = assemble.read_table(recipe(place), "val")
    files = FileSource.of(table, max_bytes)
    home = recipe(place).data.root
    return files, LanceSource.of(files, open_images(str(place / "shop.lance")), home)


def test_a_batch_is_one_request_and_what_is_pickled_has_no_paths(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, source = source_of(place)
    asked: list[list[int]] = []
    take = LanceImages.take
    monkeypatch.setattr(LanceImages, "take", lambda self, rows: asked.append(list(rows)) or take(self, rows))
    # A sampler may draw a row twice.
    rows = [4, 0, 4, 9]
    source.fetch(rows)
    assert [source.read(row) for row in rows] == [files.read(row) for row in rows]
    assert len(asked) == 1
    assert len(asked[0]) == 3
    assert source.read(1) == files.read(1)
    again = pickle.loads(pickle.dumps(source))
    assert b"val_3.png" not in pickle.dumps(source)
    assert len(again) == len(files)
    for row in (3, 10):
        assert again.read(row) == files.read(row)
        assert again.name(row) == files.name(row)
        assert again.identity(row) == files.identity(row)
    small = source_of(place, max_bytes=20)[1]
    with pytest.raises(UnreadableImage, match="more bytes than data.max_image_bytes"):
        small.read(0)


def test_the_file_format_is_pinned_in_writing_and_in_reading(place: Path, tmp_path: Path) -> None:
    assert lance.dataset(str(place / "shop.lance")).data_storage_version == FORMAT == "2.1"
    table = pyarrow.table({"path": ["a.png"], "image": pyarrow.array([b"1"], pyarrow.large_binary())})
    for version, is_read in (("2.0", True), ("2.1", True), ("legacy", False), ("2.2", False)):
        uri = str(tmp_path / version)
        lance.write_dataset(table, uri, data_storage_version=version)
        if is_read:
            # Another program's dataset of the same columns will do.
            assert open_images(uri).take([0]) == [b"1"]
        else:
            with pytest.raises(UserError, match=r"has Lance's file format .*; this Shelfmark reads 2\.0 and 2\.1"):
                open_images(uri)
    lance.write_dataset(
        pyarrow.table({"path": ["a"], "image": ["text"]}), str(tmp_path / "text"), data_storage_version=FORMAT
    )
    with pytest.raises(UserError, match="column 'image' is string, and should be binary or large_binary"):
        open_images(str(tmp_path / "text"))
    with pytest.raises(UserError, match="cannot be opened: .*to-lance --config FILE --out DIR"):
        open_images(str(tmp_path / "nothing"))


def test_rows_that_are_added_later_change_nothing_that_is_open(tmp_path: Path) -> None:
    table = pyarrow.table({"path": ["a", "b"], "image": [b"1", b"2"]})
    uri = str(tmp_path / "grows")
    lance.write_dataset(table, uri, data_storage_version=FORMAT)
    before = open_images(uri)
    digest = before.digest
    lance.write_dataset(table.slice(1), uri, mode="append")
    assert len(before) == 2
    assert len(open_images(uri)) == 3
    assert open_images(uri).digest != digest == LanceImages(uri, before.version).digest


def test_what_was_stopped_goes_on_and_is_refused_until_it_is_whole(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_writing, "_COMMITTED_AT_ONCE", 8)
    monkeypatch.setattr(lance_writing, "_READ_AT_ONCE", 4)
    uri = str(tmp_path / "new.lance")
    read = FileSource.read

    def failing(self: FileSource, row: int) -> bytes:
        if row == 13:
            raise MemoryError
        return read(self, row)

    with monkeypatch.context() as patched, contextlib.suppress(MemoryError, UserError):
        patched.setattr(FileSource, "read", failing)
        to_lance(recipe(place), uri)
    assert lance.dataset(uri).count_rows() == 8
    with pytest.raises(UserError, match=f"not written to the end: it has 8 of {NUM_PICTURES} images. .*to-lance"):
        open_images(uri)

    def stopping(self: FileSource, row: int) -> bytes:
        signals = stopped_by[0]
        signals.received = 15
        return read(self, row)

    stopped_by: list[Any] = []
    enter = StopSignals.__enter__
    with monkeypatch.context() as patched:
        patched.setattr(StopSignals, "__enter__", lambda self: stopped_by.append(self) or enter(self))
        patched.setattr(FileSource, "read", stopping)
        with pytest.raises(Stopped):
            to_lance(recipe(place), uri)
    # What was read before the signal is kept.
    assert lance.dataset(uri).count_rows() == 12
    written = to_lance(recipe(place), uri, ["--config", "mine.yaml"])
    assert written.num_images == NUM_PICTURES
    assert written.command.endswith(f"train --config mine.yaml data.source=lance://{uri}")
    new, old = (lance.dataset(one).to_table().sort_by("path") for one in (uri, str(place / "shop.lance")))
    assert new.equals(old)
    # One file for each of the four times that rows were added, and none of those that were never finished.
    assert len(list((tmp_path / "new.lance/data").iterdir())) == len(lance.dataset(uri).get_fragments())


def test_other_pictures_and_other_things_are_not_written_over(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "shop.lance", tmp_path / "shop.lance")
    uri = str(tmp_path / "shop.lance")
    with pytest.raises(UserError, match="does not fit: max_image_bytes was"):
        to_lance(recipe(place, ["data.max_image_bytes=5000"]), uri)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="exists and is no Lance dataset"):
        to_lance(recipe(place), str(tmp_path / "mine"))
    lance.write_dataset(pyarrow.table({"a": [1]}), str(tmp_path / "theirs"))
    with pytest.raises(UserError, match="that another program wrote"):
        to_lance(recipe(place), str(tmp_path / "theirs"))


def test_a_dataset_with_damaged_files_is_refused_in_words(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, damage in (("cut", lambda file: file.write_bytes(file.read_bytes()[:100])), ("gone", Path.unlink)):
        uri = tmp_path / f"{name}.lance"
        shutil.copytree(place / "shop.lance", uri)
        for file in (uri / "data").iterdir():
            damage(file)
        assert main(["train", *options(place), f"data.source=lance://{uri}"]) == 2
        assert main(["to-lance", *options(place), "--out", str(uri)]) == 2
        told = capsys.readouterr().err
        assert "cannot be read: " in told
        assert "remove it and write it again: shelfmark to-lance" in told
        # Lance's errors name lines of its own source code.
        assert ".rs:" not in told
    assert main(["train", *options(place), f"data.source=lance://{tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert "cannot be opened" in told
    assert ".rs:" not in told


def test_a_picture_that_is_missing_or_spoilt_is_told_as_that_of_a_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(place, mine)
    document = json.loads((mine / "val.json").read_text())
    for name in ("empty.png", "spoilt/4.png"):
        document["annotations"].append({"fpath": name, "image_id": name, "category_id": 0})
    (mine / "pictures/empty.png").touch()
    (mine / "val.json").write_text(json.dumps(document))
    asked = recipe(mine, ["data.on_bad_image=skip"])
    table = assemble.read_table(asked, "val")
    with pytest.raises(
        UserError, match=r"lacks 2 of the 13 images, the first is empty\.png\. .*to-lance --config FILE"
    ):
        LanceSource.of(FileSource.of(table), open_images(str(place / "shop.lance")), asked.data.root)
    uri = str(tmp_path / "new.lance")
    with pytest.raises(UserError, match=r"1 of 33 images could not be read\. empty file: 1"):
        to_lance(recipe(mine), uri)
    assert to_lance(asked, uri).as_json()["num_unreadable"] == 1
    source = LanceSource.of(FileSource.of(table), open_images(uri), asked.data.root)
    assert source.unread == {11: "empty file"}
    for rows in ([], [11, 12]):
        source.fetch(rows)
        with pytest.raises(UnreadableImage) as caught:
            source.read(11)
        assert (caught.value.path, caught.value.reason) == (str(mine / "pictures/empty.png"), "empty file")
        assert "write another dataset by `shelfmark to-lance" in str(pickle.loads(pickle.dumps(caught.value)))
    # Bytes are stored as they are; what they are is found when they are decoded.
    assert source.read(12) == b"no picture"


def test_without_the_package_the_error_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    assert main(["to-lance", *options(place), "--out", str(place / "x")]) == 2
    assert "shelfmark to-lance needs the package lance: pip install -e '.[lance]'" in capsys.readouterr().err
    assert not (place / "x").exists()
    with pytest.raises(UserError, match="data.source=lance:// needs the package lance"):
        open_images("anything")
    assert np.all([not one.name.startswith(".") for one in place.iterdir()])
