"""A text file in another encoding is refused with the name of that encoding; a mark in front of UTF-8 does no harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfmark.config.yaml_lines import read_file
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json
from shelfmark.core.text_encoding import NotUtf8, utf8_text
from shelfmark.data.documents import read_document
from shelfmark.data.lists import read_image_ids, read_relabels
from shelfmark.predictions.submission import read_submission, read_topk

ANNOTATIONS = json.dumps(
    {"annotations": [{"category_id": 0, "fpath": "Käse/Brie.jpg"}], "num_classes": 1}, ensure_ascii=False
)
READERS = {
    "train.json": (lambda file: read_document(file, "annotations"), ANNOTATIONS),
    "prior.json": (read_json, '["Käse", 1]'),
    "run.yaml": (lambda file: read_file(file, str(file)), "name: Käse\n"),
    "drop.txt": (read_image_ids, "Käse/Brie.jpg\n"),
    "relabel.csv": (lambda file: read_relabels(file, 3), "image_id,label\nKäse/Brie.jpg,1\n"),
    "submission.csv": (read_submission, "id,predicted\r\nKäse/Brie.jpg,1\r\n"),
    "topk.csv": (read_topk, "id,class_1,score_1\r\nKäse/Brie.jpg,1,0.5\r\n"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_mark_in_front_changes_nothing(tmp_path: Path, name: str) -> None:
    read, text = READERS[name]
    file = tmp_path / name
    file.write_text(text, encoding="utf-8", newline="")
    plain = read(file)
    file.write_text(text, encoding="utf-8-sig", newline="")
    with_mark = read(file)
    assert repr(without_hash(plain)) == repr(without_hash(with_mark))


def without_hash(read: object) -> object:
    """The first value: an annotation file comes with the hash of its bytes, strings as arrays."""
    first = read[0] if isinstance(read, tuple) else read
    return list(first) if hasattr(first, "offsets") else first


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", "it seems to be UTF-16. Save it as UTF-8, or convert it: `iconv -f UTF-16 -t UTF-8"),
        ("utf-16-le", "it seems to be UTF-16 without a mark.*iconv -f UTF-16LE"),
        ("utf-16-be", "it seems to be UTF-16 without a mark.*iconv -f UTF-16BE"),
        ("latin-1", "it seems to be Latin-1 or Windows-1252.*iconv -f WINDOWS-1252"),
    ],
)
def test_another_encoding_is_named_with_the_way_to_convert_it(
    tmp_path: Path, name: str, encoding: str, said: str
) -> None:
    read, text = READERS[name]
    (tmp_path / name).write_bytes(text.encode(encoding))
    if encoding == "latin-1" and name in ("submission.csv", "topk.csv"):
        # Ids of images may be of any bytes: those of files whose names are not UTF-8 are written so.
        assert "K\udce4se/Brie.jpg" in list(read(tmp_path / name)[0])
        return
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "line", "said"),
    [
        ("a\nb\nPreis: 5 €, “gut”".encode("cp1252"), 3, "Windows-1252 or another Windows code page"),
        ("商品,名称\n苹果,香蕉牛奶".encode("gb18030"), 1, "GB18030 (Chinese)"),
        ("a".encode("utf-32"), 1, "UTF-32"),
        (b"caf\xe9\n", 1, "Latin-1 or Windows-1252"),
    ],
)
def test_encodings_are_told_apart_by_their_bytes(raw: bytes, line: int, said: str) -> None:
    with pytest.raises(NotUtf8) as caught:
        utf8_text(raw)
    assert said in str(caught.value)
    assert caught.value.line == line


def test_zeros_in_text_that_is_utf8_are_left_to_who_reads_it() -> None:
    assert utf8_text(b"a name with\0 a zero") == "a name with\0 a zero"
