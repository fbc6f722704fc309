"""`shelfmark explain` and `recognise --explain`, on models that have learned nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refusal
from untrained_models import make_place

from shelfmark.cli import main
from shelfmark.config.overrides import parse_override
from shelfmark.data.input_window import Box
from shelfmark.reports import explained_picture
from shelfmark.reports.heat import Mark
from shelfmark.runtime.explainer import Explainer
from shelfmark.runtime.searcher import Searcher

MODEL = ["--RESUME_MODEL", "log/run/last"]
WIDE = "data.input_size_px=96"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, pictures, and an index at 96 px, where the last map has several positions."""
    folder = tmp_path_factory.mktemp("explained")
    make_place(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert main(["index", "build", *MODEL, "--split", "retrieval", "--out", "index", WIDE]) == 0
    return folder


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_a_photograph_is_explained_in_words_files_and_numbers_that_sum(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = ["pictures/val_1.png", "pictures/spoilt/4.png", "pictures/val_2.png"]
    words = ["explain", *photos, *MODEL, "--index", "index", "--out", "why", WIDE]
    capsys.readouterr()
    assert main([*words, "--json"]) == 1
    first, broken, _ = json.loads(capsys.readouterr().out)
    assert broken == {
        "id": "pictures/spoilt/4.png",
        "error": "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image",
    }
    answer, following = first["candidates"]
    assert (first["method"], first["is_exact"]) == ("exact", True)
    assert first["difference"] == pytest.approx(answer["logit"] - following["logit"], abs=1e-4)
    for region in [*first["regions"], *first["against"]]:
        x, y, width, height = region["box"]
        assert 0 <= x < x + width <= 20
        assert 0 <= y < y + height <= 18
        assert 0 < region["share"] <= 1
    assert sorted(path.name for path in Path("why").iterdir()) == [
        *("val_1.png", "val_1_matched.png", "val_2.png", "val_2_matched.png"),
    ]
    # Nothing is overwritten, and the screen says what the pictures say.
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "-> why/val_1_2.png" in said
    assert "by exact decomposition: all positions and a constant sum to the score" in said
    assert "pictures/spoilt/4.png: could not be read: not a JPEG" in said
    assert f"{answer['name']} {100 * answer['score']:.1f}%, before {following['name']}" in said


def test_recognise_explains_its_own_answer_against_the_next(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recognise", "pictures/val_3.png", "pictures/spoilt/5.png", "--index", "index", "--weight", "1", "--json"]
    capsys.readouterr()
    assert main([*words, "--explain", "--out", "joint", WIDE]) == 1
    found, broken = json.loads(capsys.readouterr().out)
    assert broken.keys() == {"id", "error"}
    why = found["explanation"]
    assert [one["class"] for one in why["candidates"]] == [one["class"] for one in found["candidates"][:2]]
    assert why["neighbour"]["class"] == found["answer"]["class"]
    assert Path("joint/val_3_matched.png").is_file()
    assert "--out is the folder for the pictures of --explain" in refusal([*words, "--out", "joint"], capsys)


def test_what_each_cell_adds_is_put_back_on_the_picture_and_a_neighbours_patches_on_its_own(place: Path) -> None:
    searcher = Searcher.open(Path("index"), overrides=[parse_override(WIDE)])
    explainer = Explainer(searcher.model, searcher)
    wide = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    found = explainer.explain(wide)
    # The middle 35 of 40 pixels are seen, by eval_crop 0.875, and as many of the 100.
    assert found.heat.shape == (40, 100)
    seen = ~np.isnan(found.heat)
    assert seen.any(axis=0).sum() == pytest.approx(35, abs=1)
    assert seen.any(axis=1).sum() == pytest.approx(35, abs=1)
    for region in found.regions:
        assert 32 <= region.box.left < region.box.right <= 68
    near = found.neighbour
    assert near is not None
    assert near.pixels is not None
    assert near.pixels.shape == (18, 20, 3)
    for pair in near.pairs:
        assert 0 <= pair.neighbour_box.left < pair.neighbour_box.right <= 20
    assert found.tip is not None
    assert found.next_product is not None
    assert found.tip.probability + found.tip.next_probability <= 1
    # A product that only the index has: no logit, so the neighbour alone is explained.
    only_near = explainer.explain(wide, answer=77)
    assert (only_near.answer, only_near.method, only_near.regions) == (None, "", ())
    assert only_near.neighbour is not None
    asked = explainer.explain(wide, answer=2, next_product=1)
    assert (asked.answer.label, asked.next_product.label) == (2, 1)
    for row in range(7):
        Path(f"pictures/retrieval_{row}.png").rename(f"gone_{row}.png")
    try:
        assert explainer.explain(wide).neighbour.error == "missing"
    finally:
        for row in range(7):
            Path(f"gone_{row}.png").rename(f"pictures/retrieval_{row}.png")


def test_a_model_without_a_map_is_refused_before_a_photograph_is_read(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmark.explain.last_map._has_positions", lambda _: False)
    monkeypatch.setattr("shelfmark.explain.last_map.SelectAdaptivePool2d", torch.nn.Conv3d)
    said = refusal(["explain", "pictures/val_1.png", *MODEL], capsys)
    assert "log/run/last cannot be explained. explain: ResNet has no map of positions before its pooling" in said
    assert "nowhere.png is not a photograph" in refusal(["explain", "nowhere.png", *MODEL], capsys)


def test_a_figure_is_drawn_for_every_shape_of_picture_and_any_name() -> None:
    shown: list[tuple[int, ...]] = []
    for height, width in ((30, 200), (200, 30), (30, 30)):
        heat = np.full((height, width), np.nan, np.float32)
        heat[:30, :30] = -1.0
        heat[5:15, 8:20] = 3.0
        pixels = np.full((height, width, 3), 120, np.uint8)
        marks = [Mark([Box(8, 5, 20, 15)], "1")]
        figure = explained_picture.explanation_figure(pixels, heat, marks, "a $b_{$ " * 20, ["x " * 200, "<b>"])
        figure.canvas.draw()
        shown += [axes.images[0].get_array().shape[:2] for axes in figure.axes[:2]]
        assert figure.get_size_inches()[1] < 10
    # Of a long picture, what was seen and a fifth more at its end.
    assert shown == [(600, 720)] * 2 + [(720, 600)] * 2 + [(720, 720)] * 2
