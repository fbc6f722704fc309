"""What hostile clients send to a service: ten kinds, each a coroutine that needs no answer."""

from __future__ import annotations

import asyncio
import io
import random
import struct
import zlib
from collections.abc import Awaitable, Callable

from PIL import Image

SLOW_S = 3.0
_LIMIT_S = 15.0

Hostile = Callable[[int, bytes], Awaitable[None]]
"""(port, a good photograph)."""


async def cut_body(port: int, photo: bytes) -> None:
    await _sent(port, _head(len(photo)) + photo[: len(photo) // 2], reads=False)


async def cut_head(port: int, photo: bytes) -> None:
    await _sent(port, _head(100)[: random.randrange(1, 60)], reads=False)


async def cut_file(port: int, photo: bytes) -> None:
    part = photo[: random.randrange(4, len(photo))]
    await _sent(port, _head(len(part)) + part)


async def bomb(port: int, photo: bytes) -> None:
    await _sent(port, _head(len(_BOMB)) + _BOMB)


async def large_picture(port: int, photo: bytes) -> None:
    """Within the limit of pixels, and slow to decode."""
    await _sent(port, _head(len(_LARGE)) + _LARGE)


async def wrong_type(port: int, photo: bytes) -> None:
    body = random.choice([b"<svg onload=alert(1)>", b"%PDF-1.7", b"PK\x03\x04", bytes(1000), b"http://127.0.0.1/"])
    await _sent(port, _head(len(body)) + body)


async def too_large(port: int, photo: bytes) -> None:
    await _sent(port, _head(10**10) + bytes(1000))


async def endless(port: int, photo: bytes) -> None:
    """A body without a length that never ends."""
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    await _sent(port, b"POST /recognise HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", chunk * 170)


async def slow(port: int, photo: bytes) -> None:
    """Letter by letter."""
    head = _head(len(photo))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for letter in range(int(SLOW_S / 0.25)):
        writer.write(head[letter : letter + 1])
        await asyncio.sleep(0.25)
    writer.close()


async def garbage(port: int, photo: bytes) -> None:
    await _sent(port, random.randbytes(500))


async def broken_form(port: int, photo: bytes) -> None:
    body = b"--x\r\n" * 1000 + photo
    head = "POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    await _sent(port, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


KINDS: tuple[Hostile, ...] = (
    cut_body,
    cut_head,
    cut_file,
    bomb,
    wrong_type,
    too_large,
    slow,
    garbage,
    broken_form,
)
RARE: tuple[Hostile, ...] = (large_picture, endless)
"""Each of these costs the service as much as many good requests: one in twenty."""


def drawn(draws: random.Random) -> Hostile:
    return draws.choice(RARE if draws.random() < 0.05 else KINDS)


async def sent(hostile: Hostile, port: int, photo: bytes) -> None:
    """What becomes of it does not matter."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            await hostile(port, photo)
    except (OSError, EOFError, TimeoutError):
        pass


async def _sent(port: int, *parts: bytes, reads: bool = True) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if reads:
            await reader.read(1000)
    finally:
        writer.close()


def _head(length: int) -> bytes:
    return f"POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def _bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6)))


def _large() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (5000, 4900), (200, 30, 40)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


_BOMB, _LARGE = _bomb(), _large()
