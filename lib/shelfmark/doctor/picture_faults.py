"""Pictures that show too little: dark, bright, blank, blurred, tiny, of an odd shape. Legend: N pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DARK_BELOW, BRIGHT_ABOVE, BLANK_BELOW, BLURRED_ABOVE, ODD_ABOVE = 70.0, 210.0, 2.0, 0.74, 3.0
ENLARGED_ABOVE = 2.0


@dataclass(frozen=True, eq=False)
class PictureFault:
    """pictures: (n,) int64, the worst first. values: (n,) what was measured. told: how it was measured, in words."""

    name: str
    pictures: np.ndarray
    values: np.ndarray
    told: str


def picture_faults(facts: np.ndarray, is_read: np.ndarray, input_size_px: int) -> list[PictureFault]:
    """What is wrong with single pictures. facts: (N,) of the fields of measures.RECORD. A blank picture is only blank.

    input_size_px: of the network; a picture that is enlarged more than twice for it is tiny.
    """
    has_content = is_read & (facts["contrast"] >= BLANK_BELOW)
    shorter = np.minimum(facts["width"], facts["height"]).astype(np.float64)
    aspect = np.maximum(facts["width"], facts["height"]) / np.maximum(shorter, 1)
    blurred = has_content & (facts["blur"] > BLURRED_ABOVE)
    return [
        _fault("blank", is_read & ~has_content, facts["contrast"], 1, "contrast, of 0..128"),
        _fault(
            "dark", has_content & (facts["bright_end"] < DARK_BELOW), facts["bright_end"], 1,
            "brightness, of 0..255, that a twentieth of the picture is above",
        ),
        _fault(
            "bright", has_content & (facts["dark_end"] > BRIGHT_ABOVE), facts["dark_end"], -1,
            "brightness, of 0..255, that a twentieth of the picture is below",
        ),
        _fault("blurred", blurred, facts["blur"], -1, "blur, of 0..1"),
        _fault("tiny", is_read & (ENLARGED_ABOVE * shorter < input_size_px), shorter, 1, "shorter side, in pixels"),
        _fault("odd_shape", is_read & (aspect > ODD_ABOVE), aspect, -1, "longer side divided by the shorter one"),
    ]  # fmt: skip


def _fault(name: str, is_faulty: np.ndarray, values: np.ndarray, sign: int, told: str) -> PictureFault:
    """sign: 1 where small values are worse, else -1."""
    pictures = np.flatnonzero(is_faulty)
    pictures = pictures[np.argsort(sign * values[pictures], kind="stable")]
    return PictureFault(name, pictures, values[pictures].astype(np.float64), told)
