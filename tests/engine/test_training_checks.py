"""The checks of a training: whether a batch is learned, what is said where it is not, and which rate is proposed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
import torch
from steps import step_of
from torch import nn

from shelfmark.core.contracts import Batch, Outputs
from shelfmark.engine.checks.findings import findings
from shelfmark.engine.checks.overfit import Overfit, overfit
from shelfmark.engine.checks.rate_range import RatePoint, RateRange, rate_range
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy, TripletLoss

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
IMAGES = torch.randn((6, 3, 2, 2), generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    """Pictures of 2 x 2 pixels to logits of three classes, and to vectors."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU())
            self.embedding, self.heads = nn.Identity(), nn.ModuleDict()
            self.classifier = nn.Linear(16, num_classes)

    def forward(self, images: torch.Tensor) -> Outputs:
        embedding = self.backbone(images)
        return Outputs(embedding, {"classifier": self.classifier(embedding), "rank": embedding})


def small_step(network: nn.Module, loss: object, rate: float = 0.1, head: str = "classifier") -> TrainStep:
    consumes = "logits" if head == "classifier" else "vectors"
    terms = [LossTerm("loss_of_test", head, 1.0, loss, consumes)]
    learning = [one for one in network.parameters() if one.requires_grad]
    return step_of(network, terms, torch.optim.SGD(learning, lr=rate))


def learned(
    loss: object, rate: float = 0.3, labels: torch.Tensor = LABELS, **made: object
) -> tuple[Overfit, list[str]]:
    network = made.get("network") or Small()
    batch = Batch(made.get("images", IMAGES), labels, torch.arange(len(labels)))
    found = overfit(small_step(network, loss, head=made.get("head", "classifier")), batch, rate)
    return found, findings(found, batch, network)


def test_a_batch_is_learned_to_near_zero_and_the_figures_say_so() -> None:
    found, told = learned(CrossEntropy())
    assert found.is_learned
    assert told == []
    assert found.first == pytest.approx(math.log(3), abs=0.4)
    assert found.last < 0.05 * found.first
    assert found.right == {"classifier": 1.0}


def test_a_loss_with_a_floor_is_learned_where_every_answer_is_right() -> None:
    found, told = learned(CrossEntropy(label_smoothing=0.3))
    # The entropy of a smoothed label: no network gets below it.
    floor = -(0.8 * math.log(0.8) + 2 * 0.1 * math.log(0.1))
    assert found.last == pytest.approx(floor, abs=0.02)
    assert not found.is_near_zero
    assert found.is_learned
    assert told == []


def test_a_head_of_vectors_is_right_where_the_nearest_other_picture_is_of_the_same_class() -> None:
    found, _ = learned(TripletLoss(margin=0.2), rate=0.1, head="rank")
    assert found.right == {"rank": 1.0}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"rate": 1e-8}, "the loss stands still, .* Look at optim.lr=1e-08"),
        ({"rate": 2e-3}, "the loss fell too slowly, .* optim.lr=0.002 is low"),
        ({"labels": torch.zeros(6, dtype=torch.int64)}, "the labels of the batch are constant: 1 class in 6 pictures"),
        ({"images": torch.ones(6, 3, 2, 2)}, "every picture of the batch is one even colour"),
        ({"images": IMAGES[[0, 1, 0, 2, 3, 4]]}, "1 picture of the batch stands there under several classes"),
        ({"images": IMAGES * math.nan}, "the first step cannot be taken: the loss is not finite .loss_of_test."),
    ],
)
def test_what_is_wrong_is_named(made: dict[str, object], said: str) -> None:
    _, told = learned(CrossEntropy(), **made)
    assert any(re.search(said, one) for one in told), told


def test_frozen_weights_and_a_classifier_that_no_loss_trains_are_named() -> None:
    network = Small()
    network.backbone.requires_grad_(False)
    network.classifier.weight.requires_grad_(False)
    _, told = learned(CrossEntropy(), network=network)
    assert any("only 3 of 259 weights learn" in one for one in told)
    _, told = learned(TripletLoss(margin=5.0), rate=1e-6, head="rank")
    assert any(one.startswith("`classifier` gets no gradient") for one in told)


class Endless:
    """Always the same batch."""

    def num_batches(self, epoch: int) -> int:
        return 7

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        yield from [Batch(IMAGES, LABELS, torch.arange(6))] * 7


def test_the_rate_range_ends_where_a_quadratic_diverges_and_proposes_a_rate_below() -> None:
    class Quadratic(Small):
        """The loss is 50 w^2, whose gradient descent diverges from a rate of 2 / 100 on."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(()))

        def forward(self, images: torch.Tensor) -> Outputs:
            return Outputs(images.flatten(1), {"classifier": self.w.expand(len(images), 1)})

    class Square(CrossEntropy):
        def over_ranks(self, logits: torch.Tensor, labels: torch.Tensor, **_: object) -> torch.Tensor:
            return 50 * logits.square().mean()

    network = Quadratic()
    step = small_step(network, Square())
    found = rate_range(step, Endless())
    assert found.diverged is not None
    assert 0.02 < found.diverged < 0.2
    assert found.steepest is not None
    assert found.steepest < 0.02
    assert found.proposal is not None
    assert found.proposal <= found.diverged / 10
    assert all(math.isfinite(point.loss) for point in found.points)


def made_up(losses: list[float], diverged: float | None) -> RateRange:
    points = tuple(RatePoint(1e-6 * 1.2**place, loss, loss) for place, loss in enumerate(losses))
    return RateRange(points, diverged)


def test_the_steepest_descent_is_found_and_a_tenth_of_the_divergence_caps_it() -> None:
    # Level, then a straight fall between steps 40 and 60, whose middle is step 50.
    losses = [1.0] * 40 + [1.0 - place / 40 for place in range(20)] + [0.5] * 30
    middle = 1e-6 * 1.2**50
    assert made_up(losses, None).steepest == pytest.approx(middle, rel=0.5)
    assert made_up(losses, None).proposal == float(f"{made_up(losses, None).steepest:.0e}")
    assert made_up(losses, middle).proposal == float(f"{middle / 10:.0e}")


def test_noise_alone_gives_no_steepest_descent() -> None:
    noise = torch.randn(90, generator=torch.Generator().manual_seed(1)) * 0.1
    losses = (1 + noise).tolist()
    smoothed, points = losses[0], []
    for place, loss in enumerate(losses):
        smoothed = 0.8 * smoothed + 0.2 * loss
        points.append(RatePoint(1e-6 * 1.2**place, loss, smoothed))
    found = RateRange(tuple(points), None)
    assert found.steepest is None
    assert found.proposal is None
    assert RateRange(tuple(points), 0.4).proposal == pytest.approx(0.04)
