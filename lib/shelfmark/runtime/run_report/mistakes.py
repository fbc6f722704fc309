"""The mistakes of a model on val, with pictures. Legend: n images, C classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from shelfmark.data.sources import Picture
from shelfmark.data.table import Table
from shelfmark.reports.confused_pairs import ShownPair
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.run_page.mistakes import ClassPage, Mistakes
from shelfmark.runtime.evaluation_plots import first_pictures, shown_pairs
from shelfmark.runtime.run_report.class_neighbours import class_neighbours
from shelfmark.runtime.run_report.material import Material
from shelfmark.runtime.run_report.predicted import Predicted

Overlay = Callable[[Picture, int], np.ndarray | None]
"""(picture, class) -> pixels (H, W, 4) uint8 RGBA to lay over it, such as the regions that spoke for the class."""

MOST_PICTURES = 24
MOST_CLASSES = 40
_PICTURES_A_CLASS = 4


def mistakes_of(material: Material, overlay: Overlay | None = None) -> Mistakes | None:
    """What val's images, or a sample of them, were taken for; None without a labelled image.

    overlay: drawn over the surest and the doubtful pictures, for the class that was answered.
    """
    found, val = material.predicted, material.val
    if found is None or val is None:
        return None
    shows = _Shows(material, found, val, overlay)
    wrong = np.flatnonzero(~found.is_right)
    surest = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:MOST_PICTURES]
    doubtful = np.argsort(found.confidence, kind="stable")[:MOST_PICTURES]
    classes = _classes_to_show(found)
    return Mistakes(
        pairs=tuple(shows.pairs()),
        surest=tuple(shows.answer(place) for place in surest),
        num_wrong=len(wrong),
        doubtful=tuple(shows.answer(place) for place in doubtful),
        classes=tuple(shows.class_pages(classes)),
        num_classes=material.model.num_classes,
        num_images=len(found.rows),
        total=found.total,
    )


def _classes_to_show(found: Predicted) -> np.ndarray:
    """The classes that lose the most images, and of equal ones the greater share of their own; then the others."""
    total = np.bincount(found.labels)
    wrong = np.bincount(found.labels[~found.is_right], minlength=len(total))
    with np.errstate(invalid="ignore", divide="ignore"):
        order = np.lexsort((np.arange(len(total)), -np.nan_to_num(wrong / total), -wrong))
    return order[total[order] > 0][:MOST_CLASSES]


class _Shows:
    def __init__(self, material: Material, found: Predicted, val: Table, overlay: Overlay | None) -> None:
        self.material, self.model, self.found, self.overlay = material, material.model, found, overlay
        self.source = material.source(val)

    def pairs(self) -> list[ShownPair]:
        found = self.found
        labels, predicted = torch.from_numpy(found.labels), torch.from_numpy(found.predicted)
        return shown_pairs(self.model, self.source, found.rows, labels, predicted, self._of_training)

    def answer(self, place: int) -> Shown:
        """One picture with its answer."""
        found, name = self.found, self.model.class_name
        label, answer = int(found.labels[place]), int(found.predicted[place])
        sure = f"{100 * found.confidence[place]:.0f}%"
        picture = Picture(self.source, int(found.rows[place]))
        over = None if self.overlay is None else self.overlay(picture, answer)
        if label == answer:
            return Shown(picture, f"{name(label)}, rightly answered", f"{name(label)}, {sure}", "right", over)
        caption = f"{name(answer)}, {sure}; label: {name(label)}"
        return Shown(picture, f"Labelled {name(label)}, answered {name(answer)}", caption, "wrong", over)

    def class_pages(self, classes: np.ndarray) -> list[ClassPage]:
        next_to = self._neighbours(classes)
        lacking = {int(one) for one in classes} - set(self.found.labels.tolist())
        of_training = self._of_training(lacking)
        return [self._class_page(int(label), next_to[place], of_training) for place, label in enumerate(classes)]

    def _neighbours(self, classes: np.ndarray) -> list[tuple[tuple[str, float], ...]]:
        if self.model.num_classes < 2:
            return [() for _ in classes]
        labels, cosines = class_neighbours(self.model.network.classifier.weight, classes)
        name = self.model.class_name
        return [tuple((name(int(one)), float(cosine)) for one, cosine in zip(*pair)) for pair in zip(labels, cosines)]

    def _class_page(
        self, label: int, neighbours: tuple[tuple[str, float], ...], of_training: Mapping[int, Picture]
    ) -> ClassPage:
        found, name = self.found, self.model.class_name
        places = np.flatnonzero(found.labels == label)
        taken, numbers = np.unique(found.predicted[places][~found.is_right[places]], return_counts=True)
        most = np.argsort(-numbers, kind="stable")[:3]
        # The wrong ones first: they say what goes wrong.
        shown = places[np.argsort(found.is_right[places], kind="stable")][:_PICTURES_A_CLASS]
        pictures = [self._of_class(place) for place in shown]
        if label in of_training:
            pictures.append(Shown(of_training[label], f"A training image of {name(label)}", "training image"))
        return ClassPage(
            name(label),
            int(self.model.counts[label]),
            len(places),
            int(found.is_right[places].sum()),
            tuple(pictures),
            neighbours,
            tuple((name(int(taken[one])), int(numbers[one])) for one in most),
        )

    def _of_class(self, place: int) -> Shown:
        found, name = self.found, self.model.class_name
        picture = Picture(self.source, int(found.rows[place]))
        label, answer = int(found.labels[place]), int(found.predicted[place])
        if label == answer:
            return Shown(picture, f"{name(label)}, rightly answered", "right", "right")
        return Shown(picture, f"{name(label)}, answered {name(answer)}", name(answer), "wrong")

    def _of_training(self, classes: set[int]) -> dict[int, Picture]:
        train = self.material.train
        if train is None or not classes:
            return {}
        return first_pictures(self.material.source(train), train.labels, classes)
