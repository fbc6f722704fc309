from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import Override, parse_override
from shelfmark.config.write import to_yaml
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.recipe import Recipe
from shelfmark.runtime.run_config import RunConfig, config_differences, run_config


def loaded(*words: str, file: Path | None = None) -> Loaded[Recipe]:
    return load(Recipe, file, [parse_override(word) for word in words])


def written(folder: Path, of_run: Loaded[Recipe], name: str = "config.yaml") -> RunConfig:
    """The options of a checkpoint whose run wrote its configuration, as a training does."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(to_yaml(of_run))
    return run_config(checkpoint(of_run), [folder])


def checkpoint(of_run: Loaded[Recipe]) -> Checkpoint:
    return Checkpoint(Path("best_model"), {"config": of_run.config.model_dump(mode="json")})


def rows(*configs: RunConfig) -> dict[str, tuple[tuple[Any, ...], tuple[str | None, ...]]]:
    return {one.option: (one.values, one.origins) for one in config_differences(configs)}


def test_a_difference_says_for_each_run_where_the_value_was_set(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("optim:\n  lr: 0.05\naugment:\n  crop_scale: [0.2, 1.0]\nmodel:\n  weights: 'a  # b.pth'\n")
    one = written(tmp_path / "a", loaded("name=a", file=recipe))
    other = written(tmp_path / "b", loaded("name=b", "optim.lr=0.01", "seed=3"))
    assert rows(one, other) == {
        "seed": ((0, 3), ("default", "command line: seed=3")),
        "augment.crop_scale": (([0.2, 1.0], other.options["augment.crop_scale"]), (f"{recipe}:4", "default")),
        "model.weights": (("a  # b.pth", other.options["model.weights"]), (f"{recipe}:6", "default")),
        "optim.lr": ((0.05, 0.01), (f"{recipe}:2", "command line: optim.lr=0.01")),
    }
    assert rows(one, one, one) == {}


def test_losses_are_compared_by_name_and_one_that_a_run_lacks_is_one_row(tmp_path: Path) -> None:
    head = "model.heads.rank.dim=16"
    one = written(tmp_path / "a", loaded(head, "losses=[{name: smooth_ap, head: rank, weight: 0.5}]"))
    both = "losses=[{name: cross_entropy, label_smoothing: 0.1}, {name: smooth_ap, head: rank, weight: 0.25}]"
    other = written(tmp_path / "b", loaded(head, both))
    found = rows(one, other)
    assert list(found) == ["losses.smooth_ap.weight", "losses.cross_entropy"]
    assert found["losses.smooth_ap.weight"][0] == (0.5, 0.25)
    assert found["losses.smooth_ap.weight"][1][1] == f"command line: {both}"
    absent, held = found["losses.cross_entropy"][0]
    assert absent is None
    assert held["label_smoothing"] == 0.1


def test_a_list_of_entries_without_names_was_set_where_its_entries_were(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("augment:\n  sizes:\n    - from_epoch: 3\n      size_px: 160\n")
    one, other = written(tmp_path / "a", loaded(file=recipe)), written(tmp_path / "b", loaded())
    assert rows(one, other) == {
        "augment.sizes": (([{"from_epoch": 3, "size_px": 160}], []), (f"{recipe}:3", "default"))
    }


def test_of_a_continued_run_the_file_that_has_the_value_tells_its_origin(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder, loaded("optim.lr=0.5"))
    found = written(folder, loaded("optim.lr=0.01"), "config_2.yaml")
    assert found.origins["optim.lr"] == "command line: optim.lr=0.01"
    first = run_config(checkpoint(loaded("optim.lr=0.5")), [folder])
    assert first.origins["optim.lr"] == "command line: optim.lr=0.5"
    # A checkpoint that no file tells of: nobody knows where it was set.
    assert run_config(checkpoint(loaded("optim.lr=0.3")), [folder]).origins["optim.lr"] is None


@pytest.mark.parametrize("text", ["- a list", "optim: {lr: [", "\x00"])
def test_a_config_file_that_cannot_be_read_costs_the_origins_and_a_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    loaded_one = load(Recipe, None, [Override("optim.lr", 0.2, "typed")])
    found = run_config(checkpoint(loaded_one), [tmp_path])
    assert found.options["optim.lr"] == 0.2
    assert found.origins["optim.lr"] is None
    assert "config.yaml does not say where options were set" in caplog.text
