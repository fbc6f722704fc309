"""A trained model, and perhaps an index, that explain their answers. Legend: H x W pixels, C channels of a map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.data.images import decode_rgb, read_rgb
from shelfmark.data.input_window import InputWindow, evaluation_window, whole_window
from shelfmark.data.sources import FileSource, GivenSource, UnreadableImage
from shelfmark.data.told_notices import tell_notices
from shelfmark.data.transforms import eval_transform, normalised
from shelfmark.explain import Matches, ScoreMaps, blurred, infilled, mutual_matches, named_regions, score_maps
from shelfmark.explain.contrast import Contrast
from shelfmark.explain.last_map import last_map
from shelfmark.explain.overlay import in_words, on_picture
from shelfmark.explain.regions import Region, cell_box
from shelfmark.retrieval.index import Records
from shelfmark.runtime.explanation import (
    Explanation,
    MatchedNeighbour,
    MatchedPair,
    NamedProduct,
    NamedRegion,
    Tip,
)
from shelfmark.runtime.searcher import Searcher
from shelfmark.runtime.trained_model import TrainedModel

_NUM_SEARCHED, _NUM_PAIRS = 10, 5


class _Seen(NamedTuple):
    """window: the input in the upright picture, of which boxes are. inputs: (1, 3, side, side), on the model's device.

    pixels: (H, W, 3), what heat is laid over; shown: the input in them.
    """

    window: InputWindow
    inputs: Tensor
    pixels: np.ndarray
    shown: InputWindow


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains pictures in float32, as evaluation sees them: the centre, in one view.

    searcher: its model must be `model`; the neighbour is then explained too.
    """

    model: TrainedModel
    searcher: Searcher | None = None

    def explain(
        self,
        photo: Path | bytes | np.ndarray,
        name: str = "",
        *,
        answer: int | None = None,
        next_product: int | None = None,
    ) -> Explanation:
        """Why the picture is `answer` and not `next_product`, labels that another rule chose; None for the classifier's
        first and second choice. A picture that cannot be read gives an Explanation with `error`.

        photo: a file, its bytes, or upright pixels (H, W, 3) uint8. name: of it in messages.
        UserError: the network cannot be explained, see `explain.score_maps`.
        """
        name = name or (str(photo) if isinstance(photo, Path) else "photograph")
        try:
            seen = self._seen(photo, name)
        except UnreadableImage as error:
            return Explanation(name, error.reason)
        return self._explained(name, seen, answer, next_product)

    def explain_input(
        self, pixels: np.ndarray, height: int, width: int, *, answer: int | None = None, next_product: int | None = None
    ) -> Explanation:
        """As `explain`, for pixels (side, side, 3) uint8 that were resized and cropped already, of a picture of that
        height and width. Boxes are of the picture; the heat is of the pixels alone."""
        data = self.model.recipe.data
        images = normalised(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], data)
        window = evaluation_window(height, width, data.input_size_px, data)
        seen = _Seen(window, images.to(self.model.precision.device), pixels, whole_window(*pixels.shape[:2]))
        return self._explained("photograph", seen, answer, next_product)

    def _explained(self, name: str, seen: _Seen, answer: int | None, next_product: int | None) -> Explanation:
        probabilities, logits, embedding = self._scores(seen.inputs)
        label = int(probabilities.argmax()) if answer is None else answer
        explanation = Explanation(name, pixels=seen.pixels)
        if 0 <= label < self.model.num_classes:
            other = self._other(probabilities, label, next_product)
            explanation = self._of_classifier(explanation, seen, probabilities, logits, label, other)
        neighbour = None if self.searcher is None else self._neighbour(self.searcher, seen, embedding, label)
        return replace(explanation, neighbour=neighbour)

    def _seen(self, photo: Path | bytes | np.ndarray, name: str) -> _Seen:
        data = self.model.recipe.data
        source = GivenSource([name], [photo], data.max_image_bytes)
        pixels = decode_rgb(source.read(0), name, data.max_image_pixels, data.color_profiles)
        tell_notices()
        inputs = eval_transform(data.input_size_px, data)(pixels, 0)[None].to(self.model.precision.device)
        window = evaluation_window(pixels.shape[0], pixels.shape[1], data.input_size_px, data)
        return _Seen(window, inputs, pixels, window)

    def _scores(self, inputs: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(classes,) probabilities and logits, and the embedding (1, dimensions)."""
        with torch.no_grad():
            embedding = self.model.network.embed(inputs)
            logits = self.model.network.logits(embedding).double()
        return logits.softmax(dim=1)[0].cpu().numpy(), logits[0].cpu().numpy(), embedding.float().cpu().numpy()

    def _other(self, probabilities: np.ndarray, label: int, asked: int | None) -> int | None:
        """The class that the answer is compared with: the one asked for, else the likeliest of the others."""
        if asked is not None and asked != label and 0 <= asked < len(probabilities):
            return asked
        others = [int(one) for one in np.argsort(-probabilities, kind="stable")[:2] if one != label]
        return others[0] if others else None

    def _of_classifier(
        self,
        explanation: Explanation,
        seen: _Seen,
        probabilities: np.ndarray,
        logits: np.ndarray,
        label: int,
        other: int | None,
    ) -> Explanation:
        def product(one: int) -> NamedProduct:
            return self._product(one, probabilities, logits)

        maps = self._maps(seen, label, other)
        values = maps.values[0].cpu().numpy()
        regions = named_regions(values)
        tip = None if other is None or not regions else self._tip(seen, regions[0], label, other)
        return replace(
            explanation,
            heat=on_picture(values, seen.shown),
            method=maps.method,
            answer=product(label),
            next_product=None if other is None else product(other),
            difference=float(maps.scores[0]),
            constant=float(maps.constants[0]),
            regions=tuple(_named(one, seen) for one in regions),
            against=tuple(_named(one, seen) for one in named_regions(-values, most=1)),
            tip=tip,
        )

    def _maps(self, seen: _Seen, label: int, other: int | None) -> ScoreMaps:
        labels = torch.tensor([label], device=seen.inputs.device)
        others = None if other is None else torch.tensor([other], device=seen.inputs.device)
        return score_maps(self.model.network, seen.inputs, Contrast(labels, others))

    def _tip(self, seen: _Seen, region: Region, label: int, other: int) -> Tip:
        side = seen.inputs.shape[-1]
        removed = torch.from_numpy(region.cells)[None, None].float().to(seen.inputs.device)
        removed = torch.nn.functional.interpolate(removed, size=(side, side), mode="nearest-exact")[:, 0] > 0
        probabilities, logits, _ = self._scores(infilled(seen.inputs, blurred(seen.inputs), removed))
        best = self._product(int(probabilities.argmax()), probabilities, logits)
        return Tip(_named(region, seen), float(probabilities[label]), float(probabilities[other]), best)

    def _product(self, label: int, probabilities: np.ndarray, logits: np.ndarray) -> NamedProduct:
        name = self.model.class_names[label] if self.model.class_names else ""
        return NamedProduct(label, name, float(probabilities[label]), float(logits[label]))

    def _neighbour(self, searcher: Searcher, seen: _Seen, embedding: np.ndarray, label: int) -> MatchedNeighbour | None:
        """The nearest image of the answered product among the nearest ten, else the nearest image."""
        near = searcher.nearest(embedding, _NUM_SEARCHED)
        rows = [int(row) for row in near.ids[0] if row >= 0]
        if not rows:
            return None
        records = searcher.index.records
        if searcher.index.facts["shares_classes"]:
            place = next((at for at, row in enumerate(rows) if records.labels[row] == label), 0)
        else:
            place = 0
        row = rows[place]
        own, path = int(records.labels[row]), records.paths[row]
        found = MatchedNeighbour(records.ids[row], own, records.names.get(own, ""), float(near.scores[0, place]), path)
        try:
            pixels = self._pixels_of(records, row)
        except UnreadableImage as error:
            return replace(found, error=error.reason)
        theirs = self._seen(pixels, path)
        with torch.no_grad():
            maps = [last_map(self.model.network, one.inputs).maps[0] for one in (seen, theirs)]
        matches = mutual_matches(*maps)
        pairs = tuple(_pairs(matches, [(one.shape[1], one.shape[2]) for one in maps], (seen, theirs)))
        return replace(found, pixels=pixels, pairs=pairs, num_pairs=len(matches.cosine))

    def _pixels_of(self, records: Records, row: int) -> np.ndarray:
        data = self.model.recipe.data
        boxes = None if records.boxes is None else records.boxes[[row]]
        source = FileSource([records.paths[row]], boxes=boxes, box_margin=data.box_margin)
        return read_rgb(source, 0, data.max_image_pixels, data.color_profiles)


def require_explainable(model: TrainedModel) -> None:
    """Raises a UserError where the model's network has nothing to explain by, before photographs are read."""
    side = model.recipe.data.input_size_px
    blank = torch.zeros(1, 3, side, side, device=model.precision.device)
    try:
        score_maps(model.network, blank, Contrast(torch.zeros(1, dtype=torch.int64, device=blank.device)))
    except UserError as error:
        raise UserError(f"{model.checkpoint.folder} cannot be explained. {error}") from None


def _named(region: Region, seen: _Seen) -> NamedRegion:
    box = seen.window.in_picture(region.box)
    cells = [cell_box(int(row), int(column), region.cells.shape) for row, column in np.argwhere(region.cells)]
    where = in_words(box, seen.window.height, seen.window.width)
    return NamedRegion(where, box, region.share, tuple(map(seen.window.in_picture, cells)))


def _pairs(matches: Matches, shapes: list[tuple[int, int]], seen: tuple[_Seen, _Seen]) -> list[MatchedPair]:
    """The foremost pairs, none beside another that came before it: neighbouring patches show the same detail."""
    pairs: list[MatchedPair] = []
    taken: list[tuple[int, int]] = []
    for ours, theirs, cosine, share in zip(
        matches.query.tolist(), matches.gallery.tolist(), matches.cosine.tolist(), matches.share.tolist()
    ):
        if any(max(abs(ours[0] - row), abs(ours[1] - column)) <= 1 for row, column in taken):
            continue
        own, other = (
            one.window.in_picture(cell_box(cell[0], cell[1], shape))
            for cell, shape, one in zip((ours, theirs), shapes, seen)
        )
        if min(own.width, own.height, other.width, other.height) < 1:  # of a black border
            continue
        taken.append((ours[0], ours[1]))
        pairs.append(MatchedPair(own, other, cosine, share))
        if len(pairs) == _NUM_PAIRS:
            break
    return pairs
