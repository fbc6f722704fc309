"""Options of the data section and the run's name: what they allow, and that they reach the reader."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.data.annotations import folder_table
from shelfmark.engine.precision import Precision
from shelfmark.recipe import assemble
from shelfmark.recipe.tree import Recipe
from shelfmark.runtime.image_pass import evaluation_pass, views_pass


def recipe(*overrides: str) -> Recipe:
    return load(Recipe, None, [parse_override(one) for one in overrides]).config


@pytest.mark.parametrize("name", ["shop", "lr0.1", "a-b_c", "2020", "_x", "a..b", "n" * 100])
def test_a_name_that_makes_a_folder_of_its_own_is_taken(name: str) -> None:
    assert recipe(f"name='{name}'").name == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "../x", "a b", "ä", "n" * 101, "findings", "a\n"]
)
def test_a_name_that_does_not_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name="):
        recipe(f'name="{name}"'.replace("\n", "\\n"))


def test_a_number_of_classes_beyond_any_catalogue_is_refused() -> None:
    assert recipe("data.num_classes=100000000").data.num_classes == 10**8
    with pytest.raises(UserError, match="data.num_classes=100000001 must be a whole number from 0 to 100000000"):
        recipe("data.num_classes=100000001")


@pytest.mark.parametrize("option", ["max_image_pixels", "max_image_bytes"])
def test_the_limits_of_a_picture_reach_every_reader(tmp_path: Path, option: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    table = folder_table(tmp_path)
    options = ("data.num_workers=0", "data.input_size_px=8")
    whole, cut = recipe(*options), recipe(*options, f"data.{option}=399")
    network = assemble.network(recipe("model.backbone=test_resnet", "model.weights=''"), 2).eval()
    precision = Precision.resolve("fp32", torch.device("cpu"))
    for pass_of in (evaluation_pass, partial(views_pass, views="flip", size_px=8)):
        given, refused = (pass_of(one, network, precision, assemble.image_source(one, table)) for one in (whole, cut))
        assert len(list(given.share())) == 1
        with pytest.raises(UserError, match=f"data.{option}"):
            list(refused.share())


def test_a_file_option_with_nothing_behind_it_is_not_given() -> None:
    found = recipe("data.val_json=", "data.test_json=''", "data.retrieval_json=r.json")
    assert (found.data.val_json, found.data.test_json) == (None, None)
    assert found.data.retrieval_json == Path("r.json")
