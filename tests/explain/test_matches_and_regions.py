"""Patches that two pictures share, regions that are named, and words for places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shelfmark.data.input_window import Box, InputWindow
from shelfmark.explain import blurred, infilled, mutual_matches, named_regions
from shelfmark.explain.overlay import in_words, on_input, on_picture


def test_the_patches_of_a_picture_with_itself_are_the_identity() -> None:
    maps = torch.randn(16, 5, 7, generator=torch.Generator().manual_seed(0))
    found = mutual_matches(maps, maps)
    assert torch.equal(found.query, found.gallery)
    assert sorted(map(tuple, found.query.tolist())) == [(row, column) for row in range(5) for column in range(7)]
    torch.testing.assert_close(found.cosine, torch.ones(35))
    assert float(found.share.sum()) == pytest.approx(1)
    lengths = maps.norm(dim=0).flatten()
    assert found.query[0].tolist() == list(divmod(int(lengths.argmax()), 7))


def test_a_moved_patch_is_found_where_it_went() -> None:
    generator = torch.Generator().manual_seed(1)
    query, gallery = torch.randn(16, 4, 4, generator=generator), torch.randn(16, 4, 6, generator=generator)
    gallery[:, 3, 5] = 2 * query[:, 1, 2]
    found = mutual_matches(query, gallery)
    place = found.cosine.argmax()
    assert (found.query[place].tolist(), found.gallery[place].tolist()) == ([1, 2], [3, 5])
    cosines = torch.nn.functional.normalize(query.flatten(1), dim=0).T @ torch.nn.functional.normalize(
        gallery.flatten(1), dim=0
    )
    for (row, column), (their_row, their_column) in zip(found.query.tolist(), found.gallery.tolist()):
        ours, theirs = row * 4 + column, their_row * 6 + their_column
        assert cosines[ours].argmax() == theirs
        assert cosines[:, theirs].argmax() == ours


def test_regions_are_connected_and_have_their_share_of_what_speaks_for_the_score() -> None:
    values = np.array([[4.0, 3.0, 0, 0], [0, 0, 0, -9.0], [0, 1.0, 0, 2.0]])
    first, second = named_regions(values)
    assert (first.box, first.share) == (Box(0, 0, 0.5, 1 / 3), 0.7)
    assert (second.box, second.share) == (Box(0.75, 2 / 3, 1, 1), 0.2)
    assert named_regions(-np.abs(values)) == []
    (against,) = named_regions(-values)
    assert against.box == Box(0.75, 1 / 3, 1, 2 / 3)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 20, 10), "upper left"),
        ((40, 10, 60, 20), "top centre"),
        ((45, 20, 55, 30), "centre"),
        ((90, 20, 100, 30), "right"),
        ((70, 40, 100, 50), "lower right"),
        ((0, 40, 100, 50), "along the bottom"),
        ((0, 0, 30, 50), "down the left"),
        ((5, 1, 95, 49), "nearly everywhere"),
    ],
)
def test_places_in_words(box: tuple[float, ...], words: str) -> None:
    assert in_words(Box(*box), height=50, width=100) == words


def test_a_map_lies_on_its_picture_and_nowhere_else() -> None:
    window = InputWindow(Box(20, 0, 60, 40), height=40, width=80)
    heat = on_picture(np.array([[0.0, 1.0], [0.0, 1.0]]), window)
    assert heat.shape == (40, 80)
    assert np.isnan(heat[:, :20]).all()
    assert np.isnan(heat[:, 60:]).all()
    inside = heat[:, 20:60]
    # The centres of the two cells are at a quarter and three quarters; between them the map rises in a straight line.
    np.testing.assert_allclose(inside[7], np.clip((np.arange(40) + 0.5) / 20 - 0.5, 0, 1), atol=1e-5)
    assert on_input(np.eye(2), 8).shape == (8, 8)


def test_an_infill_changes_the_region_alone_and_a_blur_keeps_the_mean() -> None:
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    removed = torch.zeros(2, 48, 48, dtype=torch.bool)
    removed[0, 10:20, 5:9] = True
    filled = infilled(images, blurred(images), removed)
    assert bool(((filled != images).any(dim=1) == removed).all())
    assert float(blurred(images).std()) < 0.2 * float(images.std())
    flat = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(blurred(flat), flat)
