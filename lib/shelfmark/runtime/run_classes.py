"""The classes of a run that begins with a checkpoint: resumed, they keep its numbers; finetuned, their rows move."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.text_safety import in_line
from shelfmark.data.class_map import ClassList, class_sources
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.engine.resume import FINETUNE
from shelfmark.models.class_rows import with_rows_moved
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe
from shelfmark.runtime.resume_plan import RunStart
from shelfmark.runtime.splits import Splits, with_classes


def resumed_classes(splits: Splits, start: RunStart, recipe: Recipe) -> Splits:
    """The splits with the class numbers of the checkpoint that a resumed run goes on from.

    UserError: the annotations have images of classes that it does not know.
    """
    checkpoint = start.checkpoint
    if checkpoint is None or not (start.resumed or start.tries_resume):
        return splits
    names, num_classes = checkpoint.manifest["class_names"], checkpoint.manifest["num_classes"]
    if names is None or splits.train.class_names is None:
        return splits
    try:
        return with_classes(splits, ClassList(num_classes, tuple(names), "the checkpoint"), recipe)
    except UserError as error:
        raise UserError(f"{error} Or {FINETUNE}.") from None


def weights_by_class(network: Network, train: Table, checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """The checkpoint's weights; where the classes have other numbers now, each has the row of its name."""
    weights = checkpoint.read_model()
    sources = class_sources(train.class_names, checkpoint.manifest["class_names"])
    if sources is None:
        return weights
    names = [name for name, source in zip(train.class_names or (), sources) if source < 0]
    new = f"; {len(names)} new, with fresh rows: {in_line(names, 3)}" if names else ""
    say(
        f"classes: {len(sources) - len(names)} of {len(sources)} keep their rows of {checkpoint.folder}, matched by"
        f" name{new}"
    )
    return with_rows_moved(network, weights, sources)
