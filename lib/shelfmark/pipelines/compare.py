"""Several runs side by side, on the same images: what differs in them, and which is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path
from shelfmark.core.log import say
from shelfmark.core.requirement import Requirement
from shelfmark.core.score_names import CLASS_SCORES
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.evaluation.agreement import agreement, better_and_worse, changed_classes
from shelfmark.evaluation.paired_scores import PairedScore
from shelfmark.ops.mcnemar import mcnemar_p
from shelfmark.pipelines.compare_page import write_comparison
from shelfmark.pipelines.comparison import AgainstFirst, Comparison, Judgement, NamedChange, untrained_told
from shelfmark.runtime.compared_answers import ClassAnswers, SearchAnswers, class_answers, search_answers
from shelfmark.runtime.compared_run import ComparedRun, names_of, open_run, run_facts
from shelfmark.runtime.paired_pictures import common_classes, paired_pictures
from shelfmark.runtime.run_config import config_differences

MOST_CLASSES = 50
"""The most classes that are listed as better, and as worse."""


def compare(
    places: Sequence[tuple[str, Path]],
    overrides: Sequence[Override] = (),
    requirements: Sequence[Requirement] = (),
    page: Path | None = None,
) -> Comparison:
    """Compares checkpoints with the first of them. places: what the user called each, and its folder.

    Stored features are used where they fit; others are computed, and kept in the run. page: an HTML file to write; if
    it is there, a number is added to the name. UserError: the runs have no image in common, or a requirement is about a
    score that they do not have.
    """
    with together():
        names = names_of([given for given, _ in places])
        runs = [open_run(name, checkpoint, overrides) for name, (_, checkpoint) in zip(names, places)]
        of_classes, of_search = _what_is_scored(runs)
        _require_scores(requirements, runs[0], of_classes, of_search)
        _require_common(runs, of_classes, of_search)
        untrained = tuple(run.name for run in runs if of_classes and run.model.is_classifier_untrained)
        for name in untrained:
            say(untrained_told(name))
    val = [run.features(run.val, "val") for run in runs if run.val is not None] if of_classes else []
    searched = _searched_features(runs, val) if of_search else []

    def report() -> Comparison:
        answers = class_answers(runs, _known(val)) if of_classes else None
        neighbours = search_answers(runs, _known(searched)) if of_search else None
        found = replace(_comparison(runs, answers, neighbours, requirements), untrained=untrained)
        _say_left_out(found)
        if page is None:
            return found
        file = unused_path(page)
        write_comparison(found, answers, runs[0].val, file)
        return replace(found, page=file)

    return from_main(report, "report")


def _what_is_scored(runs: Sequence[ComparedRun]) -> tuple[bool, bool]:
    """Whether classifiers are scored, and whether a search is: all runs must have such images."""
    of_classes = all(run.val is not None for run in runs)
    of_search = len({run.retrieval is None for run in runs}) == 1
    if not of_classes and not of_search:
        raise UserError(
            "some runs have validation images alone and others retrieval images alone, so no score is of all. Give all"
            " of them the same, as data.val_json=FILE."
        )
    if not of_search:
        say("only some of the runs have retrieval images (data.retrieval_json), so no search is compared")
    elif not of_classes and any(run.val is not None for run in runs):
        say("only some of the runs have validation images (data.val_json), so classifiers are not compared")
    return of_classes, of_search


def _require_scores(requirements: Sequence[Requirement], first: ComparedRun, of_classes: bool, of_search: bool) -> None:
    """Raises a UserError if a requirement is about a score that this comparison does not have."""
    recall_at = first.model.recipe.eval.recall_at
    for one in requirements:
        if (one.score in CLASS_SCORES and not of_classes) or (one.score not in CLASS_SCORES and not of_search):
            what, option = ("validation", "val") if one.score in CLASS_SCORES else ("retrieval", "retrieval")
            raise UserError(
                f"--require {one.text!r}: the runs do not all have {what} images; give data.{option}_json=FILE."
            )
        name, _, k = one.score.partition("@")
        if name == "recall" and int(k) not in recall_at:
            known = ", ".join(f"recall@{value}" for value in recall_at)
            raise UserError(
                f"--require {one.text!r}: there are {known}. eval.recall_at={list(recall_at)!r} says which; give"
                f" eval.recall_at='[1, {k}]' to compute it."
            )


def _require_common(runs: Sequence[ComparedRun], of_classes: bool, of_search: bool) -> None:
    """Raises a UserError, before the passes over the images, if there is nothing to compare."""
    if of_classes:
        common_classes([run.classes for run in runs])
    for what, tables in (
        ("validation images", [run.val for run in runs] if of_classes else []),
        ("images to search", [run.retrieval for run in runs] if of_search else []),
    ):
        given = [table for table in tables if table is not None]
        if given:
            paired_pictures(given, [np.arange(len(table)) for table in given], what)


def _searched_features(runs: Sequence[ComparedRun], val: list[Embeddings | None]) -> list[Embeddings | None]:
    if runs[0].retrieval is None and val:
        return val
    tables = [(run, run.val if run.retrieval is None else run.retrieval) for run in runs]
    return [run.features(table, "retrieval") for run, table in tables if table is not None]


def _known(features: Sequence[Embeddings | None]) -> list[Embeddings]:
    """In the first process all are there."""
    return [one for one in features if one is not None]


def _comparison(
    runs: Sequence[ComparedRun],
    answers: ClassAnswers | None,
    neighbours: SearchAnswers | None,
    requirements: Sequence[Requirement],
) -> Comparison:
    scores = [*(answers.scores if answers else ()), *(neighbours.scores if neighbours else ())]
    return Comparison(
        runs=[run_facts(run) for run in runs],
        config=config_differences([run.config for run in runs]),
        pictures=answers.pictures if answers else None,
        searched=neighbours.pictures if neighbours else None,
        scores=scores,
        others=[_against_first(number, run, answers, neighbours) for number, run in enumerate(runs) if number],
        judgements=[
            _judged(one, scores, number, run.name) for number, run in enumerate(runs) if number for one in requirements
        ],
    )


def _against_first(
    number: int, run: ComparedRun, answers: ClassAnswers | None, neighbours: SearchAnswers | None
) -> AgainstFirst:
    p_values = {}
    if neighbours:
        first, own = neighbours.hits[0], neighbours.hits[number]
        p_values["recall@1"] = mcnemar_p(int((first & ~own).sum()), int((own & ~first).sum()))
    if answers is None:
        return AgainstFirst(run.name, None, p_values)
    first, own = answers.predicted[0], answers.predicted[number]
    both = agreement(first, own, answers.labels)
    changed = changed_classes(first, own, answers.labels)
    better, worse = better_and_worse(changed, MOST_CLASSES)
    return AgainstFirst(
        run.name,
        both,
        {"top1": both.p_value, **p_values},
        num_better=sum(one.gain > 0 for one in changed),
        num_worse=sum(one.gain < 0 for one in changed),
        better=[NamedChange(answers.class_name(one.label), one) for one in better],
        worse=[NamedChange(answers.class_name(one.label), one) for one in worse],
    )


def _judged(requirement: Requirement, scores: Sequence[PairedScore], number: int, run: str) -> Judgement:
    score = next(one for one in scores if one.name == requirement.score)
    if requirement.is_difference:
        value, interval = score.differences[number], score.difference_intervals[number]
    else:
        value, interval = score.values[number], score.intervals[number]
    low, high = interval or (None, None)
    told = requirement.judged(value, low, high)
    return Judgement(run, requirement.text, requirement.is_met(value), value, low, high, told)


def _say_left_out(found: Comparison) -> None:
    for what, pictures in (("val", found.pictures), ("the search", found.searched)):
        if pictures is None:
            continue
        if any(pictures.num_left_out):
            told = ", ".join(
                f"{number:,} of {run['name']}" for run, number in zip(found.runs, pictures.num_left_out) if number
            )
            say(f"{what}: compared on the {counted(len(pictures), 'image')} that all runs have; left out: {told}")
        if pictures.num_other_label:
            say(
                f"{what}: left out, because the annotations of the runs disagree:"
                f" {counted(pictures.num_other_label, 'image')}"
            )
        if pictures.by == "image_id":
            say(f"{what}: the runs have no file in common, so images with the same image_id are taken for the same")
