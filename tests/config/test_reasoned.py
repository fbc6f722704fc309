"""A configuration for readers: what was chosen, with reasons, and nothing else."""

from __future__ import annotations

from pathlib import Path

from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.config.reasoned import Reasoned, reasoned_yaml
from shelfmark.recipe import Recipe

VALUES = [
    Reasoned("name", "mine"),
    Reasoned("data.root", 'my "späti" photos: # 1', "as typed"),
    Reasoned("augment.crop_scale", [0.35, 1.0]),
    Reasoned("losses", [{"name": "cross_entropy", "label_smoothing": 0.1}], "two reasons\nin two lines"),
    Reasoned("optim.schedule.warmup_epochs", 0.5),
    Reasoned("optim.lr", 1e-05, "small"),
    Reasoned("model.freeze", []),
    Reasoned("data.val_json", None),
]


def test_the_text_loads_to_what_was_chosen_however_it_is_spelled(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(reasoned_yaml("A header: with 'marks' # and more.", VALUES))
    chosen = load(Recipe, None, [Override(one.option, one.value, "chosen") for one in VALUES])
    loaded = load(Recipe, file)
    assert loaded.config == chosen.config
    assert {key.split(".0.")[0] for key in loaded.origins} == {one.option for one in VALUES}


def test_a_reason_stands_above_its_value_and_groups_stand_together() -> None:
    lines = reasoned_yaml("h", [VALUES[1], VALUES[4], VALUES[5], VALUES[7]]).splitlines()
    assert lines[lines.index("  lr: 1.0e-05") - 1] == "  # small"
    assert lines.count("data:") == lines.count("optim:") == 1
    assert all(len(line) <= 100 for line in lines)


def test_it_builds_on_a_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5, momentum: 0.8}\n")
    file = tmp_path / "inner" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(reasoned_yaml("h", [Reasoned("optim.lr", 0.25)], base="../base.yaml"))
    optim = load(Recipe, file).config.optim
    assert (optim.lr, optim.momentum) == (0.25, 0.8)
