"""What became of each listed training image in an epoch. Legend: N images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from shelfmark.core import dist
from shelfmark.data.bad_images import BadImageLog
from shelfmark.engine.hook import Hook, StepDone
from shelfmark.engine.metrics_log import MetricsLog
from shelfmark.engine.state import TrainState

NO_LABEL, NOT_DRAWN, SKIPPED_STEP = "no label", "not drawn", "in a skipped step"


class Accounting(Hook):
    """Writes, for each epoch, that listed = trained + skipped, by reason: a record of the kind `images`.

    An image is trained if a step took it that was not skipped. Otherwise it has one reason: it has no label, it could
    not be read (and why), it was in a step that was skipped, or the sampler did not draw it. Images are counted by
    their rows, over all processes, and over a stop in the middle of the epoch, on whatever number of processes the run
    goes on. Stands behind `BadImages` and before `Checkpoint` in the list.
    """

    name = "accounting"

    def __init__(self, state: TrainState, log: MetricsLog, labels: np.ndarray, bad_images: BadImageLog) -> None:
        self.state, self.log, self.labels, self.bad_images = state, log, labels, bad_images
        self._trained = np.zeros(len(labels), dtype=bool)
        self._in_skipped = np.zeros(len(labels), dtype=bool)
        self._knows_epoch = False

    def epoch_begins(self, num_steps: int, rate: float) -> None:
        if self.state.progress.step_in_epoch == 0:
            self._trained[:] = False
            self._in_skipped[:] = False
            self._knows_epoch = True

    def step_ends(self, done: StepDone) -> None:
        into = self._in_skipped if done.result.skipped else self._trained
        into[done.batch.rows.numpy(force=True)] = True

    def epoch_ends(self, rate: float) -> None:
        self._share()
        # A run that goes on in an epoch that an earlier version began does not know all of it.
        if self._knows_epoch:
            progress = self.state.progress
            self.log.write("images", progress.step, progress.epoch, self.accounts())

    def accounts(self) -> dict[str, Any]:
        """listed, trained, and skipped by reason, with what they add up to."""
        left = ~self._trained
        skipped = Counter({NO_LABEL: int((left & (self.labels < 0)).sum())})
        left &= self.labels >= 0
        for row, reason in self.bad_images.reasons.items():
            skipped[reason] += int(left[row])
            left[row] = False
        skipped[SKIPPED_STEP] += int((left & self._in_skipped).sum())
        skipped[NOT_DRAWN] += int((left & ~self._in_skipped).sum())
        listed = len(self.labels)
        told = {reason: number for reason, number in skipped.most_common() if number}
        return {"listed": listed, "trained": int(self._trained.sum()), "skipped": told}

    def reasons(self) -> dict[int, str]:
        """Why each image that was not trained was not, by its row."""
        unread = self.bad_images.reasons
        found: dict[int, str] = {}
        for row in np.flatnonzero(~self._trained).tolist():
            if self.labels[row] < 0:
                found[row] = NO_LABEL
            elif row in unread:
                found[row] = unread[row]
            else:
                found[row] = SKIPPED_STEP if self._in_skipped[row] else NOT_DRAWN
        return found

    def _share(self) -> None:
        """Brings together what the processes have seen; a collective."""
        for seen in (self._trained, self._in_skipped):
            for part in dist.gather_objects(np.packbits(seen)) if dist.world_size() > 1 else ():
                seen |= np.unpackbits(part, count=len(seen)).astype(bool)

    def state_dict(self) -> dict[str, Any]:
        if not self._knows_epoch:
            return {}
        self._share()
        return {name: torch.from_numpy(np.packbits(seen)) for name, seen in self._seen().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, seen in self._seen().items():
            seen[:] = np.unpackbits(state[name].numpy(), count=len(seen)).astype(bool)
        self._knows_epoch = True

    def _seen(self) -> dict[str, np.ndarray]:
        return {"trained": self._trained, "in_skipped": self._in_skipped}
