"""The rows of classes follow the classes; everything else of a checkpoint stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import proxies, small_network

from shelfmark.models.class_rows import with_rows_moved
from shelfmark.models.weights import load_matching


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_known_classes_score_as_before_under_their_new_numbers(kind: str) -> None:
    options = {"classifier": {"type": kind}, "heads": {"proxy": proxies()}}
    before, after = small_network(4, seed=1, **options), small_network(5, seed=2, **options)
    if kind == "linear":
        before.add_class_factors()
        with torch.no_grad():
            before.classifier.class_scale.mul_(torch.tensor([1.0, 2, 3, 4]))
    fresh_row = after.classifier.weight[1].detach().clone()
    sources = np.array([3, -1, 0, 2, 1])
    assert load_matching(after, with_rows_moved(after, before.state_dict(), sources)) == []
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        ours, theirs = after.eval()(images), before.eval()(images)
    torch.testing.assert_close(ours.embedding, theirs.embedding)
    torch.testing.assert_close(ours.logits[:, [0, 2, 3, 4]], theirs.logits[:, [3, 0, 2, 1]])
    torch.testing.assert_close(after.classifier.weight[1].detach(), fresh_row)
    torch.testing.assert_close(ours.heads["proxy"].weight[[0, 2]], theirs.heads["proxy"].weight[[3, 0]])


def test_a_classifier_of_another_embedding_is_left_to_the_loader() -> None:
    state = {"classifier.weight": torch.zeros(4, 3), "backbone.w": torch.ones(2)}
    assert with_rows_moved(small_network(4), state, np.arange(4)) == state
