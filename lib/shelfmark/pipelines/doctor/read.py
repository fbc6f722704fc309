"""The annotation files of a recipe as one list of pictures."""

from __future__ import annotations

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import existing_root, read_test_set
from shelfmark.data.class_map import ClassList, matched
from shelfmark.data.source_words import reads_files
from shelfmark.data.table import Table
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.recipe import Recipe, assemble

SPLITS = (TRAIN, "val", "retrieval", "test")


def read_listings(recipe: Recipe, check_files: bool = False) -> Listings:
    """All splits that the recipe has. A file that is missing is a picture that cannot be read; all else that is wrong
    with annotations is a UserError, as before a training, and so is a missing data.root. check_files: a missing file is
    one too.

    The classes that data.open_set_classes keeps out are among those of train.
    """
    data = recipe.data
    if data.train_json is None:
        raise UserError(
            "data.train_json is not set, so there is nothing to look at; name a recipe, as --config FILE, or give"
            " data.train_json=FILE and data.root=DIR."
        )
    # Where the folder itself is missing, its name is wrong, and not the pictures.
    existing_root(data.root, "data.root", reads_files(data.source))
    every = recipe.model_copy(update={"data": data.model_copy(update={"open_set_classes": 0.0})})
    tables: dict[str, Table] = {TRAIN: assemble.read_table(every, TRAIN, check_files=check_files)}
    for split in ("val", "retrieval"):
        if getattr(data, f"{split}_json") is not None:
            tables[split] = assemble.read_table(every, split, num_classes=0, check_files=check_files)
    if "val" in tables:
        tables["val"] = matched(tables["val"], str(data.val_json), ClassList.of_training(tables[TRAIN]))
    if data.test_json is not None:
        root = data.test_root or data.root
        tables["test"] = read_test_set(data.test_json, root, data.extra_roots, check_files=check_files)
    return Listings.of(tables, frozenset((TRAIN, "val")))
