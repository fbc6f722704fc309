"""The report of a round of discovery: scores, a page to look at, and a table to edit.

Only the report reads true classes (`true_category_id` of unlabelled images). Legend: U unlabelled images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from shelfmark.core.files import read_json, write_json
from shelfmark.core.log import warn
from shelfmark.core.score_names import score_name
from shelfmark.data.identity import record_numbers
from shelfmark.evaluation import found_classes, retrieval
from shelfmark.pipelines.discover.files import STAGES, RunFiles
from shelfmark.pipelines.discover.findings import RoundFindings
from shelfmark.pipelines.discover.review.apply import round_findings, write_review
from shelfmark.pipelines.discover.shown import discovered_round
from shelfmark.reports.cluster_plots import cluster_sizes
from shelfmark.reports.discovery_page import write_page
from shelfmark.reports.round_page import page_of
from shelfmark.reports.tables import score_text
from shelfmark.retrieval.query_gallery import QueryGallery

SCORED_SETS: tuple[Literal["val", "test"], ...] = ("val", "test")
_RETRIEVAL = ("map@r", "map", "num_queries", "num_queries_without_positive", "num_gallery")


def write_report(
    run: RunFiles,
    number: int,
    *,
    recall_at: Sequence[int] = (1, 5, 10),
    metric: str = "cosine",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Writes report.json, index.html, cluster_sizes.png and review.csv of a round whose selection is done.

    Returns the content of report.json. recall_at, metric, seed: eval.recall_at, eval.retrieval_metric and seed of the
    run. The files depend on the other files of the run alone: written again, they have the same bytes.
    """
    findings = round_findings(run, number)
    report = {
        "round": number,
        "retrieval": _retrieval(run, number, recall_at, metric, seed, device),
        **_found(findings),
        **({"thresholds": run.read_thresholds(number)} if run.thresholds(number).is_file() else {}),
    }
    folder = run.report(number).parent
    earlier = [read_json(run.report(one)) for one in range(number) if run.report(one).is_file()]
    write_review(run, number, findings)
    sizes = _draw(report["cluster_sizes"], folder / "cluster_sizes.png")
    write_page(page_of(discovered_round(findings, run.folder.name), [*earlier, report], sizes), folder / "index.html")
    # report.json is written last: if it exists, the others do.
    write_json(run.report(number), report)
    return report


def stage_seconds(run: RunFiles, number: int) -> dict[str, float]:
    """The seconds that each done stage of a round took, from its manifest."""
    manifests = {stage: run.manifest(number, stage) for stage in STAGES}
    found = {stage: read_json(file).get("seconds") for stage, file in manifests.items() if file.is_file()}
    return {stage: seconds for stage, seconds in found.items() if seconds is not None}


def round_rows(
    reports: Sequence[Mapping[str, Any]], seconds: Sequence[Mapping[str, float]] = ()
) -> tuple[list[str], list[list[str]]]:
    """Headings, one a round, and rows of text, one a score, for a table on screen; from the rounds' reports.

    seconds: `stage_seconds` of each round. A score that no round has gets no row.
    """
    texts: dict[str, Callable[[Mapping[str, Any]], str]] = {
        f"{name} {score_name(score)}": partial(_score, way=("retrieval", name, score))
        for name in SCORED_SETS
        for score in ("recall@1", "map@r")
    }
    texts |= {
        "images selected": _selected,
        "joined to known classes": partial(_score, way=("selection", "num_joined")),
        "new products": partial(_score, way=("selection", "num_pseudo_classes")),
        "selected rightly": partial(_score, way=("truth", "selection", "all", "precision")),
        "new classes found": _classes_found,
    }
    rows = [[name, *(text(report) for report in reports)] for name, text in texts.items()]
    rows.append(["time", *(_time_told(of_round) for of_round in seconds)])
    return ["", *(f"round {report['round']}" for report in reports)], [row for row in rows if any(row[1:])]


def _retrieval(
    run: RunFiles, number: int, recall_at: Sequence[int], metric: str, seed: int, device: torch.device | str
) -> dict[str, dict[str, Any]]:
    """Retrieval scores of val and test, each searched in itself, with `_low` and `_high` of their 95% intervals."""
    found: dict[str, dict[str, Any]] = {}
    for name in SCORED_SETS:
        if not run.embedded(number, name).is_dir():
            continue
        embeddings = run.read_embeddings(number, name)
        features = torch.from_numpy(embeddings.features).to(device)
        ids = record_numbers(embeddings.paths, run.table.root, embeddings.boxes)
        sides = QueryGallery.of(features, run.table.labels[embeddings.rows], query_ids=ids)
        scores = retrieval.search_scores(sides, recall_at, metric)
        means, intervals = scores.means(), scores.intervals(seed)
        found[name] = {}
        for score in (*(f"recall@{k}" for k in scores.ks), *_RETRIEVAL):
            found[name][score] = means[score]
            if score in intervals:
                found[name][f"{score}_low"], found[name][f"{score}_high"] = intervals[score] or (None, None)
    return found


def _found(findings: RoundFindings) -> dict[str, Any]:
    """The counts of the selection, the sizes of the clusters and, if true classes are known, the scores of both."""
    num_known, selection, truth = len(findings.known_names), findings.selection, findings.true_labels
    report: dict[str, Any] = {
        "selection": found_classes.selection_counts(selection.labels, num_known),
        "cluster_sizes": found_classes.size_histogram(selection.clusters, selection.is_selected),
    }
    if (truth >= 0).any():
        report["truth"] = {
            "selection": found_classes.selection_scores(truth, selection.labels, num_known),
            "new_classes": found_classes.new_class_scores(truth, selection.labels, num_known),
            "clusters": found_classes.cluster_scores(truth, selection.labels, selection.clusters, num_known),
        }
    return report


def _draw(sizes: Mapping[str, Any], path: Path) -> Path | None:
    """The plot's path; None, with a warning, if the plot could not be drawn."""
    try:
        cluster_sizes(sizes["bins"], path)
    except Exception as error:
        warn(f"{path.name} could not be drawn: {error}")
        return None
    return path


def _score(report: Mapping[str, Any], way: Sequence[str]) -> str:
    """The score as text with its interval, empty where the report does not have it."""
    scores: Any = report
    for step in way[:-1]:
        scores = scores.get(step, {})
    name = way[-1]
    if name not in scores:
        return ""
    text, low, high = score_text(name, scores[name]), scores.get(f"{name}_low"), scores.get(f"{name}_high")
    return text if low is None or high is None else f"{text} ({100 * low:.1f} - {100 * high:.1f})"


def _selected(report: Mapping[str, Any]) -> str:
    counts = report["selection"]
    return f"{counts['num_selected']:,} ({score_text('coverage', counts['coverage'])})"


def _time_told(seconds: Mapping[str, float]) -> str:
    if not seconds:
        return ""
    slowest = max(seconds, key=lambda stage: seconds[stage])
    return f"{sum(seconds.values()):,.0f} s ({slowest} {seconds[slowest]:,.0f} s)"


def _classes_found(report: Mapping[str, Any]) -> str:
    new = report.get("truth", {}).get("new_classes")
    return f"{new['num_new_classes_found']:,} of {new['num_new_classes']:,}" if new else ""
