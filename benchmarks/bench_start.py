"""The first hour in figures: what the starter weights give on grocery photographs, in minutes on a CPU.

    make bench-start [MORE="--part head --seeds 0"]

head: configs/grocery_head.yaml, heads on a frozen backbone. whole: configs/grocery_pretrained.yaml, then the whole
network. peer: fastai's vision_learner with the same weights, split and input size, given the minutes of `whole`.
folders: `shelfmark train --images` on 12 classes of 8 to 30 photographs, drawn by first_hour_folders.py.
Every figure is of a command of its own, from its start to its end. A run that is done is not done again, so the
benchmark can be stopped and gone on with. The peer's packages go into an environment of their own in the work folder;
torch, timm and the like are those of this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import first_hour_folders
from measuring import GROCERY, add_out, made_by, verdict, version_of, write_page
from peer_environment import python_with

from shelfmark.core.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("head", "whole", "peer", "folders")
CONFIGS = {"head": "grocery_head", "whole": "grocery_pretrained"}
PEER = "fastai==2.8.12"


@dataclass(frozen=True)
class Result:
    """What one run took and reached. Scores are shares of 1; recall_at_1 is None where it is not measured."""

    wall_s: float
    processor_s: float
    top1: float
    recall_at_1: float | None = None
    told: str = ""


@dataclass(frozen=True)
class Target:
    """Of the mean over the seeds, except for the time, which every run must keep."""

    seconds: float
    top1: float
    recall_at_1: float | None = None


TARGETS = {
    "head": Target(150, 0.72),
    "whole": Target(900, 0.82, 0.55),
    "folders": Target(90, 0.93),
}


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/bench_start"), help="folder of the runs")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the runs on grocery")
    parser.add_argument("--folders", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="seeds of the small folders")
    parser.add_argument("--source", type=Path, default=GROCERY, help="folder of the grocery photographs")
    add_out(parser)
    options = parser.parse_args()
    if not (options.source / "train.txt").is_file():
        sys.exit(f"error: {options.source} has no train.txt; name the folder of the data set: --source.")
    bench = Bench(options.work.resolve(), options.source.resolve())
    write_page(page(bench, options.part, options.seeds, options.folders), options.out)


def page(bench: Bench, parts: Sequence[str], seeds: Sequence[int], folders: Sequence[int]) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    yield "# The first hour: from published weights to a recogniser of groceries"
    yield ""
    yield f"{made_by()} torch {version_of('torch')}, timm {version_of('timm')}, {PEER}."
    yield ""
    yield "| run | seed | wall, s | processor, s | val top-1, % | Recall@1, % | told |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    found: dict[str, list[Result]] = {}
    for part in parts:
        for seed in folders if part == "folders" else seeds:
            result = bench.result(part, seed)
            found.setdefault(part, []).append(result)
            yield _row(part, seed, result)
    yield ""
    for part, results in found.items():
        yield f"- {part}: {_summary(part, results)}"
    if "whole" in found and "peer" in found:
        ours, peers = (statistics.mean(one.top1 for one in found[part]) for part in ("whole", "peer"))
        yield f"- whole against peer: {100 * (ours - peers):+.1f} points of top-1: {verdict(ours > peers)}"


def _row(part: str, seed: int, result: Result) -> str:
    recall = "" if result.recall_at_1 is None else f"{100 * result.recall_at_1:.1f}"
    scores = f"{100 * result.top1:.1f} | {recall} | {result.told}"
    return f"| {part} | {seed} | {result.wall_s:.0f} | {result.processor_s:.0f} | {scores} |"


def _summary(part: str, results: Sequence[Result]) -> str:
    top1, longest = statistics.mean(one.top1 for one in results), max(one.wall_s for one in results)
    recalls = [one.recall_at_1 for one in results if one.recall_at_1 is not None]
    texts = [f"longest {longest:.0f} s", f"mean top-1 {100 * top1:.1f}%"]
    target = TARGETS.get(part)
    if target:
        texts[0] += f" (at most {target.seconds:.0f} s: {verdict(longest <= target.seconds)})"
        texts[1] += f" (at least {100 * target.top1:.0f}%: {verdict(top1 >= target.top1)})"
    if recalls:
        recall = statistics.mean(recalls)
        texts.append(f"mean Recall@1 {100 * recall:.1f}%")
        if target and target.recall_at_1:
            met = verdict(recall >= target.recall_at_1)
            texts[2] += f" (at least {100 * target.recall_at_1:.0f}%: {met})"
    return ", ".join(texts)


class Bench:
    """The runs, in a folder of work. Each leaves its result in a JSON file."""

    def __init__(self, work: Path, source: Path) -> None:
        self.work, self.source = work, source

    def result(self, part: str, seed: int) -> Result:
        """The stored result of a run, or that of the run."""
        file = self.work / f"{part}_{seed}.json"
        if not file.is_file():
            measure: dict[str, Callable[[int], Result]] = {
                "head": partial(self._training, "head"),
                "whole": partial(self._training, "whole"),
                "peer": self._peer,
                "folders": self._folder,
            }
            self.work.mkdir(parents=True, exist_ok=True)
            write_json(file, asdict(measure[part](seed)))
        return Result(**read_json(file))

    def _training(self, part: str, seed: int) -> Result:
        run = self.work / "log" / f"{part}_{seed}"
        shutil.rmtree(run, ignore_errors=True)
        data = self._grocery()
        words = ["--config", str(ROOT / "configs" / f"{CONFIGS[part]}.yaml"), f"name={run.name}", f"seed={seed}"]
        words += [f"data.root={data}", *(f"data.{one}_json={data}/{one}.json" for one in ("train", "val", "retrieval"))]
        wall_s, processor_s = self._run(_shelfmark("train", *words, f"output.log_root={run.parent}"), run.name)
        summary = read_json(run / "summary.json")
        return Result(wall_s, processor_s, summary["top1"], summary["recall@1"])

    def _folder(self, seed: int) -> Result:
        place = self.work / "folders" / str(seed)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        first_hour_folders.draw(self.source, seed, place / "photographs")
        command = _shelfmark("train", "--images", "photographs")
        wall_s, processor_s = self._run(command, f"folders_{seed}", place)
        (summary,) = place.glob("log/*/summary.json")
        scores = read_json(summary)
        return Result(wall_s, processor_s, scores["top1"], told=f"{scores['num_images']} val photographs")

    def _peer(self, seed: int) -> Result:
        seconds = statistics.mean(self.result("whole", one).wall_s for one in self._seeds("whole") or [seed])
        found = self.work / f"peer_{seed}_scores.json"
        data, size_px = self._grocery(), _size_px(ROOT / "configs" / f"{CONFIGS['whole']}.yaml")
        words = [str(data), str(seed), str(size_px), str(seconds), str(found)]
        command = [
            str(python_with(PEER, self.work / "peer_environment")),
            str(ROOT / "benchmarks" / "peer_fastai.py"),
            *words,
        ]
        wall_s, processor_s = self._run(command, f"peer_{seed}")
        scores = read_json(found)
        return Result(wall_s, processor_s, scores["top1"], told=f"{scores['epochs']} epochs; {scores['told']}")

    def _seeds(self, part: str) -> list[int]:
        return [int(file.stem.split("_")[1]) for file in self.work.glob(f"{part}_[0-9]*.json")]

    def _grocery(self) -> Path:
        data = self.work / "grocery"
        if not (data / "train.json").is_file():
            self._run(_shelfmark("prepare", "grocery", "--source", str(self.source), "--out", str(data)), "prepare")
        return data

    def _run(self, command: Sequence[str], name: str, where: Path | None = None) -> tuple[float, float]:
        """Runs the command; seconds by the clock, and of the processor over all processes."""
        said = self.work / f"{name}.txt"
        said.parent.mkdir(parents=True, exist_ok=True)
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with open(said, "w", encoding="utf-8") as stream:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
            done = subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=where or self.work, check=False
            )
        if done.returncode:
            sys.exit(f"error: {name} ended with {done.returncode}; all that it said is in {said}.")
        wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _shelfmark(*words: str) -> list[str]:
    return [sys.executable, "-m", "shelfmark", *words]


def _size_px(config: Path) -> int:
    """The size at which a config evaluates."""
    printed = subprocess.run(
        _shelfmark("config", "--config", str(config), "--json"),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "lib")},
    )
    return int(json.loads(printed.stdout)["data"]["input_size_px"])


if __name__ == "__main__":
    main()
