"""What the checkpoint makes of pictures, and how near an exported file comes to it.

Legend: N pictures, H x W pixels, D embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfmark.data.images import decode_rgb
from shelfmark.data.sources import ImageSource, UnreadableImage
from shelfmark.data.transforms import Transform
from shelfmark.export import predict
from shelfmark.export.network import ExportedNetwork
from shelfmark.export.predict import Predictor, UnreadablePicture

FEWEST_PICTURES = 200
"""With fewer the check is weaker, and says so."""
ALLOWED = {
    "top1_agreement": 1.0,
    "probability_difference": 1e-4,
    "logits_relative": 1e-3,
    "embedding_relative": 1e-3,
    "recall@1_change": 0.0,
}
"""What the proof of a file in fp32 asks for. The relative ones are shares of the largest value."""
_BLOCK = 16
_OTHER_PIXEL = 1e-3
"""In normalised input: a step of one in 255 is ten times as large."""

OwnLogits = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) to logits (N, C), as the commands compute them, on the CPU."""


@dataclass(eq=False)
class Expected:
    """What the checkpoint makes of N pictures in fp32, from pixels that Pillow decoded.

    rows: (N,) of the source. outputs: see `predict.kept`. digests: SHA-256 of the input's pixels. unread: name ->
    reason, of those that one of the two decoders could not read. resize_differs: pictures whose pixels the exported
    resize makes otherwise. decoders: of the pictures that OpenCV decodes otherwise than Pillow, how far, and how many
    get another class. own_precision_differs: pictures that get another class as the commands compute; None where that
    is as here.
    """

    rows: np.ndarray
    labels: np.ndarray
    outputs: dict[str, np.ndarray]
    digests: list[str]
    top1: np.ndarray
    unread: dict[str, str] = field(default_factory=dict)
    resize_differs: int = 0
    decoders: dict[str, Any] = field(default_factory=dict)
    own_precision_differs: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The kept outputs of some of the pictures."""
        return {name: values[rows] for name, values in self.outputs.items()}


@dataclass(frozen=True, eq=False)
class Proof:
    """How pictures pass. how: `input` of model.json. transform: the checkpoint's evaluation. own: see `OwnLogits`; None
    where the commands compute in fp32 on the CPU, as the proof does."""

    network: ExportedNetwork
    transform: Transform
    how: Mapping[str, Any]
    own: OwnLogits | None = None

    def expected(self, source: ImageSource, rows: np.ndarray, labels: np.ndarray) -> Expected:
        """rows, labels: (N,), of the pictures to take."""
        blocks, unread = [], {}
        for start in range(0, len(rows), _BLOCK):
            pictures = []
            for one in range(start, min(start + _BLOCK, len(rows))):
                try:
                    pictures.append((one, self._picture(source, int(rows[one]))))
                except (UnreadableImage, UnreadablePicture) as error:
                    unread[source.name(int(rows[one]))] = error.reason
            if pictures:
                blocks.append(self._block(pictures))
        kept = np.concatenate([block.places for block in blocks]) if blocks else np.empty(0, np.int64)
        found = _joined(blocks, rows[kept], labels[kept], unread)
        return found if self.own is not None else replace(found, own_precision_differs=None)

    def _picture(self, source: ImageSource, row: int) -> _Picture:
        data, name = source.read(row), source.name(row)
        decoding = self.how["max_pixels"], self.how.get("color_profiles", "ignore")
        pillow, opencv = predict.decoded(data, name, *decoding), decode_rgb(data, name, *decoding)
        pixels = predict.to_input(pillow, self.how)
        is_same = pillow.shape == opencv.shape and np.array_equal(pillow, opencv)
        return _Picture(self.transform(pillow, 0), pixels, None if is_same else (pillow, opencv))

    def _block(self, pictures: Sequence[tuple[int, _Picture]]) -> _Block:
        images = torch.stack([one.image for _, one in pictures])
        pixels = np.stack([one.pixels for _, one in pictures])
        embedding, logits, *_ = (one.numpy() for one in self.network.passed(images))
        top1 = logits.argmax(axis=1)
        own = top1 if self.own is None else self.own(images).float().numpy().argmax(axis=1)
        normalised = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - self.network.mean) / self.network.std
        others = [(row, one.others) for row, (_, one) in enumerate(pictures) if one.others is not None]
        return _Block(
            np.array([place for place, _ in pictures]),
            predict.kept(embedding, logits),
            [predict.digest(one) for one in pixels],
            top1,
            int((top1 != own).sum()),
            int(((normalised - images).abs().flatten(1).amax(dim=1) > _OTHER_PIXEL).sum()),
            [self._other_decoder(both, int(top1[row])) for row, both in others],
        )

    def _other_decoder(self, both: tuple[np.ndarray, np.ndarray], top1: int) -> tuple[int, float, bool]:
        """Largest and mean difference of two decodings in steps of 255, and whether the class is another one."""
        pillow, opencv = both
        _, logits, *_ = self.network.passed(self.transform(opencv, 0)[None])
        if pillow.shape != opencv.shape:
            return 255, 255.0, int(logits.argmax()) != top1
        steps = np.abs(pillow.astype(np.int16) - opencv)
        return int(steps.max()), float(steps.mean()), int(logits.argmax()) != top1


def measure(predictor: Predictor, source: ImageSource, expected: Expected) -> tuple[dict[str, Any], np.ndarray]:
    """How far the exported file is from what was expected, from the pictures' bytes on; and its classes (N,)."""
    found = [predictor.predict(block) for block in _blocks_of_bytes(source, expected.rows)]
    embedding, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return predict.compared(expected.outputs, embedding, logits, expected.labels), logits.argmax(axis=1)


def _blocks_of_bytes(source: ImageSource, rows: np.ndarray) -> Iterator[list[bytes]]:
    for start in range(0, len(rows), _BLOCK):
        yield [source.read(int(row)) for row in rows[start : start + _BLOCK]]


@dataclass(frozen=True, eq=False)
class _Picture:
    image: Tensor
    pixels: np.ndarray
    others: tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True, eq=False)
class _Block:
    places: np.ndarray
    outputs: dict[str, np.ndarray]
    digests: list[str]
    top1: np.ndarray
    own_differs: int
    resize_differs: int
    decoders: list[tuple[int, float, bool]]


def _joined(blocks: Sequence[_Block], rows: np.ndarray, labels: np.ndarray, unread: dict[str, str]) -> Expected:
    names = blocks[0].outputs if blocks else {}
    others = [one for block in blocks for one in block.decoders]
    return Expected(
        rows,
        labels,
        {name: np.concatenate([block.outputs[name] for block in blocks]) for name in names},
        [digest for block in blocks for digest in block.digests],
        np.concatenate([block.top1 for block in blocks]) if blocks else np.empty(0, np.int64),
        unread,
        sum(block.resize_differs for block in blocks),
        {
            "pictures_that_differ": len(others),
            "largest_step": max((largest for largest, _, _ in others), default=0),
            "mean_step": float(np.mean([mean for _, mean, _ in others])) if others else 0.0,
            "other_class": sum(differs for _, _, differs in others),
        },
        sum(block.own_differs for block in blocks),
    )
