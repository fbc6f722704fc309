"""A file read a block at a time is the file that a parser reads whole, and every record keeps its place."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import orjson
import pytest

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.json_stream import NotStreamed, RecordStream
from shelfmark.data.json_structure import Structure
from shelfmark.data.repeated_fields import repeated_fields

TRAPS = ["},{", '}, {"a": 1', "[", "]}", ",", ":", '"', "\\", '\\"', "é{", "", "a" * 50, "//", "\t", "\x7f"]


def random_value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(7 if depth < 3 else 5)
    if kind == 5:
        return [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 6:
        return {draw.choice(TRAPS) + str(n): random_value(draw, depth + 1) for n in range(draw.randrange(4))}
    return [draw.choice(TRAPS), draw.randrange(-9, 10**6), None, True, 1.5][kind]


def random_document(draw: random.Random) -> dict[str, object]:
    records = [
        {"category_id": n, "fpath": draw.choice(TRAPS), "more": random_value(draw)}
        for n in range(draw.randrange(1, 40))
    ]
    members = [("annotations", records), ("num_classes", 3), ("info", random_value(draw)), ("z", [{"a": 1}, {"b": {}}])]
    draw.shuffle(members)
    return dict(members)


def written(draw: random.Random, document: object) -> bytes:
    separators = draw.choice([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")])
    return json.dumps(
        document, ensure_ascii=draw.random() < 0.5, separators=separators
    ).encode() + b" \n" * draw.randrange(3)


def test_blocks_of_any_size_give_what_a_parser_gives_that_has_the_file_whole(tmp_path: Path) -> None:
    draw, file = random.Random(1), tmp_path / "a.json"
    for round_ in range(150):
        document = random_document(draw)
        raw = (b"\xef\xbb\xbf" if round_ % 5 == 0 else b"") + written(draw, document)
        file.write_bytes(raw)
        stream = RecordStream(file, "annotations", block_bytes=draw.choice([1, 7, 60, 400, 1 << 20]))
        blocks = list(stream.blocks())
        records = [record for block in blocks for record in block.records]
        assert records == document.pop("annotations")
        assert stream.top == document
        assert stream.sha256 == hashlib.sha256(raw).hexdigest()
        assert [block.first for block in blocks] == np.cumsum([0, *(len(b.records) for b in blocks)])[:-1].tolist()
        wanted = draw.sample(range(len(records)), min(3, len(records)))
        for record, begin in stream.bytes_of(wanted).items():
            end = Structure(raw, begin).value_end()
            assert orjson.loads(raw[begin:end]) == records[record]
        assert sorted(stream.bytes_of(wanted)) == sorted(wanted)


def test_a_damaged_file_is_never_read_as_another(tmp_path: Path) -> None:
    draw, file = random.Random(2), tmp_path / "a.json"
    num_refused = 0
    for _ in range(200):
        text = bytearray(written(draw, random_document(draw)))
        for _ in range(draw.randrange(1, 3)):
            place = draw.randrange(len(text))
            text[place : place + draw.randrange(3)] = draw.choice(
                [b"", b"}", b"]", b'"', b",", b"{", b"[", b"\\", b":"]
            )
        file.write_bytes(text)
        stream = RecordStream(file, "annotations", block_bytes=draw.choice([20, 200]))
        document = parsed_whole(bytes(text))
        try:
            records = [record for block in stream.blocks() for record in block.records]
        except (NotStreamed, UserError):
            num_refused += 1
            assert not isinstance(document, dict) or not isinstance(document.get("annotations"), list)
            continue
        assert isinstance(document, dict)
        assert (records, stream.top) == (document.pop("annotations"), document)
    assert 100 < num_refused < 200


def parsed_whole(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def refusal(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_annotations(file, file.parent, findings_folder=file.parent / "findings")
    return str(caught.value)


def test_damage_is_told_with_its_byte_and_its_record(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    good = b'{"category_id": 0, "fpath": "\xc3\xa4.jpg"}'
    text = b'{"annotations": [' + good + b",\n" + good + b',\n{"category_id": 0 "fpath": ""}], "num_classes": 1}'
    file.write_bytes(text)
    assert f"at byte {text.index(b'0 ') + 2:,}, in record 2 (counted from 0)" in refusal(file)
    file.write_bytes(text[:60])
    assert "is not valid JSON at byte 60, in record 1" in refusal(file)
    file.write_bytes(text.replace(b"\xc3\xa4", b"\xe4", 1))
    assert f"line 1, byte {text.index(bytes([0xC3]))}: the file is not UTF-8" in refusal(file)


def test_findings_say_at_which_byte_their_record_begins(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records = ['{"category_id": 0, "fpath": "é.jpg"}', ' {"category_id": 7, "fpath": "é.jpg"}', '{"category_id": "1"}']
    text = '{"num_classes": 2, "annotations": [' + ",\n".join(records) + "]}"
    file.write_text(text, encoding="utf-8")
    told = refusal(file)
    raw = text.encode()
    second, third = raw.index(b'{"category_id": 7'), raw.index(b'{"category_id": "1"')
    assert f"record 1: category out of range: category_id=7, allowed 0..1 (é.jpg), at byte {second}" in told
    assert f'record 2: wrong type: category_id="1", wanted an integer, at byte {third}' in told
    listed = (tmp_path / "findings" / "a.findings.csv").read_text(encoding="utf-8").splitlines()
    assert listed[0] == "index,problem,value,path,byte"
    assert listed[-1].endswith(f",{third}")


@pytest.mark.parametrize(
    ("record", "names"),
    [
        ('{"category_id": 1, "fpath": "a", "category_id": 1}', ["category_id"]),
        ('{"category_id": 1, "fpath": "a:b", "category\\u005fid": 0}', ["category_id"]),
        ('{"fpath" : "a", "category_id": 0, "fpath":"a"}', ["fpath"]),
        ('{"category_id": 0, "fpath": "a", "x": {"y": [{"z": 1, "z": 2}]}}', ["z"]),
        ('{"category_id": 0, "fpath": "a\\":", "w": 1, "w": 1}', ["w"]),
        ('{"category_id": 0, "fpath": "a:b\\":c"}', []),
        ('{"category_id": 0, "fpath": "a:b", "x": {"y": 1, "z": {}}, "v": [{"y": 1}, {"y": 2}]}', []),
        ('{"category_id" : 0, "fpath": "a"}', []),
    ],
)
def test_a_field_that_stands_twice_is_found_however_it_is_written(
    record: str, names: list[str], tmp_path: Path
) -> None:
    text = f'{{"category_id": 0, "fpath": "b"}}, {record}'.encode()
    assert repeated_fields(text, orjson.loads(b"[" + text + b"]")) == [(1, name) for name in names]
    if names:
        file = tmp_path / "a.json"
        file.write_bytes(b'{"num_classes": 2, "annotations": [' + text + b"]}")
        assert f"record 1: field that stands twice: {names[0]}" in refusal(file)


def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"num_classes": 1, "annotations": [{"category_id": 0, "fpath": "a"}], "num_classes": 2}')
    assert "has the member 'num_classes' twice" in refusal(file)


def test_a_name_that_stands_twice_within_another_member_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records = '"annotations": [{"category_id": 0, "fpath": "a"}], "num_classes": 1'
    file.write_text(f'{{"info": {{"by": [{{"a": 1, "b": ":"}}, {{"a": 1, "a": 2}}]}}, {records}}}')
    assert "within the member 'info', which ends before byte 55, 'a' stands twice in one object" in refusal(file)
    file.write_text(f'{{"info": {{"by": [{{"a": 1, "b": ":"}}, {{"a": 1}}]}}, {records}}}')
    assert read_annotations(file, tmp_path, check_files=False).labels.tolist() == [0]


def test_values_hundreds_deep_are_refused_and_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    deep = '{"a":' * 1010 + '"x:y"' + "}" * 1010
    file.write_text(f'{{"num_classes": 1, "annotations": [{{"category_id": 0, "fpath": "a", "x": {deep}}}]}}')
    assert "hundreds deep" in refusal(file)
    file.write_text('{"images": [{"image_id": "a", "x": ' + "[" * 5000 + "]" * 5000 + "}]}")
    with pytest.raises(UserError, match="not valid JSON"):
        read_test_set(file, tmp_path)


def test_numbers_that_32_bits_cannot_hold_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records = [{"category_id": 0, "fpath": "a", "confidence": 1e300}, {"category_id": 0, "fpath": "b", "weight": 1e39}]
    file.write_text(json.dumps({"annotations": records, "num_classes": 1}))
    told = refusal(file)
    assert "record 0: confidence out of range: confidence=1e+300" in told
    assert "record 1: weight out of range: weight=1e+39" in told
