"""The head of a JPEG file: what can be known of a picture before a pixel is decoded, in a few microseconds."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)
_SEQUENTIAL = (0xC0, 0xC1)
_RESTART, _EXIF, _PROFILE, _ADOBE = 0xDD, 0xE1, 0xE2, 0xEE
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xDA)))
_SEGMENT = Struct(">BBH")


class JpegHead(NamedTuple):
    """height, width: as stored, not turned upright. height_at: the byte at which the height stands, two bytes long.

    unit_rows: rows of pixels that are coded together. is_plain: three channels or grey, and no metadata that could turn
    the picture or say how its channels are meant. is_one_pass: all rows are coded from top to bottom, so that those at
    the end need not be decoded. has_profile: of its colours (ICC).
    """

    height: int
    width: int
    height_at: int
    unit_rows: int
    is_plain: bool
    is_one_pass: bool
    has_profile: bool


def segments(data: bytes) -> list[tuple[int, int]]:
    """Marker and place of each segment of the head, the last of which is the first scan's unless the head is damaged.

    A segment is a byte of 255, the marker, the length of the rest, two bytes long, and the rest.
    """
    found, at, last = [], 2, len(data) - _SEGMENT.size
    while at <= last:
        begin, marker, length = _SEGMENT.unpack_from(data, at)
        if begin != 0xFF:
            break
        if marker == 0xFF:  # may fill up
            at += 1
            continue
        found.append((marker, at))
        if marker == SCAN:
            break
        at += 2 + length
    return found


def jpeg_head(data: bytes) -> JpegHead | None:
    """None where the head is damaged, or of a rare kind."""
    frame, frame_at, restarts, is_plain, has_profile = 0, 0, False, True, False
    for marker, at in segments(data):
        if marker in _FRAMES:
            frame, frame_at = marker, at
        elif marker == SCAN:
            found = _head(data, frame, frame_at, data[at + 4 : at + 5], is_plain, restarts) if frame else None
            return found and found._replace(has_profile=has_profile)
        elif marker in (_EXIF, _ADOBE):
            is_plain = False
        elif marker == _PROFILE and data.startswith(b"ICC_PROFILE\0", at + 4):
            has_profile = True
        elif marker == _RESTART:
            restarts = True
        elif marker in _WITHOUT_LENGTH:
            return None
    return None


def _head(data: bytes, frame: int, at: int, in_scan: bytes, is_plain: bool, restarts: bool) -> JpegHead | None:
    # In bytes: marker 2, length 2, bits of a sample 1, height 2, width 2, number of channels 1, 3 for each channel.
    height, width = (int.from_bytes(data[place : place + 2], "big") for place in (at + 5, at + 7))
    number = data[at + 9]
    factors = [byte & 15 for byte in data[at + 11 : at + 10 + 3 * number : 3]]
    if data[at + 4] != 8 or not (height and width and number) or len(factors) != number or not all(factors):
        return None
    unit_rows = 8 * max(factors)
    # With restarts, the decoder's word for damage is also its word for rows that it left.
    is_one_pass = frame in _SEQUENTIAL and not restarts and in_scan == bytes([number])
    return JpegHead(height, width, at + 5, unit_rows, is_plain and number in (1, 3), is_one_pass, has_profile=False)
