"""What long-tail methods reach on the shop: each recipe with three seeds, and each recalibration of the plain one.

    make table-longtail

A run whose summary.json is there already is not trained again, so the command can be stopped and gone on with. Ends
with the table and its claims in docs/longtail.md, between the two markers there.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from longtail_rows import PLAIN, Images, Method, claims_of, rows_of, table_text
from table_runner import ROOT, Run, made_by, parser_of, publish, require_same_budget, run_as_script

from shelfmark.calibration.comparison import held_out_predictions
from shelfmark.config.load import load
from shelfmark.config.overrides import Override
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

RECIPES = ROOT / "configs" / "longtail"
PAGE = ROOT / "docs" / "longtail.md"
NAME = "table-longtail"
SHOP = Path("dataset/shop")
POST_HOC = "calibrate"


@dataclass(frozen=True)
class Training(Run):
    """One training of a recipe."""

    @property
    def command(self) -> str:
        return "train"

    @property
    def is_done(self) -> bool:
        return (self.folder / "summary.json").is_file()

    def smaller(self, recipe: Recipe) -> list[Override]:
        return smoke_overrides(recipe)


def main(words: Sequence[str] | None = None) -> None:
    options = _parsed(words)
    runs = planned(shop_recipes(RECIPES), options.only, options.seeds, options.work, options.smoke)
    require_same_budget(runs, budget)
    if not is_complete(SHOP):
        generate_shop(SHOP)
    train_missing(runs, options.jobs)
    methods, images = measured(runs, with_post_hoc=not options.only or POST_HOC in options.only)
    rows = rows_of(methods, images)
    publish(PAGE, NAME, table_text(rows, claims_of(rows), provenance(runs, images, words)), options.write)


def shop_recipes(folder: Path) -> dict[str, Path]:
    """The recipes whose data is the generated shop, by name, the plain one first."""
    files = sorted(folder.glob("*.yaml"), key=lambda file: (file.stem != PLAIN, file.stem))
    return {file.stem: file for file in files if load(Recipe, file).config.data.generated == "shop"}


def planned(
    recipes: dict[str, Path], only: Sequence[str], seeds: Sequence[int], work: Path, smoke: bool = False
) -> list[Training]:
    """A run for each recipe and seed; those of the plain recipe always, because all are compared with them."""
    wanted = {choose("--only", name, [*recipes, POST_HOC]) for name in only} or set(recipes)
    names = [name for name in recipes if name in wanted or name == PLAIN]
    return [Training(name, recipes[name], seed, work, smoke) for name in names for seed in seeds]


def budget(run: Run) -> dict[str, Any]:
    """What the runs must share: the length of training."""
    return {"train.num_epochs": run.options.train.num_epochs}


def train_missing(runs: Sequence[Training], jobs: int = 1) -> None:
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


def require_same_options(run: Training) -> None:
    """Raises a UserError where a run that is there was trained with something else than its recipe says now."""
    trained_with = read_json(run.folder / "best_model" / MANIFEST)["config"]
    if trained_with != plain(run.options.model_dump(mode="json")):
        raise UserError(
            f"{run.folder} was trained with other options than {run.file.name} gives now."
            " Move the folder away, and it is trained again."
        )


def measured(runs: Sequence[Training], with_post_hoc: bool = True) -> tuple[list[Method], Images]:
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


def provenance(runs: Sequence[Training], images: Images, words: Sequence[str] | None) -> str:
    """One paragraph: what was run, on what and when."""
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    epochs = runs[0].options.train.num_epochs
    made = made_by("table_longtail.py", runs[0].smoke, words)
    return f"Percent. {len(images.labels)} val images; seeds {seeds}; {epochs} epochs each{made}"


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


def _train(run: Training, threads: int) -> float:
    """Seconds that it took. What a stopped run left is thrown away."""
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.with_suffix(".txt").unlink(missing_ok=True)
    return run.make(threads)


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    what = "train the long-tail recipes and write their table"
    parser = parser_of(what, "log/longtail_table", [0, 1, 2], "docs/longtail.md")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores (default: 1)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"recipes, and `{POST_HOC}` for what comes after training"
    )
    options = parser.parse_args(words)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: give 1 or above")
    if options.write is None:
        options.write = not (options.only or options.smoke)
    return options


if __name__ == "__main__":
    run_as_script(main)
