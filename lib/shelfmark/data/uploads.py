"""Training batches made ready on the device; on a GPU the next one is uploaded during the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.data.finish import Finish

_Begun = TypeVar("_Begun")


def ready_batches(batches: Iterator[Batch], finish: Finish, device: torch.device) -> Iterator[Batch]:
    """The batches with their images on the device, (N, 3, H, W) float32, finished there.

    To a GPU they are uploaded on a stream of its own, each while the one before it is trained on, so that a GPU holds
    two batches of images. Labels and rows stay where they are.
    """
    if device.type != "cuda":
        return (_finished(batch, finish, device) for batch in batches)
    uploads = _Uploads(finish, device)
    return one_ahead(batches, uploads.begun, uploads.ended)


def one_ahead(
    batches: Iterator[Batch], begun: Callable[[Batch], _Begun], ended: Callable[[_Begun], Batch]
) -> Iterator[Batch]:
    """`ended(begun(batch))` of each batch; each is begun before the one before it is handed out.

    A UserError that ends the batches is raised after the last batch that there is.
    """
    held: list[_Begun] = []
    try:
        for batch in batches:
            held.append(begun(batch))
            if len(held) == 2:
                yield ended(held.pop(0))
    except UserError:
        yield from map(ended, held)
        raise
    yield from map(ended, held)


class _Upload(NamedTuple):
    batch: Batch
    done: torch.cuda.Event


class _Uploads:
    def __init__(self, finish: Finish, device: torch.device) -> None:
        self._finish, self._device = finish, device
        self._stream = torch.cuda.Stream(device)

    def begun(self, batch: Batch) -> _Upload:
        with torch.cuda.stream(self._stream):
            ready = _finished(batch, self._finish, self._device)
        return _Upload(ready, self._stream.record_event())

    def ended(self, upload: _Upload) -> Batch:
        training = torch.cuda.current_stream(self._device)
        training.wait_event(upload.done)
        # Its memory must not go to the next upload while the step still reads it.
        upload.batch.images.record_stream(training)
        return upload.batch


def _finished(batch: Batch, finish: Finish, device: torch.device) -> Batch:
    images = batch.images.to(device, non_blocking=True)
    return replace(batch, images=finish(images, batch.draws), draws=None)
