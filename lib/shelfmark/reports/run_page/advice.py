"""What to do next: rules, each with its reason and the exact command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.core.door import command_line
from shelfmark.core.wording import counted
from shelfmark.reports.html.parts import Step

FEW_BELOW_MANY = 0.2
MOST_ECE = 0.05
MOST_DATA_WAIT = 0.1
MOST_SURE_MISTAKES = 0.02
SURE = 0.9


@dataclass(frozen=True)
class RunFacts:
    """What the rules look at; None or 0 where it is not known.

    checkpoint: of the run. data_wait: share of the last epoch's time. num_sure_mistakes: wrong answers of a probability
    of `SURE` or more, among num_answers. num_suspects: images that shelfmark clean listed; None if it did not run.
    num_bad_images: images of the training that could not be read. is_recalibrated, has_thresholds: whether it was done.
    scores: the chosen score after each evaluated epoch, in their order. num_epochs, num_workers, input_size_px: options
    of the run. is_packed: whether it read a packed copy of its images. last: the checkpoint that an interrupted run
    goes on from, None for a run that was trained to its end; num_done: the whole epochs that it has.
    """

    folder: Path
    checkpoint: Path
    summary: Mapping[str, Any]
    data_wait: float | None = None
    num_sure_mistakes: int = 0
    num_answers: int = 0
    num_suspects: int | None = None
    num_bad_images: int = 0
    is_recalibrated: bool = False
    has_thresholds: bool = False
    scores: Sequence[float] = ()
    num_epochs: int = 0
    num_workers: int = 0
    input_size_px: int = 224
    is_packed: bool = False
    last: Path | None = None
    num_done: int = 0

    def command(self, command: str, *words: object) -> str:
        return command_line(command, "--RESUME_MODEL", self.checkpoint, *words)


def packed_size_px(input_size_px: int) -> int:
    """A usual --size of `shelfmark shrink`: of the smallest crops no pixel is lost, of the largest three in ten."""
    return input_size_px * 10 // 7


def advice(facts: RunFacts) -> tuple[Step, ...]:
    """The steps whose rule holds, what costs most first; if none does, one that says so."""
    found = tuple(step for rule in RULES for step in rule(facts))
    return found or (Step("Nothing stands out.", "No rule of this list holds for the run: it is ready to be used."),)


def _unread(facts: RunFacts) -> Iterator[Step]:
    if facts.num_bad_images:
        reason = f"{counted(facts.num_bad_images, 'image')} could not be read, and other images stood in."
        yield Step("Look at the unreadable images.", f"{reason} {facts.folder / 'bad_images.csv'} lists them.")


def _was_interrupted(facts: RunFacts) -> Iterator[Step]:
    if facts.last is not None:
        yield Step(
            "Go on with the training.",
            f"The run was interrupted when {facts.num_done:,} of its {facts.num_epochs:,} epochs were done. It goes on"
            " as if it had never stopped.",
            command_line("train", "--RESUME_MODEL", facts.last),
        )


def _still_rising(facts: RunFacts) -> Iterator[Step]:
    scores = facts.scores
    # Of an interrupted run the scores are those of a rate that has still to fall.
    if facts.last is None and len(scores) >= 3 and scores[-1] == max(scores) and scores[-1] - scores[-2] > 0.01:
        yield Step(
            "Train longer.",
            f"The score still rose by {100 * (scores[-1] - scores[-2]):.1f} points at the last evaluation, and the last"
            " epoch is the best.",
            command_line("train", "--config", facts.folder / "config.yaml", f"train.num_epochs={2 * facts.num_epochs}"),
        )


def _tail_is_weak(facts: RunFacts) -> Iterator[Step]:
    many, few = facts.summary.get("many"), facts.summary.get("few")
    if many is not None and few is not None and many - few > FEW_BELOW_MANY and not facts.is_recalibrated:
        yield Step(
            "Recalibrate the classifier.",
            f"Few-shot classes are right in {100 * few:.0f}% and many-shot classes in {100 * many:.0f}%: the classifier"
            " favours frequent classes. This takes seconds, without training.",
            facts.command("calibrate"),
        )


def _is_overconfident(facts: RunFacts) -> Iterator[Step]:
    ece = facts.summary.get("ece")
    if ece is not None and ece > MOST_ECE:
        yield Step(
            "Learn a temperature.",
            f"The expected calibration error is {100 * ece:.1f}%, more than {100 * MOST_ECE:.0f}%: a probability of"
            " this model is not the share of its answers that are right.",
            facts.command("calibrate", "--method", "temperature"),
        )


def _waits_for_data(facts: RunFacts) -> Iterator[Step]:
    if facts.data_wait is not None and facts.data_wait > MOST_DATA_WAIT:
        workers = max(2, 2 * facts.num_workers)
        config = ("--config", facts.folder / "config.yaml")
        smaller = "a smaller copy" if facts.is_packed else "a packed copy of smaller images"
        size_px = packed_size_px(facts.input_size_px)
        yield Step(
            "Read images faster.",
            f"{100 * facts.data_wait:.0f}% of the last epoch was spent waiting for images. More reader processes help"
            f" if the machine has cores to spare; if it has none, {smaller}, as"
            f" {command_line('shrink', *config, '--size', size_px)} makes it.",
            command_line("train", *config, f"data.num_workers={workers}"),
        )


def _doubtful_labels(facts: RunFacts) -> Iterator[Step]:
    if facts.num_suspects:
        lists = facts.folder / "clean"
        yield Step(
            "Go through the suspects.",
            f"shelfmark clean listed {counted(facts.num_suspects, 'image')} whose label it doubts. Edit the lists in"
            f" {lists}, then train with them.",
            command_line("train", "--config", facts.folder / "config.yaml", f"data.lists.drop={lists / 'drop.txt'}"),
        )
    elif facts.num_suspects is None and facts.num_sure_mistakes > MOST_SURE_MISTAKES * max(1, facts.num_answers):
        share = facts.num_sure_mistakes / facts.num_answers
        yield Step(
            "Look for wrong labels.",
            f"{100 * share:.1f}% of the images are answered wrongly with a probability of {100 * SURE:.0f}% or more:"
            " see the surest mistakes below. Where the label is wrong, the training images have such labels too.",
            facts.command("clean"),
        )


def _promises_nothing(facts: RunFacts) -> Iterator[Step]:
    if not facts.has_thresholds and facts.summary.get("top1") is not None:
        yield Step(
            "Decide when to answer.",
            "Every image is answered now, also one of an unknown product. Thresholds keep the share of wrong answers"
            " below a limit.",
            facts.command("thresholds", "--max-wrong", "5%"),
        )


RULES: tuple[Callable[[RunFacts], Iterator[Step]], ...] = (
    _unread,
    _was_interrupted,
    _still_rising,
    _tail_is_weak,
    _is_overconfident,
    _doubtful_labels,
    _waits_for_data,
    _promises_nothing,
)
