"""PCA-whitening against scikit-learn's, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from shelfmark.core.errors import UserError
from shelfmark.retrieval import whitening
from shelfmark.retrieval.whitening import PCAWhitening


def correlated(num_vectors: int, dim: int, dtype: type = np.float64) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(num_vectors, dim)) @ generator.normal(size=(dim, dim)) + 3).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("num_vectors", "dim"), [(50, 4), (9, 5), (6, 5)])
def test_whitening_is_that_of_scikit_learn_up_to_sign(num_vectors: int, dim: int, dtype: type) -> None:
    features = correlated(num_vectors, 7, dtype)
    found = PCAWhitening(dim).fit(features).transform(features)
    wanted = PCA(dim, whiten=True, svd_solver="full").fit_transform(features.astype(np.float64))
    assert found.dtype == dtype
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=1e-9 if dtype == np.float64 else 2e-4)


def test_whitened_vectors_have_mean_0_and_unit_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "_BLOCK_ROWS", 17)
    features = torch.from_numpy(correlated(60, 6))
    whitened = PCAWhitening().fit(features).transform(features)
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(whitened.T.cov(), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)


def test_shrinkage_mixes_in_the_mean_variance_and_one_leaves_a_rotation() -> None:
    features = torch.from_numpy(correlated(40, 5))
    fitted = PCAWhitening(3, shrinkage=0.25).fit(features)
    variances = torch.linalg.eigvalsh(features.T.cov()).flip(0)
    torch.testing.assert_close(fitted.variances_, variances[:3])
    torch.testing.assert_close(fitted.scales_**2, 0.75 * variances[:3] + 0.25 * variances.mean())
    rotated = PCAWhitening(5, shrinkage=1.0).fit(features).transform(features)
    torch.testing.assert_close(torch.pdist(rotated) * variances.mean().sqrt(), torch.pdist(features))


def test_the_greatest_part_of_each_direction_is_positive() -> None:
    components = PCAWhitening().fit(correlated(30, 6)).components_
    assert (components.gather(1, components.abs().argmax(dim=1, keepdim=True)) > 0).all()


@pytest.mark.parametrize(
    ("dim", "features", "message"),
    [
        (5, np.eye(4, 6), "vary in 3 directions"),
        (9, np.random.default_rng(0).normal(size=(20, 6)), "vary in 6 directions"),
        (0, np.ones((5, 3)), "all vectors are the same"),
        (0, np.ones((1, 3)), "at least 2"),
    ],
)
def test_directions_without_variance_are_refused(dim: int, features: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PCAWhitening(dim).fit(features)


def test_zero_takes_the_directions_that_have_variance() -> None:
    assert PCAWhitening().fit(np.eye(4, 6)).transform(np.eye(4, 6)).shape == (4, 3)
    with pytest.raises(UserError, match="4 dimensions, not 3"):
        PCAWhitening().fit(np.eye(5, 4)).transform(np.eye(3))
    for settings in ({"dim": -1}, {"shrinkage": 2.0}):
        with pytest.raises(UserError):
            PCAWhitening(**settings)  # type: ignore[arg-type]
