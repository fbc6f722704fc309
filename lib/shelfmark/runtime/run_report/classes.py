"""Scores of the classes against their training images, as the run stored them. Legend: C classes."""

from __future__ import annotations

from glob import escape
from pathlib import Path

import numpy as np

from shelfmark.core.folders import folder_to_read
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.checkpointer import BEST, LAST
from shelfmark.reports.html.parts import Lacking
from shelfmark.reports.run_page.tail import Tail
from shelfmark.runtime.run_report.material import Material
from shelfmark.runtime.run_report.stored_run import or_none
from shelfmark.runtime.trained_model import recalibrations

CLASSIFIER = "classifier.weight"


def tail_of(material: Material, evaluate_command: str, calibrate_command: str) -> Tail:
    """What per_class.csv and retrieval_per_class.csv say, and the lengths of the classifier's rows."""
    run, model, lacking = material.run, material.model, []
    rows = run.columns("per_class.csv", ("class_id", "accuracy"))
    accuracy = None
    if rows is not None and len(rows["class_id"]) == model.num_classes:
        accuracy = rows["accuracy"]
    elif material.val is not None:
        lacking.append(Lacking("per_class.csv is not in the folder or has other classes.", evaluate_command))
    norms = _norms(material)
    if len(norms) == 1 and not model.recalibrations:
        said = "Row lengths after recalibration are shown once the run was recalibrated."
        lacking.append(Lacking(said, calibrate_command))
    retrieval = run.columns("retrieval_per_class.csv", ("category_id", "map@r"))
    if retrieval is None and run.columns("retrieval_per_class.csv", ("category_id",)) is not None:
        lacking.append(Lacking("The run was scored before mAP@R was kept for each class.", evaluate_command))
    limits = model.recipe.eval
    return Tail(
        model.counts,
        accuracy,
        run.summary,
        limits.many,
        limits.few,
        norms,
        None if retrieval is None else retrieval["map@r"],
        _counts_of(material, None if retrieval is None else retrieval["category_id"]),
        tuple(lacking),
    )


def recalibrated(material: Material) -> Path | None:
    """The newest recalibrated checkpoint of the run, if there is one: another run may have had its name before."""
    root, run = material.model.recipe.output.tau_root, material.run
    places = [root / run.name, *root.glob(f"{escape(run.name)}_*")]
    found = [place / BEST for place in places if folder_to_read(place / BEST).is_dir()]
    own = [load_checkpoint(run.folder / kind) for kind in (BEST, LAST) if folder_to_read(run.folder / kind).is_dir()]
    hashes = {one.weights_hash for one in own}
    of_run = [place for place in found if _came_from(place, hashes)]
    return max(of_run, key=lambda place: folder_to_read(place).stat().st_mtime, default=None)


def _came_from(place: Path, hashes: set[str]) -> bool:
    """Whether a checkpoint was recalibrated from weights of one of `hashes`. Version 0.1.0 did not note from which."""
    saved = or_none(lambda: load_checkpoint(place))
    if saved is None:
        return False
    known = {step.get("from_checkpoint_sha256") for step in recalibrations(saved.manifest)} - {None}
    return not known or bool(known & hashes)


def _norms(material: Material) -> dict[str, np.ndarray]:
    """Row lengths of this model's classifier and of the recalibrated one; {} where they mean nothing."""
    # A cosine classifier divides by the length of its rows.
    if material.model.recipe.model.classifier.type != "linear" or material.model.is_classifier_untrained:
        return {}
    own = material.model.network.classifier.weight.detach().float().norm(dim=1).cpu().numpy()
    norms = {"this model": own}
    other = recalibrated(material)
    if other is not None and other.resolve() != material.checkpoint.resolve():
        weight = or_none(lambda: load_checkpoint(other).read_model().get(CLASSIFIER))
        if weight is not None and len(weight) == len(own):
            norms["recalibrated"] = weight.float().norm(dim=1).numpy()
    return norms


def _counts_of(material: Material, classes: np.ndarray | None) -> np.ndarray | None:
    """Training images of the searched classes, where they are the trained ones."""
    if classes is None or material.retrieval is not None:
        return None
    return material.model.counts[classes.astype(np.int64)]
