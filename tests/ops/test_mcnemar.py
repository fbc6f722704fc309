from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from shelfmark.ops.mcnemar import mcnemar_p


def test_small_tables_are_those_counted_by_hand() -> None:
    # 6 items differ; with fair coins 1 or fewer heads come in (1 + 6) of 64 cases, on either side.
    assert mcnemar_p(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_p(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_p(0, 0) == mcnemar_p(3, 3) == 1.0
    assert mcnemar_p(4, 3) == 1.0


@pytest.mark.parametrize(("first", "second"), [(3, 12), (40, 61), (700, 812), (9_000, 9_600)])
def test_larger_tables_agree_with_scipy_in_either_order(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue
    assert mcnemar_p(first, second) == pytest.approx(expected, rel=1e-8)
    assert mcnemar_p(second, first) == mcnemar_p(first, second)


def test_a_table_beyond_all_doubt_gives_a_number_and_not_an_error() -> None:
    assert 0 <= mcnemar_p(0, 100_000) < 1e-300
    assert not math.isnan(mcnemar_p(50_000, 60_000))
    with pytest.raises(ValueError, match="-1 and 2"):
        mcnemar_p(-1, 2)
