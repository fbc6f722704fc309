"""Mixup, CutMix and Remix: what an image and its label become."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from shelfmark.data.mixing import Mixing

COUNTS = np.array([90, 30, 10, 0])


def batch(num_images: int = 24, height: int = 12, width: int = 8) -> tuple[Tensor, Tensor]:
    """Images that are constant, each at its own number, so that a mixture tells its parts."""
    images = torch.arange(1.0, num_images + 1)[:, None, None, None].expand(-1, 3, height, width).clone()
    return images, torch.arange(num_images) % 3


def proportions(images: Tensor, mixed: Tensor) -> list[tuple[int, float]]:
    """Of each constant image: its partner and how much of its own number is left in the mean of the mixture."""
    found = []
    for row, picture in enumerate(mixed):
        own, values = float(images[row, 0, 0, 0]), picture.unique()
        other = next((float(value) for value in values if float(value) != own), own)
        found.append((round(other) - 1, float((picture == own).double().mean())))
    return found


def test_mixup_averages_images_and_labels_in_one_proportion():
    # Image i is 1 at column i alone, so that a mixture shows what it is of.
    images = torch.eye(24)[:, None, None, :].expand(-1, 3, 2, -1).clone()
    labels = torch.arange(24) % 3
    mixed, targets = Mixing(0.4, 0, 0, COUNTS, seed=1)(images, labels, step=5)
    weights = mixed[:, 0, 0]
    torch.testing.assert_close(targets, weights @ torch.eye(4)[labels], atol=1e-6, rtol=0)
    own = float(weights.diagonal().min())
    assert 0 < own < 1
    partners = (weights - own * torch.eye(24)).argmax(1)
    torch.testing.assert_close(weights, own * torch.eye(24) + (1 - own) * torch.eye(24)[partners])
    assert sorted(partners.tolist()) == list(range(24))


def test_cutmix_replaces_a_rectangle_and_labels_by_its_area():
    images, labels = batch()
    cut = Mixing(0, 1.0, 0, COUNTS, seed=2)
    shares = set()
    for step in range(8):
        mixed, targets = cut(images, labels, step)
        for row, (other, own) in enumerate(proportions(images, mixed)):
            expected = torch.zeros(4)
            expected[labels[row]] += own
            expected[labels[other]] += 1 - own
            torch.testing.assert_close(targets[row], expected, atol=1e-6, rtol=0)
            changed = (mixed[row, 0] != images[row, 0]).nonzero()
            if len(changed):
                height, width = (changed.max(0).values - changed.min(0).values + 1).tolist()
                assert height * width == len(changed)
                shares.add(round(own, 6))
    assert len(shares) > 4


def test_with_both_each_step_draws_one_of_them():
    images, labels = batch()
    both = Mixing(0.5, 0.5, 0, COUNTS, seed=3)
    averaged = [bool((both(images, labels, step)[0] % 1 > 1e-4).any()) for step in range(40)]
    assert 8 < sum(averaged) < 32


def test_remix_gives_the_rarer_class_the_label_where_it_has_most_of_the_picture():
    images, labels = batch(64)
    plain, remix = (Mixing(1.0, 0, kappa, COUNTS, seed=4) for kappa in (0, 3.0))
    moved = 0
    for step in range(12):
        _, before = plain(images, labels, step)
        _, after = remix(images, labels, step)
        for row in range(64):
            own, classes = int(labels[row]), before[row].nonzero()[:, 0].tolist()
            others = [one for one in classes if one != own]
            expected = before[row].clone()
            if others:
                (other,) = others
                share = float(before[row, own])
                ratio = COUNTS[own] / COUNTS[other]
                if ratio >= 3 and share < 0.5:
                    expected = torch.eye(4)[other]
                elif ratio <= 1 / 3 and 1 - share < 0.5:
                    expected = torch.eye(4)[own]
            torch.testing.assert_close(after[row], expected)
            moved += not torch.equal(after[row], before[row])
    assert moved > 50


def test_the_draws_follow_from_seed_and_step_and_partners_from_the_process_too():
    images, labels = batch()
    mixing = Mixing(1.0, 0, 0, COUNTS, seed=5)
    again = Mixing(1.0, 0, 0, COUNTS, seed=5)(images, labels, 3)
    for ours, theirs in zip(mixing(images, labels, 3), again):
        assert torch.equal(ours, theirs)
    assert not torch.equal(mixing(images, labels, 4)[0], again[0])
    other_process = mixing(images, labels, 3, rank=1)
    assert not torch.equal(other_process[0], again[0])
    assert other_process[1].max(1).values.min() == pytest.approx(float(again[1].max(1).values.min()), abs=1e-6)


def test_every_row_of_probabilities_sums_to_one():
    images, labels = batch()
    for options in ((0.4, 0, 0), (0, 1.0, 0), (0.4, 1.0, 3.0)):
        _, targets = Mixing(*options, COUNTS, seed=6)(images, labels, 2)
        torch.testing.assert_close(targets.sum(1), torch.ones(24))
        assert targets.shape == (24, 4)
