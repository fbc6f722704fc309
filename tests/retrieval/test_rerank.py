"""alpha-QE, database augmentation and k-reciprocal re-ranking against plain dense definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_rerank import expanded, k_reciprocal_distances, k_reciprocal_weights

from shelfmark.core.errors import UserError
from shelfmark.retrieval import rerank
from shelfmark.retrieval.rerank import reciprocal
from shelfmark.retrieval.rerank.sparse_rows import SparseRows


def clustered(num_vectors: int, dim: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    """Vectors around a few centres, of different lengths."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(max(2, num_vectors // 6), dim))
    vectors = centres[generator.integers(len(centres), size=num_vectors)] + generator.normal(0, 0.4, (num_vectors, dim))
    return (vectors * generator.uniform(0.5, 2, (num_vectors, 1))).astype(dtype)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_query=st.integers(0, 9),
    num_gallery=st.integers(1, 30),
    alpha=st.sampled_from([0.0, 1.5, 2.0, 3.0]),
    k=st.integers(1, 45),
)
def test_alpha_qe_equals_its_plain_definition(
    seed: int, num_query: int, num_gallery: int, alpha: float, k: int
) -> None:
    vectors = clustered(num_query + num_gallery, 6, seed)
    query, gallery = rerank.alpha_qe(vectors[:num_query], vectors[num_query:], alpha, k)
    wanted = expanded(vectors, alpha, k)
    np.testing.assert_allclose(query, wanted[:num_query], atol=1e-12)
    np.testing.assert_allclose(gallery, wanted[num_query:], atol=1e-12)
    alone = rerank.augment_database(vectors[num_query:], alpha, k)
    np.testing.assert_allclose(alone, expanded(vectors[num_query:], alpha, k), atol=1e-12)


def test_alpha_qe_by_hand() -> None:
    # From 0 degrees 60 degrees is nearest (cosine 1/2, cubed 1/8); from 90 degrees the same at cosine sqrt(3)/2.
    points = torch.tensor([[2.0, 0.0], [0.5, 0.75**0.5], [0.0, 1.0]], dtype=torch.float64)
    query, gallery = rerank.alpha_qe(points[:1], points[1:], alpha=3.0, k=2)
    cubed = 0.75**1.5
    assert query.flatten().tolist() == pytest.approx([(2 + 0.5 / 8) / 2, 0.75**0.5 / 8 / 2])
    assert gallery[0].tolist() == pytest.approx([0.25, (0.75**0.5 + cubed) / 2])
    assert gallery[1].tolist() == pytest.approx([0.5 * cubed / 2, (1 + cubed * 0.75**0.5) / 2])


def test_alpha_qe_of_one_neighbour_changes_nothing_and_leaves_its_input_alone() -> None:
    vectors = torch.from_numpy(clustered(9, 4, 0))
    before = vectors.clone()
    query, gallery = rerank.alpha_qe(vectors[:4], vectors[4:], k=1)
    assert torch.equal(torch.cat([query, gallery]), vectors)
    rerank.alpha_qe(vectors[:4], vectors[4:])
    assert torch.equal(vectors, before)


def test_opposite_vectors_count_nothing_where_their_power_is_not_defined() -> None:
    points = np.array([[1.0, 0.0], [-1.0, 0.0]])
    query, _ = rerank.alpha_qe(points[:1], points[1:], alpha=1.5, k=2)
    assert query.tolist() == [[0.5, 0.0]]
    query, _ = rerank.alpha_qe(points[:1], points[1:], alpha=3.0, k=2)
    assert query.tolist() == [[1.0, 0.0]]


def test_a_vector_is_its_own_neighbour_however_many_duplicates_stand_before_it() -> None:
    vectors = np.tile(np.array([[3.0, 4.0]]), (12, 1))
    vectors[11] *= 5
    query, gallery = rerank.alpha_qe(vectors[:0], vectors, k=3)
    assert len(query) == 0
    np.testing.assert_allclose(gallery[:11], np.tile([3.0, 4.0], (11, 1)))
    np.testing.assert_allclose(gallery[11], np.array([3.0, 4.0]) * 7 / 3)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_query=st.integers(1, 10),
    num_gallery=st.integers(1, 40),
    k1=st.integers(1, 22),
    k2=st.integers(1, 9),
    lambda_=st.sampled_from([0.0, 0.3, 1.0]),
    normalize=st.booleans(),
    k=st.integers(1, 45),
    block=st.sampled_from([7, 50, 1 << 20]),
)
def test_k_reciprocal_distances_equal_their_plain_definition_and_the_nearest_are_the_least_of_them(
    seed: int,
    num_query: int,
    num_gallery: int,
    k1: int,
    k2: int,
    lambda_: float,
    normalize: bool,
    k: int,
    block: int,
) -> None:
    vectors = clustered(num_query + num_gallery, 6, seed)
    sides = vectors[:num_query], vectors[num_query:]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_BLOCK_ROWS", "_BLOCK_VALUES", "_BLOCK_PAIRS"):
            patch.setattr(reciprocal, name, block)
        found = rerank.k_reciprocal(*sides, k1, k2, lambda_, normalize)
        distances, rows = rerank.k_reciprocal_topk(*sides, k, k1, k2, lambda_, normalize)
    np.testing.assert_allclose(found, k_reciprocal_distances(*sides, k1, k2, lambda_, normalize), atol=2e-12)
    width = min(k, num_gallery)
    np.testing.assert_allclose(distances[:, :width], np.sort(found, axis=1)[:, :width], atol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(found, rows[:, :width], axis=1), distances[:, :width], atol=1e-12)
    assert all(len(set(one)) == width for one in rows[:, :width].tolist())
    assert (rows[:, width:] == -1).all()
    assert np.isinf(distances[:, width:]).all()


def test_float32_vectors_give_float32_answers_that_are_near_those_of_float64() -> None:
    single = clustered(50, 6, seed=20, dtype=np.float32)
    for vectors, tolerance in ((single, 4e-6), (torch.from_numpy(single), 4e-6)):
        query, gallery = rerank.alpha_qe(vectors[:9], vectors[9:])
        distances = rerank.k_reciprocal(vectors[:9], vectors[9:])
        assert query.dtype == gallery.dtype == distances.dtype == vectors.dtype
        np.testing.assert_allclose(np.concatenate([query, gallery]), expanded(single, 3.0, 5), atol=tolerance)
        wanted = k_reciprocal_distances(single[:9], single[9:], 20, 6, 0.3, False)
        np.testing.assert_allclose(distances, wanted, atol=tolerance)


def test_k1_counts_the_others_alone() -> None:
    # Where 20 neighbours were searched for with the vector itself the first, k1 = 20 is k1 = 19 here.
    vectors, everyone = clustered(60, 6, seed=4), torch.arange(60)
    units = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    found = {k1: reciprocal.ReRanking(units, everyone, k1, 6, 0.0).distances(everyone) for k1 in (19, 20)}
    for k1, longest_list in ((19, 20), (20, None)):
        weights = k_reciprocal_weights(vectors, 20, 6, False, longest_list)
        least = np.minimum(weights[:, None], weights).sum(axis=2)
        np.testing.assert_allclose(found[k1], 1 - least / (2 - least), atol=1e-12)
    assert float((found[19] - found[20]).abs().max()) > 0.01


def test_k_reciprocal_by_hand() -> None:
    # Two pairs of equal points at right angles: with k1 = 1 each point's reciprocal neighbours are its own pair.
    query = torch.tensor([[1.0, 0.0]])
    gallery = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    found = rerank.k_reciprocal(query, gallery, k1=1, k2=1, lambda_=0.3)
    assert found.flatten().tolist() == pytest.approx([1.0, 0.0, 1.0])
    found = rerank.k_reciprocal(query, gallery, k1=1, k2=1, lambda_=0.3, normalize=True)
    assert found.flatten().tolist() == pytest.approx([1.0, 0.0, 1.0])


def test_a_neighbour_that_is_not_mutual_has_no_weight() -> None:
    # On a line of angles 0, 10, 30, 31: 10's nearest is 0, and 0's is 10; 30 and 31 are a pair.
    angles = np.deg2rad([0.0, 10.0, 30.0, 31.0])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = rerank.k_reciprocal(points[1:2], points[[0, 2, 3]], k1=2, k2=1, lambda_=0.0)
    # k1 = 2: 10 lists 0 and 30; 0 lists 10 and 30; 30 lists 31 and 10; 31 lists 30 and 10. So 10 and 30 are mutual,
    # 10 and 0 are mutual, and 10 is no neighbour of 31's but the other way round.
    weights = np.zeros((4, 4))
    for row, members in enumerate([{0, 1}, {0, 1, 2}, {1, 2, 3}, {2, 3}]):
        for member in members:
            weights[row, member] = np.exp(-((points[row] - points[member]) ** 2).sum())
    weights /= weights.sum(axis=1, keepdims=True)
    wanted = [
        1 - np.minimum(weights[1], weights[other]).sum() / np.maximum(weights[1], weights[other]).sum()
        for other in (0, 2, 3)
    ]
    assert found[0].tolist() == pytest.approx(wanted)


def test_many_duplicates_stand_at_equal_distances() -> None:
    vectors = np.concatenate([np.tile([[1.0, 0.2]], (30, 1)), np.tile([[-0.5, 1.0]], (30, 1))])
    distances = rerank.k_reciprocal(vectors[:1], vectors[1:], k1=4, k2=2)
    assert np.isfinite(distances).all()
    assert distances[0, :29].max() < distances[0, 29:].min()
    # Of equal distances the lower row comes first.
    nearest = rerank.k_reciprocal_topk(vectors[:1], vectors[1:], 40, k1=4, k2=2)[1][0]
    assert nearest.tolist() == sorted(range(59), key=lambda row: (distances[0, row], row))[:40]


def test_an_empty_side_gives_an_empty_answer() -> None:
    vectors = clustered(4, 3, 0)
    assert rerank.k_reciprocal(vectors[:0], vectors).shape == (0, 4)
    assert rerank.k_reciprocal(vectors, vectors[:0]).shape == (4, 0)
    distances, rows = rerank.k_reciprocal_topk(vectors, vectors[:0], 2)
    assert rows.tolist() == [[-1, -1]] * 4
    assert np.isinf(distances).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: rerank.alpha_qe(x, x, k=0), "k=0"),
        (lambda x: rerank.alpha_qe(x, x, alpha=-1.0), "alpha=-1.0"),
        (lambda x: rerank.k_reciprocal(x, x, k1=0), "k1=0"),
        (lambda x: rerank.k_reciprocal(x, x, k2=0), "k2=0"),
        (lambda x: rerank.k_reciprocal(x, x, lambda_=1.5), "lambda_=1.5"),
        (lambda x: rerank.k_reciprocal_topk(x, x, 0), "k=0"),
        (lambda x: rerank.k_reciprocal(x, x[:, :1]), "2 dimensions and gallery vectors 1"),
        (lambda x: rerank.alpha_qe(x * np.nan, x), "NaN or infinity"),
        (lambda x: rerank.k_reciprocal(x[:0], x[:0]), "nothing to rank"),
    ],
)
def test_what_cannot_be_is_said(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(np.ones((3, 2)))  # type: ignore[operator]


def test_sparse_rows_hold_a_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randint(0, 3, (5, 7), generator=generator).double()
    matrix[2] = 0
    rows, columns = matrix.nonzero(as_tuple=True)
    twice = SparseRows.of_entries(
        rows.repeat(2).flip(0), columns.repeat(2).flip(0), matrix[rows, columns].repeat(2).flip(0), 5, 7
    )
    asked = torch.tensor([4, 2, 2, 0])
    place, column, value = twice.entries(asked)
    dense = torch.zeros(4, 7, dtype=torch.float64)
    dense[place, column] = value
    assert torch.equal(dense, 2 * matrix[asked])
    place, column, value = twice.columns_of(asked, 7).entries(torch.arange(7))
    dense = torch.zeros(7, 4, dtype=torch.float64)
    dense[place, column] = value
    assert torch.equal(dense, 2 * matrix[asked].T)
    assert torch.equal(SparseRows.stacked([twice, twice]).counts, twice.counts.repeat(2))
