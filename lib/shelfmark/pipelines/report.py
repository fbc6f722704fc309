"""The report of a run: one HTML page, and the figures beside it as SVG and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.stopping import Stopped
from shelfmark.core.together import from_main
from shelfmark.data.table import Table
from shelfmark.recipe.of_checkpoint import source_of_training
from shelfmark.reports.html.page import Page, Section, all_figures, write_page
from shelfmark.reports.html.parts import Lacking, Part, Steps, Text
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.run_page.advice import advice
from shelfmark.reports.run_page.answer import change_told, scores_told
from shelfmark.reports.run_page.confidence import confidence_section
from shelfmark.reports.run_page.curves import curves_section
from shelfmark.reports.run_page.mistakes import mistakes_section
from shelfmark.reports.run_page.provenance import provenance_section
from shelfmark.reports.run_page.retrieval import retrieval_section
from shelfmark.reports.run_page.seen import seen_section
from shelfmark.reports.run_page.tail import tail_section
from shelfmark.runtime.features import model_features
from shelfmark.runtime.run_report.classes import tail_of
from shelfmark.runtime.run_report.facts import facts_of, origin_facts
from shelfmark.runtime.run_report.material import Material
from shelfmark.runtime.run_report.mistakes import mistakes_of
from shelfmark.runtime.run_report.parent import parent_of
from shelfmark.runtime.run_report.promised import risk_of
from shelfmark.runtime.run_report.retrieval import retrieval_of
from shelfmark.runtime.run_report.seen_pictures import seen_pictures
from shelfmark.runtime.run_report.stored_run import stored_run
from shelfmark.runtime.splits import Splits, read_evaluation
from shelfmark.runtime.stored_features import STORED
from shelfmark.runtime.trained_model import TrainedModel, open_model

PAGE, FIGURES = "report.html", "report"


@dataclass(frozen=True)
class Report:
    """page: the HTML file. figures: the folder of SVG and CSV files. num_left_out: pictures without room on the page.

    next: what the page advises, each with title, reason and command.
    """

    page: Path
    figures: Path
    num_figures: int
    num_left_out: int
    next: tuple[dict[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def report(folder: Path, out: Path | None = None) -> Report:
    """Writes the report of the run in `folder` to `out`, by default into the run's folder.

    Features of val and of the retrieval images are those that the run stored; where they do not fit, a pass over the
    images makes them. UserError: the folder has no checkpoint of a run.
    """
    checkpoint = stored_run(folder).checkpoint
    model = open_model(checkpoint.folder, source_of_training(checkpoint))
    val, retrieval, unopened = _opened(model)
    return _written(replace(_material(model, None, val, retrieval, folder), unopened=unopened), out or folder)


def _opened(model: TrainedModel) -> tuple[Table | None, Table | None, str]:
    """The images of the evaluation, and why they cannot be opened: a run outlives its pictures."""
    try:
        return *read_evaluation(model), ""
    except UserError as error:
        warn(f"the report has no images of the evaluation: {error}")
        return None, None, str(error)


def report_of_training(model: TrainedModel, splits: Splits, folder: Path) -> None:
    """As `report`, at the end of a training, in all of its processes. What goes wrong is told in one line: the model is
    there already, and no report is worth a failed run."""
    try:
        material = _material(model, splits.train, splits.val, splits.retrieval, folder)
        from_main(lambda: _written(material, folder), "report")
    except Stopped:
        raise
    except Exception as error:
        again = command_line("report", folder)
        warn(f"the report was not written: {type(error).__name__}: {error}; `{again}` tries it again")


def _material(
    model: TrainedModel, train: Table | None, val: Table | None, retrieval: Table | None, folder: Path
) -> Material:
    features = {
        name: None if table is None else model_features(model, table, folder / STORED / name)
        for name, table in (("val", val), ("retrieval", retrieval))
    }
    run = from_main(lambda: stored_run(folder))
    return Material(run, model, val, features["val"], retrieval, features["retrieval"], train)


def _written(material: Material, out: Path) -> Report:
    page, steps = run_page(material)
    num_left_out = write_page(page, out / PAGE, FIGURES)
    say(f"report: {out / PAGE}")
    told = tuple({"title": one.title, "reason": one.reason, "command": one.command} for one in steps.steps)
    return Report(out / PAGE, out / FIGURES, len(all_figures(page)), num_left_out, told)


def run_page(material: Material) -> tuple[Page, Steps]:
    """The page of a run, and what it advises."""
    model = material.model
    # Read first: what reading annotations takes for a moment, the passes over features use again.
    _ = material.train
    steps = Steps(advice(facts_of(material)))
    images = f"{int(model.counts.sum()):,} training images, {model.num_classes:,} classes"
    sections = (
        Section("What to do next", (steps,)),
        *_changes(material),
        *_tried("Curves", lambda: _curves(material)),
        *_tried("The tail", lambda: _tail(material)),
        *_tried("Mistakes", lambda: _mistakes(material)),
        *_tried("Retrieval", lambda: _retrieval(material)),
        *_tried("Confidence", lambda: _confidence(material)),
        *_tried("What the network saw", lambda: _seen(material)),
        provenance_section(material.run.environments, material.run.config, tuple(origin_facts(material))),
    )
    page = Page(
        f"Report of {material.run.name}",
        f"{model.recipe.model.backbone}, {images}.",
        sections,
        tuple(_scores(material)),
        (
            "SVG and CSV of each figure lie in the folder report/ beside this page.",
            "How every number is defined: docs/definitions.md. What this page shows: docs/report.md.",
        ),
    )
    return page, steps


def _tried(heading: str, make: Callable[[], Section]) -> Iterator[Section]:
    """The section, or one that says why it is not here: a file may be gone or damaged, and the rest stays worth it."""
    try:
        yield make()
    except (UserError, OSError, ValueError, KeyError) as error:
        yield Section(heading, (Lacking(f"This part could not be made: {error}"),))


def _command(material: Material, name: str, *words: object) -> str:
    return command_line(name, "--RESUME_MODEL", material.checkpoint, *words)


def _scores(material: Material) -> Iterator[Part]:
    if material.run.summary:
        yield scores_told(material.run.summary)
    else:
        yield Lacking("summary.json is not in the folder, so there are no scores.", _command(material, "evaluate"))
    if material.model.is_classifier_untrained and material.val is not None:
        yield Text(
            "No loss of this run trained its classifier. Its answers say nothing, and nor does what stands below on"
            " answers, mistakes and confidence; what counts is the part on retrieval."
        )


def _changes(material: Material) -> Iterator[Section]:
    parent = parent_of(material.run)
    if parent is None:
        return
    found = change_told(parent.folder.name, parent.summary, material.run.summary, parent.changed)
    yield Section("What changed", found or (Text(f"The scores of {parent.folder} are gone.", True),))


def _curves(material: Material) -> Section:
    again = command_line("train", "--config", material.run.folder / "config.yaml")
    return curves_section(material.run.records, material.model.recipe.eval.metric, again)


def _tail(material: Material) -> Section:
    return tail_section(tail_of(material, _command(material, "evaluate"), _command(material, "calibrate")))


def _mistakes(material: Material) -> Section:
    found = mistakes_of(material)
    if found is None:
        return _no_val("Mistakes", material)
    return mistakes_section(found)


def _no_val(heading: str, material: Material) -> Section:
    if material.unopened:
        return _unopened(heading, material)
    told = "The run has no labelled images of the trained classes: data.val_json is not set. Train with"
    return Section(heading, (Lacking(told, "data.val_json=FILE"),))


def _unopened(heading: str, material: Material) -> Section:
    return Section(heading, (Lacking(f"The images of the evaluation cannot be opened. {material.unopened}"),))


def _retrieval(material: Material) -> Section:
    index = _command(material, "index build", "--out", material.run.folder / "index")
    found = retrieval_of(material, index)
    if found is None and material.unopened:
        return _unopened("Retrieval", material)
    if found is None:
        told = "No image of val or of the retrieval set has another image of its product. Train with"
        return Section("Retrieval", (Lacking(told, "data.retrieval_json=FILE"),))
    return retrieval_section(found)


def _confidence(material: Material) -> Section:
    found = material.predicted
    if found is None:
        return _no_val("Confidence", material)
    groups = {name: mask[found.labels] for name, mask in material.groups.items()}
    shown = {name: mask for name, mask in groups.items() if mask.any()}
    learn = _command(material, "thresholds", "--max-wrong", "5%")
    return confidence_section(found.confidence, found.is_right, shown, risk_of(material.run.folder), learn)


def _seen(material: Material) -> Section:
    model, train = material.model, material.train
    if train is None:
        return Section("What the network saw", (Lacking("The training annotations are gone or do not fit."),))
    found = seen_pictures(model.recipe, train)
    name = model.class_name
    pictures = tuple(
        Shown(pixels, f"A training picture of {name(int(label))}", name(int(label)))
        for pixels, label in zip(found.pixels, found.labels)
    )
    if found.mixed is None:
        return seen_section(pictures, ())
    captions = [", ".join(f"{name(label)} {100 * part:.0f}%" for label, part in shares) for shares in found.shares]
    mixed = tuple(Shown(pixels, f"A mixed picture: {said}", said) for pixels, said in zip(found.mixed, captions))
    return seen_section(pictures, mixed)
