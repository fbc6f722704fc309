"""A pass over pictures is a value: pickled and opened again it gives the same rows."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped, StopSignals
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.sources import GivenSource
from shelfmark.engine.precision import Precision
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.image_pass import ImagePass, augmented_pass, evaluation_pass, views_pass

NUM_PICTURES, NUM_CLASSES = 7, 3


@pytest.fixture(scope="module")
def source() -> GivenSource:
    generator = np.random.default_rng(0)
    contents = []
    for _ in range(NUM_PICTURES):
        stream = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(stream, "PNG")
        contents.append(stream.getvalue())
    return GivenSource([f"{row}.png" for row in range(NUM_PICTURES)], contents)


@pytest.fixture(scope="module")
def passes(source: GivenSource) -> dict[str, ImagePass]:
    words = ["model.backbone=test_resnet", "model.weights=''", "data.input_size_px=16", "data.num_workers=0"]
    recipe = load(Recipe, None, [parse_override(word) for word in (*words, "eval.batch_size=3")]).config
    network = assemble.network(recipe, NUM_CLASSES).eval()
    given = (recipe, network, Precision.resolve("fp32", torch.device("cpu")), source)
    return {
        "features": evaluation_pass(*given),
        "logits": evaluation_pass(*given, "logits"),
        "flip": views_pass(*given, "flip", 16, "logits"),
        "augmented": augmented_pass(*given, view=1),
        "other view": augmented_pass(*given, view=2),
    }


def rows_and_values(images: ImagePass) -> tuple[list[int], torch.Tensor]:
    batches = list(images.share())
    return [row for batch in batches for row in batch.rows], torch.cat([batch.values for batch in batches])


@pytest.mark.parametrize("name", ["features", "logits", "flip", "augmented"])
def test_a_pickled_pass_gives_the_same_rows(passes: dict[str, ImagePass], name: str) -> None:
    rows, values = rows_and_values(passes[name])
    again, same = rows_and_values(pickle.loads(pickle.dumps(passes[name])))
    assert rows == again == list(range(NUM_PICTURES))
    assert torch.equal(values, same)
    assert values.isfinite().all()


def test_the_logits_are_those_of_the_features_and_each_view_has_its_own(passes: dict[str, ImagePass]) -> None:
    network = passes["features"].network
    features, logits, views = (rows_and_values(passes[name])[1] for name in ("features", "logits", "flip"))
    assert logits.shape == (NUM_PICTURES, NUM_CLASSES)
    assert views.shape == (NUM_PICTURES, 2, NUM_CLASSES)
    torch.testing.assert_close(network.logits(features), logits)
    torch.testing.assert_close(views[:, 0], logits, atol=1e-5, rtol=1e-5)
    mirrored = replace(passes["logits"], transform=lambda rgb, seed: passes["logits"].transform(rgb, seed).flip(-1))
    torch.testing.assert_close(views[:, 1], rows_and_values(mirrored)[1], atol=1e-5, rtol=1e-5)
    assert not logits.requires_grad


def test_each_augmented_view_draws_anew(passes: dict[str, ImagePass]) -> None:
    one, other = (rows_and_values(passes[name])[1] for name in ("augmented", "other view"))
    assert not torch.equal(one, other)


def test_a_picture_that_cannot_be_read_has_no_row(
    passes: dict[str, ImagePass], source: GivenSource, tmp_path: Path
) -> None:
    contents = [b"spoilt" if row in (1, 6) else data for row, data in enumerate(source.pictures)]
    images = replace(passes["features"], source=GivenSource(source.names, contents))
    with pytest.raises(UserError, match=r"1\.png could not be read"):
        list(images.share())
    log = BadImageLog(tmp_path / "bad.csv", NUM_PICTURES, limit=0.5)
    batches = list(replace(images, on_bad_image="skip").share(log))
    assert [row for batch in batches for row in batch.rows] == [0, 2, 3, 4, 5]
    assert [bad.row for batch in batches for bad in batch.bad] == [1, 6]
    assert len(log.file.read_text().splitlines()) == 3


def test_a_signal_ends_a_pass_after_a_batch(passes: dict[str, ImagePass]) -> None:
    with StopSignals() as signals:
        share = passes["features"].share()
        next(share)
        signals.received = 15
        with pytest.raises(Stopped, match="SIGTERM"):
            next(share)
