"""What millions of annotations cost before a training: CPU seconds, and the peak of memory above the start.

    make bench-annotations [MORE="--old COMMIT --rows 2500000"]

The annotations are made up: 50,030 classes with a long tail, a folder a class. Each row of the table runs in a process
of its own, after its imports. CPU seconds are of user and system, of all threads; memory is the resident set. COMMIT,
where given, is measured in the same loop and by the same Python, in a worktree that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from checkouts import ROOT, checkouts_with

NUM_CLASSES = 50_030
TARGETS = {
    "JSON": "under 4 s and 400 MB",
    "Parquet": "1 s",
    "class counts": "1 s",
    "balanced order of an epoch": "1 s",
    "division into train and val": "1 s",
    "start of a training: read, files, leaks, readable images, order": "10 s",
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", help="commit to compare with")
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where annotations and empty picture files are made, to keep them")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write the page there too")
    options = parser.parse_args()
    if options.work:
        print(json.dumps(_measured(WORKS[options.work], options.folder)))
        return
    with tempfile.TemporaryDirectory() as made, checkouts_with(options.old) as checkouts:
        folder = options.folder or Path(made)
        make_files(folder, options.rows)
        _write(_lines(options, checkouts, folder), options.out)


def _lines(options: argparse.Namespace, checkouts: dict[str, Path], folder: Path) -> Iterator[str]:
    # Apart from the works, so that those begin with the imports that they need.
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from measuring import made_by, versions

    yield f"# {options.rows:,} annotations\n"
    yield f"{made_by()} {versions('numpy', 'orjson', 'pyarrow')}. Median of {options.rounds} rounds.\n"
    heads = [f"{name}, {unit}" for name in checkouts for unit in ("CPU s", "peak MB")]
    yield f"| | {' | '.join(heads)} | wanted |"
    yield f"|---|{'---:|' * len(heads)}---|"
    for what in WORKS:
        found: list[list[dict[str, float] | None]] = [[] for _ in checkouts]
        for _ in range(options.rounds):
            for taken, checkout in zip(found, checkouts.values()):
                taken.append(_run(what, folder, checkout))
        yield f"| {what} | {' | '.join(_cells(taken) for taken in found)} | {TARGETS.get(what, '')} |"


def _cells(taken: list[dict[str, float] | None]) -> str:
    known = [one for one in taken if one is not None]
    if not known:
        return "absent | absent"
    cpu_s, peak_mb = (statistics.median(one[name] for one in known) for name in ("cpu_s", "peak_mb"))
    return f"{cpu_s:.2f} | {peak_mb:,.0f}"


def _run(what: str, folder: Path, checkout: Path) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--work", what, "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "lib")}
    told = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if told.returncode:
        print(f"{what}: {told.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def _measured(work: Callable[[Path], Callable[[], object]], folder: Path) -> dict[str, float]:
    begin = work(folder)
    Path("/proc/self/clear_refs").write_text("5")
    before, started = _resident("VmRSS"), os.times()
    begin()
    ended = os.times()
    return {
        "cpu_s": ended.user + ended.system - started.user - started.system,
        "peak_mb": (_resident("VmHWM") - before) / 1e6,
    }


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def make_files(folder: Path, num_rows: int) -> None:
    """train.json, val.json of a hundredth, train.parquet where pyarrow is there, and an empty file for each picture."""
    import numpy as np

    if (folder / "val.json").is_file():
        return
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, NUM_CLASSES + 1) ** 0.8
    drawn = generator.choice(NUM_CLASSES, num_rows, p=share / share.sum())
    labels = np.sort(drawn) if num_rows < NUM_CLASSES else np.sort(np.r_[np.arange(NUM_CLASSES), drawn[NUM_CLASSES:]])
    images, made = folder / "images", set()
    for row, label in enumerate(labels.tolist()):
        if label not in made:
            made.add(label)
            (images / f"{label:05d}").mkdir(parents=True)
        os.close(os.open(images / f"{label:05d}" / f"{row:07d}.jpg", os.O_CREAT | os.O_WRONLY))
    rows = generator.permutation(num_rows)
    is_val = np.arange(num_rows) % 100 == 99
    _write_annotations(folder, labels, {"train": rows[~is_val], "val": rows[is_val]})


def _write_annotations(folder: Path, labels: Any, parts: dict[str, Any]) -> None:
    for part, rows in parts.items():
        chosen = labels[rows].tolist()
        lines = (
            f'{{"category_id":{label},"fpath":"{label:05d}/{row:07d}.jpg"}}'
            for label, row in zip(chosen, rows.tolist())
        )
        with open(folder / f"{part}.json", "w", encoding="utf-8") as stream:
            stream.write('{"annotations": [\n')
            stream.write(next(lines))
            stream.writelines(f",\n{line}" for line in lines)
            stream.write(f'\n],\n"num_classes": {NUM_CLASSES}}}\n')
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return
    rows = parts["train"]
    paths = [f"{label:05d}/{row:07d}.jpg" for label, row in zip(labels[rows].tolist(), rows.tolist())]
    table = pyarrow.table({"category_id": labels[rows], "fpath": paths})
    table = table.replace_schema_metadata({"shelfmark": json.dumps({"num_classes": NUM_CLASSES})})
    pyarrow.parquet.write_table(table, folder / "train.parquet")


def _reading(name: str, check_files: bool) -> Callable[[Path], Callable[[], object]]:
    def ready(folder: Path) -> Callable[[], object]:
        from shelfmark.data.annotations import read_annotations

        if name.endswith(".parquet"):
            import pyarrow.compute
            import pyarrow.parquet  # noqa: F401
        return lambda: read_annotations(folder / name, folder / "images", check_files=check_files)

    return ready


def _table(folder: Path) -> Any:
    return _reading("train.json", False)(folder)()


def _counts(folder: Path) -> Callable[[], object]:
    table = _table(folder)
    return lambda: table.counts


def _order(name: str) -> Callable[[Path], Callable[[], object]]:
    def ready(folder: Path) -> Callable[[], object]:
        from shelfmark.data.samplers import SamplingOptions, build_order, rank_batches

        table, options = _table(folder), SamplingOptions(type=name)

        def first() -> object:
            order = build_order(options, table.labels, table.num_classes, 512, seed=0)
            return next(iter(rank_batches(order, 0)))

        return first

    return ready


def _division(folder: Path) -> Callable[[], object]:
    import numpy as np

    from shelfmark.data.holdout import stratified_draw

    table = _table(folder)

    def divide() -> object:
        drawn = stratified_draw(table.labels, np.ones(len(table), dtype=bool), 0.1, 0)
        return table.take(drawn), table.take(~drawn)

    return divide


def _start(folder: Path) -> Callable[[], object]:
    from shelfmark.data.image_scan import check_images
    from shelfmark.recipe import Recipe, assemble
    from shelfmark.runtime.splits import read_splits

    data = {"root": folder / "images", "train_json": folder / "train.json", "val_json": folder / "val.json"}
    recipe = Recipe.model_validate({"data": data})

    def start() -> object:
        splits = read_splits(recipe)
        check_images({"training": splits.train, "validation": splits.val}, recipe.data, folder / "log")
        return assemble.epoch_order(recipe, splits.train)

    return start


WORKS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "JSON": _reading("train.json", False),
    "JSON, and whether each file is there": _reading("train.json", True),
    "Parquet": _reading("train.parquet", False),
    "class counts": _counts,
    "balanced order of an epoch": _order("class_balanced"),
    "first batch of `sampling.type: keyed`": _order("keyed"),
    "division into train and val": _division,
    "start of a training: read, files, leaks, readable images, order": _start,
}


def _write(lines: Iterator[str], out: Path | None) -> None:
    """Prints each line when it is known, and writes them into `out` too."""
    known = []
    for line in lines:
        print(line, flush=True)
        known.append(line)
    if out:
        out.write_text("\n".join(known) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
