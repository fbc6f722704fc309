"""What `shelfmark doctor` finds of planted faults, beside imagededup and CleanVision, and how it scales.

    make bench-doctor [MORE="--part grocery --num 50"]

grocery, shop: the training photographs with copies (saved anew, resized, cropped by 10%, mirrored, recoloured), blurs,
swapped labels and classes of two labels planted in them. The peers see the same files in the same run, by their
defaults; their packages go into an environment of their own in the work folder. Recall is the share of planted pairs
that are found, precision the share of the found pairs that show one planted photograph; a natural copy counts against
precision, for all alike. search: near copies among a million thumbnails, made up of windows of these photographs, laid
over each other; one in a hundred is a copy of another. A part that is done is not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import GROCERY, add_out, in_own_process, made_by, peak_above, write_page
from peer_environment import python_with
from planted_faults import CHANGES, Planted, plant

from shelfmark.core.files import read_json, write_json
from shelfmark.core.rng import numpy_generator
from shelfmark.data.annotations import read_annotations
from shelfmark.doctor.measures import RECORD, THUMB_PX, measured
from shelfmark.doctor.near_copies import copies_by_hash, plan_of
from shelfmark.doctor.resampling import windows_of
from shelfmark.models.starter import STARTER
from shelfmark.pipelines.prepare import prepare
from shelfmark.shop import generate_shop, is_complete

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("grocery", "shop", "search")
PEERS = "imagededup==0.3.3.post2 cleanvision==0.3.7"
OURS, WITH_FEATURES = "doctor", f"doctor --model {STARTER}"
_BLOCK = 10_000


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/bench_doctor"), help="folder of the runs")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured (default: all)")
    parser.add_argument("--num", type=int, default=200, help="planted faults of each kind (default: 200)")
    parser.add_argument("--thumbs", type=int, default=1_000_000, help="thumbnails that are searched")
    parser.add_argument("--source", type=Path, default=GROCERY, help="folder of the grocery photographs")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    add_out(parser)
    options = parser.parse_args()
    write_page(page(options, options.work.resolve()), options.out)


def page(options: argparse.Namespace, work: Path) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    yield "# The doctor: planted faults, and near copies among a million thumbnails"
    yield ""
    yield f"{made_by()} Beside: {PEERS}."
    for part in options.part:
        if part == "search":
            yield from _search_told(options.thumbs, _planted("grocery", options, work).pictures, work)
        else:
            yield from _faults_told(part, _planted(part, options, work), work / part, options.no_peers)


def _planted(part: str, options: argparse.Namespace, work: Path) -> Planted:
    annotations = work / "sources" / part
    if part == "grocery" and not (annotations / "train.json").is_file():
        prepare("grocery", options.source, annotations)
    root = options.source if part == "grocery" else annotations
    if part == "shop" and not is_complete(annotations):
        generate_shop(annotations)
    return plant(read_annotations(annotations / "train.json", root), work / part, options.num, seed=0)


def _faults_told(part: str, planted: Planted, work: Path, no_peers: bool) -> Iterator[str]:
    methods = {OURS: _doctor(planted, work, []), WITH_FEATURES: _doctor(planted, work, ["--model", STARTER])}
    if not no_peers:
        methods |= _peers(planted, work)
    yield ""
    yield f"## {part}: copies"
    yield ""
    number = sum(map(len, planted.copies.values()))
    every = len(list(planted.pictures.iterdir()))
    yield f"{every:,} pictures, {number} planted copies. Recall of each kind, in percent."
    yield ""
    yield f"| method | {' | '.join(CHANGES)} | precision | pairs | seconds |"
    yield f"|---|{'---:|' * (len(CHANGES) + 3)}"
    for name, found in methods.items():
        yield _copies_row(name, found, planted)
    yield ""
    yield "| blurs | recall | precision | flagged |"
    yield "|---|---:|---:|---:|"
    for name, found in methods.items():
        if name != WITH_FEATURES and found["blurred"] is not None:
            yield _blur_row(name, found["blurred"], planted)
    yield ""
    told = methods[WITH_FEATURES]
    yield _share_told("swapped labels", told["doubtful"], planted.swapped)
    yield _share_told(
        "classes of two labels", told["one_product"], [f"{one} {other}" for one, other in planted.divided]
    )


def _copies_row(name: str, found: dict[str, Any], planted: Planted) -> str:
    pairs = {tuple(sorted(pair)) for pair in found["pairs"]}
    true = {tuple(sorted(pair)) for some in planted.copies.values() for pair in some}
    recalls = [
        f"{100 * sum(tuple(sorted(pair)) in pairs for pair in some) / len(some):.1f}"
        for some in planted.copies.values()
    ]
    precision = 100 * len(pairs & true) / max(1, len(pairs))
    return f"| {name} | {' | '.join(recalls)} | {precision:.1f} | {len(pairs):,} | {found['seconds']:.0f} |"


def _blur_row(name: str, flagged: Sequence[str], planted: Planted) -> str:
    right = len(set(flagged) & set(planted.blurred))
    recall, precision = 100 * right / len(planted.blurred), 100 * right / max(1, len(flagged))
    return f"| {name} | {recall:.1f} | {precision:.1f} | {len(flagged):,} |"


def _share_told(what: str, found: Sequence[str], planted: Sequence[str]) -> str:
    right = len(set(found) & set(planted))
    return f"- {what}, by {STARTER}: {right} of {len(planted)} found, {right} of {len(found)} told are right"


def _doctor(planted: Planted, work: Path, more: Sequence[str]) -> dict[str, Any]:
    """The command, from its start to its end, on nothing that it knows."""
    name = "features" if more else "hashes"
    kept = work / f"{name}.json"
    if not kept.is_file():
        out, log_root = work / name, work / f"log_{name}"
        words = ["doctor", *more, "--json", "--out", str(out), f"output.log_root={log_root}", "data.generated=''"]
        data = [f"data.root={planted.pictures}", f"data.train_json={planted.annotations}", "data.num_workers=2"]
        empty = [f"data.{split}_json=" for split in ("val", "test", "retrieval")]
        began = time.perf_counter()
        words = [sys.executable, "-m", "shelfmark", *words, *data, *empty]
        done = subprocess.run(
            words, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "lib")}
        )
        seconds = time.perf_counter() - began
        folder = Path(json.loads(done.stdout)["folder"])
        groups = [*_column(folder, "exact_copies"), *_column(folder, "near_copies")]
        write_json(
            kept,
            {
                "seconds": seconds,
                "pairs": _pairs(groups),
                "blurred": [row["image_id"] for row in _column(folder, "blurred")],
                "doubtful": [row["image_id"] for row in _column(folder, "doubtful_labels")],
                "one_product": [f"{row['class']} {row['other_class']}" for row in _column(folder, "one_product")],
            },
        )
    found: dict[str, Any] = read_json(kept)
    return found


def _column(folder: Path, name: str) -> list[dict[str, str]]:
    file = folder / f"{name}.csv"
    if not file.is_file():
        return []
    with open(file, encoding="utf-8", newline="") as stream:
        return [{**row, "kind": name} for row in csv.DictReader(stream)]


def _pairs(rows: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    """All pairs of each group of copies."""
    groups: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["group"]), set()).add(row["image_id"])
    return sorted({(one, two) for group in groups.values() for one in group for two in group if one < two})


def _peers(planted: Planted, work: Path) -> dict[str, dict[str, Any]]:
    kept = work / "peers.json"
    if not kept.is_file():
        python = python_with(PEERS, work.parent / "peer_environment")
        subprocess.run(
            [str(python), str(ROOT / "benchmarks" / "peer_doctor.py"), str(planted.pictures), str(kept)], check=True
        )
    found: dict[str, dict[str, Any]] = read_json(kept)
    return found


def _search_told(num: int, pictures: Path, work: Path) -> Iterator[str]:
    thumbs = work / f"thumbs_{num}.npy"
    if not thumbs.is_file():
        make_thumbs(thumbs, num, sorted(pictures.glob("0*"))[:2000])
    kept = work / f"search_{num}.json"
    if not kept.is_file():
        write_json(kept, in_own_process(search, thumbs))
    found = read_json(kept)
    yield ""
    yield f"## Near copies among {num:,} thumbnails"
    yield ""
    yield (
        f"{found['seconds']:.0f} s, of them {found['processor_s']:.0f} s of CPU; {found['peak_bytes'] / 1e6:,.0f} MB"
        f" above the start, of which up to {thumbs.stat().st_size / 1e6:,.0f} MB are pages of the thumbnails' file,"
        f" which the system can take back. All hashes that differ in {found['promised']} bits are"
        f" compared, and most up to {found['radius']}. Of {found['planted']:,} planted copies {found['found']:,} were"
        f" found, among {found['pairs']:,} pairs."
    )


def search(file: Path) -> dict[str, float]:
    """The search, with its time and memory. file: of thumbnails, of which row i is a copy of row i - 1 for some i."""
    torch.set_num_threads(os.cpu_count() or 1)
    thumbs = np.load(file, mmap_mode="r")
    began, processor = time.perf_counter(), time.process_time()
    peak, found = peak_above(
        lambda: copies_by_hash(np.arange(len(thumbs)), lambda rows: np.asarray(thumbs[rows])), torch.device("cpu")
    )
    seconds, processor_s = time.perf_counter() - began, time.process_time() - processor
    copies = set(np.load(file.with_suffix(".copies.npy")).tolist())
    right = sum(two == one + 1 and two in copies for one, two in zip(found.first.tolist(), found.second.tolist()))
    plan = plan_of(len(thumbs))
    return {
        "seconds": seconds,
        "processor_s": processor_s,
        "peak_bytes": peak,
        "pairs": len(found),
        "planted": len(copies),
        "found": right,
        "promised": plan.promised,
        "radius": plan.radius,
    }


def make_thumbs(out: Path, num: int, files: Sequence[Path]) -> None:
    """Thumbnails on the disk: windows of two photographs laid over each other. Every hundredth is a window of nine
    tenths of the one before."""
    import cv2

    pictures = [np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR))[..., ::-1] for file in files]
    whole = np.concatenate([measured(one).numpy().reshape(-1).view(RECORD)["thumb"] for one in pictures])
    made = np.lib.format.open_memmap(out, "w+", np.uint8, (num, THUMB_PX, THUMB_PX, 3))
    generator = numpy_generator(0, "thumbnails")
    for at in range(0, num, _BLOCK):
        some = min(_BLOCK, num - at)
        sides = [_window(whole[generator.integers(0, len(whole), some)], generator, 0.5, 0.9) for _ in range(2)]
        share = generator.uniform(0.2, 0.8, (some, 1, 1, 1)).astype(np.float32)
        laid = sides[0] * share + sides[1] * (1 - share)
        copies = np.arange(99, some, 100)
        laid[copies] = _window(laid[copies - 1].round().astype(np.uint8), generator, 0.9, 0.9)
        made[at : at + some] = laid.round().astype(np.uint8)
    made.flush()
    np.save(
        out.with_suffix(".copies.npy"),
        np.concatenate([np.arange(99, min(_BLOCK, num - at), 100) + at for at in range(0, num, _BLOCK)]),
    )


def _window(thumbs: np.ndarray, generator: np.random.Generator, smallest: float, largest: float) -> np.ndarray:
    """A window of each thumbnail, of one scale for both sides, mirrored or not."""
    scale = generator.uniform(smallest, largest, len(thumbs))
    top, left = (generator.uniform(0, 1, len(thumbs)) * (1 - scale) for _ in range(2))
    found = windows_of(thumbs.astype(np.float32), np.stack([top, left, scale, scale], axis=1))
    turned = generator.random(len(thumbs)) < 0.5
    found[turned] = found[turned][:, :, ::-1]
    return found


if __name__ == "__main__":
    main()
