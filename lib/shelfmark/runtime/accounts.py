"""What became of each listed image of a pass: listed = embedded + skipped, by reason. Legend: N images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.wording import counted
from shelfmark.data.bad_images import read_bad_images

UNKNOWN_REASON = "it could not be read"
"""Of an image whose reason stands in the list of an earlier pass, which is not at hand."""


@dataclass(frozen=True)
class Accounts:
    """listed: N. embedded: images with features. reasons: why each of the others has none, by its row."""

    listed: int
    embedded: int
    reasons: dict[int, str]

    @classmethod
    def of(cls, num_images: int, features: Embeddings, bad_images: Path) -> Accounts:
        """bad_images: the list of unreadable images that the pass wrote, if there were any."""
        left = np.setdiff1d(np.arange(num_images), features.rows)
        known = read_bad_images(bad_images) if len(left) and bad_images.is_file() else {}
        accounts = cls(num_images, len(features), {int(row): known.get(int(row), UNKNOWN_REASON) for row in left})
        assert accounts.listed == accounts.embedded + len(accounts.reasons), "an image is counted twice, or never"
        return accounts

    @property
    def skipped(self) -> dict[str, int]:
        """How many images have each reason, the most common first."""
        return dict(Counter(self.reasons.values()).most_common())

    def as_json(self) -> dict[str, Any]:
        return {"listed": self.listed, "embedded": self.embedded, "skipped": self.skipped}

    @property
    def told(self) -> str:
        """One line."""
        line = f"{counted(self.listed, 'image')} listed: {self.embedded:,} embedded"
        reasons = ", ".join(f"{reason}: {number:,}" for reason, number in self.skipped.items())
        return f"{line}, {len(self.reasons):,} skipped ({reasons})" if reasons else line
