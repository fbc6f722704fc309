"""The check of explanations: what is taken out, and where the generator says two siblings differ."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import small_network

from shelfmark.data.images import decode_rgb
from shelfmark.explain.contrast import Contrast
from shelfmark.shop.catalogue import catalogue
from shelfmark.shop.pictures import picture
from shelfmark.shop.splits import split_labels

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_explain
from differing_details import _drawn, differing_pixels, siblings
from explained_deletion import centre_prior, deleted, most, occlusion, random_blocks, share_inside


def test_a_fifth_of_the_picture_is_taken_out_by_every_map() -> None:
    side = 40
    for mask in (most(centre_prior(side)), random_blocks(side, np.random.default_rng(0)), most(np.zeros((side, side)))):
        assert mask.mean() == pytest.approx(0.2, abs=0.011)
    inner = most(centre_prior(side))
    assert inner[20, 20]
    assert not inner[0].any()
    values = np.array([[3.0, -5.0], [1.0, 0.0]])
    assert share_inside(values, np.array([[True, True], [False, False]])) == 0.75


def test_occlusion_finds_the_square_that_alone_decides() -> None:
    network = small_network(num_classes=2).eval()
    weight = torch.zeros(2, 3)
    weight[0] = 1.0
    # The score is the brightness of one square.
    network.embed = lambda images: images[:, :, 16:32, 40:56].mean(dim=(2, 3))
    network.logits = lambda embedding: embedding @ weight.T
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 16:32, 40:56] = 1.0
    values, passes = occlusion(network, image, Contrast(torch.tensor([0]), torch.tensor([1])))
    assert passes == 50
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert 16 <= row < 32
    assert 40 <= column < 56
    assert values[:8, :24].max() == pytest.approx(0, abs=1e-5)


def test_what_is_left_of_the_score_is_the_score_of_the_filled_picture() -> None:
    network = small_network().eval()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    contrast = Contrast(torch.tensor([1]), torch.tensor([2]))
    found = deleted(network, image, contrast, np.random.default_rng(0))
    assert found.found.method == "exact"
    removed = torch.from_numpy(most(found.found.maps["ours"]))
    by_hand = image.clone()
    by_hand[:, :, removed] = 0
    with torch.no_grad():
        logits = network(by_hand).heads["classifier"][0]
    assert found.left["ours"]["mean"] == pytest.approx(float(logits[1] - logits[2]), abs=1e-5)
    assert set(found.left) == set(bench_explain.MAPS)
    assert found.found.passes == {"ours": 1, "occlusion": 50}


def test_siblings_differ_where_the_print_differs_and_the_picture_is_the_generators() -> None:
    sold, labels = catalogue(0).trained, split_labels(0, "val")
    # A family without any cue beside the word on the label, and one whose cap differs.
    for cues, largest in (((), 0.08), (("cap", "icon"), 0.5)):
        index = next(at for at, label in enumerate(labels) if sold[label].family.cues == cues)
        label = int(labels[index])
        own = sold[label]
        drawn = _drawn(0, "val", index, own)
        published = decode_rgb(picture(0, "val", index), "a.jpg")
        assert np.abs(drawn.astype(int) - published).mean() < 8  # of the compression
        regions = [differing_pixels(0, "val", index, other) for other in siblings(0)[label]]
        assert all(sold[other].family == own.family for other in siblings(0)[label])
        assert not differing_pixels(0, "val", index, label).any()
        assert all(0 < region.mean() < largest for region in regions), [region.mean() for region in regions]
    stranger = next(at for at, sku in enumerate(sold) if sku.family != own.family)
    with pytest.raises(ValueError, match="are of two families"):
        differing_pixels(0, "val", index, stranger)


def test_the_tables_have_a_row_for_each_part_and_a_stopped_file_goes_on(tmp_path: Path) -> None:
    left = {name: {"blurred": 1.0 + rank, "mean": 2.0} for rank, name in enumerate(bench_explain.MAPS)}
    row = {
        "row": 1,
        "is_right": True,
        "score": 4.0,
        "left": left,
        "method": "exact",
        "seconds": {"ours": 0.1, "occlusion": 4.0},
        "passes": {"ours": 1, "occlusion": 50},
    }
    maps = ("ours", "occlusion", "centre")
    detail = {"area": 0.05, "inside": dict.fromkeys(maps, 0.25), "peak": dict.fromkeys(maps, True)}
    text = list(bench_explain.tables({"grocery": [row] * 3, "shop": [{**row, "detail": detail}] * 3}, "Made up."))
    assert (
        "| grocery | 3 | exact decomposition | blurred | 75% (75 to 75) | 50% (50 to 50) | 25% (25 to 25)"
        in "\n".join(text)
    )
    assert "| grocery | 1 / 50 | 0.100 / 4.000 | 40 |" in text
    assert "| shop | small | 3 | 5% | 25% | 25% | 25% | 100% | 100% | 100% |" in text
    assert "- grocery, blurred: lowers the score more than centre: met (+50%)" in text
    assert "- grocery, mean: lowers the score more than centre: **missed** (+0%)" in text
    assert bench_explain.PAGE.read_text(encoding="utf-8").count(f"<!-- {bench_explain.NAME}: ") == 2
    file = tmp_path / "shop.jsonl"
    file.write_text('{"row": 1}\n{"row": 2}\n{"ro')
    assert bench_explain._lines(file) == [{"row": 1}, {"row": 2}]
    assert file.read_text() == '{"row": 1}\n{"row": 2}\n'
