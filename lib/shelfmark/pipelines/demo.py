"""`make demo`: the whole road on the generated shop, in minutes, without a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from shelfmark.config.load import Loaded
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json
from shelfmark.core.log import say, warn
from shelfmark.pipelines import index
from shelfmark.pipelines.calibrate import Calibration, calibrate
from shelfmark.pipelines.export import Asked, Exported, export
from shelfmark.pipelines.predict import Prediction, predict
from shelfmark.pipelines.thresholds import Thresholds, thresholds
from shelfmark.pipelines.train import train
from shelfmark.runtime.index_content import Source
from shelfmark.runtime.promised_pictures import Given
from shelfmark.runtime.trained_model import TrainedModel, open_model
from shelfmark.shop.counter import Counter, write_counter

Found = TypeVar("Found")

MAX_WRONG, CONFIDENCE, MAX_FALSE_ACCEPT = 0.05, 0.95, 0.15
COUNTER = Counter()


@dataclass(frozen=True)
class Demo:
    """The results of the demo, and the time of each part in seconds.

    promise, exported: None where the model did not reach it, or a package is missing; the demo said so.
    """

    run: Path
    trained: dict[str, Any]
    recalibrated: Calibration
    predicted: Prediction
    index: Path
    promise: Thresholds | None
    exported: Exported | None
    seconds: dict[str, float]


def demo(loaded: Loaded) -> Demo:
    """Generates the shop, trains, evaluates, recalibrates with the best of several methods, writes a submission, and
    goes on to the counter: an index, thresholds that keep a promise, and a file that runs elsewhere."""
    clock = _Clock()
    run, trained = train(loaded)
    clock.ends("shop, training, evaluation")
    recalibrated = calibrate(open_model(run / "best_model"))
    clock.ends("recalibration")
    model = open_model(recalibrated.checkpoint)
    predicted = predict(model)
    clock.ends("submission")
    gallery = recalibrated.folder / "index"
    index.build(model, gallery, Source())
    promise = _tried("no promise", lambda: _promise(model, gallery))
    clock.ends("index, promise")
    exported = _tried("not exported", lambda: _export(model, gallery))
    clock.ends("export")
    return Demo(run, trained, recalibrated, predicted, gallery, promise, exported, clock.seconds)


def _promise(model: TrainedModel, gallery: Path) -> Thresholds:
    """Learned from photographs that had no part in the training: val chose the epoch and the recalibration."""
    root = model.recipe.data.root
    pictures = root.with_name(f"{root.name}_counter")
    say(f"photographs for the promise: {pictures}, a folder for each product, known or never seen")
    write_counter(pictures, replace(COUNTER, seed=read_json(root / "catalogue.json")["seed"]))
    return thresholds(model, gallery, MAX_WRONG, CONFIDENCE, MAX_FALSE_ACCEPT, given=Given(images=pictures))


def _export(model: TrainedModel, gallery: Path) -> Exported:
    return export(model, gallery.with_name("exported"), Asked(index=gallery))


def _tried(otherwise: str, work: Callable[[], Found]) -> Found | None:
    """What `work` finds; None, with the reason said, where it refuses: what was made before is kept."""
    try:
        return work()
    except UserError as error:
        warn(f"{otherwise}: {error}")
        return None


@dataclass
class _Clock:
    """Seconds of each part."""

    seconds: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.perf_counter)

    def ends(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self.since
        self.since = now
        say("")
