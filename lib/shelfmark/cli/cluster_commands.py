"""`shelfmark cluster fit` and `cluster run`: a clusterer on stored embeddings, without a model or images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.cli.existing import config_file, existing_folder, output_folder
from shelfmark.cli.options import embeddings_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.core.errors import UserError

if TYPE_CHECKING:
    from shelfmark.recipe import Recipe

_SMOKE_DATA = {"fit": "labelled", "run": "new"}
# Not types of options: with --smoke these folders need not be there.
_clusterer = existing_folder("a clusterer", "`shelfmark cluster fit` writes one.")


def fit(args: argparse.Namespace) -> Outcome:
    embeddings, out = _embeddings(args, "fit"), _folder(args.out, args.smoke)
    from shelfmark.pipelines.cluster import fit_clusterer

    name = fit_clusterer(_recipe(args), embeddings, out, overwrite=args.smoke)
    return Outcome({"clusterer": out, "name": name})


def run(args: argparse.Namespace) -> Outcome:
    embeddings, out = _embeddings(args, "run"), _folder(args.out, args.smoke)
    clusterer = _clusterer(str(_folder(args.clusterer, args.smoke)))
    from shelfmark.cli import cluster_screens
    from shelfmark.pipelines.cluster import run_clusterer

    scores = run_clusterer(_recipe(args), embeddings, clusterer, out)
    return Outcome({"folder": out, "scores": scores}, lambda: cluster_screens.clustered(scores, out))


def _embeddings(args: argparse.Namespace, what: str) -> Path:
    if args.smoke:
        from shelfmark.pipelines.cluster import smoke_embeddings

        return smoke_embeddings(_SMOKE_DATA[what])
    if args.embeddings is None:
        raise UserError("--embeddings is missing: a folder that `shelfmark embed` or `prepare pss_features` wrote.")
    return embeddings_folder(str(args.embeddings))


def _folder(folder: Path, is_smoke: bool) -> Path:
    """A trial leaves the real one's folder alone."""
    return folder.with_name(f"{folder.name}_smoke") if is_smoke else folder


def _recipe(args: argparse.Namespace) -> Recipe:
    from shelfmark.config.load import load
    from shelfmark.pipelines.cluster import smoke_overrides
    from shelfmark.recipe import Recipe

    # Of a trial the size is fixed, whatever the command says: a script's own values must not make it long.
    return load(Recipe, args.config, [*args.overrides, *(smoke_overrides() if args.smoke else [])]).config


_SHARED = [
    option("--embeddings", "folder that `shelfmark embed` or `prepare pss_features` wrote", type=Path, metavar="DIR"),
    option("--config", "YAML recipe. Only its discovery.clusterer is used", type=config_file, metavar="FILE"),
    option("--smoke", "a trial: a small network on generated embeddings", action="store_true"),
]
CLUSTER_COMMANDS = {
    "cluster fit": Command(
        "fit a clusterer to labelled embeddings",
        fit,
        [*_SHARED, option("--out", "folder for the clusterer", type=output_folder, required=True, metavar="DIR")],
    ),
    "cluster run": Command(
        "group embeddings with a fitted clusterer, and score the clusters if there are labels",
        run,
        [
            *_SHARED,
            option("--clusterer", "folder that `cluster fit` wrote", type=Path, required=True, metavar="DIR"),
            option(
                "--out", "folder for clusters.npz and scores.json", type=output_folder, required=True, metavar="DIR"
            ),
        ],
    ),
}
