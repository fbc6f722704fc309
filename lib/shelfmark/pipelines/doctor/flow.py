"""The steps of `shelfmark doctor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.disk import make_folders
from shelfmark.core.files import unused_path
from shelfmark.core.log import say
from shelfmark.core.strings import Strings
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.sources import FileSource
from shelfmark.data.sources.named import open_source
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.doctor.near_copies import plan_of
from shelfmark.pipelines.clean import LabelFindings, write_lists
from shelfmark.pipelines.doctor.boxes import boxes_outside
from shelfmark.pipelines.doctor.copies import copy_findings, find_copies
from shelfmark.pipelines.doctor.diagnosis import KINDS, Diagnosis, Finding
from shelfmark.pipelines.doctor.fix import fix
from shelfmark.pipelines.doctor.labels import JudgedLabels, few_finding, judged_labels, label_findings
from shelfmark.pipelines.doctor.page import write_diagnosis_page
from shelfmark.pipelines.doctor.pictures import faulty, unreadable
from shelfmark.pipelines.doctor.read import read_listings
from shelfmark.pipelines.prepare import make_data
from shelfmark.recipe import Recipe
from shelfmark.reports.tables import write_table
from shelfmark.runtime.measured_pictures import MeasuredPictures, kept_folder, measured_pictures

PAGE = "report.html"

FeaturesOf = Callable[[Strings, Path], np.ndarray]
"""(n,) absolute paths and a folder to keep them in -> (n, D) features."""


def doctor(
    recipe: Recipe,
    out: Path | None = None,
    features_of: FeaturesOf | None = None,
    is_fixed: bool = False,
    begin: Sequence[str] = (),
) -> Diagnosis:
    """Looks at every picture of the recipe once, and writes lists and a page. All processes call it together.

    out: a folder, numbered if it exists; default `<name>_doctor` beside the runs. features_of: without it, labels are
    not judged, and copies are found by their hashes alone. is_fixed: also write new annotations, to `fixed` in the
    folder. begin: words of the training that is proposed then. Pictures and annotations stay as they are.
    """
    log_root = recipe.output.log_root
    former = out or log_root / f"{recipe.name}_doctor"
    folder = from_main(lambda: unused_path(require_place(former, "--out", is_folder=True)))
    make_data(recipe)
    with together():
        listings = read_listings(recipe)
    measured = measured_pictures(listings.paths, recipe.data, log_root)
    features = None
    if features_of is not None and measured.is_read.any():
        paths = listings.paths.take(measured.is_read)
        features = features_of(paths, kept_folder(log_root, recipe.data.root) / "embeddings")
    return from_main(
        lambda: _diagnosis(recipe, listings, measured, features, folder, is_fixed, begin), "comparing images"
    )


def _diagnosis(
    recipe: Recipe,
    listings: Listings,
    measured: MeasuredPictures,
    features: np.ndarray | None,
    folder: Path,
    is_fixed: bool,
    begin: Sequence[str],
) -> Diagnosis:
    say(f"comparing {counted(int(measured.is_read.sum()), 'image')} ...")
    copies = find_copies(measured, features)
    judged = None if features is None else judged_labels(listings, measured.is_read, features)
    is_outside = boxes_outside(listings, measured, recipe.data)
    few, counts = few_finding(listings, copies, measured.is_read, is_outside)
    findings = [
        unreadable(listings, measured, is_outside),
        *copy_findings(copies, listings, measured),
        *label_findings(judged, listings, copies, measured.is_read, features),
        *faulty(listings, measured, recipe.data.input_size_px),
        few,
    ]
    assert [one.name for one in findings] == list(KINDS)
    promised = plan_of(int(measured.is_read.sum())).promised
    found = Diagnosis(folder, listings, findings, counts, promised)
    make_folders(folder)
    if is_fixed:
        found = replace(found, fixed=fix(recipe, listings, copies, measured, is_outside, folder / "fixed", begin))
        if judged is not None:
            _write_label_lists(judged, listings, features, measured.is_read, folder / "labels")
    found = replace(found, files={one.name: _written(one, folder) for one in findings if one.culprits})
    page = folder / PAGE
    source = open_source(
        recipe.data.source, FileSource(listings.paths, Path("/")), recipe.data.root, recipe.data.color_profiles
    )
    num_left_out = write_diagnosis_page(found, source, page, f"{recipe.name}: the doctor")
    if num_left_out:
        say(f"{page}: no room for {counted(num_left_out, 'image')}; the lists have all")
    return replace(found, page=page)


def _written(finding: Finding, folder: Path) -> Path:
    file = folder / f"{finding.name}.csv"
    rows = [dict(zip(finding.columns, row)) for one in finding.culprits for row in one.rows]
    write_table(file, rows, finding.columns)
    return file


def _write_label_lists(
    judged: JudgedLabels, listings: Listings, features: np.ndarray | None, is_read: np.ndarray, folder: Path
) -> None:
    """The lists of `shelfmark clean`."""
    table = listings.tables[TRAIN]
    rows = [int(listings.of_picture(picture)[0]) for picture in judged.pictures.tolist()]
    ids = Strings.of(listings.image_id(row) for row in rows)
    of_read = np.searchsorted(np.flatnonzero(is_read), judged.pictures)
    embeddings = Embeddings(
        np.asarray(features)[of_read],
        judged.suspects.labels,
        ids,
        listings.paths.take(judged.pictures),
        rows=listings.row[rows],
    )
    make_folders(folder)
    names = dict(enumerate(table.class_names or ()))
    write_lists(LabelFindings(folder, embeddings, judged.suspects, judged.leaves, names))
