"""A score that no validation image can give is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe
from shelfmark.runtime.chosen_score import require_score
from shelfmark.runtime.splits import Splits


def table(*labels: int) -> Table:
    names = Strings.of(f"{row}.jpg" for row in range(len(labels)))
    return Table(names, np.array(labels), names, 3, Path("/shop"), sha256="file")


TRAIN = table(0, 1, 2)
SINGLES, PAIR = table(2, 0, 1), table(0, 1, 1)


@pytest.mark.parametrize(
    ("metric", "val", "retrieval", "is_there"),
    [
        ("recall@1", SINGLES, None, False),
        ("map@r", SINGLES, None, False),
        ("top1", SINGLES, None, True),
        ("recall@1", PAIR, None, True),
        # Other images are searched.
        ("recall@1", SINGLES, PAIR, True),
        ("recall@1", None, PAIR, True),
    ],
)
def test_a_search_needs_two_images_of_a_class(
    metric: str, val: Table | None, retrieval: Table | None, is_there: bool
) -> None:
    recipe = load(Recipe, None, [parse_override(f"eval.metric={metric}")]).config
    splits = Splits(TRAIN, val, retrieval, val_is_held_out=False, for_means=TRAIN)
    if is_there:
        require_score(recipe, splits)
        return
    with pytest.raises(UserError, match=r"no class has two images there.*There are: top1") as caught:
        require_score(recipe, splits)
    assert "recall@5" not in str(caught.value)
