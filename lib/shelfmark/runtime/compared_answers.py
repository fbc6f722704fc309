"""The answers of several runs to the same pictures, and the scores of the answers. Legend: N pictures, Q queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.score_names import CLASS_SCORES, QUERY_SCORES
from shelfmark.data.class_map import ClassList
from shelfmark.data.table import Table
from shelfmark.evaluation.classification import Predictions
from shelfmark.evaluation.paired_scores import PairedScore, class_statistic, paired_scores, query_statistic
from shelfmark.evaluation.retrieval import SearchScores, search_scores
from shelfmark.runtime.compared_run import ComparedRun, at, predictions
from shelfmark.runtime.paired_pictures import PairedPictures, common_classes, paired_pictures
from shelfmark.runtime.retrieval_scores import query_gallery


@dataclass(frozen=True, eq=False)
class ClassAnswers:
    """What the classifiers of all runs say to the pictures of val that all runs have.

    pictures: which these are. classes: of all runs, in one numbering. labels: (N,) int64. predicted: for each run (N,).
    rows: (N,) the pictures' rows in the val table of the first run.
    """

    pictures: PairedPictures
    classes: ClassList
    labels: np.ndarray
    predicted: tuple[np.ndarray, ...]
    rows: np.ndarray
    scores: list[PairedScore]

    def class_name(self, label: int) -> str:
        return self.classes.names[label] if self.classes.names else str(label)


@dataclass(frozen=True, eq=False)
class SearchAnswers:
    """hits: for each run (Q,) bool, whether the nearest picture of each scored query is of its class."""

    pictures: PairedPictures
    hits: tuple[np.ndarray, ...]
    scores: list[PairedScore]


def class_answers(runs: Sequence[ComparedRun], features: Sequence[Embeddings]) -> ClassAnswers:
    """features: of the val table of each run."""
    tables = [_val(run) for run in runs]
    pictures = paired_pictures(tables, [one.rows for one in features], "validation images")
    numbers, known = common_classes([run.classes for run in runs])
    pictures = pictures.of_one_label([_mapped(one.labels, own) for one, own in zip(features, numbers)])
    answers = [predictions(run.model, one) for run, one in zip(runs, features)]
    labels = _mapped(features[0].labels, numbers[0])[pictures.places[0]]
    recipe = runs[0].model.recipe
    statistics = [
        class_statistic(
            one.places.numpy()[places],
            one.confidence.numpy()[places],
            labels,
            runs[0].model.counts,
            recipe.eval.many,
            recipe.eval.few,
        )
        for one, places in zip(answers, pictures.places)
    ]
    return ClassAnswers(
        pictures,
        known,
        labels,
        tuple(_predicted(one, own)[places] for one, own, places in zip(answers, numbers, pictures.places)),
        features[0].rows[pictures.places[0]],
        paired_scores(CLASS_SCORES, statistics, len(labels), recipe.seed),
    )


def search_answers(runs: Sequence[ComparedRun], features: Sequence[Embeddings]) -> SearchAnswers:
    """features: of the retrieval table of each run, or of val where no run has one.

    Gallery and queries are the pictures that all runs have. Their classes are those of the first run's annotations.
    """
    tables = [_searched(run) for run in runs]
    pictures = paired_pictures(tables, [one.rows for one in features], "images to search")
    pictures = _of_one_side(pictures, tables, features)
    labels = features[0].labels[pictures.places[0]]
    eval_options = runs[0].model.recipe.eval
    found = [
        _search(run, replace(at(own, places), labels=labels), eval_options.recall_at)
        for run, own, places in zip(runs, features, pictures.places)
    ]
    scored = found[0].is_scored
    names = (*(f"recall@{k}" for k in found[0].ks), *QUERY_SCORES)
    statistics = [query_statistic(_columns(one)[scored]) for one in found]
    scores = paired_scores(names, statistics, int(scored.sum()), runs[0].model.recipe.seed)
    return SearchAnswers(pictures, tuple((one.first_rank <= 1)[scored] for one in found), scores)


def _search(run: ComparedRun, features: Embeddings, ks: Sequence[int]) -> SearchScores:
    recipe = run.model.recipe
    sides = query_gallery(recipe, features, run.retrieval).on(run.model.precision.device)
    return search_scores(sides, ks, recipe.eval.retrieval_metric)


def _columns(found: SearchScores) -> np.ndarray:
    hits = [(found.first_rank <= k).astype(np.float64) for k in found.ks]
    return np.stack([*hits, *(found.values[name] for name in QUERY_SCORES)], axis=1)


def _of_one_side(pictures: PairedPictures, tables: Sequence[Table], features: Sequence[Embeddings]) -> PairedPictures:
    """Without the pictures that are a query, or in the gallery, in one run and not in another."""
    sides = []
    for table, own, places in zip(tables, features, pictures.places):
        flags = [np.ones(len(table), dtype=bool) if one is None else one for one in (table.is_query, table.is_gallery)]
        sides.append(np.stack(flags, axis=1)[own.rows[places]])
    is_same = np.logical_and.reduce([(one == sides[0]).all(axis=1) for one in sides])
    num_left_out = tuple(one + int((~is_same).sum()) for one in pictures.num_left_out)
    return PairedPictures(pictures.by, tuple(one[is_same] for one in pictures.places), num_left_out)


def _val(run: ComparedRun) -> Table:
    assert run.val is not None
    return run.val


def _searched(run: ComparedRun) -> Table:
    table = run.val if run.retrieval is None else run.retrieval
    assert table is not None
    return table


def _mapped(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """-1 stays -1."""
    return np.append(numbers, -1)[labels]


def _predicted(found: Predictions, numbers: np.ndarray) -> np.ndarray:
    return numbers[found.predicted.numpy()]
