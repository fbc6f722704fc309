from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery import known, means
from shelfmark.discovery.known import JoinRule, calibrate, distance_to_known, known_means, nearest_class


def _shop(spread: float, num_classes: int = 20, size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(size)
    centres = torch.nn.functional.normalize(torch.randn(num_classes, 8, generator=generator), dim=1)
    return centres[labels] + spread * torch.randn(len(labels), 8, generator=generator), labels


def test_the_mean_is_of_directions_and_images_without_a_label_are_left_out() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [9.0, 9.0], [0.0, 1.0]])
    found = known_means(features, torch.tensor([2, 2, -1, 0]))
    assert found.tolist() == [[0.0, 1.0], [0.0, 0.0], [0.5, 0.5]]


def test_the_nearest_class_has_images_and_the_distance_is_that_of_the_paper() -> None:
    class_means = torch.tensor([[0.0, 0.5], [0.0, 0.0], [0.5, 0.0]])
    features = torch.tensor([[3.0, 4.0], [-1.0, 0.0], [0.0, -2.0], [0.0, 0.0]])
    cosine, nearest = nearest_class(features, class_means)
    assert cosine[:3].tolist() == pytest.approx([0.8, 0.0, 0.0])
    assert nearest.tolist() == [0, 0, 2, -1]
    assert distance_to_known(features, class_means).tolist() == pytest.approx([0.1, 0.5, 0.5, 1.0])
    assert distance_to_known(features, torch.zeros(0, 2)).tolist() == [1.0] * 4


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _shop(0.5)
    labels[::7] = -1
    expected = known_means(features, labels)
    whole = nearest_class(features, expected)
    monkeypatch.setattr(means, "_BLOCK_VALUES", 17)
    monkeypatch.setattr(known, "_BLOCK_VALUES", 90)
    assert torch.equal(known_means(features, labels), expected)
    in_blocks = nearest_class(features, expected)
    assert torch.allclose(in_blocks[0], whole[0], atol=1e-6)
    assert torch.equal(in_blocks[1], whole[1])
    by_loop = [int(torch.cosine_similarity(expected, vector[None]).argmax()) for vector in features]
    assert whole[1].tolist() == by_loop


def test_a_cluster_joins_its_nearest_class_at_the_threshold_or_above() -> None:
    class_means = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    features = torch.tensor([[1.0, 1.0], [1.0, -1.0], [0.6, 0.8], [-1.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    clusters = torch.tensor([0, 0, 1, 3, -1])
    rule = JoinRule(0.8, 0.9, 0.5)
    # The mean of cluster 0 lies on the first axis; cluster 2 has no image.
    assert rule.classes(features, clusters, class_means).tolist() == [0, 1, -1, -1]
    assert JoinRule(0.81, 0.9, 0.5).classes(features, clusters, class_means).tolist() == [0, -1, -1, -1]
    assert JoinRule(None, None, None, "why").classes(features, clusters, class_means).tolist() == [-1] * 4


def test_classes_that_lie_apart_are_joined_rightly_and_wholly() -> None:
    features, labels = _shop(0.05)
    rule = calibrate(features, labels, 0.95)
    assert rule.threshold is not None
    assert rule.precision is not None
    assert rule.precision >= 0.95
    assert rule.coverage == 1.0
    class_means = known_means(features[labels < 10], labels[labels < 10])
    joined = rule.classes(features, labels, class_means)
    assert joined[:10].tolist() == list(range(10))
    assert (joined[10:] >= 0).float().mean() <= 0.2


def test_a_higher_target_gives_a_higher_threshold_and_less_coverage() -> None:
    features, labels = _shop(0.6)
    low, high = (calibrate(features, labels, target) for target in (0.5, 0.9))
    assert low.threshold is not None
    assert high.threshold is not None
    assert low.threshold < high.threshold
    assert low.coverage is not None
    assert high.coverage is not None
    assert low.coverage > high.coverage
    assert high.precision is not None
    assert high.precision >= 0.9


def test_it_depends_on_the_seed_alone_and_not_on_the_length_of_features() -> None:
    features, labels = _shop(0.6)
    assert calibrate(features, labels, 0.9, seed=3) == calibrate(features, labels, 0.9, seed=3)
    assert calibrate(features, labels, 0.9, seed=3) != calibrate(features, labels, 0.9, seed=4)
    with_unlabelled = torch.cat([features, torch.ones(3, 8)]), torch.cat([labels, torch.full((3,), -1)])
    assert calibrate(*with_unlabelled, 0.9) == calibrate(features, labels, 0.9)


def test_images_that_are_clustered_wrongly_count_as_wrong() -> None:
    features, labels = _shop(0.05)
    right = calibrate(features, labels, 0.5)

    def all_together(pool: Tensor) -> Tensor:
        return torch.zeros(len(pool), dtype=torch.int64)

    def none(pool: Tensor) -> Tensor:
        return torch.full((len(pool),), -1)

    assert right.threshold is not None
    together = calibrate(features, labels, 0.5, all_together)
    assert together.threshold is None
    assert "no threshold joins clusters with the target precision 0.5: the best reaches 0." in together.reason
    assert calibrate(features, labels, 0.5, none).threshold is None


@pytest.mark.parametrize("seed", range(4))
def test_the_images_of_a_cluster_are_joined_together_or_not_at_all(seed: int) -> None:
    features, labels = _shop(0.1, num_classes=2, size=4)
    # In each trial 2 images of the known class and 4 of the new one are in one cluster.
    rule = calibrate(features, labels, 0.9, lambda pool: torch.zeros(len(pool), dtype=torch.int64), seed=seed)
    assert rule.threshold is None
    assert "the best reaches 0.333" in rule.reason


def test_held_out_images_are_the_share_that_was_asked_for() -> None:
    features, labels = _shop(0.1, num_classes=10, size=5)
    pools = []

    def one_each(pool: Tensor) -> Tensor:
        pools.append(pool)
        return torch.arange(len(pool))

    calibrate(features, labels, 0.5, one_each, new_share=0.3, unlabelled_share=0.4, repeats=3)
    # 3 new classes of 5, 2 of 5 images of each of the others.
    assert [len(pool) for pool in pools] == [3 * 5 + 7 * 2] * 3
    assert not torch.equal(pools[0], pools[1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "there are 0 classes, 0 with two images"),
        ([-1, -1], "0 classes"),
        ([0, 0, 0], "1 class,"),
        ([0, 1, 2], "3 classes, 0"),
    ],
)
def test_nothing_is_joined_and_it_says_why_where_no_trial_can_be_made(labels: list[int], message: str) -> None:
    rule = calibrate(torch.ones(len(labels), 4), torch.tensor(labels, dtype=torch.int64), 0.9)
    assert (rule.threshold, rule.precision, rule.coverage) == (None, None, None)
    assert message in rule.reason


@pytest.mark.parametrize(
    "options", [{"target_precision": 0.0}, {"new_share": 1.2}, {"unlabelled_share": 0.0}, {"repeats": 0}]
)
def test_shares_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected"):
        calibrate(*_shop(0.1), **{"target_precision": 0.9, **options})
