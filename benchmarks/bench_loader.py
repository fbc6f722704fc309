"""How fast training pictures are read, beside timm, torchvision and OpenCV; and what memory a worker takes.

    make bench-loader [MORE="--packed DIR --rounds 7"]

Each reader makes crops of 224 px of photographs, as they are and put together to mosaics of 900 px: crops of 8 to 100%
of the area, antialiased, half of them flipped, normalised. It reads in this process on one thread, so the figure,
images a second of processor time, is that of one core. All readers take turns in each round, and the order of turns is
reversed from round to round; medians are printed. The files are read once before: they come from the memory of the
system. Freed memory stays with the process, as with `shelfmark train` and its workers.

Then ours reads both sets from packed copies of 320 px, which are made on the way, or the copy of --packed alone; and
larger mosaics say which share of the bytes such a copy takes.
--memory: a worker's own memory in place of the speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import cv2
import torch
from measuring import GROCERY, add_out, made_by, verdict, versions, write_page
from peer_readers import opencv_batches, timm_batches, torchvision_batches
from photograph_sets import TILE, write_mosaics
from worker_memory import memory_rows

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.allocator import keep_freed_memory
from shelfmark.data.limits import MAX_PIXELS
from shelfmark.data.shrunk import shrunk_picture
from shelfmark.data.sources.packed_copy import PackedCopy, open_copy
from shelfmark.pipelines.shrink import shrink
from shelfmark.recipe import Recipe, assemble

SIZE_PX, BATCH = 224, 32
NUM_PHOTOGRAPHS, NUM_MOSAICS = 512, 64
PACKED_PX, QUALITY = 320, 90
SQUARES = (3, 4, 5, 6)
CPU = torch.device("cpu")


@dataclass
class Reader:
    """batches: gives batches for ever. target: images a second that are asked for; 0 for none."""

    name: str
    batches: Iterator[Any]
    target: float = 0

    def seconds(self, num_batches: int) -> float:
        """Processor time of an image."""
        began = time.process_time()
        for _ in islice(self.batches, num_batches):
            pass
        return (time.process_time() - began) / (num_batches * BATCH)


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=GROCERY / "train", help="folder with photographs")
    parser.add_argument("--packed", type=Path, help="a packed copy of `shelfmark shrink`, in place of those made here")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=8, help=f"batches of {BATCH} images a turn")
    parser.add_argument("--memory", action="store_true", help="the memory of a worker")
    add_out(parser)
    options = parser.parse_args()
    photographs = sorted(options.images.rglob("*.jpg"))
    if not photographs:
        sys.exit(f"error: there are no photographs (*.jpg) in {options.images}; name a folder with some: --images.")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # As in a worker of `shelfmark train`.
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as work:
        lines = memory_page(photographs) if options.memory else page(photographs, Path(work), options)
        write_page(lines, options.out)


def page(photographs: Sequence[Path], work: Path, options: argparse.Namespace) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    chosen = photographs[:: max(1, len(photographs) // NUM_PHOTOGRAPHS)][:NUM_PHOTOGRAPHS]
    yield "# Reading training pictures"
    yield ""
    packages = versions("torch", "torchvision", "timm", "opencv-python-headless", "pillow")
    yield f"{made_by()} {packages}. To {SIZE_PX} px; medians of {options.rounds} alternating rounds."
    sets = [("348 px", chosen, 1200.0), ("900 px", write_mosaics(chosen, work, NUM_MOSAICS), 400.0)]
    for name, files, target in sets:
        folder = work / name.split()[0]
        folder.mkdir()
        yield from _table(f"{name}, {_kilobytes(files)} kB a picture", readers(files, folder, target), options)
        if options.packed is None:
            copy = packed_copy(files, folder, PACKED_PX)
            yield from _table(_of_copy(f"of {name}", copy), packed_readers(copy, files, folder), options)
    if options.packed is None:
        yield from shares(chosen, work)
    else:
        copy = open_copy(options.packed)
        root = Path(copy.facts["pictures.root"])
        keys = list(copy.keys)[:: max(1, len(copy) // NUM_PHOTOGRAPHS)][:NUM_PHOTOGRAPHS]
        some = packed_readers(copy, [root / key for key in keys], work)
        yield from _table(_of_copy(str(options.packed), copy), some, options)


def shares(photographs: Sequence[Path], work: Path) -> Iterator[str]:
    """The bytes of packed copies of mosaics, by the size of the mosaics."""
    yield ""
    yield f"| side of the photographs | kB a picture | kB in the copy at {PACKED_PX} px | share |"
    yield "|---:|---:|---:|---:|"
    for squares in SQUARES:
        folder = work / f"mosaics_{squares}"
        folder.mkdir()
        before = after = 0
        for file in write_mosaics(photographs, folder, NUM_MOSAICS, squares):
            data = file.read_bytes()
            before += len(data)
            after += len(shrunk_picture(data, file.name, PACKED_PX, QUALITY, MAX_PIXELS).data)
        kilobytes = [total / NUM_MOSAICS / 1000 for total in (before, after)]
        yield f"| {squares * TILE:,} px | {kilobytes[0]:.0f} | {kilobytes[1]:.0f} | {after / before:.0%} |"


def readers(files: Sequence[Path], folder: Path, target: float) -> list[Reader]:
    """Ours and the others on the same files. folder: for ours to write annotations."""
    as_given = partial(_endless, lambda batches: batches)
    return [
        Reader("ours, version 2", ours(files, folder, "data.pipeline=2"), target),
        Reader(
            "ours, version 2, as it goes to a GPU", ours(files, folder, "data.pipeline=2", normalises=False), target
        ),
        Reader("ours, version 1", ours(files, folder, "data.pipeline=1")),
        Reader("timm", as_given(timm_batches(files, SIZE_PX, BATCH))),
        Reader("torchvision", as_given(torchvision_batches(files, SIZE_PX, BATCH))),
        Reader("OpenCV", as_given(opencv_batches(files, SIZE_PX, BATCH))),
    ]


def packed_copy(files: Sequence[Path], folder: Path, size_px: int) -> PackedCopy:
    """A packed copy of the files, in `folder`, where annotations of them stand."""
    settings = [f"data.root={files[0].parents[-1]}", f"data.train_json={folder / 'train.json'}", "data.num_workers=0"]
    recipe = load(Recipe, None, [parse_override(one) for one in settings]).config
    with redirect_stdout(sys.stderr):
        return open_copy(shrink(recipe, size_px, QUALITY, folder / "packed").folder)


def packed_readers(copy: PackedCopy, files: Sequence[Path], folder: Path) -> list[Reader]:
    """Ours on pictures of a packed copy."""
    source = (f"data.source=packed:{copy.folder}", f"data.root={copy.facts['pictures.root']}")
    gpu = ours(files, folder, "data.pipeline=2", *source, normalises=False)
    return [
        Reader("ours, version 2, from the packed copy", ours(files, folder, "data.pipeline=2", *source), 3000.0),
        Reader("ours, version 2, from the packed copy, as it goes to a GPU", gpu, 3000.0),
        Reader("ours, version 1, from the packed copy", ours(files, folder, "data.pipeline=1", *source)),
    ]


def _of_copy(name: str, copy: PackedCopy) -> str:
    kilobytes = copy.records["length"].mean() / 1000
    return f"packed copy {name} at {copy.facts['size_px']} px, {kilobytes:.0f} kB a picture"


def ours(files: Sequence[Path], folder: Path, *options: str, normalises: bool = True) -> Iterator[Any]:
    """Batches of a training with these options, epoch after epoch; without what the device does."""
    records = [{"category_id": number % 4, "fpath": str(file)} for number, file in enumerate(files)]
    document = {"annotations": records, "num_classes": 4}
    (folder / "train.json").write_text(json.dumps(document))
    settings = [
        f"data.root={files[0].parents[-1]}",
        f"data.train_json={folder / 'train.json'}",
        f"data.input_size_px={SIZE_PX}",
        f"train.batch_size={BATCH}",
        "data.num_workers=0",
        *options,
    ]
    recipe = load(Recipe, None, [parse_override(one) for one in settings]).config
    loader = assemble.train_loader(recipe, assemble.read_table(recipe, "train"), CPU)
    if not normalises:
        loader.finish = None
    return chain.from_iterable(loader.epoch(epoch) for epoch in range(10**6))


def _endless(look: Callable[[Any], Iterable[Any]], batches: Any) -> Iterator[Any]:
    return chain.from_iterable(map(look, repeat(batches)))


def _table(title: str, all_readers: Sequence[Reader], options: argparse.Namespace) -> Iterator[str]:
    yield ""
    yield f"| {title} | images a second and core | of ours, version 2 | target |"
    yield "|---|---:|---:|---|"
    seconds: list[list[float]] = [[] for _ in all_readers]
    turns = list(zip(all_readers, seconds))
    for reader in all_readers:
        reader.seconds(1)
    for _ in range(options.rounds):
        for reader, taken in turns:
            taken.append(reader.seconds(options.batches))
        turns.reverse()
    for reader, taken in zip(all_readers, seconds):
        rate = 1 / statistics.median(taken)
        share = statistics.median(own / one for own, one in zip(seconds[0], taken))
        target = f"{reader.target:,.0f}: {verdict(rate >= reader.target)}" if reader.target else ""
        yield f"| {reader.name} | {rate:,.0f} | {share:.0%} | {target} |"


def memory_page(photographs: Sequence[Path]) -> Iterator[str]:
    """The lines of the page on a worker's memory."""
    yield "# The memory of a worker"
    yield ""
    yield f"{made_by()} {versions('torch')}. Megabytes that a worker shares with no other process."
    yield ""
    yield from memory_rows(photographs)


def _kilobytes(files: Sequence[Path]) -> int:
    return round(sum(file.stat().st_size for file in files) / len(files) / 1000)


if __name__ == "__main__":
    main()
