from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from shelfmark.core.errors import UserError
from shelfmark.evaluation.clustering import cluster_scores
from shelfmark.retrieval import faiss_module
from shelfmark.retrieval.faiss_exact import k_means


def _classes(spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(torch.arange(10) + 3)
    return torch.eye(10)[labels] + spread * torch.randn(len(labels), 10, generator=generator), labels


def test_k_means_is_a_fixed_point_of_its_centres_and_depends_on_the_seed_alone() -> None:
    features, _ = _classes(0.3)
    clusters = k_means(features, 7, seed=1, iterations=100)
    assert torch.equal(clusters, k_means(features, 7, seed=1, iterations=100))
    centres = torch.stack([features[clusters == cluster].mean(dim=0) for cluster in range(7)])
    assert torch.equal(torch.cdist(features, centres).argmin(dim=1), clusters)
    assert any(not torch.equal(clusters, k_means(features, 7, seed=seed)) for seed in range(2, 6))


def test_scores_are_those_of_clusters_about_as_good_as_scikit_learn_s() -> None:
    features, labels = _classes(0.25)
    found = cluster_scores(features, labels, metric="euclidean")
    peer = KMeans(10, n_init=1, init="random", random_state=0).fit_predict(features.numpy())
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(labels, peer), abs=0.15)
    assert found["num_clusters"] == 10
    names = [f"{kind}_{part}" for kind in ("pairwise", "bcubed") for part in ("precision", "recall", "f")]
    assert all(0.2 < found[name] < 1 for name in names)


def test_cosine_clusters_directions_and_images_without_a_label_are_left_out() -> None:
    features, labels = _classes(0.05)
    lengths = 10 ** torch.linspace(-3, 3, len(labels))[:, None]
    expected = cluster_scores(features, labels)
    with_others = torch.cat([lengths * features, 100 * torch.ones(5, 10)])
    found = cluster_scores(with_others, torch.cat([labels, torch.full((5,), -1)]))
    assert found == pytest.approx(expected)


def test_a_share_of_nothing_is_none() -> None:
    found = cluster_scores(torch.eye(4), torch.arange(4))
    assert (found["pairwise_precision"], found["pairwise_f"], found["nmi"]) == (None, None, 1)


def test_too_many_clusters_and_a_missing_faiss_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="5 clusters of 3 vectors"):
        k_means(torch.eye(3), 5)
    monkeypatch.setattr(faiss_module, "is_installed", lambda: False)
    with pytest.raises(UserError, match="pip install faiss-cpu"):
        k_means(torch.eye(3), 2)
