"""Features, computed once: every later score, table and recalibration starts from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shelfmark.core import dist
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.core.together import from_main, together
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.accounts import Accounts
from shelfmark.runtime.feature_work import FeatureWork, Runner, in_one_go
from shelfmark.runtime.image_pass import ImagePass, evaluation_pass, views_pass
from shelfmark.runtime.model_hashes import ModelHashes
from shelfmark.runtime.photographs import forgiving, tell_unread
from shelfmark.runtime.stored_features import STORED, feature_facts, paths_hash, take_stored, with_labels_of
from shelfmark.runtime.trained_model import TrainedModel


def features_of(
    network: Network,
    recipe: Recipe,
    table: Table,
    folder: Path,
    *,
    made_by: ModelHashes | str,
    precision: Precision,
    views: str = "centre",
    stored_in: Sequence[Path] = (),
    may_replace: bool = True,
    bad_images: Path | None = None,
    of_photographs: bool = False,
    runner: Runner = in_one_go,
) -> Embeddings:
    """The table's embeddings in `folder`, with the table's own labels and ids.

    Stored features in `folder` are read if they fit this model and these pictures. Otherwise fitting features are
    copied from elsewhere, or computed by a pass over the pictures. views: with more than the centre, the mean of the
    views' embeddings, each of length 1. stored_in: folders whose subfolders may have fitting features. may_replace: new
    features replace those in `folder` that do not fit; False raises a UserError that names the differences.
    bad_images: the list of unreadable pictures, by default `<folder>_bad_images.csv`; their number is told.
    of_photographs: a user asks about the pictures, so any number but all may be unreadable, if data.on_bad_image is
    `skip`; the caller tells of them. runner: makes the pass, if there has to be one.
    """
    bad_images = bad_images or bad_images_of(folder)
    source = assemble.image_source(recipe, table)
    if views == "centre":
        images = evaluation_pass(recipe, network, precision, source)
    else:
        images = views_pass(recipe, network, precision, source, views, recipe.data.input_size_px)
    found = stored_or_passed(
        images,
        recipe,
        table,
        folder,
        lambda: feature_facts(recipe, table, made_by, precision.name, views),
        BadImageLog(
            bad_images,
            num_images=len(table),
            limit=None if of_photographs else recipe.data.max_bad_images,
            source=recipe.data.source,
        ),
        stored_in=stored_in,
        may_replace=may_replace,
        runner=runner,
    )
    num_unread = len(table) - len(found)
    if num_unread and not of_photographs:
        # Kept features may come from elsewhere, and their list stays there.
        where = f"; {bad_images} lists them" if bad_images.is_file() else ""
        told = f"{num_unread:,} of {len(table):,} images{where}"
        warn(f"{folder.name}: left out, because it could not be read: {told}")
    return found


def stored_or_passed(
    images: ImagePass,
    recipe: Recipe,
    table: Table,
    folder: Path,
    facts: Callable[[], dict[str, Any]],
    bad_images: BadImageLog,
    *,
    stored_in: Sequence[Path] = (),
    may_replace: bool = True,
    report: Callable[[int], None] | None = None,
    runner: Runner = in_one_go,
) -> Embeddings:
    """The features in `folder` if they fit the facts; otherwise those of a pass over the table's images.

    images: the pass, whose network is put into evaluation mode. The several views of its features of a backbone are
    stored side by side: (N, V * F). facts: () -> all that determines the features; rank 0 alone asks. report: called
    with the number of images of each batch. For the other arguments see `features_of`.
    """
    taken: list[Embeddings] = []

    def look() -> tuple[dict[str, Any], bool]:
        needed = facts()
        found = take_stored(folder, table, recipe, needed, stored_in, may_replace)
        if found is not None:
            taken.append(found)
        return needed, bool(taken)

    needed, is_there = from_main(look)
    _require_same_pictures(table, needed)
    if not is_there:
        images.network.eval()
        return runner(FeatureWork(images, table, folder, needed, bad_images, report))
    with together():
        return taken[0] if taken else with_labels_of(table, read_embeddings(folder), folder)


def model_features(
    model: TrainedModel,
    table: Table,
    folder: Path,
    *,
    stored_in: Sequence[Path] = (),
    may_replace: bool = True,
    bad_images: Path | None = None,
    of_photographs: bool = False,
    runner: Runner = in_one_go,
) -> Embeddings:
    """As `features_of`, for a trained model; the features in its run folder are tried too, and in those of the
    checkpoints that it was recalibrated from."""
    return features_of(
        model.network,
        model.recipe,
        table,
        folder,
        made_by=model.hashes,
        precision=model.precision,
        stored_in=[*(folder / STORED for folder in (model.run_folder, *model.earlier_folders)), *stored_in],
        may_replace=may_replace,
        bad_images=bad_images,
        of_photographs=of_photographs,
        runner=runner,
    )


def features_of_photographs(
    model: TrainedModel,
    table: Table,
    folder: Path,
    bad_images: Path | None = None,
    runner: Runner = in_one_go,
) -> tuple[Embeddings, dict[str, str]]:
    """`model_features` of a user's photographs, and the error of each that could not be read, by its id.

    The errors are told, and listed in `bad_images`. Features that fit are kept; they are never replaced. UserError:
    no photograph could be read.
    """
    bad_images = bad_images or bad_images_of(folder)
    found = model_features(
        forgiving(model),
        table,
        folder,
        may_replace=False,
        bad_images=bad_images,
        of_photographs=True,
        runner=runner,
    )
    reasons = from_main(lambda: Accounts.of(len(table), found, bad_images).reasons)
    errors = {table.image_ids[row]: reason for row, reason in reasons.items()}
    tell_unread(len(table), errors, bad_images)
    return found, errors


def bad_images_of(folder: Path) -> Path:
    """The list of pictures that the pass for a folder of features could not read, unless it was told another place."""
    return folder.with_name(f"{folder.name}_bad_images.csv")


def _require_same_pictures(table: Table, facts: Mapping[str, Any]) -> None:
    """Raises a UserError if this process read another list of pictures than rank 0. facts: of rank 0."""
    with together():
        if not dist.is_main() and facts["pictures.paths_sha256"] != paths_hash(table):
            raise UserError(
                f"the processes see different images under {table.root}: they changed as the command began. Leave the"
                " images as they are, and start the command again."
            )
