"""Saves a run: called on every process, written by rank 0."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.folders import holds_our_manifest
from shelfmark.core.heartbeat import working
from shelfmark.core.together import from_main
from shelfmark.engine.checkpoint import copy_checkpoint, save_checkpoint
from shelfmark.engine.checkpoint_folder import previous_of
from shelfmark.engine.state import TrainState

BEST, LAST = "best_model", "last"


def kept_in(run_folder: Path) -> str:
    """Which checkpoints a failed run can go on from, as words for its error."""
    last = run_folder / LAST
    before = previous_of(last)
    if not last.is_dir():
        return "no checkpoint was written yet"
    return f"the last good checkpoint is {last}" + (f", the one before it {before}" if before.is_dir() else "")


class Checkpointer:
    """Writes checkpoints of a run into its folder, and keeps `keep_last` generations of `last`.

    facts: what each manifest holds besides the run's progress. hooks: () -> the state of the hooks.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainState,
        facts: Mapping[str, Any],
        hooks: Callable[[], Mapping[str, Any]],
        keep_last: int = 2,
    ) -> None:
        self.folder, self.state, self.facts, self.hooks = folder, state, facts, hooks
        self.keep_last = keep_last

    def save(self, names: Sequence[str], is_sound: Callable[[], bool] = lambda: True) -> None:
        """Writes one checkpoint under each name. The former `last` is kept as the generation before the new one.

        is_sound: () -> whether the weights give a finite loss and gradient; a collective. UserError on every process:
        they do not, a weight is not finite, or the disk is full. Earlier checkpoints stay.
        """
        self._require_finite(is_sound)
        model = self.state.weights_to_evaluate().state_dict()
        state = {**self.state.state_dict(), "hooks": self.hooks()}

        def write() -> None:
            with working("saving"):
                self._write(names, model, state)

        from_main(write)

    def _write(self, names: Sequence[str], model: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        progress = state["progress"]
        now = {name: progress[name] for name in ("step", "epoch", "best_score", "best_epoch")}
        first, *others = names
        save_checkpoint(self.folder / first, model, state, {**self.facts, **now}, self._previous(first))
        for other in others:
            copy_checkpoint(self.folder / first, self.folder / other, self._previous(other))
        before = previous_of(self.folder / LAST)
        if self.keep_last == 1 and LAST in names and holds_our_manifest(before):
            shutil.rmtree(before)

    def _previous(self, name: str) -> Path | None:
        return previous_of(self.folder / name) if name == LAST and self.keep_last > 1 else None

    def _require_finite(self, is_sound: Callable[[], bool]) -> None:
        broken = self.state.broken_tensors()
        if not dist.any_of([bool(broken)])[0] and is_sound():
            return
        step = self.state.progress.step
        unsound = "the weights give no finite loss, gradient or statistics"
        what = f"{len(broken)} weights or values of the optimizer are NaN or infinite, such as {', '.join(broken[:3])}"
        raise UserError(
            f"after step {step} {what if broken else unsound}, so nothing is saved; {kept_in(self.folder)}."
            " Lower optim.lr, or add optim.schedule.warmup_epochs or optim.clip_norm."
        )
