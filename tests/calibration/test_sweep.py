"""Many rescaled classifiers from one product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.calibration import sweep
from shelfmark.calibration.sweep import Candidate, sweep_hits, tiles
from shelfmark.core.errors import UserError


def _plain(products: torch.Tensor, labels: torch.Tensor, candidates: list[Candidate]) -> torch.Tensor:
    """(K, n) by the class that argmax names, one candidate at a time."""
    found = []
    for candidate in candidates:
        logits = products * (1 if candidate.scale is None else candidate.scale)
        logits = logits + (0 if candidate.bias is None else candidate.bias)
        found.append(logits.argmax(dim=1) == labels)
    return torch.stack(found)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_rows=st.integers(1, 40),
    num_classes=st.integers(1, 7),
    levels=st.sampled_from([2, 5, 1000]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_hits_are_those_of_an_argmax_ties_included(
    seed: int, num_rows: int, num_classes: int, levels: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few levels make many ties.
    products = (torch.randint(levels, (num_rows, num_classes), generator=generator) - levels // 2).to(dtype)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    scale = torch.randint(1, 3, (num_classes,), generator=generator).to(dtype)
    bias = torch.randint(-1, 2, (num_classes,), generator=generator).to(dtype)
    candidates = [Candidate(), Candidate(scale), Candidate(bias=bias), Candidate(scale, bias)]
    before = products.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_CACHE_BYTES", 2 * 3 * num_classes * products.element_size())
        found = sweep_hits(products, labels, candidates, "sweep")
    assert torch.equal(found, _plain(products, labels, candidates))
    assert torch.equal(products, before)


def test_a_case_worked_by_hand() -> None:
    # Row 0: 4 against 3 * 1.5; row 1: 2 against 2, which the lower class wins; row 2: both negative.
    products = torch.tensor([[4.0, 3.0], [2.0, 2.0], [-1.0, -2.0]])
    scale = torch.tensor([1.0, 1.5])
    assert sweep_hits(products, torch.tensor([0, 0, 0]), [Candidate(), Candidate(scale)], "x").tolist() == [
        [True, True, True],
        [False, False, True],
    ]
    assert sweep_hits(products, torch.tensor([1, 1, 1]), [Candidate(), Candidate(scale)], "x").tolist() == [
        [False, False, False],
        [True, True, False],
    ]


def test_classes_that_are_never_chosen_are_no_rivals() -> None:
    bias = torch.tensor([-torch.inf, 0.0, -torch.inf])
    products = torch.tensor([[9.0, 1.0, 5.0]] * 3)
    assert sweep_hits(products, torch.arange(3), [Candidate(bias=bias)], "x").tolist() == [[False, True, False]]


@pytest.mark.parametrize("column", [0, 1])
def test_nan_is_refused_at_the_label_and_beside_it(column: int) -> None:
    products = torch.zeros(2, 2).index_fill(1, torch.tensor([column]), torch.nan)
    with pytest.raises(UserError, match="tau-norm: features or classifier weights hold NaN"):
        sweep_hits(products, torch.zeros(2, dtype=torch.int64), [Candidate()], "tau-norm")


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (7, 3), (5, 10**6), (0, 4), (3, 0)])
def test_tiles_hold_each_row_once(num_rows: int, num_columns: int) -> None:
    numbers = torch.empty(num_rows, num_columns)
    assert [row for tile in tiles(numbers) for row in range(num_rows)[tile]] == list(range(num_rows))
