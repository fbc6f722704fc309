from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score, top_k_accuracy_score

from shelfmark.core.errors import UserError
from shelfmark.ops.class_metrics import ClassCounts, group_accuracies, label_places


def _counted(logits: torch.Tensor, labels: torch.Tensor) -> ClassCounts:
    counts = ClassCounts(logits.shape[1])
    counts.add(logits, labels)
    return counts


def test_scores_of_a_case_worked_by_hand() -> None:
    # Class 0: two images, one right. Class 1: one image, right. Class 2: none. Class 3: one image, wrong.
    logits = torch.tensor([[9.0, 1, 2, 3], [1, 9, 2, 3], [0, 5, 1, 2], [4, 3, 2, 1]])
    labels = torch.tensor([0, 0, 1, 3])
    scores = _counted(logits, labels).scores(torch.tensor([101, 100, 3, 19]))
    assert scores == {
        "top1": 0.5,
        "top5": 1.0,
        "mean_class_accuracy": pytest.approx((0.5 + 1 + 0) / 3),
        "mean_class_error": pytest.approx(0.5),
        "many": 0.5,
        "medium": 1.0,
        "few": 0.0,
        "num_images": 4,
        "num_classes": 3,
    }


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_classes=st.integers(2, 12),
    num_images=st.integers(1, 60),
    levels=st.sampled_from([2, 5, 1000]),
)
def test_scores_equal_those_of_scikit_learn(seed: int, num_classes: int, num_images: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    logits = torch.randint(levels, (num_images, num_classes), generator=generator).float()
    scores = _counted(logits, labels).scores()
    # scikit-learn breaks ties its own way; a shift smaller than a level, falling with the class, states ours.
    untied = (logits - torch.arange(num_classes) / 100).numpy()
    for k, name in ((1, "top1"), (5, "top5")):
        if k < num_classes:
            expected = top_k_accuracy_score(labels, untied, k=k, labels=range(num_classes)) if num_classes > 2 else None
            assert expected is None or scores[name] == pytest.approx(expected)
    predicted = untied.argmax(axis=1)
    present = labels.unique()
    macro = recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert scores["mean_class_accuracy"] == pytest.approx(macro)
    assert scores["num_classes"] == len(present)


def test_place_zero_is_where_argmax_points_even_with_ties() -> None:
    logits = torch.randint(3, (200, 7), generator=torch.Generator().manual_seed(0)).float()
    assert (label_places(logits, logits.argmax(dim=1)) == 0).all()


def test_of_equal_logits_the_lower_class_leads() -> None:
    logits = torch.ones(3, 8)
    assert label_places(logits, torch.tensor([0, 4, 7])).tolist() == [0, 4, 5]
    assert label_places(logits, torch.tensor([0, 4, 7]), last=8).tolist() == [0, 4, 7]
    scores = _counted(logits, torch.tensor([0, 4, 7])).scores()
    assert scores["top1"] == pytest.approx(1 / 3)
    assert scores["top5"] == pytest.approx(2 / 3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_classes=st.integers(1, 12), levels=st.sampled_from([1, 3, 1000]))
def test_places_equal_those_in_a_sorted_list(seed: int, num_classes: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (20, num_classes), generator=generator).double()
    labels = torch.randint(num_classes, (20,), generator=generator)
    ordered = [sorted(range(num_classes), key=lambda label: (-row[label], label)) for row in logits.tolist()]
    expected = [min(5, order.index(label)) for order, label in zip(ordered, labels.tolist())]
    assert label_places(logits, labels).tolist() == expected


def test_batches_in_any_cut_and_order_give_the_same_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(50, 9, generator=generator), torch.randint(9, (50,), generator=generator)
    parts = ClassCounts(9)
    for rows in torch.randperm(50, generator=generator).split(7):
        parts.merge(_counted(logits[rows], labels[rows]))
    assert torch.equal(parts.counters, _counted(logits, labels).counters)


def test_images_without_a_label_are_left_out() -> None:
    logits = torch.tensor([[1.0, 2], [float("nan"), 1], [2, 1]])
    scores = _counted(logits, torch.tensor([1, -1, 1])).scores()
    assert (scores["top1"], scores["num_images"]) == (0.5, 2)


def test_nothing_to_score_gives_none_and_never_zero() -> None:
    scores = _counted(torch.zeros(2, 3), torch.tensor([-1, -1])).scores(torch.tensor([1, 50, 500]))
    names = ["top1", "top5", "mean_class_accuracy", "mean_class_error", "many", "medium", "few"]
    assert [scores[name] for name in names] == [None] * 7
    assert scores["num_images"] == 0


def test_an_absent_group_is_none_and_counts_at_the_thresholds_are_medium() -> None:
    accuracy = torch.tensor([0.25, 0.75, float("nan")])
    assert group_accuracies(accuracy, torch.tensor([100, 20, 5])) == {"many": None, "medium": 0.5, "few": None}
    assert group_accuracies(accuracy, torch.tensor([101, 19, 5])) == {"many": 0.25, "medium": None, "few": 0.75}
    assert group_accuracies(accuracy, torch.tensor([0, 500, 5]))["few"] == 0.25
    assert group_accuracies(accuracy, torch.tensor([7, 6, 5]), many=6, few=7) == {
        "many": 0.25,
        "medium": None,
        "few": 0.75,
    }
    assert group_accuracies(accuracy, None) == {"many": None, "medium": None, "few": None}


def test_one_class_is_always_right() -> None:
    scores = _counted(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)).scores()
    assert (scores["top1"], scores["top5"], scores["mean_class_error"]) == (1, 1, 0)


def test_infinite_logits_are_allowed() -> None:
    logits = torch.tensor([[float("-inf"), 0.0], [float("inf"), 0.0]])
    assert _counted(logits, torch.tensor([1, 0])).scores()["top1"] == 1


def test_bad_input_is_refused_with_its_reason() -> None:
    with pytest.raises(UserError, match="image 1 of this batch hold NaN"):
        _counted(torch.tensor([[0.0, 1], [float("nan"), 1]]), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="label 2 is outside the model's 2 classes"):
        _counted(torch.zeros(1, 2), torch.tensor([2]))
    with pytest.raises(ValueError, match="expected"):
        ClassCounts(3).add(torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="2 training counts for 3 classes"):
        ClassCounts(3).scores(torch.tensor([1, 2]))
    with pytest.raises(UserError, match=r"eval\.few=30 must not exceed eval\.many=20"):
        ClassCounts(1).scores(torch.tensor([1]), many=20, few=30)
