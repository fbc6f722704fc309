"""`shelfmark explain`: why photographs got their answers, in words and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shelfmark.config.overrides import Override
from shelfmark.core.files import unused_path
from shelfmark.core.heartbeat import beat
from shelfmark.core.log import warn
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.pipelines.recognise import Recognition, recognise
from shelfmark.reports.figures import save
from shelfmark.runtime.explained_pictures import heat_figure, neighbour_figure
from shelfmark.runtime.explainer import Explainer, require_explainable
from shelfmark.runtime.explanation import Explanation
from shelfmark.runtime.photographs import listed
from shelfmark.runtime.searcher import Searcher, require_images
from shelfmark.runtime.trained_model import open_model

FOLDER = "explained"


@dataclass(frozen=True)
class Explained:
    """One photograph. picture, neighbour_picture: the PNG files; None where there is nothing to draw."""

    explanation: Explanation
    picture: Path | None = None
    neighbour_picture: Path | None = None

    @property
    def photo(self) -> str:
        return self.explanation.photo

    @property
    def error(self) -> str | None:
        return self.explanation.error

    def as_json(self) -> dict[str, Any]:
        """That of the explanation, and the files."""
        answer = self.explanation.as_json()
        if self.error is not None:
            return answer
        return {**answer, "picture": self.picture, "neighbour_picture": self.neighbour_picture}


def explain(
    checkpoint: Path,
    photos: Sequence[Path],
    *,
    index: Path | None = None,
    out: Path | None = None,
    overrides: Sequence[Override] = (),
) -> list[Explained]:
    """The explanation of each photograph, with its pictures in `out` (default: `explained` in the run folder).

    index: a folder, built with this model; each photograph is then held against its nearest image too. A folder among
    the photographs stands for the photographs in it. Nothing is overwritten. UserError: the network has no map.
    """
    photos = listed(photos)
    if index is None:
        explainer = Explainer(open_model(checkpoint, overrides))
    else:
        searcher = Searcher.open(index, checkpoint, overrides)
        require_images(searcher, index, 1)
        explainer = Explainer(searcher.model, searcher)
    require_explainable(explainer.model)
    if explainer.model.is_classifier_untrained:
        warn("no loss trained this model's classifier, so its answers, and what speaks for them, say nothing")
    folder = out or explainer.model.run_folder / FOLDER
    return [_drawn(explainer.explain(photo), folder) for photo in photos if _goes_on()]


def recognise_and_explain(
    index: Path, photos: Sequence[Path], searcher: Searcher, out: Path | None = None, **settings: Any
) -> tuple[list[Recognition], list[Explained]]:
    """The answers of `recognise`, and why each: the joint answer against the next joint one. settings: of `recognise`.

    out: as of `explain`.
    """
    require_explainable(searcher.model)
    answers = recognise(index, photos, searcher=searcher, **settings)
    explainer, folder = Explainer(searcher.model, searcher), out or searcher.model.run_folder / FOLDER
    return answers, [_of_recognised(explainer, one, folder) for one in answers if _goes_on()]


def _of_recognised(explainer: Explainer, one: Recognition, folder: Path) -> Explained:
    if one.error is not None:
        return Explained(Explanation(one.photo, one.error))
    # With --topk 1 the classifier's own choice is the next product.
    answer, following = [*(product.label for product in one.products[:2]), None][:2]
    return _drawn(explainer.explain(Path(one.photo), answer=answer, next_product=following), folder)


def _goes_on() -> bool:
    beat("explanation")
    raise_if_stopped()
    return True


def _drawn(explanation: Explanation, folder: Path) -> Explained:
    """Writes the pictures, named by the photograph, and lets go of the pixels."""
    if explanation.error is not None:
        return Explained(explanation)
    name = Path(explanation.photo).stem or "photograph"
    files: list[Path | None] = []
    for figure, suffix in ((heat_figure(explanation), ""), (neighbour_figure(explanation), "_matched")):
        file = None
        if figure is not None:
            folder.mkdir(parents=True, exist_ok=True)
            file = unused_path(folder / f"{name}{suffix}.png")
            save(figure, file)
        files.append(file)
    near = explanation.neighbour
    kept = replace(
        explanation,
        pixels=explanation.pixels[:0],
        heat=explanation.heat[:0],
        neighbour=None if near is None else replace(near, pixels=None),
    )
    return Explained(kept, *files)
