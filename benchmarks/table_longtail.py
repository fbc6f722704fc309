"""What long-tail methods reach on the shop: each recipe with three seeds, and each recalibration of the plain one.

    make table-longtail

A run whose summary.json is there already is not trained again, so the command can be stopped and gone on with. Ends
with the table and its claims in docs/longtail.md, between the two markers there.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from longtail_rows import PLAIN, Images, Method, claims_of, rows_of, table_text, write_between_markers
from measuring import device_names, versions

from shelfmark.calibration.comparison import held_out_predictions
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError, choose
from shelfmark.core.files import plain, read_json
from shelfmark.engine.checkpoint_folder import MANIFEST
from shelfmark.evaluation.classification import predict_from_features
from shelfmark.ops.calibration_metrics import reliability
from shelfmark.pipelines.calibrate import fit_methods
from shelfmark.recipe import Recipe
from shelfmark.runtime.calibration_methods import UNMODIFIED
from shelfmark.runtime.recalibration import run_features
from shelfmark.runtime.small_runs import smoke_overrides
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.trained_model import TrainedModel, open_model
from shelfmark.shop import generate_shop, is_complete

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "configs" / "longtail"
PAGE = ROOT / "docs" / "longtail.md"
SHOP = Path("dataset/shop")
POST_HOC = "calibrate"


@dataclass(frozen=True)
class Run:
    """One training: a recipe with a seed, in a folder of `work`."""

    recipe: str
    file: Path
    seed: int
    work: Path
    smoke: bool = False

    @property
    def folder(self) -> Path:
        return self.work / f"{self.recipe}_seed{self.seed}"

    @property
    def words(self) -> list[str]:
        """The command line behind `shelfmark`."""
        small = ["--smoke"] if self.smoke else []
        return ["train", "--config", str(self.file), *small, *self._overrides]

    @property
    def is_done(self) -> bool:
        return (self.folder / "summary.json").is_file()

    @cached_property
    def options(self) -> Recipe:
        """What it is trained with."""
        overrides = [parse_override(word) for word in self._overrides]
        recipe: Recipe = load(Recipe, self.file, overrides).config
        if self.smoke:
            recipe = load(Recipe, self.file, [*smoke_overrides(recipe), *overrides]).config
        return recipe

    @property
    def _overrides(self) -> list[str]:
        return [f"name={self.folder.name}", f"seed={self.seed}", f"output.log_root={self.work}"]


def main(words: Sequence[str] | None = None) -> None:
    options = _parsed(words)
    runs = planned(shop_recipes(RECIPES), options.only, options.seeds, options.work, options.smoke)
    require_same_budget(runs)
    if not is_complete(SHOP):
        generate_shop(SHOP)
    train_missing(runs, options.jobs)
    methods, images = measured(runs, with_post_hoc=not options.only or POST_HOC in options.only)
    rows = rows_of(methods, images)
    text = table_text(rows, claims_of(rows), provenance(runs, images, words))
    print(f"\n{text}")
    if options.write:
        write_between_markers(PAGE, text)
        print(f"\nwritten into {PAGE.relative_to(ROOT)}")


def shop_recipes(folder: Path) -> dict[str, Path]:
    """The recipes whose data is the generated shop, by name, the plain one first."""
    files = sorted(folder.glob("*.yaml"), key=lambda file: (file.stem != PLAIN, file.stem))
    return {file.stem: file for file in files if load(Recipe, file).config.data.generated == "shop"}


def planned(
    recipes: dict[str, Path], only: Sequence[str], seeds: Sequence[int], work: Path, smoke: bool = False
) -> list[Run]:
    """A run for each recipe and seed; those of the plain recipe always, because all are compared with them."""
    wanted = {choose("--only", name, [*recipes, POST_HOC]) for name in only} or set(recipes)
    names = [name for name in recipes if name in wanted or name == PLAIN]
    return [Run(name, recipes[name], seed, work, smoke) for name in names for seed in seeds]


def require_same_budget(runs: Sequence[Run]) -> None:
    """Raises a UserError where a recipe trains longer or shorter than the plain one."""
    epochs = {run.recipe: run.options.train.num_epochs for run in runs}
    others = [f"{name} {number}" for name, number in epochs.items() if number != epochs[PLAIN]]
    if others:
        raise UserError(
            f"train.num_epochs is {epochs[PLAIN]} in {PLAIN}.yaml, but otherwise in {', '.join(others)}: with other"
            " budgets the gains would mean nothing. Give all recipes of the table the same."
        )


def train_missing(runs: Sequence[Run], jobs: int = 1) -> None:
    """Trains what is not there, `jobs` at a time; what a stopped run left is thrown away."""
    for run in runs:
        if run.is_done:
            require_same_options(run)
    missing = [run for run in runs if not run.is_done]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there; {len(missing)} to train", flush=True)
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_train, run, threads): run for run in missing}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                seconds, name = future.result(), waiting[future].folder.name
                print(f"{done} of {len(missing)}: {name}, {seconds:.0f} s", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def require_same_options(run: Run) -> None:
    """Raises a UserError where a run that is there was trained with something else than its recipe says now."""
    trained_with = read_json(run.folder / "best_model" / MANIFEST)["config"]
    if trained_with != plain(run.options.model_dump(mode="json")):
        raise UserError(
            f"{run.folder} was trained with other options than {run.file.name} gives now."
            " Move the folder away, and it is trained again."
        )


def measured(runs: Sequence[Run], with_post_hoc: bool = True) -> tuple[list[Method], Images]:
    """The hits of every method on the val images, from the features that the runs stored."""
    found: dict[tuple[str, bool], list[tuple[torch.Tensor, float]]] = {}
    images: Images | None = None
    for run in runs:
        opened = open_model(run.folder / "best_model")
        hits, ece, labels = _trained_hits(opened)
        limits = opened.recipe.eval
        here = Images(labels, torch.from_numpy(opened.counts), limits.many, limits.few)
        images = images or here
        if not labels.equal(images.labels) or not here.counts.equal(images.counts):
            raise UserError(f"{run.folder} was scored on other images than the first run, so they cannot be paired.")
        found.setdefault((run.recipe, False), []).append((hits, ece))
        if with_post_hoc and run.recipe == PLAIN:
            for name, hits, ece in _post_hoc_hits(opened):
                found.setdefault((name, True), []).append((hits, ece))
    assert images is not None, "there is a plain run"
    num_seeds = len({run.seed for run in runs})
    methods = [
        Method(name, torch.stack([hits for hits, _ in of_seeds]), [ece for _, ece in of_seeds], is_post_hoc)
        for (name, is_post_hoc), of_seeds in found.items()
        if len(of_seeds) == num_seeds
    ]
    for name, _ in found.keys() - {(method.name, method.is_post_hoc) for method in methods}:
        print(f"{name} could not be fitted with every seed, so it has no row")
    return methods, images


def provenance(runs: Sequence[Run], images: Images, words: Sequence[str] | None) -> str:
    """One paragraph: what was run, on what and when."""
    command = shlex.join(["python", "benchmarks/table_longtail.py", *(sys.argv[1:] if words is None else words)])
    seeds = sorted({run.seed for run in runs})
    small = "; **with --smoke: no figure means anything**" if runs[0].smoke else ""
    return (
        f"Percent. {len(images.labels)} val images; seeds {', '.join(map(str, seeds))};"
        f" {runs[0].options.train.num_epochs} epochs each{small}. `{command}`; {device_names()};"
        f" {versions('torch', 'timm', 'numpy')}; {time.strftime('%Y-%m-%d')}."
    )


def _trained_hits(opened: TrainedModel) -> tuple[torch.Tensor, float, torch.Tensor]:
    """Hits (N,), the ECE, and labels (N,), of the labelled val images."""
    val, _ = read_evaluation(opened)
    features = run_features(opened, val, "val")
    with torch.inference_mode():
        found = predict_from_features(
            features.features, features.labels, opened.network.logits, opened.num_classes, opened.precision.device
        )
    is_labelled = found.labels >= 0
    labels, confidence = found.labels[is_labelled], found.confidence[is_labelled]
    hits = found.predicted[is_labelled] == labels
    return hits, reliability(confidence, hits).expected_error or 0.0, labels


def _post_hoc_hits(opened: TrainedModel) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Each recalibration's name, hits (N,) of val images by what it learned without them, and ECE."""
    fitted = fit_methods(opened)
    val = fitted.given.val
    for name, method in fitted.methods.items():
        if name != UNMODIFIED:
            found = held_out_predictions(method, val.features, val.labels, opened.num_classes)
            yield name, found.hits, reliability(found.confidence, found.hits).expected_error or 0.0


def _train(run: Run, threads: int) -> float:
    """Seconds that it took. What it says goes into a text file beside its folder."""
    shutil.rmtree(run.folder, ignore_errors=True)
    run.work.mkdir(parents=True, exist_ok=True)
    said = run.folder.with_suffix(".txt")
    started = time.perf_counter()
    with open(said, "w", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "shelfmark", *run.words]
        environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
    if status.returncode:
        raise UserError(f"{run.folder.name} could not be trained; what it said is in {said}.")
    return time.perf_counter() - started


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="train the long-tail recipes and write their table")
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/longtail_table"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores (default: 1)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"recipes, and `{POST_HOC}` for what comes after training"
    )
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        help="put the table into docs/longtail.md (default: where it is the whole one)",
    )
    parser.add_argument("--smoke", action="store_true", help="train each recipe for seconds, to try the command")
    options = parser.parse_args(words)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: give 1 or above")
    if options.write is None:
        options.write = not (options.only or options.smoke)
    return options


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
