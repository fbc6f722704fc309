"""McNemar's exact test of two classifiers on the same items.

Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947; the
exact form is the sign test of the items on which the two differ.
"""

from __future__ import annotations

import numpy as np


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The two-sided p-value of "both are right equally often".

    only_first, only_second: items that the first alone, or the second alone, has right. Those on which the two are
    alike, right or wrong, say nothing. 1 where they never differ.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"{only_first} and {only_second} are numbers of items, 0 or more")
    differ, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer >= differ:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, differ + 1)))])
    counts = np.arange(fewer + 1)
    ways = logs[differ] - logs[counts] - logs[differ - counts] - differ * np.log(2)
    return min(1.0, 2 * float(np.exp(ways).sum()))
