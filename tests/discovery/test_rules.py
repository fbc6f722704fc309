"""The rules of a round's selection, on arrays alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from shelfmark.discovery.clusterers import Clusters, Components
from shelfmark.discovery.known import JoinRule
from shelfmark.discovery.options import SelectionOptions
from shelfmark.discovery.rules import density_rule, join_rule, selected_labels, with_best_threshold


def at(*degrees: float) -> Tensor:
    """(N, 2) vectors of length 2."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return 2 * torch.stack([angles.cos(), angles.sin()], dim=1)


class Grouped:
    """A clusterer that gives what it is told to, and remembers what it was asked."""

    def __init__(self, clusters: list[int], density: list[float]) -> None:
        self.clusters, self.density = torch.tensor(clusters), torch.tensor(density)
        self.asked: list[Tensor] = []

    def __call__(self, features: Tensor) -> Clusters:
        self.asked.append(features)
        return Clusters(self.clusters[: len(features)], self.density[: len(features)], {})


def test_a_threshold_of_links_is_learned_amid_the_pool() -> None:
    labelled, labels = at(0, 8, 40, 47.5), torch.tensor([0, 0, 1, 1])
    alone, score = with_best_threshold(Components(k=3, threshold=0.0), labelled, labels)
    assert (alone.threshold, score) == (pytest.approx(math.cos(math.radians(8))), 1)
    # A chain of unlabelled images, 5 degrees apart, leads from one class to the other. Without the first image at 0
    # degrees the chain has a precision of 2/3 and a recall of 3/4, which is better than with it.
    pool = at(*range(13, 40, 5))
    amid, score = with_best_threshold(Components(k=3, threshold=0.0), torch.cat([labelled, pool]), labels)
    assert score == pytest.approx(12 / 17)
    assert amid.threshold == pytest.approx(math.cos(math.radians(7.5)))
    nobody, score = with_best_threshold(Components(k=3, threshold=0.0), at(0, 180), labels[:2])
    assert (nobody.threshold, score) == (1.0, None)


def test_a_density_threshold_is_learned_on_held_out_images_amid_the_pool() -> None:
    held_out, pool = at(0, 1, 2, 3), at(90, 91)
    group = Grouped([0, 0, 0, 1, 1, 1], [0.9, 0.8, 0.3, 0.2, 0.95, 0.95])
    rule = density_rule(group, held_out, torch.tensor([5, 5, 9, 9]), pool, 1.0)
    assert torch.equal(group.asked[0], torch.cat([held_out, pool]))
    # The pair of the first two is right; the third image would add two wrong pairs.
    assert (rule.value, rule.precision, rule.coverage) == (pytest.approx(0.3), 1.0, 0.5)


def test_a_join_rule_is_learned_on_held_out_classes_of_any_numbers() -> None:
    features = at(*(60 * label + step for label in range(6) for step in range(4)))
    labels = torch.arange(6).repeat_interleave(4)
    each_alone = Grouped(list(range(24)), [1.0] * 24)
    rule = join_rule(each_alone, features, 7 * labels + 100, 0.9, seed=2)
    assert rule == join_rule(each_alone, features, labels, 0.9, seed=2)
    assert rule.threshold is not None
    assert rule.threshold > math.cos(math.radians(60))


FEATURES = at(0, 2, 4, 80, 82, 84, 45, 46, 47)
CLUSTERS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
DENSITY = torch.tensor([0.9, 0.8, 0.5, 0.9, 0.9, 0.9, 0.9, 0.5, 0.9])
KNOWN = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
"""Of three known classes the second has no image."""


@pytest.mark.parametrize(
    ("join", "options", "expected"),
    [
        (None, {"min_size": 1}, [3, 3, -1, 4, 4, 4, 5, -1, 5]),
        # Cluster 0 is class 2, cluster 1 is class 0, cluster 2 lies between them.
        (0.95, {"min_size": 1}, [2, 2, -1, 0, 0, 0, 3, -1, 3]),
        (0.95, {"min_size": 3}, [2, 2, -1, 0, 0, 0, -1, -1, -1]),
        (None, {"min_size": 3}, [-1, -1, -1, 3, 3, 3, -1, -1, -1]),
        (None, {"min_size": 1, "max_size": 2}, [3, 3, -1, -1, -1, -1, 4, -1, 4]),
        # (1 - cos 10 degrees) / 2 is 0.0076.
        (None, {"min_size": 1, "min_distance_to_known": 0.01}, [-1, -1, -1, -1, -1, -1, 3, -1, 3]),
        (None, {"min_size": 1, "min_distance_to_known": 0.007}, [-1, -1, -1, 3, -1, -1, 4, -1, 4]),
    ],
)
def test_dense_images_become_new_classes_without_a_gap_or_join_a_known_one(
    join: float | None, options: dict[str, float], expected: list[int]
) -> None:
    rule = None if join is None else JoinRule(join, 1.0, 1.0)
    labels = selected_labels(CLUSTERS, DENSITY, FEATURES, KNOWN, 3, 0.5, rule, SelectionOptions(**options))
    assert labels.tolist() == expected


def test_new_classes_are_numbered_behind_known_classes_of_which_no_image_could_be_read() -> None:
    labels = selected_labels(CLUSTERS, DENSITY, FEATURES, KNOWN, 7, 0.5, None, SelectionOptions(min_size=1))
    assert labels.tolist() == [7, 7, -1, 8, 8, 8, 9, -1, 9]
