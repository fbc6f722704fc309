"""`python test.py`: one predicted class for every test image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from shelfmark.core import dist
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path
from shelfmark.core.log import say, warn
from shelfmark.core.together import from_main, together
from shelfmark.data.annotations import folder_table, read_test_set
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.predictions.submission import check_ids, write_submission, write_topk
from shelfmark.recipe import assemble
from shelfmark.runtime.class_probabilities import class_probabilities
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True)
class Prediction:
    """classes: (N, K) int64, best first. scores: (N, K) float32 probabilities, NaN for an unreadable image."""

    table: Table
    classes: np.ndarray
    scores: np.ndarray
    submission: Path
    topk: Path | None


def predict(model: TrainedModel, images: Path | None = None, topk: int = 0, out: Path | None = None) -> Prediction:
    """Predicts the recipe's test set, or every photograph under `images`, and writes the submission file.

    topk: also write the best K classes with their probabilities. out: the file; default submission.csv in
    the run folder. An existing file is never overwritten: the next free number is used.
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
    classes, scores = _best_classes(model, table, max(1, topk), file)
    topk_file = from_main(partial(_write, table, classes, scores, topk, file), "report")
    return Prediction(table, classes, scores, file, topk_file)


def _write(table: Table, classes: np.ndarray, scores: np.ndarray, topk: int, file: Path) -> Path | None:
    """Returns the file of the best classes, or None without one."""
    write_submission(file, table.image_ids, classes[:, 0])
    say(f"{len(table)} predictions written to {file}")
    if not topk:
        return None
    topk_file = unused_path(file.with_name(f"{file.stem}_top{topk}.csv"))
    write_topk(topk_file, table.image_ids, classes, scores)
    say(f"the best {topk} classes with probabilities written to {topk_file}")
    return topk_file


def test_set(model: TrainedModel) -> Table:
    """The images of data.test_json, which have no labels."""
    data = model.recipe.data
    if data.test_json is None:
        raise UserError("there is nothing to predict: give --images DIR, or data.test_json=FILE (--DATASET_TEST_JSON).")
    return read_test_set(data.test_json, data.test_root or data.root, extra_roots=data.extra_roots)


def _best_classes(model: TrainedModel, table: Table, k: int, file: Path) -> tuple[np.ndarray, np.ndarray]:
    # A picture that cannot be read still needs its row: the class most frequent in training is the best guess.
    classes = np.full((len(table), k), int(model.counts.argmax()), dtype=np.int64)
    scores = np.full((len(table), k), np.nan, dtype=np.float32)
    log = BadImageLog(file.with_name(f"{file.stem}_bad_images.csv"), num_images=len(table))
    own: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with log.over_ranks():
        for batch in class_probabilities(model, assemble.image_source(model.recipe, table), log):
            if len(batch.rows):
                best = batch.values.topk(k, dim=1)
                own.append((batch.rows, best.indices.cpu().numpy(), best.values.cpu().numpy()))
    for share in dist.gather_objects(own):
        for rows, labels, chances in share:
            classes[rows], scores[rows] = labels, chances
    unread = int(np.isnan(scores[:, 0]).sum())
    if unread:
        guess = model.class_name(int(model.counts.argmax()))
        warn(f"{unread} images could not be read; they are given the most frequent class, {guess}")
    return classes, scores
