"""The program of a decoding process: pictures of clients become pixels here, where a mistake of a decoder costs little.

    python -m shelfmark.serving.decoding

It is told how to decode, then answers one order after the other, on standard input and output; see `frames`.
"""

from __future__ import annotations

import os
import resource
from typing import Any, BinaryIO

import numpy as np

from shelfmark.data.boxes import Crop
from shelfmark.data.images import decode_crop, decode_rgb, size_of
from shelfmark.data.sources import UnreadableImage
from shelfmark.reports.thumbnails import small_jpeg
from shelfmark.serving.frames import read_frame, write_frame
from shelfmark.serving.preparations import Preparation, preparation_of

_NOT_AN_IMAGE = "not a "
_MANY_SECONDS = 10**6


def main() -> None:
    """Answers until standard input ends."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a library prints must not come between the answers.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    first = read_frame(orders)
    if first is None:
        return
    limits = first[0]["limits"]
    try:
        prepared = preparation_of(first[0]["preparation"])
        prepared(np.zeros((2, 2, 3), np.uint8))
    except Exception as error:
        write_frame(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    _limit_memory(limits["decode_bytes"])
    write_frame(answers, {"ready": True})
    while _answer(orders, answers, prepared, limits):
        pass


def _answer(orders: BinaryIO, answers: BinaryIO, prepared: Preparation, limits: dict[str, int]) -> bool:
    frame = read_frame(orders)
    if frame is None:
        return False
    order, data = frame
    _limit_time(limits["decode_s"])
    try:
        if "thumbnail_px" in order:
            head, content = {}, small_jpeg(_shown(order, data, limits["pixels"]), order["thumbnail_px"])
        else:
            _require_few_pixels(data, limits["pixels"])
            pixels = np.ascontiguousarray(prepared.of_file(data))
            head, content = {"shape": pixels.shape}, pixels.tobytes()
    except UnreadableImage as error:
        write_frame(answers, {"code": _code(error.reason), "reason": error.reason})
    except MemoryError:
        write_frame(answers, {"code": "too_many_pixels", "reason": "it needs too much memory"})
    else:
        write_frame(answers, head, content)
    return True


def _shown(order: dict[str, Any], data: bytes, most: int) -> np.ndarray:
    if "crop" in order:
        return decode_crop(data, "", Crop(*order["crop"]), most)
    return decode_rgb(data, "", most)


def _require_few_pixels(data: bytes, most: int) -> None:
    width, height = size_of(data, "")
    if width * height > most:
        raise UnreadableImage("", f"{width} x {height} pixels; at most {most / 1e6:g} megapixels are read")


def _code(reason: str) -> str:
    if reason.startswith(_NOT_AN_IMAGE):
        return "not_an_image"
    return "too_many_pixels" if "pixels" in reason and reason != "no pixels" else "unreadable"


def _limit_memory(more_bytes: int) -> None:
    """From now on the process gets at most `more_bytes` beside what it has, writes no file and starts no process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        has_bytes = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has_bytes + more_bytes, has_bytes + more_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: float) -> None:
    """The system ends the process when the next picture has taken so many seconds of the processor: also a process
    whose server is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
