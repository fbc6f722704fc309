"""Shelf photographs, from boxes to counts: how many boxes are answered, how many answers are wrong, and what becomes of
products that were never trained.

    make bench-shelves [MORE="--max-wrong 5%"]

The shop's run is trained by the recipe `shop`, or that of `--model` is taken. Its index has the training photographs,
one product each; a second index has the boxes of the training shelves besides. Thresholds are learned on the boxes of
val, and the boxes of test are answered. In val and test one run of packs in eight is of a product never trained, of
other families in each. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import add_out, made_by, write_page

from shelfmark.calibration.promise import bets
from shelfmark.data.annotations import read_annotations
from shelfmark.data.boxes import box_texts
from shelfmark.data.table import Table
from shelfmark.ops.cluster_metrics import bcubed
from shelfmark.shop.shelves import PHOTOGRAPHS, is_shelves, write_shelves

NUM_TRAINED = 120
ROWS = ("training photographs", "and boxes of training shelves")


@dataclass(frozen=True, eq=False)
class Found:
    """true, label: (N,) of each box; label is -1 where no single product was answered. kinds: of its answer.

    members: what each answer names. group: of unknown boxes, -1 for others.
    """

    true: np.ndarray
    label: np.ndarray
    kinds: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    group: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        return self.true < NUM_TRAINED

    @property
    def is_answered(self) -> np.ndarray:
        return np.array([kind != "unknown" for kind in self.kinds])

    @property
    def is_right(self) -> np.ndarray:
        return np.array([true in named for true, named in zip(self.true.tolist(), self.members)])


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/bench_shelves"), help="folder of the runs")
    parser.add_argument("--model", type=Path, help="checkpoint of the shop's 120 products, in place of a training")
    parser.add_argument("--epochs", type=int, help="of the training (default: those of the recipe)")
    parser.add_argument("--val", type=int, default=300, help="shelf photographs that teach thresholds")
    parser.add_argument("--test", type=int, default=200, help="shelf photographs that are answered")
    parser.add_argument("--max-wrong", default="5%", help="share of the answers that may be wrong")
    parser.add_argument("--max-false-accept", default="10%", help="likewise, of products never seen")
    add_out(parser)
    options = parser.parse_args()
    work, model = options.work.resolve(), None if options.model is None else options.model.resolve()
    wish = ["--max-wrong", options.max_wrong, "--max-false-accept", options.max_false_accept]
    photographs = {**PHOTOGRAPHS, "val": options.val, "test": options.test}
    write_page(page(work, photographs, model, options.epochs, wish), options.out)


def page(
    work: Path, photographs: Mapping[str, int], model: Path | None, epochs: int | None, wish: list[str]
) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    yield "# Shelf photographs: boxes, answers, counts"
    yield ""
    yield made_by()
    yield ""
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = prepare(work, photographs, model, epochs)
    test = read_annotations(work / "shelves/test.json", work / "shelves")
    num_new = int((test.labels >= NUM_TRAINED).sum())
    yield (
        f"{len(set(test.paths))} photographs of test, {len(test):,} boxes, of which {num_new:,} of"
        f" {len(np.unique(test.labels[test.labels >= NUM_TRAINED]))} products never trained. Promise:"
        f" {' '.join(wish)}, at 95%, learned on the boxes of {photographs['val']} photographs of val."
    )
    yield ""
    columns = (
        "index of",
        "right without thresholds, % of known",
        "answered, % of known",
        "wrong, % of answers",
        "wrong by photograph, %",
        "never trained answered, %",
        "unknown boxes in groups: BCubed P / R",
        "mean error of a count",
    )
    yield f"| {' | '.join(columns)} |"
    yield f"|---|{'---:|' * (len(columns) - 1)}"
    for name, index in zip(ROWS, indexes(work, checkpoint)):
        yield row(name, work, index, test, wish, checkpoint)
    yield ""
    yield "- wrong: of all answers, those about products never trained among them; a short list is right if it has the"
    yield "  product."
    yield "- wrong by photograph: of products that were trained, as is promised: the mean over photographs of the share"
    yield "  of their answers that are wrong, and its exact bounds, each at 95%."
    yield "- count: of each product on a photograph, boxes answered with it alone against boxes that show it."


def prepare(work: Path, photographs: Mapping[str, int], model: Path | None, epochs: int | None) -> Path:
    """The shop, the shelves and a checkpoint, each if it is not there."""
    if not is_shelves(work / "shelves", photographs=photographs):
        write_shelves(work / "shelves", photographs=photographs)
    _shelfmark(work, "prepare", "shop", "--out", "shop")
    if model is not None:
        return model
    checkpoint = work / "log/shop/best_model"
    if not (work / "log/shop/summary.json").is_file():
        files = [f"data.{name}_json=shop/{name}.json" for name in ("train", "val", "retrieval", "test")]
        words = ["data.root=shop", "data.test_root=shop/test", *files, "name=shop"]
        _shelfmark(work, "train", "--config", "shop", *words, *([f"train.num_epochs={epochs}"] if epochs else []))
    return checkpoint


def indexes(work: Path, checkpoint: Path) -> Iterator[Path]:
    """The two indexes, each made if it is not there."""
    first, second = work / "index", work / "index_with_shelves"
    shop = ["data.root=shop", "data.train_json=shop/train.json"]
    if not first.is_dir():
        _shelfmark(work, "index", "build", "--RESUME_MODEL", str(checkpoint), "--out", str(first), *shop)
    yield first
    if not second.is_dir():
        made = work / "index_made"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(first, made)
        (made / "thresholds.json").unlink(missing_ok=True)
        words = ["--annotations", "shelves/train.json", "data.root=shelves"]
        _shelfmark(work, "index", "add", "--index", str(made), "--RESUME_MODEL", str(checkpoint), *words)
        made.rename(second)
    yield second


def row(name: str, work: Path, index: Path, test: Table, wish: list[str], checkpoint: Path) -> str:
    """The figures of an index. Without a promise those of thresholds are empty."""
    (index / "thresholds.json").unlink(missing_ok=True)
    plain = answered(work, index, test)
    right = 100 * plain.is_right[plain.is_known].mean()
    # With the shop as data.root the boxes would be looked for there; no photograph of these shelves was trained on.
    learned = ["--annotations", "shelves/val.json", "data.root=shelves", "data.train_json=shelves/train.json", *wish]
    model = ["--RESUME_MODEL", str(checkpoint), "--index", str(index)]
    try:
        _shelfmark(work, "thresholds", *model, *learned)
    except subprocess.CalledProcessError:
        return f"| {name} | {right:.1f} | no promise: see above | | | | | {count_error(plain, test):.2f} |"
    found = answered(work, index, test)
    known, given = found.is_known, found.is_answered
    wrong = (~found.is_right & given).sum() / max(1, given.sum())
    grouped = found.group >= 0
    precision, recall, _ = bcubed(found.true[grouped], found.group[grouped])
    cells = (
        f"{right:.1f}",
        f"{100 * given[known].mean():.1f}",
        f"{100 * wrong:.1f}",
        by_photograph(found, test),
        f"{100 * given[~known].mean():.1f}",
        f"{100 * precision:.0f} / {100 * recall:.0f}",
        f"{count_error(found, test):.2f}",
    )
    return f"| {name} | {' | '.join(cells)} |"


def by_photograph(found: Found, test: Table) -> str:
    """The mean over photographs of the share of answers about trained products that are wrong, and its bounds."""
    rows = found.is_known & found.is_answered
    _, numbers = np.unique(np.array(list(test.paths))[rows], return_inverse=True)
    shares = np.bincount(numbers, weights=~found.is_right[rows]) / np.bincount(numbers)
    low, high = bets.mean_lower(shares, 0.95), bets.mean_upper(shares, 0.95)
    return f"{100 * shares.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def answered(work: Path, index: Path, test: Table) -> Found:
    """What `recognise --boxes` says about each box of the table."""
    out = work / "answers"
    shutil.rmtree(out, ignore_errors=True)
    said = _shelfmark(
        *(work, "recognise", "shelves", "--index", str(index), "--boxes", "shelves/boxes.json"),
        *("--out", str(out), "--json"),
    )
    boxes: dict[str, dict[str, Any]] = {}
    for photograph in json.loads(said)["photographs"]:
        boxes |= {one["id"]: one for one in photograph["boxes"]}
    assert test.boxes is not None
    rows = [boxes[f"shelves/{path}{text}"] for path, text in zip(test.paths, box_texts(test.boxes))]
    return Found(
        test.labels,
        np.array([-1 if one["answer"]["class"] is None else one["answer"]["class"] for one in rows]),
        tuple(one["answer"]["kind"] for one in rows),
        tuple(_members(one["answer"]) for one in rows),
        np.array([-1 if one["group"] is None else one["group"] for one in rows]),
    )


def count_error(found: Found, test: Table) -> float:
    """The mean over photographs and the known products that they show of |boxes answered - boxes there|."""
    paths = list(test.paths)
    there, said = (
        Counter((path, int(label)) for path, label in zip(paths, labels) if 0 <= label < NUM_TRAINED)
        for labels in (found.true, found.label)
    )
    return float(np.mean([abs(said[one] - there[one]) for one in there]))


def _members(answer: Mapping[str, Any]) -> tuple[int, ...]:
    if answer["class"] is not None:
        return (answer["class"],)
    return tuple(answer.get("classes") or ())


def _shelfmark(work: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "shelfmark", *words],
        cwd=work,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
