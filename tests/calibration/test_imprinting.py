"""Rows for new classes: worked by hand, against a plain loop, and beside the row of the raw mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from shelfmark.calibration.growth import new_classes, old_classes
from shelfmark.calibration.imprinting import Imprinting, without_own
from shelfmark.core.errors import UserError

NUM_OLD, NUM_NEW, DIM = 30, 6, 40


def pictures(centres: Tensor, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features that are at least 0, as those behind a ReLU are, and their labels from 0 on."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(16, DIM, generator=torch.Generator().manual_seed(99)) / 4
    spread = 0.7 * torch.randn(len(centres) * each, 16, generator=generator)
    rows = torch.relu(3 * (centres.repeat_interleave(each, 0) + spread) @ maps)
    return rows, torch.arange(len(centres)).repeat_interleave(each)


@pytest.fixture(scope="module")
def trained() -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and the centres of all classes, of which the classifier knows the first thirty."""
    centres = torch.randn(NUM_OLD + NUM_NEW, 16, generator=torch.Generator().manual_seed(0))
    features, labels = pictures(centres[:NUM_OLD], 30, seed=1)
    torch.manual_seed(0)
    layer = torch.nn.Linear(DIM, NUM_OLD)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02, weight_decay=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(features), labels).backward()
        optimizer.step()
    return layer.weight.detach(), layer.bias.detach(), centres


def accuracy(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor) -> float:
    return float(((features.double() @ weight.T + bias).argmax(dim=1) == labels).double().mean())


def test_a_row_for_a_cosine_classifier_lies_as_far_from_the_centre_as_the_others() -> None:
    # Old classes along the first two axes, whose rows of length 5 and 1 have a cosine of 0 with the other's pictures.
    old, labels = np.array([[2.0, 0, 0], [0, 7.0, 0]], np.float32), np.array([0, 1])
    fitted = Imprinting(cosine_scale=20.0).fit(torch.tensor([[5.0, 0, 0], [0, 1.0, 0]]), None, old, labels)
    # The unit vectors of two pictures are (0, 0, 1) and (0.6, 0, 0.8), however long the pictures are.
    means = fitted.seen(np.array([[0, 0, 9.0], [0.3, 0, 0.4]], np.float32)).mean(dim=0, keepdim=True)
    weight, bias = fitted.rows(means)
    assert bias is None
    # (0.3, 0, 0.9) without its part along (1, 1, 0), at the mean length of 3.
    leaving = np.array([0.15, -0.15, 0.9])
    np.testing.assert_allclose(weight[0], 3 * leaving / np.linalg.norm(leaving), rtol=1e-6)
    score = fitted.scores(means, fitted.seen(np.array([[0, 0, 7.0]])))
    assert float(score) == pytest.approx(20 * 0.9 / np.linalg.norm(leaving))
    # Of rows that have a cosine of 0.5 with the pictures of others the new one gets the same.
    near = torch.tensor([[3.0**0.5, 1, 0], [1, 3.0**0.5, 0]])
    weight, _ = Imprinting(cosine_scale=1.0).fit(near, None, old, labels).rows(means)
    assert float(weight[0, :2].sum() / 2 / weight.norm()) == pytest.approx(0.5)


def test_a_row_for_a_linear_classifier_scores_others_as_an_old_class_does(trained: tuple[Tensor, ...]) -> None:
    weight, bias, centres = trained
    features, labels = pictures(centres[:NUM_OLD], 6, seed=2)
    new, _ = pictures(centres[NUM_OLD:], 5, seed=3)
    means = new.double().unflatten(0, (NUM_NEW, 5)).mean(dim=1)
    of_classes = features.double().unflatten(0, (NUM_OLD, 6)).mean(dim=1)
    scores = of_classes @ weight.double().T + bias.double()
    on_others = (scores.sum() - scores.trace()) / (NUM_OLD * (NUM_OLD - 1))
    for own_bias in (bias, None):
        fitted = Imprinting().fit(weight, own_bias, features.numpy(), labels.numpy())
        rows, biases = fitted.rows(means)
        added = of_classes @ rows.T + (0 if biases is None else biases)
        level = on_others if own_bias is not None else on_others - bias.double().mean()
        torch.testing.assert_close(added.mean(dim=0), level.expand(NUM_NEW), rtol=1e-5, atol=1e-5)
        assert (biases is None) == (own_bias is None)
    # Old classes made in the same way, without the picture that is scored, rise as far as the trained rows let them.
    trained_rise = scores.diagonal().mean() - on_others
    fitted = Imprinting().fit(weight, bias, features.numpy(), labels.numpy())
    rises, centre = [], of_classes.mean(dim=0)
    for row, label in enumerate(labels.tolist()):
        others = features[(labels == label) & (torch.arange(len(labels)) != row)].double().mean(dim=0)
        made, _ = fitted.rows(others[None])
        about = -((others - centre) @ made[0]) / (NUM_OLD - 1)
        rises.append(float((features[row].double() - centre) @ made[0] - about))
    assert np.mean(rises) == pytest.approx(float(trained_rise), rel=1e-4)


def test_new_classes_are_known_and_old_ones_hardly_suffer_where_raw_means_would_swallow_them(
    trained: tuple[Tensor, ...],
) -> None:
    weight, bias, centres = trained
    val, test = (pictures(centres[:NUM_OLD], 6, seed=seed) for seed in (2, 5))
    new, fresh = (pictures(centres[NUM_OLD:], 5, seed=seed) for seed in (3, 4))
    means = new[0].double().unflatten(0, (NUM_NEW, 5)).mean(dim=1)
    fitted = Imprinting().fit(weight, bias, val[0].numpy(), val[1].numpy())
    rows, biases = fitted.rows(means)
    assert biases is not None
    all_rows, all_biases = torch.cat([weight.double(), rows]), torch.cat([bias.double(), biases])
    before = accuracy(weight.double(), bias.double(), *test)
    assert before > 0.9
    assert accuracy(all_rows, all_biases, *test) > before - 0.04
    assert accuracy(all_rows, all_biases, fresh[0], fresh[1] + NUM_OLD) > 0.8
    raw = weight.norm(dim=1).mean() * torch.nn.functional.normalize(means, dim=1)
    raw_rows = torch.cat([weight.double(), raw])
    raw_biases = torch.cat([bias.double(), bias.double().mean().expand(NUM_NEW)])
    assert accuracy(raw_rows, raw_biases, *test) < 0.6


def test_trained_cosines_leave_out_what_all_pictures_share_and_so_does_a_new_row() -> None:
    centres = torch.randn(NUM_OLD + NUM_NEW, 16, generator=torch.Generator().manual_seed(0))
    features, labels = pictures(centres[:NUM_OLD], 30, seed=1)
    units = torch.nn.functional.normalize(features, dim=1)
    weight = torch.randn(NUM_OLD, DIM, generator=torch.Generator().manual_seed(1), requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        cosines = units @ torch.nn.functional.normalize(weight, dim=1).T
        torch.nn.functional.cross_entropy(16 * cosines, labels).backward()
        optimizer.step()
    val, test = (pictures(centres[:NUM_OLD], 6, seed=seed) for seed in (2, 5))
    new, fresh = (pictures(centres[NUM_OLD:], 5, seed=seed) for seed in (3, 4))
    fitted = Imprinting(cosine_scale=16.0).fit(weight, None, val[0].numpy(), val[1].numpy())
    means = fitted.seen(new[0].numpy()).unflatten(0, (NUM_NEW, 5)).mean(dim=1)
    old = torch.nn.functional.normalize(weight.detach().double(), dim=1)
    found = []
    for rows in (old[:0], fitted.rows(means)[0], means):
        joined = torch.cat([old, torch.nn.functional.normalize(rows, dim=1)])
        found.append(accuracy(joined, torch.zeros(len(joined)), fitted.seen(test[0].numpy()), test[1]))
        if rows is not means and len(rows):
            assert accuracy(joined, torch.zeros(len(joined)), fitted.seen(fresh[0].numpy()), fresh[1] + NUM_OLD) > 0.8
    before, after, with_raw_means = found
    assert before > 0.9
    assert after > before - 0.04
    assert with_raw_means < 0.7


def test_experts_get_the_length_of_their_own_block(trained: tuple[Tensor, ...]) -> None:
    weight, bias, centres = trained
    features, labels = pictures(centres[:NUM_OLD], 6, seed=2)
    # The second expert sees what the first one sees, and weighs a fifth.
    both, twice = torch.cat([weight, weight / 5], dim=1), features.repeat(1, 2)
    fitted = Imprinting(num_experts=2).fit(both, bias, twice.numpy(), labels.numpy())
    rows, _ = fitted.rows(twice[:3].double())
    parts = rows.unflatten(1, (2, DIM))
    torch.testing.assert_close(parts[:, 0], 5 * parts[:, 1], rtol=1e-5, atol=1e-9)


def test_a_linear_row_without_pictures_of_two_old_classes_is_refused() -> None:
    for labels in ([1, 1, -1], [-1, -1, -1]):
        with pytest.raises(UserError, match="at least two old classes; there are pictures of [01]"):
            Imprinting().fit(torch.eye(2), None, np.ones((3, 2), np.float32), np.array(labels))


def test_the_change_of_old_classes_is_that_of_a_case_counted_by_hand() -> None:
    # Three old classes and a new one: pictures 0 and 1 stay right, 2 is lost, 3 was wrong before and goes too.
    logits = torch.tensor([[2.0, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 3], [1, 0, 0, 5], [9, 9, 9, 9]])
    found = old_classes(lambda rows: logits[rows[:, 0].long()], np.arange(5.0)[:, None], [0, 1, 2, 1, -1], num_old=3)
    assert (found.num_images, found.top1_before, found.top1_after) == (4, 0.75, 0.5)
    assert (found.num_taken, found.num_right_before) == (2, 1)
    before, after = logits[:4, :3].softmax(1), logits[:4].softmax(1)
    label = torch.tensor([0, 1, 2, 1])
    assert found.probability_before == pytest.approx(float(before[range(4), label].mean()))
    assert found.probability_after == pytest.approx(float(after[range(4), label].mean()))


@pytest.mark.parametrize("cosine_scale", [None, 16.0])
def test_new_pictures_are_scored_by_rows_that_they_have_no_part_in(
    trained: tuple[Tensor, ...], cosine_scale: float | None
) -> None:
    weight, bias, centres = trained
    val = pictures(centres[:NUM_OLD], 6, seed=2)
    features, numbers = pictures(centres[NUM_OLD:], 3, seed=3)
    # The first class has one picture, which nothing can be said of.
    features, labels = features[2:], numbers[2:] + NUM_OLD
    fitted = Imprinting(cosine_scale).fit(weight, bias, val[0].numpy(), val[1].numpy())

    def logits_of(rows: Tensor, kept: Tensor) -> Tensor:
        seen = fitted.seen(features)
        means = torch.stack([seen[kept & (labels == NUM_OLD + one)].mean(dim=0) for one in range(NUM_NEW)])
        more, biases = fitted.rows(means)
        all_rows = torch.cat([weight.double(), more])
        if cosine_scale is not None:
            units = torch.nn.functional.normalize(all_rows, dim=1)
            return cosine_scale * torch.nn.functional.normalize(rows.double(), dim=1) @ units.T
        assert biases is not None
        return rows.double() @ all_rows.T + torch.cat([bias.double(), biases])

    everything = torch.ones(len(labels), dtype=torch.bool)
    found = new_classes(lambda rows: logits_of(rows, everything), fitted, features.numpy(), labels, NUM_OLD)
    right = []
    for row in range(1, len(labels)):
        kept = everything.clone()
        kept[row] = False
        right.append(int(logits_of(features[row : row + 1], kept).argmax()) == int(labels[row]))
    assert (found.num_images, found.top1) == (len(right), pytest.approx(np.mean(right)))
    assert 0.3 < np.mean(right) <= 1
    alone = new_classes(lambda rows: logits_of(rows, everything), fitted, features[:1].numpy(), labels[:1], NUM_OLD)
    assert (alone.num_images, alone.top1) == (0, None)
    torch.testing.assert_close(
        without_own(torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([3])), torch.tensor([[2.5]])
    )
