"""What the rules of the report look at, and what it says of the run's origin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from shelfmark.core.log import warn
from shelfmark.core.score_names import CLASS_SCORES
from shelfmark.core.wording import counted
from shelfmark.data.source_words import reads_files
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.checkpointer import LAST
from shelfmark.reports.run_page.advice import SURE, RunFacts
from shelfmark.retrieval.index_files import THRESHOLDS
from shelfmark.runtime.run_report.classes import recalibrated
from shelfmark.runtime.run_report.material import Material
from shelfmark.runtime.run_report.stored_run import or_none
from shelfmark.runtime.trained_model import recalibrations


def facts_of(material: Material) -> RunFacts:
    """The facts of a run, from its files and from the answers on val."""
    run, recipe, found = material.run, material.model.recipe, material.predicted
    folder = run.folder
    waits = [one["data_wait_share"] for one in run.records if one["kind"] == "epoch" and "data_wait_share" in one]
    metric = recipe.eval.metric
    scores = [one[metric] for one in run.records if one["kind"] == "val" and one.get(metric) is not None]
    summary, is_untrained = run.summary, material.model.is_classifier_untrained
    if is_untrained:
        # Nothing is advised by the answers of a classifier that learned nothing.
        summary = {name: value for name, value in summary.items() if not name.startswith(CLASS_SCORES)}
    num_sure = 0 if found is None or is_untrained else int(((found.confidence >= SURE) & ~found.is_right).sum())
    last, num_done, num_epochs = _interrupted(folder, recipe.train.num_epochs)
    return RunFacts(
        folder,
        material.checkpoint,
        summary,
        data_wait=waits[-1] if waits else None,
        num_sure_mistakes=num_sure,
        num_answers=0 if found is None else len(found.rows),
        num_suspects=_num_lines(folder / "clean" / "drop.txt", head=0),
        num_bad_images=_num_lines(folder / "bad_images.csv", head=1) or 0,
        is_recalibrated=bool(recalibrations(run.checkpoint.manifest)) or recalibrated(material) is not None,
        has_thresholds=(folder / THRESHOLDS).is_file() or any(folder.glob(f"*/{THRESHOLDS}")),
        scores=() if metric.endswith("error") else scores,
        num_epochs=num_epochs,
        num_workers=recipe.data.num_workers,
        input_size_px=recipe.data.input_size_px,
        is_packed=not reads_files(recipe.data.source),
        last=last,
        num_done=num_done,
    )


def _interrupted(folder: Path, num_epochs: int) -> tuple[Path | None, int, int]:
    """The checkpoint that an interrupted run goes on from, its whole epochs, and how many it shall have, by `last`:
    the best model may be of a time before train.num_epochs was raised. No checkpoint: it was trained to its end,
    or `last` is gone."""
    saved = or_none(lambda: load_checkpoint(folder / LAST))
    if saved is None:
        return None, 0, num_epochs
    num_done = int(saved.manifest["epoch"])
    wanted = int(saved.manifest["config"].get("train", {}).get("num_epochs", num_epochs))
    return (folder / LAST if num_done < wanted else None), num_done, wanted


def origin_facts(material: Material) -> Iterator[tuple[str, str]]:
    """Hashes, sizes and times, as (name, text)."""
    manifest, folder = material.run.checkpoint.manifest, material.run.folder
    yield "checkpoint", f"{material.checkpoint}, step {manifest['step']:,}"
    yield "SHA-256 of its weights", material.run.checkpoint.weights_hash
    yield "SHA-256 of the training annotations", str(manifest.get("train_sha256", "unknown"))
    num_images = int(material.model.counts.sum())
    yield "trained on", f"{counted(num_images, 'image')} of {counted(material.model.num_classes, 'class')}"
    if material.val is not None:
        yield "scored on", f"{counted(len(material.val), 'image')} of val, SHA-256 {material.val.sha256}"
    yield (
        "saved by",
        f"Shelfmark {manifest.get('shelfmark', '0.1.0')}, precision {manifest.get('precision', 'unknown')}",
    )
    for name, shown in (("config.yaml", "first written"), ("summary.json", "scored")):
        if (folder / name).is_file():
            yield shown, _time(folder / name)


def _time(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime).astimezone().isoformat(sep=" ", timespec="seconds")


def _num_lines(file: Path, head: int) -> int | None:
    """The lines of a file behind its head; None where it is not there."""
    try:
        with open(file, "rb") as stream:
            return max(0, sum(1 for line in stream if line.strip()) - head)
    except FileNotFoundError:
        return None
    except OSError as error:
        warn(f"{file} cannot be read: {error.strerror}")
        return None
