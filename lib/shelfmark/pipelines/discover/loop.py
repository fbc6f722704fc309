"""`shelfmark discover`: rounds of train -> embed -> fit clusterer -> cluster -> select -> report.

A stage is skipped if its manifest says that it is done, with the same options and from the same files.
"""

from __future__ import annotations

import hashlib
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from shelfmark.config.load import Loaded
from shelfmark.config.write import to_yaml
from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_file, unused_path, write_text
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.pipelines.discover.cluster import cluster
from shelfmark.pipelines.discover.embed import embed
from shelfmark.pipelines.discover.files import EMBEDDED_SETS, STAGES, RunFiles, SetsFile, Stage
from shelfmark.pipelines.discover.fit import fit_clusterer
from shelfmark.pipelines.discover.manifests import StageManifest, forget, outputs_hash, shaping_options
from shelfmark.pipelines.discover.report import write_report
from shelfmark.pipelines.discover.select import select
from shelfmark.pipelines.discover.sets import read_sets, require_val_where_used, tell_sets
from shelfmark.pipelines.discover.train import (
    checkpoint_files,
    require_trainable,
    round_annotations,
    train_round,
    val_annotations,
    write_annotations,
)
from shelfmark.pipelines.prepare import make_data
from shelfmark.recipe import Recipe
from shelfmark.recipe.input_settings import settled


def discover(loaded: Loaded[Recipe], redo: str = "", review: bool = False, small_evaluation: bool = False) -> RunFiles:
    """Runs every stage that is not done, and returns the run's files.

    redo: a stage, `selection` or `1/selection`, to run again, with all later stages. review: stop after the first new
    report, so that a person can edit its review.csv, which the next call applies.
    """
    loaded = settled(loaded)
    recipe = loaded.config
    require_trainable(recipe)
    with dist.process_group(dist.local_device(recipe.train.device)), ExitStack() as model:
        make_data(recipe)
        run = RunFiles(recipe.output.log_root / recipe.name)
        from_main(lambda: model.enter_context(folder_lock(run.folder, "discovering")))
        from_main(partial(_open, run, loaded))
        if redo:
            from_main(partial(forget, run, redo))
        for number in range(recipe.discovery.rounds):
            was_done = number in run.finished_rounds
            for stage in STAGES:
                _go_through(run, number, stage, recipe, small_evaluation)
            if review and not was_done and number + 1 < recipe.discovery.rounds:
                say(f"edit {run.review(number)}, then run the same command again: round {number + 1} obeys it")
                break
    return run


def _open(run: RunFiles, loaded: Loaded[Recipe]) -> None:
    """Writes the sets of a new run. UserError: the run was begun with other images."""
    _, sets, rows = read_sets(loaded.config)
    tell_sets(sets)
    require_val_where_used(loaded.config, sets)
    if run.sets.is_file():
        before = run.read_sets()
        if before != sets or any(not np.array_equal(run.rows(name), rows[name]) for name in EMBEDDED_SETS):
            raise UserError(
                f"{run.folder} was begun with other sets, so nothing in it fits: {_changes(before, sets)}. Put that"
                " back, or begin another run with name=OTHER."
            )
    elif (run.folder / "metrics.jsonl").exists():
        raise UserError(f"{run.folder} is a training run, not a discovery run; give another name=OTHER.")
    elif any(run.folder.glob("round_*")):
        raise UserError(f"{run.folder} holds rounds but no sets.json, so they are not ours; give another name=OTHER.")
    else:
        run.write_sets(sets, rows)
    text, file = to_yaml(loaded), run.folder / "config.yaml"
    if not file.is_file() or file.read_bytes() != text.encode("utf-8", "surrogateescape"):
        write_text(unused_path(file), text)


def _go_through(run: RunFiles, number: int, stage: Stage, recipe: Recipe, small: bool) -> None:
    """Runs a stage, or says that it is done."""
    manifest = _manifest(run, number, recipe, stage)
    manifest.require_fit()
    if dist.broadcast_object(manifest.is_done):
        if dist.is_main():
            say(f"round {number}, {stage}: done before")
        return
    say(f"round {number}, {stage}")
    from_main(manifest.begin)
    if stage == "train":
        from_main(lambda: write_annotations(run, number, *_training_files(run, number, recipe)))
        train_round(run, number, recipe, small)
    elif stage == "embed":
        embed(run, number, recipe)
    else:
        from_main(lambda: _alone(run, number, stage, recipe))
    from_main(lambda: manifest.finish(_outputs(run, number, stage)))


def _alone(run: RunFiles, number: int, stage: Stage, recipe: Recipe) -> None:
    """Runs a stage in rank 0 alone."""
    if stage == "report":
        device = dist.local_device(recipe.train.device)
        eval_ = recipe.eval
        write_report(
            run, number, recall_at=eval_.recall_at, metric=eval_.retrieval_metric, seed=recipe.seed, device=device
        )
        return
    shutil.rmtree(run.stage(number, stage), ignore_errors=True)
    run.stage(number, stage).mkdir(parents=True)
    {"clusterer": fit_clusterer, "clusters": cluster, "selection": select}[stage](run, number, recipe)


def _changes(before: SetsFile, now: SetsFile) -> str:
    """The changes that make the sets of a run different now, in words."""
    values = {
        "discovery.annotations": (before.annotations, now.annotations),
        "data.root": (before.root, now.root),
        "data.extra_roots": (before.extra_roots, now.extra_roots),
    }
    changes = [f"{name} was {old} and is {new}" for name, (old, new) in values.items() if old != new]
    if before.annotations_sha256 != now.annotations_sha256:
        changes.append("the annotations say something else")
    return "; ".join(changes) or "discovery.val_classes, discovery.max_images or seed has changed"


def _training_files(run: RunFiles, number: int, recipe: Recipe) -> tuple[bytes, bytes | None]:
    return round_annotations(run, number, recipe.discovery.selection.weight_by_density), val_annotations(run)


def _manifest(run: RunFiles, number: int, recipe: Recipe, stage: Stage) -> StageManifest:
    """The stage's options and inputs; the stages before it must be done."""
    options = shaping_options(recipe.model_dump(mode="json"), stage)
    inputs: dict[str, str] = {}
    if stage == "train":
        files = zip(("train.json", "val.json"), _training_files(run, number, recipe))
        inputs = {name: hashlib.sha256(content).hexdigest() for name, content in files if content is not None}
        if number and recipe.discovery.warm_start:
            inputs[f"round_{number - 1}/train"] = outputs_hash(run, number - 1, "train")
    else:
        before = STAGES[: STAGES.index(stage)]
        inputs = {one: outputs_hash(run, number, one) for one in before}
        if stage in ("clusters", "selection") and number and not recipe.discovery.reselect:
            inputs["train.json"] = sha256_file(run.train_json(number))
    return StageManifest(run, number, stage, options, inputs)


def _outputs(run: RunFiles, number: int, stage: Stage) -> dict[str, Path]:
    """The files of a done stage that later stages read."""
    folder = run.stage(number, stage)
    if stage == "train":
        return checkpoint_files(run.model(number))
    if stage == "embed":
        sets = [name for name in EMBEDDED_SETS if run.embedded(number, name).is_dir()]
        return {f"{name}/{file}": folder / name / file for name in sets for file in ("features.npy", "rows.npz")}
    if stage == "report":
        return {"report.json": run.report(number)}
    return {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
