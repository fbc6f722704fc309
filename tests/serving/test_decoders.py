"""Decoding processes that are given good pictures, bombs, and no chance to answer."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained_models import options

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.data.images import decode_rgb
from shelfmark.data.transforms import eval_transform, normalised
from shelfmark.export.model_facts import input_facts
from shelfmark.recipe import Recipe
from shelfmark.serving.decoders import Decoders
from shelfmark.serving.limits import Limits
from shelfmark.serving.preparations import TRAINED, Preparation
from shelfmark.serving.refusals import Unreadable

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    words = [*options(tmp_path_factory.mktemp("recipe")), "data.eval_resize_px=[20]"]
    return load(Recipe, None, [parse_override(word) for word in words]).config


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8))


def encoded(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def flat_png(width: int, height: int) -> bytes:
    """A whole PNG of transparent pixels: small as a file, four bytes a pixel when it is decoded."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 4 * width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_decoders(
    recipe: Recipe, work: Callable[[Decoders], Awaitable[None]], limits: Limits, number: int = 1
) -> list[int]:
    """Runs the work; the processes that were replaced are counted."""
    replaced: list[int] = []

    async def run() -> None:
        decoders = Decoders(Preparation(TRAINED, input_facts(recipe.data)).as_json(), number, limits)
        decoders.replaced = lambda: replaced.append(1)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await decoders.start()
                await work(decoders)
        finally:
            await decoders.close()
        assert not [pid for pid in pids(decoders) if Path(f"/proc/{pid}").exists()]

    asyncio.run(run())
    return replaced


def pids(decoders: Decoders) -> list[int]:
    return [process._process.pid for process in decoders._all]


def test_pixels_are_those_of_the_evaluation_and_a_bomb_costs_itself_alone(recipe, photo, monkeypatch):
    monkeypatch.setenv("SHELFMARK_SECRET", "of the service")

    async def work(decoders: Decoders) -> None:
        pixels, height, width = await decoders.decoded(photo)
        assert (height, width) == (37, 50)
        expected = eval_transform(recipe.data.input_size_px, recipe.data)(decode_rgb(photo, ""), 0)
        found = normalised(torch_of(pixels), recipe.data)
        assert (found == expected).all()
        [pid] = pids(decoders)
        assert b"SHELFMARK_SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
        too_large = flat_png(6000, 4000)
        with pytest.raises(Unreadable) as refused:
            await decoders.decoded(too_large)
        assert refused.value.code == "too_many_pixels"
        with pytest.raises(Unreadable, match="not a JPEG"):
            await decoders.decoded(b"no picture")
        assert np.array_equal((await decoders.decoded(photo)).pixels, pixels)
        assert pids(decoders) == [pid]
        thumbnail = Image.open(io.BytesIO(await decoders.thumbnail(photo, 25)))
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (25, 18))

    # 24 million pixels are allowed, and take 96 MB and more, which are not.
    assert not with_decoders(recipe, work, Limits(decode_bytes=80_000_000, decode_s=PATIENCE_S))


def torch_of(pixels: np.ndarray) -> object:
    import torch

    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def test_a_decoder_that_is_killed_or_hangs_costs_its_own_picture_alone_and_another_takes_its_place(recipe, photo):
    async def work(decoders: Decoders) -> None:
        await decoders.decoded(photo)
        before = pids(decoders)
        for number, reason in (
            (signal.SIGKILL, "its decoder failed"),
            (signal.SIGSTOP, "not decoded within 2 seconds"),
        ):
            # The last that became free is asked next.
            [next_one] = [one._process.pid for one in list(decoders._free._queue)[-1:]]
            os.kill(next_one, number)
            with pytest.raises(Unreadable, match=reason):
                await decoders.decoded(photo)
            while True:  # the other one answers, as soon as it is given the time
                try:
                    assert (await decoders.decoded(photo)).pixels.shape == (16, 16, 3)
                    break
                except Unreadable:
                    continue
        while len(pids(decoders)) < 2 or decoders._free.qsize() < 2:
            await asyncio.sleep(0.05)
        assert not set(pids(decoders)) & set(before[-1:])

    assert len(with_decoders(recipe, work, Limits(decode_s=2), number=2)) >= 2


def test_a_process_that_computes_too_long_is_ended_by_the_system(recipe, photo):
    """The limit of processor time holds in a process whose service is gone: the service's own clock is set aside."""

    async def work(decoders: Decoders) -> None:
        await decoders.decoded(photo)
        [pid] = pids(decoders)
        soft = int(Path(f"/proc/{pid}/limits").read_text().split("Max cpu time")[1].split()[0])
        used = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        assert soft - used / os.sysconf("SC_CLK_TCK") <= 4
        limits = Path(f"/proc/{pid}/limits").read_text()
        for name in ("Max file size", "Max core file size"):
            assert limits.split(name)[1].split()[0] == "0"

    with_decoders(recipe, work, Limits(decode_s=3))


def test_a_preparation_that_no_decoder_knows_is_told_at_the_start():
    async def run() -> None:
        decoders = Decoders({"decoder": "trained", "input": {}}, 1, Limits())
        with pytest.raises(UserError, match="KeyError: 'resize'"):
            await decoders.start()
        await decoders.close()

    asyncio.run(run())


def test_a_decoding_process_does_without_torch() -> None:
    program = "import sys, shelfmark.serving.decoding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
