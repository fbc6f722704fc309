"""`python test.py`: one predicted class for every test image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core import dist
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path
from shelfmark.core.log import say, warn
from shelfmark.core.text_safety import in_line
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.annotations import folder_table, read_test_set
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.predictions.answers import of_topk, unanswered
from shelfmark.predictions.submission import check_ids, write_submission, write_topk
from shelfmark.recipe import assemble
from shelfmark.runtime.class_probabilities import class_probabilities
from shelfmark.runtime.photographs import forgiving, tell_unread
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True)
class Prediction:
    """classes: (N, K) int64, best first. scores: (N, K) float32 probabilities, NaN for an unreadable image.

    names: of the classes of the model that have one. errors: row of an unreadable image -> the reason.
    """

    table: Table
    classes: np.ndarray
    scores: np.ndarray
    submission: Path
    topk: Path | None
    names: Mapping[int, str] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)

    def as_json(self) -> list[dict[str, Any]]:
        """In the form of `predictions.answers`, one for each image."""
        found = of_topk(self.table.image_ids, self.classes, self.scores, self.names)
        for row, reason in self.errors.items():
            found[row] = unanswered(self.table.image_ids[row], reason)
        return found


def predict(model: TrainedModel, images: Path | None = None, topk: int = 0, out: Path | None = None) -> Prediction:
    """Predicts the recipe's test set, or every photograph under `images`, and writes the submission file.

    topk: also write the best K classes with their probabilities and names. out: the file; default submission.csv in
    the run folder. An existing file is never overwritten: the next free number is used.
    A photograph of `images` that cannot be read is told and has no row; a UserError if none can be read. A submission
    of the test set has all rows: an unreadable image is an error, or with data.on_bad_image=skip gets a guess.
    """
    num_classes = model.num_classes
    if topk < 0:
        raise UserError(f"--topk {topk} is no number of classes; give 1 or more, or leave it out.")
    if topk > num_classes:
        raise UserError(f"--topk {topk} asks for more classes than the model has: {num_classes}.")
    file = from_main(lambda: unused_path(require_place(out or model.run_folder / "submission.csv", "--out")))
    with together():
        table = folder_table(images) if images else test_set(model)
        check_ids(table.image_ids)
    limit = None if images else model.recipe.data.max_bad_images
    source = model.recipe.data.source
    log = BadImageLog(_beside(file, "_bad_images"), num_images=len(table), limit=limit, source=source)
    classes, scores = _best_classes(forgiving(model) if images else model, table, max(1, topk), log)
    names = dict(enumerate(model.class_names or ()))
    predicted = Prediction(table, classes, scores, file, None, names, log.reasons)
    if images:
        tell_unread(len(table), {table.image_ids[row]: reason for row, reason in log.reasons.items()}, log.file)
    elif log.reasons:
        guess = int(model.counts.argmax())
        named = f"{in_line([model.class_name(guess)])} ({guess})" if model.class_names else str(guess)
        unread = counted(len(log), "image")
        warn(f"{unread} could not be read; each is given the most frequent class, {named}; see {log.file}")
    rows = np.flatnonzero(~np.isnan(scores[:, 0])) if images else np.arange(len(table))
    return replace(predicted, topk=from_main(partial(_write, predicted, rows, topk), "report"))


def _write(predicted: Prediction, rows: np.ndarray, topk: int) -> Path | None:
    """Writes the files of `rows` (n,). Returns the file of the best classes, or None without one."""
    file, image_ids, classes = predicted.submission, predicted.table.image_ids.take(rows), predicted.classes[rows]
    write_submission(file, image_ids, classes[:, 0])
    say(f"{counted(len(rows), 'prediction')} written to {file}")
    if not topk:
        return None
    topk_file = unused_path(_beside(file, f"_top{topk}"))
    write_topk(topk_file, image_ids, classes, predicted.scores[rows], predicted.names)
    best = "the best class with its probability" if topk == 1 else f"the best {topk} classes with probabilities"
    say(f"{best} written to {topk_file}")
    return topk_file


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(f"{file.stem}{ending}.csv")


def test_set(model: TrainedModel) -> Table:
    """The images of data.test_json, which have no labels."""
    data = model.recipe.data
    if data.test_json is None:
        raise UserError("there is nothing to predict: give --images DIR, or data.test_json=FILE (--DATASET_TEST_JSON).")
    return read_test_set(data.test_json, data.test_root or data.root, extra_roots=data.extra_roots)


def _best_classes(model: TrainedModel, table: Table, k: int, log: BadImageLog) -> tuple[np.ndarray, np.ndarray]:
    # A picture that cannot be read still needs its row: the classes most frequent in training are the best guess.
    classes = np.tile(np.argsort(-model.counts, kind="stable")[:k], (len(table), 1))
    scores = np.full((len(table), k), np.nan, dtype=np.float32)
    own: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with log.over_ranks():
        for batch in class_probabilities(model, assemble.image_source(model.recipe, table), log):
            if len(batch.rows):
                best = batch.values.topk(k, dim=1)
                own.append((batch.rows, best.indices.cpu().numpy(), best.values.cpu().numpy()))
    for share in dist.gather_objects(own):
        for rows, labels, chances in share:
            classes[rows], scores[rows] = labels, chances
    return classes, scores
