"""What is set after training, from stored features. Each `fit(...)` returns self; learned values end in `_`."""

from shelfmark.calibration.tau_norm import TauNorm, tau_normalized

__all__ = ["TauNorm", "tau_normalized"]
