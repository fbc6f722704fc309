"""From the bytes of a picture to the pixels of the model's input, as the model's evaluation makes them.

A preparation travels to the decoding processes as JSON: `decoder`, which of the two reads files, and `input`, how the
pixels are resized and cropped, in the form that an exported model.json has. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shelfmark.data.images import decode_rgb
from shelfmark.data.sources import UnreadableImage
from shelfmark.export import predict

TRAINED, EXPORTED = "trained", "exported"
"""trained: as training and evaluation decode. exported: as the predict.py of an export, whose proof is of Pillow."""


@dataclass(frozen=True)
class Preparation:
    """input: `size_px` and the rest of model.json's `input`. decoder: of TRAINED and EXPORTED."""

    decoder: str
    input: Mapping[str, Any]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 at the size of the input, of a decoded picture."""
        return predict.to_input(pixels, self.input)

    def as_json(self) -> dict[str, Any]:
        return {"decoder": self.decoder, "input": dict(self.input)}

    def decoded(self, data: bytes) -> np.ndarray:
        """(H, W, 3) uint8, upright, of the bytes of a file. Raises UnreadableImage."""
        # Exports before this option have no word of it.
        most, profiles = int(self.input["max_pixels"]), self.input.get("color_profiles", "ignore")
        if self.decoder == TRAINED:
            return decode_rgb(data, "", most, profiles)
        try:
            return predict.decoded(data, "", most, profiles)
        except predict.UnreadablePicture as error:
            # What a decoder says may have an address in it.
            raise UnreadableImage("", error.reason.partition(" (")[0]) from None


def preparation_of(told: Mapping[str, Any]) -> Preparation:
    """What `Preparation.as_json` told."""
    return Preparation(told["decoder"], told["input"])
