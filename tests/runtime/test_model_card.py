"""The text of a model card, and that a card beside a checkpoint changes nothing about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from shelfmark.core.folders import holds_our_manifest
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.models.licences import weights_licence
from shelfmark.recipe import Recipe
from shelfmark.runtime.model_card.written import worst_classes, write_card

HOSTILE = 'a | b\n# <script>alert("1")</script> `x` [y](z)'
SCORES = {"top1": 0.7512, "top1_low": 0.71, "top1_high": 0.79, "many": 0.9, "few": 0.25, "ece": 0.081, "num_images": 40}


def saved(folder: Path, names: list[str] | None, **model: Any) -> Path:
    recipe = Recipe.model_validate({"name": "a", "model": model}).model_dump(mode="json")
    facts = {
        "config": recipe,
        "num_classes": 3,
        "class_names": names,
        "counts": [120, 30, 0],
        "step": 7,
        "epoch": 1,
        "train_sha256": "abc",
    }
    save_checkpoint(folder, {"w": torch.zeros(2)}, {"state": 1}, facts)
    return folder


def per_class(folder: Path) -> Path:
    file = folder / "per_class.csv"
    rows = ["0,x,120,10,10,1.000000", "1,y,30,20,5,0.250000", "2,z,0,10,0,0.000000"]
    file.write_text("\n".join(["class_id,class_name,train_images,val_images,correct,accuracy", *rows]) + "\n")
    return file


def head_of(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_head_is_what_the_hub_reads(tmp_path: Path) -> None:
    folder = saved(tmp_path / "best", ["Tea", "Milk", "Oats"], backbone="resnet50.tv_in1k", weights="pretrained")
    text = write_card(folder, SCORES, per_class=per_class(tmp_path)).read_text()
    head = head_of(text)
    assert (head["license"], head["base_model"]) == ("bsd-3-clause", "timm/resnet50.tv_in1k")
    card = ModelCard(text)
    assert card.data.license == "bsd-3-clause"
    [accuracy] = card.data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", 0.7512)


def test_the_card_has_counts_scores_with_intervals_and_the_worst_classes_first(tmp_path: Path) -> None:
    folder = saved(tmp_path / "best", ["Tea", "Milk", "Oats"])
    text = write_card(folder, SCORES, per_class=per_class(tmp_path)).read_text()
    assert "| top-1 | 75.1% | 71.0 - 79.0 |" in text
    assert "| training pictures | 150 |" in text
    assert "1 many-shot (above 100), 1 medium-shot, 1 few-shot (below 20)" in text
    assert "Measured on 40 validation images" in text
    assert text.index("| Oats | 0% | 10 | 0 |") < text.index("| Milk | 25% | 20 | 30 |")
    # A class without a wrong answer is no limit.
    assert "| Tea |" not in text
    assert "1 class had no training picture" in text
    assert "random weights" in text
    assert "license" not in head_of(text)


def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = saved(tmp_path / "best", ["Tea", HOSTILE, "Oats"])
    text = write_card(folder, SCORES, per_class=per_class(tmp_path)).read_text()
    [row] = [line for line in text.splitlines() if "alert" in line]
    assert not re.search(r"(?<!\\)[<`\[]", row)
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


@pytest.mark.parametrize(
    ("backbone", "weights", "name", "said"),
    [
        ("vit_small_patch16_dinov3", "pretrained", "dinov3-license", "timm states the licence dinov3-license"),
        ("resnet50", "", "", "random weights"),
        ("resnet50", "mine.pth", "", "the file mine.pth, which names no licence"),
        ("nothing_of_timm", "pretrained", "", "not known here"),
    ],
)
def test_the_licence_is_that_of_the_first_weights(backbone: str, weights: str, name: str, said: str) -> None:
    found = weights_licence(backbone, weights)
    assert found.name == name
    assert said in found.told


def test_a_card_without_scores_says_so_and_classes_without_names_have_numbers(tmp_path: Path) -> None:
    folder = saved(tmp_path / "best", None)
    assert "Nothing was measured" in write_card(folder, None).read_text()
    manifest = load_checkpoint(folder).manifest
    assert [one.name for one in worst_classes(manifest, per_class(tmp_path))] == ["class 2", "class 1"]


def test_a_card_leaves_the_checkpoint_whole_and_a_damaged_one_replaceable(tmp_path: Path) -> None:
    folder = saved(tmp_path / "best", None)
    before = load_checkpoint(folder).weights_hash
    write_card(folder, SCORES)
    checkpoint = load_checkpoint(folder)
    checkpoint.require_whole()
    assert checkpoint.weights_hash == before
    (folder / "manifest.json").write_text("{")
    assert holds_our_manifest(folder)
    saved(folder, None)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors", "state.pt"]
    (folder / "manifest.json").unlink()
    (folder / "README.md").write_text("mine")
    (folder / "notes.txt").write_text("mine too")
    assert not holds_our_manifest(folder)
