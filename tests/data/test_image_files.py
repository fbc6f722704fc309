"""What is a picture is known by content, and everything else in a folder is counted by reason."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from tiny_pictures import JPEG, encoded

from shelfmark.core.errors import UserError
from shelfmark.data import image_kinds
from shelfmark.data.annotations import folder_table
from shelfmark.data.image_files import image_files
from shelfmark.data.image_kinds import kind_of
from shelfmark.runtime.photographs import listed


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def brands(major: bytes, *others: bytes) -> bytes:
    box = b"ftyp" + major + b"\0\0\0\0" + b"".join(others)
    return struct.pack(">I", len(box) + 4) + box + b"\0\0\x01\xbfmeta" * 8


def tiff(*tags: tuple[int, int]) -> bytes:
    """A little-endian TIFF whose first directory has these tags, with values of four bytes."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(60)


def test_pictures_are_found_whatever_their_names_and_others_never(tmp_path: Path) -> None:
    pictures = {
        "a.jfif": JPEG,
        "b.png": JPEG,  # a name that lies
        "no ending": encoded("PNG"),
        "c.gif": encoded("GIF"),
        "d.TIF": encoded("TIFF"),
        "e.avif": encoded("AVIF"),
        "f.data": encoded("WEBP"),
        "g.bmp": encoded("BMP"),
    }
    put(tmp_path, pictures)
    put(tmp_path, {"notes.txt": b"BM, a note to Ben about pictures", "list.json": b"{}", "nothing": b""})
    found = image_files(tmp_path)
    assert found.pictures == sorted(pictures)
    assert found.left_out == {"not a picture": ["list.json", "notes.txt"], "empty file": ["nothing"]}
    assert not found.damaged


def test_a_file_named_as_a_picture_that_is_none_is_damaged_and_is_answered_with_an_error(tmp_path: Path) -> None:
    put(tmp_path, {"a.jpg": JPEG, "page.jpeg": b"<html>not found</html>", "cut/zero.png": b"", "x.txt": b"x"})
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = image_files(tmp_path)
    assert found.pictures == ["a.jpg"]
    assert found.damaged == {
        "empty file": ["cut/zero.png"],
        "not a picture": ["page.jpeg"],
        "link to nothing": ["gone.jpg"],
        "not a regular file": ["pipe.jpg"],
    }
    assert list(folder_table(tmp_path).paths) == ["a.jpg", "cut/zero.png", "gone.jpg", "page.jpeg", "pipe.jpg"]


def test_the_line_counts_what_is_left_out_by_reason_with_an_example_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, {"a.jpg": JPEG, "b.txt": b"b", "c.txt": b"c", "film.mov": brands(b"qt  "), ".hidden.jpg": JPEG})
    put(tmp_path, {"@eaDir/a.jpg": JPEG, "__MACOSX/._a.jpg": JPEG, ".git/x.png": JPEG, "line\nbreak.pdf": b"%PDF-1.7"})
    put(tmp_path, {"zero.jpg": b""})
    told = image_files(tmp_path).told()
    assert told.startswith(f"{tmp_path}: 1 picture; left out: ")
    for part in (
        "2 not pictures (b.txt, ...)",
        "2 folders of a system (@eaDir/, ...)",
        "1 a video, which is not read; save pictures of it as JPEG or PNG (film.mov)",
        "1 hidden file (.hidden.jpg)",
        "1 hidden folder (.git/)",
        "1 a PDF, which is not read; save it as JPEG or PNG (line\\nbreak.pdf)",
        "1 empty file (zero.jpg)",
    ):
        assert part in told
    folder_table(tmp_path)
    line = capsys.readouterr().err
    assert line.startswith(f"note: {tmp_path}: 2 pictures; left out: ")
    assert line.count("\n") == 1
    assert "zero.jpg" not in line  # it is answered with an error


def test_nothing_is_told_of_a_folder_of_pictures_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, {"a.jpg": JPEG})
    folder_table(tmp_path)
    assert capsys.readouterr().err == ""


def test_pictures_of_a_kind_that_cannot_be_read_here_name_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"a.heic": brands(b"mif1", b"mif1", b"heic"), "b.avif": brands(b"mif1", b"mif1", b"avif")})
    put(tmp_path, {"phone.jpg": brands(b"heic", b"mif1")})
    monkeypatch.setattr(image_kinds, "_is_there", lambda module: False)
    assert image_files(tmp_path).left_out == {
        "HEIC, which needs the extra heic: pip install -e '.[heic]'": ["a.heic", "phone.jpg"],
        "AVIF, which needs a Pillow that reads it: pip install --upgrade pillow": ["b.avif"],
    }
    with pytest.raises(UserError, match=r"holds no photograph.*needs the extra heic"):
        folder_table(empty_but_for(tmp_path, "a.heic"))


def empty_but_for(folder: Path, name: str) -> Path:
    (folder / "one").mkdir()
    (folder / name).rename(folder / "one" / name)
    return folder / "one"


def test_the_raw_file_of_a_camera_is_no_tiff(tmp_path: Path) -> None:
    size = ((256, 4), (257, 4))
    put(tmp_path, {"a.tif": tiff((254, 0), *size), "a.nef": tiff((254, 1), *size), "a.dng": tiff(*size, (0xC612, 4))})
    put(tmp_path, {"a.cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(80), "short.tif": b"II*\0\xff\xff\xff\x7f"})
    found = image_files(tmp_path)
    assert found.pictures == ["a.tif", "short.tif"]
    assert found.left_out == {"camera raw, which is not read; save it as JPEG or PNG": ["a.cr2", "a.dng", "a.nef"]}


def test_names_of_any_bytes_are_listed(tmp_path: Path) -> None:
    names = [
        "ä é.jpg",
        "e\u0301.jpg",
        "-rf",
        "a'b\"c.jpg",
        "line\nbreak.jpg",
        os.fsdecode(b"\xff.jpg"),
        "x" * 251 + ".jpg",
    ]
    put(tmp_path, dict.fromkeys(names, JPEG))
    assert sorted(image_files(tmp_path).pictures) == sorted(names)
    assert sorted(folder_table(tmp_path).paths) == sorted(names)


def test_many_files_are_looked_at_by_threads_in_their_order(tmp_path: Path) -> None:
    names = [f"{number:03}.jpg" for number in range(600)]
    put(tmp_path, {name: b"" if number % 7 == 0 else JPEG for number, name in enumerate(names)})
    found = image_files(tmp_path)
    assert found.damaged["empty file"] == names[::7]
    assert found.with_damaged == names


@pytest.mark.parametrize("head", [b"", b"B", b"BM", b"RIFF", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftyp", b"GIF88a"])
def test_a_few_bytes_are_no_picture(head: bytes) -> None:
    kind = kind_of(head)
    assert kind is None or not kind.decoder


def test_a_folder_among_photographs_is_listed_by_the_same_rule_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    put(tmp_path, {"in/a": JPEG, "in/film.mp4": brands(b"isom"), "in/b.jpg": b"", "alone.txt": b"x"})
    assert listed([tmp_path / "alone.txt", tmp_path / "in"]) == [
        tmp_path / name for name in ("alone.txt", "in/a", "in/b.jpg")
    ]
    assert "2 pictures; left out: 1 a video, which is not read" in capsys.readouterr().err
    put(tmp_path, {"none/x.txt": b"x"})
    with pytest.raises(UserError, match=r"no photograph in .*left out: 1 not a picture \(x\.txt\)"):
        listed([tmp_path / "none"])
