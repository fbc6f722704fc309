"""Stored features of a frozen backbone: those of the training's own augmentations, and never those of another one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from two_processes import on_two_processes

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.engine.state import TrainState
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime import frozen_features
from shelfmark.runtime.frozen_features import FrozenFeatures

NUM_PICTURES, NUM_CLASSES = 11, 3
CPU = torch.device("cpu")
WORDS = [
    "model.backbone=test_resnet",
    "model.freeze=[backbone]",
    "model.embedding_dim=6",
    "data.input_size_px=16",
    "data.num_workers=0",
    "augment.color_jitter=[0.2,0.2,0.2,0.0]",
    "eval.batch_size=4",
    "train.batch_size=4",
    "train.num_epochs=6",
    "train.precision=fp32",
    "train.cache_features.views=2",
    "train.stages=[{from_epoch: 4, freeze: []}]",
]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Pictures of noise, of which row 5 has no label."""
    return pictures_in(tmp_path)


def pictures_in(folder: Path) -> Table:
    generator = np.random.default_rng(0)
    for row in range(NUM_PICTURES):
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{row}.png")
    labels = np.where(np.arange(NUM_PICTURES) == 5, -1, np.arange(NUM_PICTURES) % NUM_CLASSES)
    names = Strings.of([f"{row}.png" for row in range(NUM_PICTURES)])
    return Table(names, labels, names, NUM_CLASSES, root=folder, sha256="")


def frozen_in(folder: Path, table: Table, *words: str, seed: int = 0) -> FrozenFeatures:
    """That of a run which begins. seed: of the backbone's weights."""
    recipe = load(Recipe, None, [parse_override(word) for word in (*WORDS, *words)]).config
    network = assemble.network(recipe.model_copy(update={"seed": seed}), NUM_CLASSES)
    state = TrainState(
        network=network,
        terms=(),
        optimizer=assemble.optimizer(recipe, network),
        precision=Precision("fp32", CPU),
        from_features=True,
    )
    return FrozenFeatures(recipe, table, state, folder, BadImageLog(folder / "bad_images.csv", len(table)))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches of images that went through a backbone."""
    counted: list[int] = []
    real = frozen_features.stored_or_passed
    monkeypatch.setattr(frozen_features, "stored_or_passed", lambda *given, report: real(*given, report=counted.append))
    return counted


def test_the_first_epochs_have_the_features_of_the_batches_of_images(tmp_path: Path, table: Table) -> None:
    frozen = frozen_in(tmp_path, table, "augment.views=2")
    frozen.begin(0)
    images = assemble.train_loader(frozen.recipe, table, CPU)
    features = frozen.loader_of(0)
    network = frozen.state.network
    assert features is not None
    assert network.training
    assert features.num_batches(0) == images.num_batches(0) > 0
    for ours, theirs in zip(features.epoch(0), images.epoch(0), strict=True):
        assert (ours.rows.tolist(), ours.labels.tolist()) == (theirs.rows.tolist(), theirs.labels.tolist())
        expected = network.features(theirs.images)
        # The second copies are the second draws of this epoch, so they get the view of the next.
        torch.testing.assert_close(ours.images[:2], expected[:2], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(ours.images[2:], expected[2:], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            frozen.state.wrapped(ours.images[:2]).logits, network(theirs.images[:2]).logits, rtol=1e-4, atol=1e-5
        )


def test_features_are_taken_again_and_those_of_other_weights_views_pictures_or_seeds_never(
    tmp_path: Path, table: Table, passes: list[int]
) -> None:
    def features(*words: str, seed: int = 0) -> tuple[torch.Tensor, int]:
        """The first batch of epoch 1, and how many images were passed for it."""
        passes.clear()
        frozen = frozen_in(tmp_path, table, *words, seed=seed)
        frozen.begin(1)
        loader = frozen.loader_of(1)
        assert loader is not None
        return next(loader.epoch(1)).images, sum(passes)

    first, num_passed = features()
    assert num_passed == NUM_PICTURES
    again, num_passed = features()
    assert num_passed == 0
    assert again.equal(first)
    # These pictures are no JPEGs, so version 2 sees the same, but that is not known before the pass.
    same, num_passed = features("data.pipeline=2")
    assert num_passed == NUM_PICTURES
    assert same.equal(first)
    for words, seed in ((["augment.flip=0"], 0), (["data.mean=[0,0,0]"], 0), (["seed=1"], 0), ([], 1)):
        other, num_passed = features(*words, seed=seed)
        assert num_passed == NUM_PICTURES
        assert not other.equal(first)
    Image.new("RGB", (30, 20)).save(table.root / "0.png")
    assert features(seed=1)[1] == NUM_PICTURES


def test_a_pipeline_that_changed_in_its_file_makes_other_features(
    tmp_path: Path, table: Table, passes: list[int]
) -> None:
    import albumentations

    file = tmp_path / "pipeline.json"
    for chance, expected in ((0.0, NUM_PICTURES), (0.0, 0), (1.0, NUM_PICTURES)):
        steps = [albumentations.Resize(16, 16), albumentations.VerticalFlip(p=chance)]
        albumentations.save(albumentations.Compose(steps), file, data_format="json")
        passes.clear()
        frozen_in(tmp_path, table, f"augment.albumentations={file}").begin(0)
        assert sum(passes) == expected


def test_evaluation_passes_once_and_the_files_go_when_the_backbone_begins_to_learn(
    tmp_path: Path, table: Table, passes: list[int]
) -> None:
    frozen = frozen_in(tmp_path, table)
    assert frozen.of(table, "val", 0) is None
    frozen.begin(0)
    passes.clear()
    frozen.state.network.eval()
    one, two = frozen.of(table, "val", 0), frozen.of(table, "val", 1)
    assert one is two
    assert one is not None
    assert sum(passes) == NUM_PICTURES
    assert not frozen.state.network.training
    (batch,) = frozen_features.embedded(frozen.state.network, frozen.state.precision, one.features, 16)
    assert batch.shape == (NUM_PICTURES, 6)
    frozen.state.progress.epoch = 3
    frozen.epoch_closed()
    assert frozen.loader_of(3) is not None
    frozen.state.progress.epoch = 4
    frozen.epoch_closed()
    assert frozen.loader_of(4) is None
    assert frozen.of(table, "val", 4) is None
    assert not frozen.folder.exists()


def test_an_unreadable_picture_is_listed_by_its_row_and_another_takes_its_place(tmp_path: Path, table: Table) -> None:
    (table.root / "7.png").write_bytes(b"spoilt")
    with pytest.raises(UserError, match=r"7\.png could not be read"):
        frozen_in(tmp_path, table).begin(0)
    frozen = frozen_in(tmp_path, table, "data.on_bad_image=skip")
    frozen.bad_images.limit = 1.0
    frozen.begin(0)
    assert frozen.bad_images.state_dict()["rows"] == [7]
    loader = frozen.loader_of(0)
    assert loader is not None
    batches = list(loader.epoch(0))
    # Row 5 has no label.
    assert not {5, 7} & {*torch.cat([batch.rows for batch in batches]).tolist()}
    assert {len(batch) for batch in batches} == {4}


def two_epochs(folder: Path) -> list[Any]:
    """What this process trains on in two epochs of two processes, as one batch after the other."""
    table = pictures_in(folder)
    frozen = frozen_in(folder / "run", table)
    found = []
    for epoch in (0, 1):
        frozen.begin(epoch)
        loader = frozen.loader_of(epoch)
        assert loader is not None
        found += [batch.images for batch in loader.epoch(epoch)]
    return found


@pytest.mark.dist
def test_two_processes_share_the_pass_and_train_on_the_digits_of_one(tmp_path: Path) -> None:
    for name in ("one/run", "two/run", "meet"):
        (tmp_path / name).mkdir(parents=True)
    one = two_epochs(tmp_path / "one")
    parts = on_two_processes(partial(two_epochs, tmp_path / "two"), tmp_path / "meet")
    assert len(one) == len(parts[0]) == len(parts[1]) > 0
    for whole, first, second in zip(one, *parts):
        assert torch.cat([first, second]).equal(whole)
