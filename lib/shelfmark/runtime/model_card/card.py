"""The text of a model card, from a checkpoint's manifest and its scores."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from shelfmark.core.score_names import score_name
from shelfmark.core.wording import counted
from shelfmark.models.licences import Licence, weights_licence
from shelfmark.reports.tables import score_text
from shelfmark.runtime.model_card.markdown import code, escaped, table
from shelfmark.runtime.trained_model import recalibrations

_SHOWN = re.compile(r"top\d+|mean_class_accuracy|many|medium|few|ece|recall@\d+|map|map@r|top1_new_classes")
_AT_THE_HUB = {"top1": "accuracy", "mean_class_accuracy": "balanced_accuracy", "recall@1": "recall_at_1", "map": "map"}
_HUB_LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc0-1.0",
        "gpl-3.0",
        "openrail",
        "afl-3.0",
        "mpl-2.0",
        "unlicense",
    ]
)


@dataclass(frozen=True)
class WorstClass:
    """A class that is answered badly. accuracy: a share of its num_val images."""

    name: str
    num_train: int
    num_val: int
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """scores: as summary.json. on: in words, what they were measured on. worst: the classes of the lowest
    accuracy. is_classifier_untrained: whether the vectors alone can be used."""

    scores: Mapping[str, Any]
    on: str
    worst: Sequence[WorstClass] = ()
    is_classifier_untrained: bool = False


def model_card(manifest: Mapping[str, Any], measured: Measured | None, folder: Path) -> str:
    """The card as Markdown with a YAML head, as the Hugging Face hub reads it.

    folder: of the checkpoint, as the snippet names it. measured: None where nothing was measured.
    """
    options = manifest["config"]["model"]
    licence = weights_licence(options["backbone"], options["weights"])
    parts = [
        _head(manifest, measured, licence),
        _about(manifest),
        _snippet(folder),
        _data(manifest),
        _scores(measured),
        _use(manifest),
        _limits(manifest, measured),
        ["## Licence", "", f"{licence.told} What the training added is the trainer's; this card grants nothing."],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(manifest: Mapping[str, Any], measured: Measured | None, licence: Licence) -> list[str]:
    name = manifest["config"]["name"]
    names_classes = measured is None or "top1" in measured.scores
    told: dict[str, Any] = {
        "library_name": "shelfmark",
        "pipeline_tag": "image-classification" if names_classes else "image-feature-extraction",
        "tags": ["shelfmark", "image-classification", "image-retrieval", "product-recognition", "long-tail"],
    }
    if licence.name:
        is_known = licence.name in _HUB_LICENCES
        told |= {"license": licence.name} if is_known else {"license": "other", "license_name": licence.name}
    if licence.base:
        told["base_model"] = licence.base
    metrics = [
        {"type": kind, "name": score_name(score), "value": round(float(value), 6)}
        for score, kind in _AT_THE_HUB.items()
        if measured is not None and (value := measured.scores.get(score)) is not None
    ]
    if metrics:
        result = {
            "task": {"type": told["pipeline_tag"]},
            "dataset": {"type": name, "name": name},
            "metrics": metrics,
        }
        told["model-index"] = [{"name": name, "results": [result]}]
    return ["---", yaml.safe_dump(told, sort_keys=False, allow_unicode=True).rstrip(), "---"]


def _about(manifest: Mapping[str, Any]) -> list[str]:
    config = manifest["config"]
    counts, data = np.asarray(manifest["counts"]), config["data"]
    lines = [
        f"# {escaped(config['name'])}",
        "",
        f"A network that recognises {counted(manifest['num_classes'], 'product')}: the backbone"
        f" {code(config['model']['backbone'])} at {data['input_size_px']} pixels, trained by Shelfmark"
        f" {manifest.get('shelfmark', '0.1.0')} on {counted(int(counts.sum()), 'picture')},"
        f" {manifest['step']:,} steps, {counted(manifest['epoch'], 'epoch')}.",
    ]
    for step in recalibrations(dict(manifest)):
        lines.append(f"Then recalibrated: {code(step['method'])}.")
    return lines


def snippet_for(card: str, folder: Path, comment: str) -> str:
    """The card with another folder in its snippet. comment: behind that line."""
    line = _load_line(folder, comment)
    return re.sub(r"^model = shelfmark\.load\(.*$", lambda _: line, card, count=1, flags=re.MULTILINE)


def _load_line(folder: Path, comment: str) -> str:
    return f"model = shelfmark.load({json.dumps(str(folder), ensure_ascii=False)})  # {comment}"


def _snippet(folder: Path) -> list[str]:
    return [
        "## To use it",
        "",
        "```python",
        "import shelfmark",
        "",
        _load_line(folder, "the folder of this file"),
        'probabilities = model.predict(["photo.jpg"])  # (1, classes)',
        "print(model.class_names[probabilities[0].argmax()], probabilities[0].max())",
        'vectors = model.embed(["photo.jpg"])  # (1, dimensions), for a search',
        "```",
    ]


def _data(manifest: Mapping[str, Any]) -> list[str]:
    config, counts = manifest["config"], np.asarray(manifest["counts"])
    held, eval_options = counts[counts > 0], config["eval"]
    many, few = int((counts > eval_options["many"]).sum()), int((counts < eval_options["few"]).sum())
    rows = [
        ("annotations", code(str(config["data"]["train_json"]))),
        ("their SHA-256", code(str(manifest.get("train_sha256", "not recorded")))),
        ("training pictures", f"{int(counts.sum()):,}"),
        ("classes", f"{len(counts):,}"),
    ]
    if len(held):
        rows.append(("pictures of a class", f"{held.min():,} to {held.max():,}, median {np.median(held):g}"))
    rows.append(
        (
            "classes by size",
            f"{many:,} many-shot (above {eval_options['many']}), {len(counts) - many - few:,} medium-shot,"
            f" {few:,} few-shot (below {eval_options['few']})",
        )
    )
    return ["## Data", "", *table(("", ""), rows)]


def _scores(measured: Measured | None) -> list[str]:
    if measured is None:
        return ["## Scores", "", "Nothing was measured when this card was written."]
    rows = []
    for name, value in measured.scores.items():
        if _SHOWN.fullmatch(name):
            low, high = (measured.scores.get(f"{name}{end}") for end in ("_low", "_high"))
            interval = "" if low is None or high is None else f"{100 * low:.1f} - {100 * high:.1f}"
            rows.append((score_name(name), score_text(name, value), interval))
    return ["## Scores", "", f"Measured on {measured.on}.", "", *table(("score", "", "95% interval"), rows)]


def _use(manifest: Mapping[str, Any]) -> list[str]:
    return [
        "## Intended use",
        "",
        f"To name a photograph of one of the {manifest['num_classes']:,} products above, taken as the training pictures"
        " were, and to find pictures of the same product by its vectors. A person should be able to correct it where an"
        " answer has a cost.",
        "",
        "Not for: products that it was not trained on (it names one of its own all the same, unless `shelfmark"
        " thresholds` gave it rules for *unknown*), people, text, or several products in one picture.",
    ]


def _limits(manifest: Mapping[str, Any], measured: Measured | None) -> list[str]:
    lines = ["## Limits that were found", ""]
    if measured is not None and measured.is_classifier_untrained:
        return [*lines, "- No loss trained its classifier: use its vectors. What `predict` names says nothing."]
    scores = {} if measured is None else measured.scores
    many, few, error = (scores.get(name) for name in ("many", "few", "ece"))
    if many is not None and few is not None:
        lines.append(
            f"- Many-shot classes: {score_text('many', many)} right, few-shot classes: {score_text('few', few)}."
        )
    if error is not None:
        lines.append(f"- Its confidence is off by {score_text('ece', error)} on average (expected calibration error).")
    if number := int((np.asarray(manifest["counts"]) == 0).sum()):
        lines.append(f"- {counted(number, 'class')} had no training picture.")
    if measured is None or not measured.worst:
        return [*lines, "- Which classes it answers worst was not measured."]
    rows = [
        (escaped(one.name), f"{100 * one.accuracy:.0f}%", f"{one.num_val:,}", f"{one.num_train:,}")
        for one in measured.worst
    ]
    heads = ("answered worst", "accuracy", "pictures scored", "training pictures")
    return [*lines, "", *table(heads, rows)]
