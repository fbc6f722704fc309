"""A run whose losses train vectors alone: nothing is said, advised or published by its classifier's answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from untrained_models import NUM_CLASSES, make_place, options

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.pipelines.report import report
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.untrained import leaves_classifier_untrained
from shelfmark.runtime.model_card.written import write_card

SUMMARY = {"top1": 0.1, "top1_low": 0.0, "many": 0.9, "few": 0.1, "ece": 0.4, "recall@1": 0.8, "num_images": 11}


def recipe(place: Path, *words: str) -> Recipe:
    return load(Recipe, None, [parse_override(word) for word in (*options(place), *words)]).config


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """log/vectors beside log/run, whose classifier a loss trains."""
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    own = recipe(tmp_path, "model.heads.rank.dim=4", "losses=[{name: smooth_ap, head: rank}]")
    facts = {
        **load_checkpoint(Path("log/run/last")).manifest,
        "config": own.model_dump(mode="json"),
        "epoch": own.train.num_epochs,
    }
    save_checkpoint(Path("log/vectors/last"), assemble.network(own, NUM_CLASSES).state_dict(), {}, facts)
    (tmp_path / "log/vectors/summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path


def test_a_classifier_is_trained_by_a_loss_or_made_of_class_means(tmp_path: Path) -> None:
    head = ("model.heads.rank.dim=4", "losses=[{name: smooth_ap, head: rank}]")
    both = "losses=[{name: cross_entropy}, {name: smooth_ap, head: rank}]"
    means = ("model.classifier.type=cosine", "model.classifier.init=class_means")
    assert leaves_classifier_untrained(recipe(tmp_path, *head))
    assert not leaves_classifier_untrained(recipe(tmp_path, head[0], both))
    assert not leaves_classifier_untrained(recipe(tmp_path, *head, *means))
    assert not leaves_classifier_untrained(recipe(tmp_path))


def test_its_answers_are_said_to_say_nothing_wherever_they_are_shown(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["compare", "log/run", "log/vectors", "--out", "page.html"]) == 0
    said = [one.getMessage() for one in caplog.records if "no loss trained" in one.getMessage()]
    assert said == [
        "log/vectors: no loss trained its classifier, so its answers say nothing; its scores of the search do"
    ]
    assert said[0] in Path("page.html").read_text()
    caplog.clear()
    assert main(["explain", "pictures/val_1.png", "--RESUME_MODEL", "log/vectors/last", "data.input_size_px=96"]) == 0
    assert "no loss trained this model's classifier" in caplog.text
    found = report(Path("log/vectors"))
    assert "No loss of this run trained its classifier." in found.page.read_text()
    # Neither a temperature nor a recalibration nor thresholds, whatever its scores are.
    assert [one["title"] for one in found.next] == ["Nothing stands out."]


def test_its_card_offers_vectors(place: Path) -> None:
    text = write_card(place / "log/vectors/last", SUMMARY, per_class=place / "nothing.csv").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["pipeline_tag"] == "image-feature-extraction"
    assert [one["type"] for one in head["model-index"][0]["results"][0]["metrics"]] == ["recall_at_1"]
    assert "No loss trained its classifier: use its vectors." in text
    assert "top-1" not in text
    assert "Recall@1" in text
