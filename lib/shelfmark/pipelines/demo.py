"""`make demo`: the whole road on the generated shop, in minutes, without a GPU."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.config.load import Loaded
from shelfmark.core.log import say
from shelfmark.pipelines.calibrate import Calibration, calibrate
from shelfmark.pipelines.predict import Prediction, predict
from shelfmark.pipelines.train import train
from shelfmark.runtime.trained_model import open_model


@dataclass(frozen=True)
class Demo:
    """The results of the demo, and the time of each part in seconds."""

    run: Path
    trained: dict[str, Any]
    recalibrated: Calibration
    predicted: Prediction
    seconds: dict[str, float]


def demo(loaded: Loaded) -> Demo:
    """Generates the shop, trains, evaluates, recalibrates with the best of several methods, writes a submission."""
    began = time.perf_counter()
    run, trained = train(loaded)
    trained_at = time.perf_counter()
    say("")
    recalibrated = calibrate(open_model(run / "best_model"))
    recalibrated_at = time.perf_counter()
    say("")
    predicted = predict(open_model(recalibrated.checkpoint))
    seconds = {
        "shop, training, evaluation": trained_at - began,
        "recalibration": recalibrated_at - trained_at,
        "submission": time.perf_counter() - recalibrated_at,
    }
    return Demo(run, trained, recalibrated, predicted, seconds)
