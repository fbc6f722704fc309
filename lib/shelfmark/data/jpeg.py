"""JPEG data to pixels by OpenCV, and whether its decoder, libjpeg, found the data damaged.

After damage libjpeg decodes what it can of the rest, grey where nothing is left, and only writes a line to the
standard error. Neither OpenCV nor Pillow reports the damage, so the line is caught.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading

import cv2
import numpy as np

from shelfmark.data.jpeg_head import JpegHead

END = b"\xff\xd9"
_WARNING = re.compile(
    rb"^(Corrupt JPEG data|Premature end of JPEG file|Inconsistent progression sequence|Invalid SOS parameters"
    rb"|Unknown Adobe color transform|Warning: unknown JFIF|Application transferred too many scanlines)[^\n]*\n?",
    re.MULTILINE,
)
_LEFT_OVER = re.compile(rb"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
# OpenCV before 4.11 has its own order of colours alone.
_IS_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_COLOUR = cv2.IMREAD_COLOR_RGB if _IS_RGB else cv2.IMREAD_COLOR
_FLAGS = {
    1: _COLOUR,
    2: _COLOUR | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _COLOUR | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _COLOUR | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
SHRINKS = tuple(_FLAGS)
"""The numbers by which a JPEG's width and height can be divided while it is decoded."""


def decode(
    data: bytes, shrink: int = 1, head: JpegHead | None = None, num_rows: int | None = None
) -> tuple[np.ndarray | None, bool]:
    """(H, W, 3) uint8 RGB, not turned upright, and whether the decoder warned of damage.

    None where OpenCV cannot decode it or the data has no end. shrink: of SHRINKS. num_rows: how many rows from the
    top, at full size, are wanted; None for all. head: of the data; with it, rows behind these may be left out, and
    damage in them is not found.
    """
    end = data.rfind(END) + len(END)
    if end < len(END):
        # OpenCV would decode the part that is there, and leave the other pixels as they were in memory.
        return None, False
    shortened = _shortened(data, head, num_rows)
    pixels, said = _stderr.caught(np.frombuffer(shortened or data, np.uint8, count=end), _FLAGS[shrink])
    is_known = said is None or (shortened is not None and _LEFT_OVER.match(said))
    damaged = said is not None and not is_known and not _is_padding(said, data[:end])
    if pixels is not None and not _IS_RGB:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return pixels, damaged


def _shortened(data: bytes, head: JpegHead | None, num_rows: int | None) -> bytearray | None:
    """The data with a smaller height in their head, behind which the decoder leaves off; None to decode all."""
    if head is None or num_rows is None or not head.is_one_pass:
        return None
    # Colours of the last rows are interpolated with those of the next two.
    height = -(-(num_rows + 2) // head.unit_rows) * head.unit_rows
    if height >= head.height:
        return None
    shortened = bytearray(data)
    shortened[head.height_at : head.height_at + 2] = height.to_bytes(2, "big")
    return shortened


def _is_padding(said: bytes, data: bytes) -> bool:
    """Whether the warning is only about padding before the end, which some cameras write."""
    left_over = _LEFT_OVER.match(said)
    if not left_over:
        return False
    filling = data[-len(END) - int(left_over[1]) : -len(END)]
    return not filling.strip(b"\0") or not filling.strip(b"\xff")


class _StandardError:
    """Catches libjpeg's lines on file descriptor 2, and writes the lines of others, meanwhile, to the standard error.

    Costs 4 microseconds a picture. A process decodes one picture at a time; loader workers are processes of their own.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler may run while the lock is held, and fork.
        self._lock = threading.RLock()
        self._pipe: tuple[int, int] | None = None
        self._watches_forks = False

    def caught(self, data: np.ndarray, flags: int) -> tuple[np.ndarray | None, bytes | None]:
        """The decoded pixels, and libjpeg's warning. libjpeg writes only the first warning of a picture."""
        with self._lock:
            reader, writer = self._pipe or self._opened()
            before = os.dup(2)
            try:
                os.dup2(writer, 2)
                pixels = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
            finally:
                os.dup2(before, 2)
                os.close(before)
            try:
                text = os.read(reader, 1 << 16)
            except BlockingIOError:
                return pixels, None
        warning = _WARNING.search(text)
        others = _WARNING.sub(b"", text)
        if others:
            with contextlib.suppress(OSError):
                os.write(2, others)
        return pixels, warning[0] if warning else None

    def _opened(self) -> tuple[int, int]:
        try:
            os.fstat(2)
        except OSError:  # a daemon may have closed it
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            if nothing != 2:
                os.close(nothing)
        reader, writer = self._pipe = os.pipe()
        # Text that does not fit into the pipe is lost: a blocking write could wait for ever.
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        if not self._watches_forks:
            self._watches_forks = True
            # A child must not inherit a lock that nobody would release, nor the pipe, which its parent reads.
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._renew
            )
        return reader, writer

    def _renew(self) -> None:
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None
        self._lock.release()


_stderr = _StandardError()
