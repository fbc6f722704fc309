"""The scan before the training: all that cannot be decoded, found at once and remembered."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_pictures import JPEG, encoded

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data import image_scan
from shelfmark.data.checked_images import CheckedImages, image_keys
from shelfmark.data.image_scan import check_images
from shelfmark.data.options import DataOptions
from shelfmark.data.table import Table


def table(root: Path, names: list[str]) -> Table:
    packed = Strings.of(names)
    return Table(packed, np.zeros(len(names), np.int64), packed, num_classes=1, root=root, sha256="")


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the images that each scan decoded."""
    scans: list[list[str]] = []
    decode = image_scan.unreadable_images

    def noted(paths, *rest):
        scans.append([Path(path).name for path in paths])
        return decode(paths, *rest)

    monkeypatch.setattr(image_scan, "unreadable_images", noted)
    return scans


def test_an_image_is_decoded_again_only_where_its_file_changed(tmp_path: Path, looked_at: list[list[str]]) -> None:
    for name in ("a.jpg", "b.png", "c.jpg"):
        (tmp_path / name).write_bytes(JPEG)
    tables = {"training": table(tmp_path, ["a.jpg", "b.png"]), "validation": table(tmp_path, ["c.jpg", "./a.jpg"])}
    data, log = DataOptions(root=tmp_path), tmp_path / "log"
    check_images(tables, data, log)
    check_images(tables, data, log)
    (tmp_path / "b.png").write_bytes(encoded("PNG"))
    check_images(tables, data, log)
    os.utime(tmp_path / "c.jpg", ns=(1, 1))
    check_images(tables, data, log)
    check_images(tables, data.model_copy(update={"max_image_pixels": 2**20}), log)
    check_images(tables, data.model_copy(update={"check_images": "never"}), tmp_path / "other")
    assert looked_at == [["a.jpg", "b.png", "c.jpg"], ["b.png"], ["c.jpg"], ["a.jpg", "b.png", "c.jpg"]]


def test_all_that_fail_are_listed_with_their_reasons_and_looked_at_again(
    tmp_path: Path, looked_at: list[list[str]]
) -> None:
    names = [f"{number:02}.jpg" for number in range(14)]
    for name in names[:13]:
        (tmp_path / name).write_bytes(b"" if name < "05" else JPEG[:-30] if name < "12" else JPEG)
    data, log = DataOptions(root=tmp_path), tmp_path / "log"
    with pytest.raises(UserError) as caught:
        check_images({"training": table(tmp_path, names)}, data, log)
    text = str(caught.value)
    assert "13 of 14 images could not be read, so nothing was trained. truncated: 7, empty file: 5, missing: 1." in text
    assert text.count(f"\n  {tmp_path}") == 10
    assert "and 3 more" in text
    rows = (log / "findings" / "unreadable_images.csv").read_text().splitlines()
    assert rows[0] == "path,reason"
    assert rows[1] == f"{tmp_path / '00.jpg'},empty file"
    assert rows[-1] == f"{tmp_path / '13.jpg'},missing"
    assert len(rows) == 14
    mended = [name for name in names if name != "12.jpg"]
    for name in mended:
        (tmp_path / name).write_bytes(JPEG)
    check_images({"training": table(tmp_path, names)}, data, log)
    assert looked_at[1] == mended


def test_a_name_with_a_carriage_return_is_one_row_of_the_list(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        check_images({"training": table(tmp_path, ["a\rb.jpg"])}, DataOptions(root=tmp_path), tmp_path / "log")
    with open(tmp_path / "log" / "findings" / "unreadable_images.csv", newline="") as stream:
        assert list(csv.reader(stream))[1:] == [[str(tmp_path / "a\rb.jpg"), "missing"]]


def test_each_table_has_its_own_limit_and_may_not_lose_all_its_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = [f"{number}.jpg" for number in range(40)], [f"bad{number}.jpg" for number in range(11)]
    for name in good + bad:
        (tmp_path / name).write_bytes(JPEG if name in good else b"no picture")
    skip = DataOptions(root=tmp_path, on_bad_image="skip")
    check_images({"training": table(tmp_path, good + bad[:10])}, skip, tmp_path / "log")
    assert "10 of 50 images could not be read; in training another image of the class" in caplog.text
    with pytest.raises(UserError, match=r"11 of the 51 validation images, more than 10, so nothing was trained"):
        check_images({"training": table(tmp_path, good), "validation": table(tmp_path, good + bad)}, skip, tmp_path)
    with pytest.raises(UserError, match=r"3 of the 3 validation images"):
        check_images({"training": table(tmp_path, good), "validation": table(tmp_path, bad[:3])}, skip, tmp_path)
    more = skip.model_copy(update={"max_bad_images": 0.3})
    check_images({"validation": table(tmp_path, good + bad)}, more, tmp_path)


def test_by_itself_it_looks_at_no_more_than_some_minutes_allow(
    tmp_path: Path, looked_at: list[list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(image_scan, "MOST_BY_ITSELF", 2)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(JPEG)
    tables = {"training": table(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])}
    check_images(tables, DataOptions(root=tmp_path), tmp_path / "log")
    assert looked_at == []
    assert "3 images or more were not looked at before" in caplog.text
    check_images(tables, DataOptions(root=tmp_path, check_images="always"), tmp_path / "log")
    check_images(tables, DataOptions(root=tmp_path), tmp_path / "log")
    assert looked_at == [["a.jpg", "b.jpg", "c.jpg"]]
    check_images({"training": table(tmp_path, ["a.jpg", "b.jpg"])}, DataOptions(root=tmp_path), tmp_path / "other")
    assert looked_at[1:] == [["a.jpg", "b.jpg"]]


def test_loader_processes_find_what_one_process_finds(tmp_path: Path) -> None:
    names = [f"{number:03}.jpg" for number in range(100)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(JPEG[: -10 if number % 9 == 0 else None])
    paths = [str(tmp_path / name) for name in names]
    found = image_scan.unreadable_images(paths, DataOptions(num_workers=2))
    assert [one.row for one in found] == list(range(0, 100, 9))
    assert found == image_scan.unreadable_images(paths, DataOptions(num_workers=0))


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\0"])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    keys = image_keys([str(tmp_path / "a.jpg"), str(tmp_path / "gone.jpg")], (1, 2))
    (tmp_path / "keys.npy").write_bytes(content)
    memory = CheckedImages(tmp_path / "keys.npy")
    assert memory.has(keys).tolist() == [False, False]
    memory.add(keys)
    again = image_keys([str(tmp_path / "gone.jpg"), str(tmp_path / "a.jpg")], (1, 2))
    assert CheckedImages(tmp_path / "keys.npy").has(again).tolist() == [False, True]


def test_a_memory_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = CheckedImages(tmp_path / "file" / "keys.npy")
    memory.add(image_keys([str(tmp_path / "file")], ()))
    assert memory.has(image_keys([str(tmp_path / "file")], ())).all()
