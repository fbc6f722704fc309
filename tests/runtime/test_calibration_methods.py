"""What recalibrations are fitted with."""

from __future__ import annotations

import pytest

from shelfmark.core.errors import UserError
from shelfmark.recipe.tree import TauNormOptions
from shelfmark.runtime.calibration_methods import learned_text, taus


def test_the_grid_of_taus_has_both_ends_wherever_it_starts() -> None:
    assert taus(TauNormOptions(start=0.5, stop=1.25, step=0.25)) == [0.5, 0.75, 1.0, 1.25]
    assert taus(TauNormOptions(start=0.3, stop=0.3)) == [0.3]
    with pytest.raises(UserError, match=r"tau_norm\.stop"):
        taus(TauNormOptions(start=0.5, stop=0.25))


def test_tau_0_that_leaves_the_bias_out_is_told_from_the_unmodified_classifier():
    assert learned_text({"tau": 0.0, "bias": "zero", "fold_taus": []}) == "no bias"
    assert learned_text({"tau": None, "bias": "zero", "fold_taus": []}) == "unmodified"
    assert learned_text({"tau": 0.35, "bias": "zero", "fold_taus": []}) == "tau 0.35"
    assert learned_text({"tau": 0.0, "fold_taus": []}) == "tau 0"
