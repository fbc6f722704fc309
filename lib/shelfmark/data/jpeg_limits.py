"""JPEGs that would take minutes or the memory for nothing, told by their markers before a pixel is decoded."""

from __future__ import annotations

from shelfmark.data.jpeg_head import SCAN, segments

MAX_SCANS = 100
"""Progressive JPEGs have about ten scans, those of the keenest programs some dozens. Each scan goes over the whole
picture, and thousands of them fit into a small file."""
MAX_PIXELS_A_BYTE = 4096
"""A whole JPEG has no more pixels for each byte: its blocks of 64 take a bit each at least, or, of the rare ones with
arithmetic coding, an eighth of one."""

_END, _SCAN = b"\xff\xd9", bytes((0xFF, SCAN))
_LEAST_SCAN = 10
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xCA)


def reason_against(data: bytes) -> str:
    """Why the JPEG is not to be decoded; empty where nothing speaks against it. Damage in its markers does not."""
    *before, (last, begin) = segments(data) or [(0, 0)]
    if last != SCAN or begin + _LEAST_SCAN > len(data):
        return ""
    frame, size, num_channels = 0, 0, 0
    for marker, at in before:
        if marker in _FRAMES:
            frame, num_channels = marker, data[at + 9]
            size = int.from_bytes(data[at + 5 : at + 7], "big") * int.from_bytes(data[at + 7 : at + 9], "big")
    if size > MAX_PIXELS_A_BYTE * len(data):
        return "truncated"
    # A frame that is not progressive and has all channels in its first scan is decoded from that one.
    has_more = frame in _PROGRESSIVE or data[begin + 4] < num_channels
    return f"more than {MAX_SCANS} scans" if has_more and _num_scans(data, begin) > MAX_SCANS else ""


def _num_scans(data: bytes, begin: int) -> int:
    # Inside a scan's data no byte of 255 is followed by the second byte of the marker _SCAN or _END.
    end = data.find(_END, begin)
    return data.count(_SCAN, begin, len(data) if end < 0 else end)
