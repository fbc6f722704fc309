"""The rules for options that changed when a run is resumed, in one table.

free      the new value holds from the checkpoint on, and the log says what changed
follows   the checkpoint's value is used, and the log says so
refused   the run does not start; the error names the way out
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shelfmark.core.errors import UserError

Rule = Literal["free", "follows", "refused"]

FINETUNE = "use --mode finetune, which takes the weights and begins a fresh optimizer and schedule"


@dataclass(frozen=True)
class ResumeRule:
    """options: a dotted name or the beginning of one. why: what a change does, or the way out of a refusal."""

    options: str
    rule: Rule
    why: str


RESUME_RULES = (
    ResumeRule("name", "free", "name of a new run's folder; a run resumed from `last` stays in its folder"),
    ResumeRule(
        "seed", "refused", f"the order of images in the epoch in progress depends on it: leave it out, or {FINETUNE}"
    ),
    ResumeRule(
        "data",
        "free",
        "where the images are and how they are read; with other training annotations, the run is a finetuning",
    ),
    ResumeRule("data.pipeline", "follows", "the run goes on seeing images as it did"),
    ResumeRule("data.num_classes", "refused", f"the classifier keeps its classes: leave it out, or {FINETUNE}"),
    ResumeRule(
        "data.open_set_classes",
        "refused",
        f"classes that were kept out would be learned, or others left out: leave it out, or {FINETUNE}",
    ),
    ResumeRule(
        "augment", "free", "holds from the checkpoint on; another `views` changes the number of steps in an epoch"
    ),
    ResumeRule("sampling", "free", "the rest of the epoch in progress is drawn again"),
    ResumeRule("model", "refused", f"the network would be another one: leave it out, or {FINETUNE}"),
    ResumeRule("model.weights", "follows", "the checkpoint holds the weights"),
    ResumeRule("model.classifier.init", "follows", "the checkpoint holds the classifier"),
    ResumeRule("model.freeze_bn", "free", "batch-norm statistics are kept, or learned, from the checkpoint on"),
    ResumeRule("model.sync_bn", "free", "which statistics batch norm uses, from the checkpoint on"),
    ResumeRule("model.grad_checkpointing", "free", "activations are kept or computed again, with the same result"),
    ResumeRule("model.channels_last", "free", "the memory format does not change the weights"),
    ResumeRule("losses", "free", "a new loss starts with an empty memory; its head has to be in the model"),
    ResumeRule("optim", "free", "rates, decay and momentum hold from the checkpoint on"),
    ResumeRule("optim.name", "refused", f"the checkpoint holds another optimizer: leave it out, or {FINETUNE}"),
    ResumeRule("train", "free", "if the number of steps in an epoch changes, the schedule goes on by epoch"),
    ResumeRule(
        "train.ema",
        "free",
        "switched on, the average begins with the checkpoint's weights; switched off, the run goes on with the weights"
        " that were trained, not with their average",
    ),
    ResumeRule("train.stages", "free", "later stages may change; a change of a stage that has begun is refused"),
    ResumeRule("eval", "free", "holds from the checkpoint on"),
    ResumeRule(
        "eval.metric", "free", "scores of two metrics cannot be compared: the next evaluation is the best so far"
    ),
    ResumeRule(
        "eval.choose_share",
        "refused",
        f"images that chose the model so far would count as images that chose nothing: leave it out, or {FINETUNE}",
    ),
    ResumeRule("predict", "free", "used after training"),
    ResumeRule("tau_norm", "free", "used after training"),
    ResumeRule("calibrate", "free", "used after training"),
    ResumeRule("discovery", "free", "not used in training"),
    ResumeRule("output", "free", "place of a new run's folder; a run resumed from `last` stays in its folder"),
)


@dataclass(frozen=True)
class Change:
    """An option with another value than in the checkpoint's run."""

    option: str
    before: Any
    now: Any
    rule: ResumeRule

    def __str__(self) -> str:
        return f"{self.option}={self.now!r}, where the checkpoint's run had {self.before!r}"


def rule_of(option: str) -> ResumeRule:
    """The rule with the longest name that the option begins with. KeyError: there is none."""
    fitting = [one for one in RESUME_RULES if option == one.options or option.startswith(f"{one.options}.")]
    if not fitting:
        raise KeyError(option)
    return max(fitting, key=lambda one: len(one.options))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The options that differ between two recipes in plain values; those that one of them lacks are left out."""
    return [Change(name, old, new, rule_of(name)) for name, old, new in _differences(before, now)]


def require_allowed(found: Iterable[Change]) -> None:
    """Raises a UserError that lists the refused changes, each with its way out."""
    refused = [change for change in found if change.rule.rule == "refused"]
    if refused:
        listed = "\n".join(f"  {change}: {change.rule.why}." for change in refused)
        raise UserError(
            "these options cannot change when a run is resumed:\n"
            f"{listed}\n`shelfmark config --resume-rules` prints what may change."
        )


def told(found: Iterable[Change]) -> list[str]:
    """A line for each change that is allowed, for the log."""
    lines = []
    for change in found:
        if change.rule.rule == "follows":
            lines.append(f"{change.option}={change.now!r} is not used: {change.rule.why}")
        elif change.rule.rule == "free":
            lines.append(f"{change.option}: {change.before!r} -> {change.now!r} from here on")
    return lines


def rules_table() -> str:
    """The table in Markdown, for `shelfmark config --resume-rules` and docs/options.md."""
    rows = [f"| `{one.options}` | {one.rule} | {one.why} |" for one in RESUME_RULES]
    return "\n".join(["| option | on resume | |", "|---|---|---|", *rows])


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for name in now:
        if name not in before:
            continue
        option, old, new = f"{prefix}{name}", before[name], now[name]
        # Groups whose names the user chooses, such as heads, are compared as one value.
        is_section = isinstance(old, Mapping) and isinstance(new, Mapping) and {*old} == {*new} and old
        if is_section:
            found += _differences(old, new, f"{option}.")
        elif old != new:
            found.append((option, old, new))
    return found
