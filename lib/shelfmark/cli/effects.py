"""Which options of a recipe a command reads. What is typed for nothing is said: it may be a misunderstanding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shelfmark.config.keys import is_within

if TYPE_CHECKING:
    from shelfmark.config.overrides import Override

_TRAINS = ("train", "plan", "demo", "discover", "config")
_OF_CLUSTERS = ("discovery.clusterer", "discovery.selection.density_threshold", "seed", "train.device")
_READ_BY_ONE = {
    "augment": ("weigh-experts",),
    "predict": ("test", "pseudo-label", "evaluate", "export"),
    "tau_norm": ("tau-norm", "calibrate"),
    "calibrate": ("calibrate",),
    "discovery": ("discover assign",),
    "name": ("doctor",),
    "data.generated": ("doctor", "shrink", "to-lance"),
    "model.weights": ("doctor",),
    "output.log_root": ("doctor",),
    "output.tau_root": ("tau-norm", "calibrate", "weigh-experts"),
}
"""Options, and groups of them, that only these of the commands over a trained model read."""
_OF_TRAINING = (
    *(
        "name",
        "losses",
        "optim",
        "sampling",
        "train",
        "eval.every_epochs",
        "eval.choose_share",
        "output.log_root",
        "data.generated",
    ),
    *("model.weights", "model.classifier.init", "model.freeze", "model.freeze_bn", "model.freeze_bn_affine"),
    "model.sync_bn",
)
"""Options, and groups of them, that no command over a trained model reads ..."""
_READ_ALL_THE_SAME = ("train", "train.device", "train.precision", "train.stall_s", "train.stall_limit_s")
"""... except these. `train` itself, typed as one mapping, may hold them."""


def without_effect(command: str, overrides: Iterable[Override]) -> str | None:
    """A sentence on the options that the command will not look at; None if it looks at all. command: its name."""
    idle = [one.key for one in overrides if not _is_read(command, one.key)]
    if not idle:
        return None
    what = "trains nothing" if all(_is_below(key, _OF_TRAINING) for key in idle) else "does not read them"
    has = "has" if len(idle) == 1 else "have"
    return f"{', '.join(dict.fromkeys(idle))} {has} no effect here: `shelfmark {command}` {what}."


def _is_read(command: str, key: str) -> bool:
    if command in _TRAINS or key in _READ_ALL_THE_SAME:
        return True
    if command in ("cluster fit", "cluster run"):
        return any(is_within(key, one) or is_within(one, key) for one in _OF_CLUSTERS)
    for option, commands in _READ_BY_ONE.items():
        if is_within(key, option):
            return command in commands
    return not _is_below(key, _OF_TRAINING)


def _is_below(key: str, options: Iterable[str]) -> bool:
    return any(is_within(key, option) for option in options)
