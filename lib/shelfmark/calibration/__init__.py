"""Methods that recalibrate a trained model from stored features. `fit(...)` returns self; learned values end in `_`.

Each fitted method is `Calibrated`: `logits(features)`, and `held_out(features, labels)` for an honest score.
"""

from shelfmark.calibration.calibrated import Calibrated, Linear
from shelfmark.calibration.comparison import Comparison, compare
from shelfmark.calibration.crt import CRT
from shelfmark.calibration.expert_weights import ExpertWeights
from shelfmark.calibration.intervals import bootstrap_intervals
from shelfmark.calibration.logit_adjustment import LogitAdjustment
from shelfmark.calibration.lws import LWS
from shelfmark.calibration.ncm import NearestClassMean
from shelfmark.calibration.paired import paired_gains, paired_intervals
from shelfmark.calibration.pc_softmax import PCSoftmax
from shelfmark.calibration.tau_norm import TauNorm, tau_normalized
from shelfmark.calibration.temperature import Temperature
from shelfmark.calibration.warmed import Warmed

__all__ = [
    "CRT",
    "LWS",
    "Calibrated",
    "Comparison",
    "ExpertWeights",
    "Linear",
    "LogitAdjustment",
    "NearestClassMean",
    "PCSoftmax",
    "TauNorm",
    "Temperature",
    "Warmed",
    "bootstrap_intervals",
    "compare",
    "paired_gains",
    "paired_intervals",
    "tau_normalized",
]
