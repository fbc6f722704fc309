from __future__ import annotations

import json
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import EmbeddingsWriter, read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.folders import atomic_folder
from shelfmark.core.manifests import write_manifest
from shelfmark.core.strings import Strings


def _embeddings(num_rows: int = 5, dim: int = 3) -> Embeddings:
    return Embeddings(
        features=np.arange(num_rows * dim, dtype=np.float32).reshape(num_rows, dim),
        labels=np.arange(num_rows) - 1,
        image_ids=Strings.of(f"image ü {row}" for row in range(num_rows)),
        paths=Strings.of(f"shelf/{row}.jpg" for row in range(num_rows)),
        manifest={"config_sha256": "abc", "checkpoint_sha256": "def"},
        rows=np.arange(num_rows) * 10,
    )


@pytest.mark.parametrize("mmap", [True, False])
def test_what_was_written_is_read_back(tmp_path: Path, mmap: bool) -> None:
    written = _embeddings()
    write_embeddings(tmp_path / "val", written)
    found = read_embeddings(tmp_path / "val", mmap=mmap)
    np.testing.assert_array_equal(found.features, written.features)
    np.testing.assert_array_equal(found.labels, written.labels)
    np.testing.assert_array_equal(found.rows, written.rows)
    assert list(found.image_ids) == list(written.image_ids)
    assert list(found.paths) == list(written.paths)
    assert found.manifest.items() >= {
        ("config_sha256", "abc"),
        ("checkpoint_sha256", "def"),
        ("format_version", 2),
        ("num_rows", 5),
        ("dim", 3),
    }
    assert isinstance(found.features, np.memmap) == mmap
    assert sorted(path.name for path in tmp_path.iterdir()) == ["val"]


def test_a_change_of_mapped_features_does_not_reach_the_file(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    write_embeddings(tmp_path / "val", _embeddings())
    torch.from_numpy(read_embeddings(tmp_path / "val").features).zero_()
    assert read_embeddings(tmp_path / "val").features.sum() == np.arange(15).sum()
    assert not recwarn.list


def test_any_dtype_is_stored_as_float32_over_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shelfmark.core.embeddings._BLOCK_ROWS", 2)
    given = _embeddings(7)
    half = Embeddings(given.features.astype(np.float16), given.labels, given.image_ids, given.paths)
    write_embeddings(tmp_path / "val", half)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "val").features, given.features)


def test_several_writers_fill_one_folder_and_unwritten_rows_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmark.core.embeddings._BLOCK_ROWS", 2)
    given = _embeddings(9)
    with atomic_folder(tmp_path / "val") as part:
        first = EmbeddingsWriter(part, 9, 3)
        second = EmbeddingsWriter(part, 9, 3, create=False)
        second.write(np.array([7, 3, 5]), given.features[[7, 3, 5]])
        first.write(np.array([0, 1, 2, 8]), given.features[[0, 1, 2, 8]])
        first.write(np.array([], dtype=np.int64), np.empty((0, 3)))
        assert first.finish(given.labels, given.image_ids, given.paths, {}) == 7
    found = read_embeddings(tmp_path / "val")
    kept = [0, 1, 2, 3, 5, 7, 8]
    np.testing.assert_array_equal(found.features, given.features[kept])
    np.testing.assert_array_equal(found.labels, given.labels[kept])
    assert list(found.paths) == [f"shelf/{row}.jpg" for row in kept]
    assert found.rows.tolist() == kept
    assert found.manifest["num_rows"] == 7
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ["features.npy", "manifest.json", "rows.npz"]


def test_an_error_while_writing_leaves_the_former_folder(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "val", _embeddings(4))
    with pytest.raises(ValueError, match="outside 0..3"), atomic_folder(tmp_path / "val") as part:
        EmbeddingsWriter(part, 4, 3).write(np.array([4]), np.zeros((1, 3)))
    assert len(read_embeddings(tmp_path / "val")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["val"]


def test_misfit_input_is_refused(tmp_path: Path) -> None:
    given = _embeddings()
    with pytest.raises(ValueError, match=r"\(2, 4\); 2 rows of 3"):
        EmbeddingsWriter(tmp_path, 5, 3).write(np.array([0, 1]), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="4 labels, 5 image ids"):
        EmbeddingsWriter(tmp_path, 5, 3).finish(given.labels[:4], given.image_ids, given.paths, {})
    with pytest.raises(UserError, match="None of the 5 images"):
        EmbeddingsWriter(tmp_path, 5, 3).finish(given.labels, given.image_ids, given.paths, {})
    with pytest.raises(UserError, match="no images"):
        write_embeddings(tmp_path / "val", _embeddings(0))


@pytest.mark.parametrize("name", ["features.npy", "rows.npz", "manifest.json"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write_embeddings(tmp_path / "val", _embeddings())
    file = tmp_path / "val" / name
    whole = file.read_bytes()
    for length in (0, len(whole) - 20):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=name):
            read_embeddings(tmp_path / "val")
    file.unlink()
    with pytest.raises(UserError, match=f"{name} is missing.*shelfmark embed"):
        read_embeddings(tmp_path / "val")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*does not exist"):
        read_embeddings(tmp_path / "nowhere")


def test_files_of_different_lengths_are_refused_with_their_counts(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "val", _embeddings(5))
    write_embeddings(tmp_path / "other", _embeddings(4))
    (tmp_path / "other" / "rows.npz").replace(tmp_path / "val" / "rows.npz")
    with pytest.raises(UserError, match=r"rows.npz has \d+ bytes, its manifest says"):
        read_embeddings(tmp_path / "val")
    _write_as_version_1(tmp_path / "old", labels=np.arange(4))
    with pytest.raises(UserError, match=r"5 features.npy, 4 labels in rows.npz"):
        read_embeddings(tmp_path / "old")


def test_wrong_dim_version_and_dtype_are_refused(tmp_path: Path) -> None:
    _write_as_version_1(tmp_path / "val")
    manifest = tmp_path / "val" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "dim": 4}))
    with pytest.raises(UserError, match="dim is 4 in manifest.json and 3"):
        read_embeddings(tmp_path / "val")
    manifest.write_text(json.dumps({"format_version": 1, "dim": 3}))
    with pytest.raises(UserError, match="lacks format_version"):
        read_embeddings(tmp_path / "val")
    write_manifest(manifest, {**content, "format_version": 3})
    with pytest.raises(UserError, match="format_version 3; this Shelfmark reads 1 and 2"):
        read_embeddings(tmp_path / "val")
    manifest.write_text(json.dumps(content))
    np.save(tmp_path / "val" / "features.npy", np.zeros((5, 3), dtype=np.float64))
    with pytest.raises(UserError, match="float64"):
        read_embeddings(tmp_path / "val")


def _write_as_version_1(folder: Path, **changes: np.ndarray) -> Embeddings:
    """A folder as version 0.1.0 wrote it, but for some arrays of rows.npz."""
    given = _embeddings()
    folder.mkdir()
    np.save(folder / "features.npy", given.features)
    arrays = {
        "labels": given.labels,
        "rows": given.rows,
        "id_data": given.image_ids.data,
        "id_offsets": given.image_ids.offsets,
        "path_data": given.paths.data,
        "path_offsets": given.paths.offsets,
    }
    np.savez(folder / "rows.npz", **{**arrays, **changes})
    (folder / "manifest.json").write_text(json.dumps({"format_version": 1, "num_rows": 5, "dim": 3}, indent=2) + "\n")
    return given


def test_a_folder_of_version_0_1_0_opens_and_is_said_to_have_no_checksums_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = _write_as_version_1(tmp_path / "val")
    for _ in range(2):
        found = read_embeddings(tmp_path / "val")
    np.testing.assert_array_equal(found.features, given.features)
    assert list(found.image_ids) == list(given.image_ids)
    assert caplog.text.count("val is of version 0.1.0, which wrote no checksums") == 1


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("id_offsets", np.array([0, 9, 5, 30, 40, 50]), "do not rise from 0"),
        ("path_offsets", np.array([0, -2, 5, 6, 7, 60]), "do not rise from 0"),
        ("path_offsets", np.zeros((2, 3), dtype=np.int64), "offsets of strings are integers"),
        ("id_offsets", np.zeros(0, dtype=np.int64), "offsets of strings are integers"),
        ("id_data", np.zeros(50, dtype=np.int64), "bytes of strings are uint8"),
        ("labels", np.array([0.5] * 5), "not float64"),
        ("labels", np.array([0, 1, 2, 3, -2]), "-2 is below -1"),
        ("rows", np.array([0, 1, 2, 3, -1]), "-1 is below 0"),
        ("rows", np.array([[0, 1, 2, 3, 4]]), r"of \(N,\) were expected"),
    ],
)
def test_arrays_that_cannot_be_rows_are_damage_without_checksums_too(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    _write_as_version_1(tmp_path / "val", **{name: array})
    with pytest.raises(UserError, match=f"rows.npz is damaged: .*{message}"):
        read_embeddings(tmp_path / "val")


@pytest.mark.parametrize("name", ["features.npy", "rows.npz", "manifest.json"])
def test_any_damaged_byte_is_found_or_changes_no_value(tmp_path: Path, name: str) -> None:
    given = _embeddings()
    write_embeddings(tmp_path / "val", given)
    file = tmp_path / "val" / name
    whole = file.read_bytes()
    generator = random.Random(0)
    found = 0
    for at in generator.sample(range(len(whole)), 60):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        file.write_bytes(damaged)
        try:
            read = read_embeddings(tmp_path / "val")
        except UserError:
            found += 1
            continue
        assert name == "manifest.json"
        assert read.manifest["config_sha256"] == "abc"
        np.testing.assert_array_equal(read.features, given.features)
    assert found == 60 if name != "manifest.json" else found > 45


def test_features_that_are_no_numbers_are_not_stored(tmp_path: Path) -> None:
    given = _embeddings()
    given.features[3, 1] = np.nan
    with pytest.raises(UserError, match="embedding of row 3 holds NaN"):
        write_embeddings(tmp_path / "val", given)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_the_first_row(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "val", _embeddings())
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, dtype=np.float32), (10**9, 10**4), (0, 0))
    with pytest.raises(UserError, match="val cannot be written: .*40,000,000,000,000 bytes are needed"):
        write_embeddings(tmp_path / "val", Embeddings(huge, *[None] * 3, rows=np.empty(0)))  # type: ignore[list-item]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limit[1]))
        with pytest.raises(UserError, match="val cannot be written"), atomic_folder(tmp_path / "val") as part:
            EmbeddingsWriter(part, 1 << 10, 64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert len(read_embeddings(tmp_path / "val")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["val"]
