"""Why a model gave its wrong answers, for a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import beat
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.data.images import read_rgb
from shelfmark.data.sources import Picture, UnreadableImage
from shelfmark.explain import METHODS
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.run_page.reasons import Reason, Reasons
from shelfmark.runtime.explained_pictures import heat_in_words, regions_in_words, small_pictures
from shelfmark.runtime.explainer import Explainer
from shelfmark.runtime.trained_model import TrainedModel

MOST = 6
"""Pictures of each kind. Each takes three passes of the network or, with gradients, about five."""
SIDE_PX = 192


class Case(NamedTuple):
    """A wrong answer, whose picture is of a source. against: the class that it is held against; None for the likeliest
    of the others."""

    shown: Shown
    answer: int
    against: int | None = None


def reasons_of(
    model: TrainedModel, surest: Sequence[Case], pairs: Sequence[Case], num_mistakes: int, num_pairs: int
) -> Reasons:
    """The explanations of these, for which MOST of each kind are meant. What cannot be explained is told in words.

    pairs: a picture of each. num_mistakes, num_pairs: all that there are.
    """
    work = _Work(Explainer(model))
    of_surest, of_pairs = work.explained(surest), work.explained(pairs)
    return Reasons(of_surest, of_pairs, num_mistakes, num_pairs, METHODS.get(work.method, ""), tuple(work.lacking))


@dataclass
class _Work:
    """lacking: why pictures have no explanation, each reason once. is_over: the network cannot be explained at all."""

    explainer: Explainer
    method: str = ""
    lacking: list[str] = field(default_factory=list)
    is_over: bool = False

    def explained(self, cases: Sequence[Case]) -> tuple[Reason, ...]:
        return tuple(reason for case in cases if (reason := self._reason(case)) is not None)

    def _reason(self, case: Case) -> Reason | None:
        beat("explanation")
        raise_if_stopped()
        if self.is_over:
            return None
        try:
            return self._made(case)
        except UnreadableImage as error:
            self._tell(f"a picture cannot be read: {error.reason}")
        except UserError as error:
            self.is_over = True
            self._tell(str(error))
        except Exception as error:  # out of memory, a file that is gone: the report is worth more than its reasons
            self._tell(f"{type(error).__name__}: {error}")
        return None

    def _made(self, case: Case) -> Reason | None:
        picture = case.shown.picture
        assert isinstance(picture, Picture)
        data = self.explainer.model.recipe.data
        pixels = read_rgb(*picture, data.max_image_pixels, data.color_profiles)
        found = self.explainer.explain(pixels, answer=case.answer, next_product=case.against)
        pictures = small_pictures(found, SIDE_PX)
        if found.error is not None or pictures is None:
            self._tell(found.error or found.method_in_words)
            return None
        self.method = found.method
        plain, heat = pictures
        against = "" if found.next_product is None else f"against {found.next_product.title}"
        shown = (
            Shown(plain, case.shown.alt, side_px=SIDE_PX),
            Shown(heat, heat_in_words(found), against, side_px=SIDE_PX),
        )
        return Reason(case.shown.caption, tuple(regions_in_words(found)), shown)

    def _tell(self, told: str) -> None:
        if told not in self.lacking:
            self.lacking.append(told)
