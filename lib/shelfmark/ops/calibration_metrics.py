"""How far confidence is from accuracy. Legend: N images, C classes.

Confidence is the probability of the predicted class. Source: Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.similarity import compute_dtype

_ROUNDING = 1e-2


@dataclass(frozen=True, eq=False)
class Reliability:
    """What fell into bins of equal width: bin b of n takes the confidences above b / n and up to (b + 1) / n.

    num_images, num_right: (bins,) int64. confidence_sum: (bins,) float64.
    """

    num_images: Tensor
    num_right: Tensor
    confidence_sum: Tensor

    @property
    def expected_error(self) -> float | None:
        """Sum over bins of |accuracy - confidence| times the bin's share of all images; None without images."""
        total = int(self.num_images.sum())
        return float((self.num_right - self.confidence_sum).abs().sum()) / total if total else None

    @property
    def table(self) -> list[dict[str, float | int | None]]:
        """One row a bin: above, up_to, num_images, confidence, accuracy; None in a bin without images."""
        num_bins = len(self.num_images)
        columns = (self.num_images.tolist(), self.confidence_sum.tolist(), self.num_right.tolist())
        return [
            {
                "above": place / num_bins,
                "up_to": (place + 1) / num_bins,
                "num_images": images,
                "confidence": confidence / images if images else None,
                "accuracy": right / images if images else None,
            }
            for place, (images, confidence, right) in enumerate(zip(*columns))
        ]


def reliability(confidence: Tensor, hits: Tensor, num_bins: int = 15) -> Reliability:
    """The images of each bin of confidence. confidence: (N,) in 0..1. hits: (N,) bool, whether each is right."""
    if num_bins < 1:
        raise ValueError(f"num_bins={num_bins} must be 1 or above")
    if confidence.ndim != 1 or hits.shape != confidence.shape:
        raise ValueError(f"confidence {tuple(confidence.shape)} and hits {tuple(hits.shape)} must both be (N,)")
    confidence = confidence.double()
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise UserError("a confidence is not in 0..1: it must be a probability, and not NaN.")
    inner_edges = torch.arange(1, num_bins, dtype=torch.float64, device=confidence.device) / num_bins
    place = torch.bucketize(confidence, inner_edges)
    return Reliability(
        num_images=torch.bincount(place, minlength=num_bins),
        num_right=torch.bincount(place[hits.bool()], minlength=num_bins),
        confidence_sum=torch.bincount(place, confidence, minlength=num_bins),
    )


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, num_bins: int = 15, from_logits: bool = False
) -> float | None:
    """ECE of the predicted class, in 0..1: 0 where of all predictions made with confidence p a share p is right.

    probabilities: (N, C) with rows summing to 1, or logits with `from_logits`. labels: (N,), -1 leaves an image out;
    None where no image is left. Of equal probabilities the lower class is predicted. Source: Guo et al. 2017, eq. 3.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)} do not fit as (N, C) and (N,)"
        )
    is_labelled = labels.to(probabilities.device) >= 0
    probabilities = probabilities[is_labelled].to(compute_dtype(probabilities))
    wanted = labels.to(probabilities.device)[is_labelled]
    if from_logits:
        confidence, predicted = top_probability(probabilities)
    else:
        _check_probabilities(probabilities)
        confidence, predicted = probabilities.clamp(max=1).max(dim=1).values, probabilities.argmax(dim=1)
    return reliability(confidence, predicted == wanted, num_bins).expected_error


def top_probability(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) float64 softmax probability of each row's greatest logit, and (N,) its class, the lower of equal ones.

    logits: (N, C); -inf is a class that is never chosen, NaN and inf are a UserError.
    """
    logits = logits.to(compute_dtype(logits))
    greatest = logits.amax(dim=1)
    if not bool(greatest.isfinite().all()):
        row = int((~greatest.isfinite()).nonzero()[0])
        raise UserError(f"row {row} of the logits holds NaN or infinity, or no class at all: it has no probabilities.")
    return (logits - greatest[:, None]).exp().sum(dim=1).double().reciprocal(), logits.argmax(dim=1)


def _check_probabilities(probabilities: Tensor) -> None:
    in_range = bool((probabilities >= 0).all()) and bool((probabilities.sum(dim=1) - 1).abs().le(_ROUNDING).all())
    if not in_range:
        raise ValueError("probabilities must be 0 or above with rows that sum to 1; for logits set from_logits=True")
