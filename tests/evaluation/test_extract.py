from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing

from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.evaluation.extract import extract

NUM_IMAGES = 11


def _table(num_images: int = NUM_IMAGES) -> Embeddings:
    """Any object with labels, image ids and paths will do."""
    return Embeddings(
        features=np.empty((num_images, 0)),
        labels=np.arange(num_images) % 3,
        image_ids=Strings.of(f"id {row}" for row in range(num_images)),
        paths=Strings.of(f"{row}.jpg" for row in range(num_images)),
    )


def _share(rows: list[int], size: int = 4) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Batches of rows, each with the features (row, 2 row)."""
    parts = torch.tensor(rows, dtype=torch.int64).split(size)
    return [(part.numpy(), torch.stack([part, 2 * part], dim=1).float()) for part in parts]


def test_every_image_s_embedding_stands_at_its_row(tmp_path: Path) -> None:
    sizes: list[int] = []
    order = [3, 1, 2, 0, 10, 9, 8, 7, 6, 5, 4]
    found = extract(_share(order), _table(), tmp_path / "val", {"config_sha256": "x"}, sizes.append)
    np.testing.assert_array_equal(found.features, np.outer(np.arange(NUM_IMAGES), [1, 2]))
    np.testing.assert_array_equal(found.labels, np.arange(NUM_IMAGES) % 3)
    assert found.manifest["config_sha256"] == "x"
    assert sizes == [4, 4, 3]


def test_unreadable_images_are_left_out_with_their_names(tmp_path: Path) -> None:
    found = extract(_share([0, 1, 3, 4, 10]), _table(), tmp_path / "val", {})
    assert found.features[:, 0].tolist() == [0, 1, 3, 4, 10]
    assert list(found.image_ids) == ["id 0", "id 1", "id 3", "id 4", "id 10"]
    assert list(found.paths)[-1] == "10.jpg"
    assert found.rows.tolist() == [0, 1, 3, 4, 10]


def test_half_precision_features_are_stored_as_float32(tmp_path: Path) -> None:
    found = extract([(np.array([0]), torch.ones(1, 2).bfloat16())], _table(1), tmp_path / "val", {})
    assert found.features.dtype == np.float32


def test_a_broken_embedding_names_its_image_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"embedding of 5.jpg holds NaN"):
        extract([*_share([4]), (np.array([5]), torch.tensor([[1.0, torch.nan]]))], _table(), tmp_path / "v", {})
    assert list(tmp_path.iterdir()) == []


def test_no_image_at_all_is_refused(tmp_path: Path) -> None:
    for share in ([], [(np.empty(0, np.int64), torch.empty(0, 3, 0, 0))]):
        with pytest.raises(UserError, match="no image to embed"):
            extract(share, _table(), tmp_path / "val", {})
    assert list(tmp_path.iterdir()) == []
