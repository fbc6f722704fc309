"""The pass of the doctor: each picture decoded once, kept, and decoded again only where its file changed."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_pictures import drawn

from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.core.strings import Strings
from shelfmark.data.checked_images import CheckedImages, image_keys
from shelfmark.data.options import DataOptions
from shelfmark.runtime import measured_pictures as module
from shelfmark.runtime.measured_pictures import SPOILT, kept_folder, measured_pictures

NUM = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(NUM):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), drawn(number)[..., ::-1])
    return tmp_path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the pictures of each part of a pass."""
    parts: list[list[str]] = []
    measure = module._measured

    def noted(paths, *rest):
        parts.append([Path(path).name for path in paths])
        return measure(paths, *rest)

    monkeypatch.setattr(module, "_measured", noted)
    monkeypatch.setattr(module, "_AT_A_TIME", 3)
    return parts


def look(folder: Path) -> module.MeasuredPictures:
    paths = Strings.of(str(folder / "pictures" / f"{number}.png") for number in range(NUM))
    return measured_pictures(paths, data(folder), folder / "log")


def data(folder: Path) -> DataOptions:
    return DataOptions(root=folder / "pictures", num_workers=0)


def test_every_record_is_of_its_own_picture_and_kept(folder: Path, decoded: list[list[str]]) -> None:
    first, second = look(folder), look(folder)
    assert decoded == [["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"], ["6.png"]]
    for found in (first, second):
        assert found.is_read.all()
        thumbs = found.thumbs(np.array([6, 0, 3]))
        for thumb, number in zip(thumbs, (6, 0, 3)):
            assert (
                np.abs(thumb.astype(int) - cv2.resize(drawn(number), (32, 32), interpolation=cv2.INTER_AREA)).max() <= 1
            )
        assert len(np.unique(found.facts["pixels"])) == NUM
        assert found.facts["width"].tolist() == [96] * NUM
    keys = image_keys([str(folder / "pictures" / f"{number}.png") for number in range(NUM)], limits(folder))
    assert CheckedImages.of(folder / "log", folder / "pictures").has(keys).all(), "a training need not look again"


def limits(folder: Path) -> tuple[int, int]:
    return data(folder).max_image_bytes, data(folder).max_image_pixels


def test_only_changed_unreadable_and_lost_records_are_made_again(folder: Path, decoded: list[list[str]]) -> None:
    (folder / "pictures" / "1.png").write_bytes(b"no picture")
    found = look(folder)
    assert list(found.reasons) == [1]
    assert not found.is_read[1]
    assert found.facts["width"][1] == 0
    decoded.clear()
    os.utime(folder / "pictures" / "5.png", ns=(1, 1))
    look(folder)
    assert decoded == [["1.png", "5.png"]]
    decoded.clear()
    parts = sorted(kept_folder(folder / "log", folder / "pictures").glob("part_*.npy"))
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    assert look(folder).is_read.sum() == NUM - 1
    assert decoded == [["0.png", "1.png", "2.png"]]


def test_a_file_that_decodes_no_more_though_nothing_changed_is_told(folder: Path) -> None:
    look(folder)
    file = folder / "pictures" / "2.png"
    told = file.stat()
    file.write_bytes(bytes(told.st_size))
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    for part in kept_folder(folder / "log", folder / "pictures").glob("part_*.npy"):
        part.unlink()
    assert SPOILT in look(folder).reasons[2]


def test_a_stopped_pass_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_batches = 0

    def stop() -> None:
        nonlocal num_batches
        num_batches += 1
        if num_batches == 5:
            raise Stopped(15)

    monkeypatch.setattr(module, "_AT_A_TIME", 3)
    monkeypatch.setattr(module, "_BATCH_SIZE", 1)
    monkeypatch.setattr(module, "raise_if_stopped", stop)
    with pytest.raises(Stopped):
        look(folder)
    monkeypatch.undo()
    again: list[int] = []
    measure = module._measured
    monkeypatch.setattr(module, "_measured", lambda paths, *rest: again.append(len(paths)) or measure(paths, *rest))
    assert look(folder).is_read.all()
    assert again == [NUM - 5]


def test_two_runs_at_once_keep_the_records_of_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins where the first one has counted the parts of the folder, and has not added its own."""
    add, begun = module._Store.add, []

    def both(self: module._Store, keys: np.ndarray, records: np.ndarray) -> None:
        monkeypatch.setattr(module._Store, "add", add)
        monkeypatch.setattr(Path, "glob", lambda path, pattern: [])
        begun.append(len(keys))
        self.add(keys[:3], records[:3])
        self.add(keys[3:], records[3:])
        monkeypatch.undo()

    monkeypatch.setattr(module._Store, "add", both)
    assert look(folder).is_read.all()
    assert begun == [NUM]


def test_records_that_vanish_are_no_unreadable_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Store, "add", lambda *_: None)
    with pytest.raises(UserError, match="the records of 7 images were removed"):
        look(folder)


def test_records_of_another_kind_are_made_anew(folder: Path, decoded: list[list[str]]) -> None:
    look(folder)
    decoded.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WRITTEN_BY", {"measures": 2, "thumb_px": 32})
        look(folder)
    assert sum(map(len, decoded)) == NUM
