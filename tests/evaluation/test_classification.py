from __future__ import annotations

import numpy as np
import pytest
import torch

from shelfmark.evaluation import classification


def test_numpy_and_torch_give_the_same_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(40, 6, generator=generator), torch.randint(6, (40,), generator=generator)
    counts = [200, 150, 50, 30, 10, 0]
    expected = classification.scores(logits, labels, torch.tensor(counts))
    assert classification.scores(logits.double().numpy(), labels.numpy(), np.array(counts)) == expected
    assert classification.scores(logits, labels, counts) == expected
    assert expected["mean_class_accuracy"] + expected["mean_class_error"] == pytest.approx(1)


def test_predictions_from_features_equal_those_of_all_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "_BLOCK_LOGITS", 5 * 7)
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.randn(33, 8, generator=generator), torch.randn(5, 8, generator=generator)
    labels = torch.randint(-1, 5, (33,), generator=generator)
    counts = [500, 150, 50, 30, 10]
    found = classification.predict_from_features(features.numpy(), labels.numpy(), lambda rows: rows @ weight.T, 5)
    logits = features @ weight.T
    assert found.class_counts.scores(counts) == classification.scores(logits, labels, counts)
    assert torch.equal(found.labels, labels)
    assert torch.equal(found.predicted, logits.argmax(dim=1))
    assert (found.places[labels < 0] == -1).all()
    ahead = (logits > logits.gather(1, labels.clamp_min(0)[:, None])).sum(dim=1)
    assert torch.equal(found.places[labels >= 0], ahead[labels >= 0].clamp_max(5))
    torch.testing.assert_close(found.confidence, logits.double().softmax(dim=1).amax(dim=1), atol=1e-6, rtol=0)


def test_features_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 features and 3 labels"):
        classification.predict_from_features(torch.zeros(2, 4), torch.zeros(3), torch.Tensor.clone, 4)
