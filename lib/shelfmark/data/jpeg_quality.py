"""The quality with which a JPEG was written, as libjpeg counts it, from the numbers that its brightness was divided by.

Source: the tables of ITU-T T.81, Annex K, and their scaling in the Independent JPEG Group's jcparam.c.
"""

from __future__ import annotations

_TABLES, _SCAN = 0xDB, 0xDA
_SUM_AT_50 = 3688
"""The sum of the 64 numbers at quality 50."""


def jpeg_quality(data: bytes) -> int | None:
    """1 to 100; of a table of another program, that of libjpeg's table with the same sum. None where none is found.

    Exact to 1 from 17 on; below, where the numbers end at 255, it is up to 10 too high.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == _TABLES:
            total = _sum_of_first(data[at + 4 : at + 2 + length])
            if total:
                return _quality(total)
        # A marker may be filled up with bytes of 255.
        at += 1 if data[at + 1] == 0xFF else 2 + length
    return None


def _sum_of_first(tables: bytes) -> int:
    """The sum of table 0, which is that of brightness; 0 where it is not among these."""
    at = 0
    while at < len(tables):
        width, number = 1 + (tables[at] >> 4), tables[at] & 15
        numbers = tables[at + 1 : at + 1 + 64 * width]
        if number == 0 and len(numbers) == 64 * width:
            return sum(int.from_bytes(numbers[i : i + width], "big") for i in range(0, len(numbers), width))
        at += 1 + 64 * width
    return 0


def _quality(total: int) -> int:
    percent = 100 * total / _SUM_AT_50
    found = 5000 / percent if percent > 100 else (200 - percent) / 2
    return min(100, max(1, round(found)))
