"""`shelfmark train --check`: short trials with the real step, before a run. Their weights are discarded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shelfmark.config.load import Loaded
from shelfmark.core import dist
from shelfmark.core.destinations import require_place
from shelfmark.core.heartbeat import working
from shelfmark.core.log import say
from shelfmark.core.stopping import Stopped, StopSignals, received
from shelfmark.core.together import from_main
from shelfmark.core.watch import Watch
from shelfmark.engine.checks.findings import findings
from shelfmark.engine.checks.overfit import Overfit, overfit
from shelfmark.engine.checks.rate_range import RateRange, rate_range
from shelfmark.engine.hooks import STOPPED_BY_ANOTHER
from shelfmark.engine.step import TrainStep
from shelfmark.pipelines.train_parts import Begun, begin
from shelfmark.recipe import Recipe
from shelfmark.reports.rate_range_plot import rate_range_plot
from shelfmark.reports.tables import write_table
from shelfmark.runtime.resume_plan import Mode

Check = Literal["overfit", "rate"]
CHECKS: tuple[Check, ...] = ("overfit", "rate")


@dataclass(frozen=True)
class OverfitCheck:
    """found: how the batch was learned. findings: what is wrong; passed without any. num_images: of the batch, over all
    processes."""

    found: Overfit
    findings: list[str]
    num_images: int

    @property
    def passed(self) -> bool:
        return self.found.is_learned and not self.findings

    def as_json(self) -> dict[str, Any]:
        first, last = self.found.losses[0], self.found.losses[-1]
        return {
            "check": "overfit",
            "passed": self.passed,
            "num_images": self.num_images,
            "steps": len(self.found.losses),
            "rate": self.found.rate,
            "losses": [{"loss": name, "first": first[name], "last": last[name]} for name in first],
            "right": [{"head": head, "share": share} for head, share in self.found.right.items()],
            "findings": self.findings,
        }


@dataclass(frozen=True)
class RateCheck:
    """found: the test. table, plot: the files that it wrote. rate: the run's own optim.lr."""

    found: RateRange
    table: Path
    plot: Path
    rate: float

    @property
    def passed(self) -> bool:
        return self.found.proposal is not None

    @property
    def option(self) -> str | None:
        return None if self.found.proposal is None else f"optim.lr={self.found.proposal:g}"

    @property
    def reason(self) -> str:
        steepest, diverged = self.found.steepest, self.found.diverged
        fell = (
            "the loss fell by no more than its noise"
            if steepest is None
            else f"the loss fell most steeply at {steepest:.2g}"
        )
        if diverged is None:
            last = self.found.points[-1].rate
            hint = "; --check overfit says what may be wrong" if steepest is None else ""
            return f"{fell}, and diverged at no rate up to {last:.2g}{hint}"
        which = "a tenth of the latter" if steepest is None else "the smaller of the former and a tenth of the latter"
        return f"{fell}, and diverged at {diverged:.2g}: {which}"

    def as_json(self) -> dict[str, Any]:
        return {
            "check": "rate",
            "passed": self.passed,
            "option": self.option,
            "reason": self.reason,
            "rate": self.rate,
            "steepest": self.found.steepest,
            "diverged": self.found.diverged,
            "steps": len(self.found.points),
            "table": self.table,
            "plot": self.plot,
        }


def check_overfit(loaded: Loaded[Recipe], checkpoint: Path | None = None) -> OverfitCheck:
    """Trains on the first batch of the run, over and over, at optim.lr. No run folder is made."""
    with _begun(loaded, checkpoint) as begun:
        parts, recipe = begun.parts, begun.loaded.config
        with working("start"):
            batch = next(iter(parts.loader.epoch(0)))
        # Mixed images have two labels, which no network learns to a loss of zero.
        step = TrainStep(parts.state, recipe.optim.clip_norm, None, recipe.train.accumulate_steps)
        found = overfit(step, batch, recipe.optim.lr, before_step=_stop_if_asked)
        return OverfitCheck(found, findings(found, batch, parts.state.network), len(batch) * dist.world_size())


def check_rate(loaded: Loaded[Recipe], checkpoint: Path | None = None) -> RateCheck:
    """A learning-rate range test. Writes `<name>_rate.csv` and `<name>_rate.png` into output.log_root."""
    root = loaded.config.output.log_root
    table, plot = (root / f"{loaded.config.name}_rate{suffix}" for suffix in (".csv", ".png"))
    from_main(lambda: [require_place(path, "--check rate:") for path in (table, plot)])
    with _begun(loaded, checkpoint) as begun:
        parts, recipe = begun.parts, begun.loaded.config
        found = rate_range(parts.stages.step_for(0), parts.loader, before_step=_stop_if_asked)

        def write() -> None:
            rows = [{"rate": one.rate, "loss": one.loss, "smoothed": one.smoothed} for one in found.points]
            write_table(table, rows, ("rate", "loss", "smoothed"))
            rate_range_plot(rows, plot, found.proposal, found.diverged)

        from_main(write)
        return RateCheck(found, table, plot, recipe.optim.lr)


@contextmanager
def _begun(loaded: Loaded[Recipe], checkpoint: Path | None) -> Iterator[Begun]:
    """The run as it would begin, in a process group of its own; nothing of it is kept."""
    options = loaded.config.train
    device = dist.local_device(options.device)
    try:
        with StopSignals(), dist.process_group(device), Watch(options.stall_s, options.stall_limit_s):
            with working("start"):
                mode: Mode | None = None if checkpoint is None else "finetune"
                begun = begin(loaded, checkpoint, mode, device, small_evaluation=True, aside=True)
            precision = begun.parts.state.precision
            say(f"{loaded.config.model.backbone} on {precision.device}, {precision.name}; the weights are discarded")
            yield begun
    except Stopped as stopped:
        raise Stopped(stopped.number, "a check keeps nothing; the same command starts it again") from None


def _stop_if_asked() -> None:
    """Ends the check after a signal, which may have reached one process alone."""
    number = received()
    if dist.any_of([bool(number)])[0]:
        raise Stopped(number or STOPPED_BY_ANOTHER)
