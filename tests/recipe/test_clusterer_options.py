"""From the options of a recipe to a fitted clusterer."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers import CLUSTERERS
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.recipe.clustering import _OPTIONS, as_told, fitted_clusterer
from shelfmark.recipe.discovery import Clusterer, Lander

FEATURES = torch.eye(4).repeat_interleave(6, dim=0) + 0.1 * torch.rand(
    24, 4, generator=torch.Generator().manual_seed(0)
)
LABELS = torch.arange(4).repeat_interleave(6)
GIVEN = Clusterer(k=7, threshold=0.4, min_images=3, num_clusters=5, resolution=0.3)
SMALL = Lander(ks=(7,), levels=(1,), hidden=8, epochs=1, tau=0.25, max_levels=3, early_stop=False)


def test_every_clusterer_but_the_network_has_its_options_here_and_they_are_its_own() -> None:
    assert _OPTIONS.keys() == CLUSTERERS.keys() - {"lander"}
    for name, options in _OPTIONS.items():
        assert set(options) <= set(Clusterer.model_fields)
        assert set(options.values()) <= {field.name for field in fields(CLUSTERERS[name])}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("components", {"k": 7, "threshold": 0.4}),
        ("dbscan", {"k": 7, "threshold": 0.4, "min_images": 3}),
        ("kmeans", {"k": 7, "num_clusters": 5, "seed": 11}),
    ],
)
def test_what_an_option_says_a_clusterer_has(name: str, expected: dict[str, Any]) -> None:
    found = fitted_clusterer(GIVEN.model_copy(update={"name": name}), FEATURES, LABELS, seed=11)
    assert found.name == name
    assert {key: getattr(found, key) for key in expected} == expected


def test_what_is_not_said_is_learned_from_labelled_images() -> None:
    found = fitted_clusterer(Clusterer(name="components", k=7), FEATURES, LABELS)
    assert found.cluster(FEATURES).num_clusters == 4


def test_a_network_is_trained_on_labelled_images_alone() -> None:
    options = Clusterer(name="lander", k=7, lander=SMALL)
    found = fitted_clusterer(options, FEATURES, LABELS, seed=3)
    assert isinstance(found, LanderClusterer)
    assert (found.k, found.tau, found.levels, found.early_stop) == (7, 0.25, 3, False)
    assert found.model.options["hidden"] == 8
    more = torch.cat([FEATURES, torch.ones(5, 4)])
    again = fitted_clusterer(options, more, torch.cat([LABELS, torch.full((5,), -1)]), seed=3)
    assert isinstance(again, LanderClusterer)
    for name, weights in found.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], weights)
    other = fitted_clusterer(options, FEATURES, LABELS, seed=4)
    assert isinstance(other, LanderClusterer)
    assert not torch.equal(other.model.neighbour_side.weight, found.model.neighbour_side.weight)
    with pytest.raises(UserError, match="of which there are none"):
        fitted_clusterer(options, FEATURES, torch.full((24,), -1))


def test_auto_takes_one_of_them_and_keeps_the_options() -> None:
    found = fitted_clusterer(GIVEN, FEATURES, LABELS)
    assert found.name in ("components", "infomap")
    assert (found.k, found.threshold) == (7, 0.4)  # type: ignore[union-attr]


def test_a_fitted_clusterer_takes_how_it_clusters_from_other_options() -> None:
    network = fitted_clusterer(Clusterer(name="lander", k=7, lander=SMALL), FEATURES, LABELS)
    told = as_told(network, Clusterer(k=5, lander=Lander(tau=0.5, max_levels=1)))
    assert isinstance(told, LanderClusterer)
    assert (told.k, told.tau, told.levels, told.early_stop) == (5, 0.5, 1, True)
    components = as_told(fitted_clusterer(Clusterer(name="components", k=7), FEATURES, LABELS), Clusterer(k=5))
    assert components.k == 5
