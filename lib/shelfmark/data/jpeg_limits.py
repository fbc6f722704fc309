"""JPEGs that would take minutes or the memory for nothing, told by their markers before a pixel is decoded."""

from __future__ import annotations

MAX_SCANS = 100
"""Progressive JPEGs have about ten scans, those of the keenest programs some dozens. Each scan goes over the whole
picture, and thousands of them fit into a small file."""
MAX_PIXELS_A_BYTE = 4096
"""A whole JPEG has no more pixels for each byte: its blocks of 64 take a bit each at least, or, of the rare ones with
arithmetic coding, an eighth of one."""

_END, _SCAN = b"\xff\xd9", b"\xff\xda"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xCA)


def reason_against(data: bytes) -> str:
    """Why the JPEG is not to be decoded; empty where nothing speaks against it. Damage in its markers does not."""
    at, frame, size, num_channels = 2, 0, 0, 0
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            frame, num_channels = marker, data[at + 9]
            size = int.from_bytes(data[at + 5 : at + 7], "big") * int.from_bytes(data[at + 7 : at + 9], "big")
        elif marker == _SCAN[1]:
            break
        # A marker may be filled up with bytes of 255.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    else:
        return ""
    if size > MAX_PIXELS_A_BYTE * len(data):
        return "truncated"
    # A frame that is not progressive and has all channels in its first scan is decoded from that one.
    has_more = frame in _PROGRESSIVE or data[at + 4] < num_channels
    return f"more than {MAX_SCANS} scans" if has_more and _num_scans(data, at) > MAX_SCANS else ""


def _num_scans(data: bytes, begin: int) -> int:
    # Inside a scan's data no byte of 255 is followed by the second byte of the marker _SCAN or _END.
    end = data.find(_END, begin)
    return data.count(_SCAN, begin, len(data) if end < 0 else end)
