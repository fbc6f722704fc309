"""From the options of a recipe to a fitted clusterer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers import CLUSTERERS, read_clusterer, write_clusterer
from shelfmark.discovery.clusterers.fitted import (
    fitted_clusterer,
    has_threshold_to_learn,
    learns_on_val,
    with_options,
)
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.thresholded import Thresholded
from shelfmark.discovery.options import ClustererOptions, LanderOptions
from shelfmark.ops.graph import Graph

FEATURES = torch.eye(4).repeat_interleave(6, dim=0) + 0.1 * torch.rand(
    24, 4, generator=torch.Generator().manual_seed(0)
)
LABELS = torch.arange(4).repeat_interleave(6)
GIVEN = ClustererOptions(k=7, threshold=0.4, min_images=3, num_clusters=5, resolution=0.3)
SMALL = LanderOptions(ks=(7,), levels=(1,), hidden=8, epochs=1, tau=0.25, max_levels=3, early_stop=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("components", {"k": 7, "threshold": 0.4}),
        ("dbscan", {"k": 7, "threshold": 0.4, "min_images": 3}),
        ("kmeans", {"k": 7, "num_clusters": 5, "seed": 11}),
        ("hdbscan", {"k": 7, "min_cluster_size": 3, "min_images": None}),
        ("infomap", {"k": 7, "threshold": 0.4, "seed": 11}),
        ("leiden", {"k": 7, "threshold": 0.4, "resolution": 0.3, "seed": 11}),
    ],
)
def test_what_an_option_says_a_clusterer_has(name: str, expected: dict[str, Any]) -> None:
    found = fitted_clusterer(GIVEN.model_copy(update={"name": name}), FEATURES, LABELS, seed=11)
    assert found.name == name
    assert {key: getattr(found, key) for key in expected} == expected


@dataclass(frozen=True, kw_only=True)
class Alone(Thresholded):
    """A clusterer that a user adds."""

    name: ClassVar[str] = "alone"

    min_images: int = 4

    def partition(self, graph: Graph, threshold: float) -> torch.Tensor:
        return torch.full((graph.num_nodes,), -1)


def test_a_line_in_the_table_adds_a_clusterer_with_options_stages_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLUSTERERS, "alone", Alone)  # type: ignore[arg-type]
    options = GIVEN.model_copy(update={"name": "alone"})
    found = fitted_clusterer(options, FEATURES, LABELS)
    assert found == Alone(k=7, threshold=0.4, min_images=3)
    assert found.cluster(FEATURES).num_clusters == len(FEATURES)
    write_clusterer(tmp_path, found)
    assert read_clusterer(tmp_path) == found
    assert not learns_on_val(options)
    assert not has_threshold_to_learn(options)
    assert has_threshold_to_learn(options.model_copy(update={"threshold": None}))


def test_every_clusterer_of_the_table_can_be_chosen_and_is_described(checkout: Path) -> None:
    names = ClustererOptions.model_json_schema()["properties"]["name"]["enum"]
    assert names == ["auto", *CLUSTERERS]
    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\|.*\|$", (checkout / "docs" / "discovery.md").read_text(), re.MULTILINE)
    assert set(CLUSTERERS) <= set(rows)


@pytest.mark.parametrize(
    ("name", "fit_on", "on_val"),
    [
        *(("kmeans", "auto", True), ("hdbscan", "auto", True), ("lander", "auto", False), ("auto", "auto", False)),
        *(("kmeans", "trained", False), ("lander", "val", True)),
    ],
)
def test_what_counts_images_learns_on_classes_that_no_model_has_seen(name: str, fit_on: Any, on_val: bool) -> None:
    assert learns_on_val(ClustererOptions(name=name, fit_on=fit_on)) is on_val


def test_what_is_not_said_is_learned_from_labelled_images() -> None:
    found = fitted_clusterer(ClustererOptions(name="components", k=7), FEATURES, LABELS)
    assert found.cluster(FEATURES).num_clusters == 4


def test_a_network_is_trained_on_labelled_images_alone() -> None:
    options = ClustererOptions(name="lander", k=7, lander=SMALL)
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
    network = fitted_clusterer(ClustererOptions(name="lander", k=7, lander=SMALL), FEATURES, LABELS)
    told = with_options(network, ClustererOptions(k=5, lander=LanderOptions(tau=0.5, max_levels=1)))
    assert isinstance(told, LanderClusterer)
    assert (told.k, told.tau, told.levels, told.early_stop) == (5, 0.5, 1, True)
    chains = fitted_clusterer(ClustererOptions(name="components", k=7), FEATURES, LABELS)
    assert with_options(chains, ClustererOptions(k=5, threshold=0.1)) == replace(chains, k=5)
