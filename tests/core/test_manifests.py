from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from shelfmark.core import manifests
from shelfmark.core.errors import UserError
from shelfmark.core.manifests import check_file, file_facts, read_manifest, write_manifest

FACTS = {
    "format_version": 2,
    "input_size_px": 32,
    "names": {"0": "tea \u00e9", "1": "b\udcff"},
    "mean": [0.485, 1e-7, 10**20, None, True],
}


def test_what_was_written_is_read_back_without_the_digest(tmp_path):
    write_manifest(tmp_path / "manifest.json", FACTS)
    assert read_manifest(tmp_path / "manifest.json") == FACTS


def test_the_digest_is_of_the_sorted_compact_json_of_all_else(tmp_path):
    write_manifest(tmp_path / "manifest.json", {"format_version": 2, "b": 1, "a": [0.5, None]})
    digest = hashlib.sha256(b'{"a":[0.5,null],"b":1,"format_version":2}').hexdigest()
    assert json.loads((tmp_path / "manifest.json").read_text())["digest"] == digest


def test_any_changed_byte_is_an_error_or_changes_no_value(tmp_path):
    file = tmp_path / "manifest.json"
    write_manifest(file, FACTS)
    whole = file.read_bytes()
    found = harmless = 0
    generator = random.Random(0)
    for at in range(0, len(whole), 2):
        for changed in {whole[at] ^ 1 << generator.randrange(8), generator.choice(b'0123456789e."{},- ')} - {whole[at]}:
            file.write_bytes(whole[:at] + bytes([changed]) + whole[at + 1 :])
            try:
                assert read_manifest(file) == FACTS
                harmless += 1
            except UserError:
                found += 1
    assert found > len(whole) // 2
    assert harmless < len(whole) // 10


def test_a_manifest_of_version_1_has_no_digest_and_no_other_may_lack_it(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text('{"format_version": 1, "dim": 3}')
    assert read_manifest(file) == {"format_version": 1, "dim": 3}
    for version in ("2", "true", '"1"', "1.0", "null"):
        file.write_text(f'{{"format_version": {version}, "dim": 3}}')
        with pytest.raises(UserError, match="has no digest"):
            read_manifest(file)
    with pytest.raises(ValueError, match="format_version"):
        write_manifest(file, {"format_version": 1})


def test_another_version_does_not_slip_through_beside_a_digest(tmp_path):
    write_manifest(tmp_path / "manifest.json", FACTS)
    text = (tmp_path / "manifest.json").read_text().replace('"format_version": 2', '"format_version": 1')
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="does not match its own digest"):
        read_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"format_version": 1, "dim": 3, "dim": 4}',
        b'{"format_version": 1, "dim": NaN}',
        b'{"format_version": 1, "dim": 1e999}',
        b'{"format_version": 1, "dim": ' + b"9" * 5000 + b"}",
        b'{"format_version": 1, "name": "\xff"}',
        b"[" * 100_000,
        b"[1]",
        b"",
    ],
)
def test_what_is_no_manifest_is_a_users_error_that_names_the_file(tmp_path, raw):
    (tmp_path / "manifest.json").write_bytes(raw)
    with pytest.raises(UserError, match=r"manifest\.json is"):
        read_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize("in_blocks", [False, True])
def test_a_file_is_checked_byte_by_byte_and_to_its_end(tmp_path, monkeypatch, in_blocks):
    monkeypatch.setattr(manifests, "BLOCK_BYTES", 64)
    file = tmp_path / "a.bin"
    whole = random.Random(0).randbytes(200)
    file.write_bytes(whole)
    facts = json.loads(json.dumps(file_facts(file, in_blocks)))
    check_file(file, facts)
    for at in (0, 63, 64, 127, 128, 199):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match="does not match the SHA-256 in its manifest"):
            check_file(file, facts)
    for cut in (b"", whole[:-1], whole + b"\0"):
        file.write_bytes(cut)
        with pytest.raises(UserError, match="its manifest says 200: cut off or replaced"):
            check_file(file, facts)
    file.unlink()
    with pytest.raises(UserError, match=r"a\.bin is missing"):
        check_file(file, facts)


def test_blocks_are_digests_of_the_files_parts_and_a_damaged_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "BLOCK_BYTES", 4)
    (tmp_path / "a.bin").write_bytes(b"abcdefghij")
    facts = file_facts(tmp_path / "a.bin", in_blocks=True)
    parts = [hashlib.sha256(part).hexdigest() for part in (b"abcd", b"efgh", b"ij")]
    assert facts == {"size_bytes": 10, "block_bytes": 4, "blocks": parts}
    (tmp_path / "a.bin").write_bytes(b"abcdefghiJ")
    with pytest.raises(UserError, match="bytes 8 to 10"):
        check_file(tmp_path / "a.bin", facts)


@pytest.mark.parametrize(
    "facts",
    [
        None,
        {},
        {"size_bytes": "10"},
        {"size_bytes": 10, "blocks": []},
        {"size_bytes": 10, "block_bytes": 0, "blocks": []},
    ],
)
def test_a_manifest_that_does_not_say_what_a_file_is_vouches_for_nothing(tmp_path: Path, facts: object) -> None:
    (tmp_path / "a.bin").write_bytes(b"abcdefghij")
    with pytest.raises(UserError, match=r"does not say what a\.bin should be"):
        check_file(tmp_path / "a.bin", facts)
