from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import EmbeddingsWriter, read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.folders import atomic_folder
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
    assert found.manifest == {
        "config_sha256": "abc",
        "checkpoint_sha256": "def",
        "format_version": 1,
        "num_rows": 5,
        "dim": 3,
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
    with pytest.raises(UserError, match=r"5 features.npy, 4 labels in rows.npz"):
        read_embeddings(tmp_path / "val")


def test_wrong_dim_version_and_dtype_are_refused(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "val", _embeddings())
    manifest = tmp_path / "val" / "manifest.json"
    content = json.loads(manifest.read_text())
    for key, value, message in (
        ("dim", 4, "dim is 4 in manifest.json and 3"),
        ("format_version", 2, "format_version 2; this Shelfmark reads 1"),
    ):
        manifest.write_text(json.dumps({**content, key: value}))
        with pytest.raises(UserError, match=message):
            read_embeddings(tmp_path / "val")
    manifest.write_text(json.dumps({"dim": 3}))
    with pytest.raises(UserError, match="lacks format_version"):
        read_embeddings(tmp_path / "val")
    manifest.write_text(json.dumps(content))
    np.save(tmp_path / "val" / "features.npy", np.zeros((5, 3), dtype=np.float64))
    with pytest.raises(UserError, match="float64"):
        read_embeddings(tmp_path / "val")
