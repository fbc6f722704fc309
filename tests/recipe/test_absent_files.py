"""A recipe whose data is not there says how the data is made, and what was made says how it is used."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.config.files import shipped_configs
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.data.layouts import LAYOUTS
from shelfmark.pipelines.prepare import next_command
from shelfmark.recipe import Recipe
from shelfmark.recipe.absent_files import require_prepared


def needs_data(name: str) -> bool:
    recipe = load(Recipe, shipped_configs()[name]).config
    return not recipe.data.generated and bool(recipe.data.train_json or recipe.discovery.annotations)


@pytest.mark.parametrize("name", [name for name in shipped_configs() if needs_data(name)])
def test_every_shipped_recipe_without_its_data_says_how_to_make_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    loaded = load(Recipe, shipped_configs()[name])
    with pytest.raises(UserError) as caught:
        require_prepared(loaded)
    first, command, *_ = str(caught.value).splitlines()
    words = shlex.split(command.partition(" prepare ")[2])
    assert words[0] in LAYOUTS
    made_in = Path(words[words.index("--out") + 1] if "--out" in words else f"dataset/{words[0]}")
    absent = loaded.config.data.train_json or loaded.config.discovery.annotations
    assert absent.parent == made_in
    assert f"={absent} does not exist in {tmp_path}." in first
    for file in (loaded.config.data.train_json, loaded.config.data.val_json, loaded.config.data.retrieval_json, absent):
        if file is not None:
            made_in.mkdir(parents=True, exist_ok=True)
            file.touch()
    require_prepared(loaded)


def test_typed_and_generated_data_is_not_the_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ["data.train_json=mine.json", "data.val_json=mine.json", "data.retrieval_json=null"]
    require_prepared(load(Recipe, shipped_configs()["grocery"], [parse_override(one) for one in typed]))
    require_prepared(load(Recipe, shipped_configs()["shop"]))


def test_the_command_line_says_it_before_anything_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in (["train"], ["train", "--dry-run"], ["discover"]):
        name = "discovery/grocery" if command == ["discover"] else "grocery"
        assert main([*command, "--config", name]) == 2
        assert " prepare grocery --source GroceryStoreDataset" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layout", "out"), [(name, out) for name, layout in LAYOUTS.items() for out in (f"dataset/{name}", "my data")]
)
def test_what_was_prepared_is_used_by_one_whole_command(layout, out):
    recipe = LAYOUTS[layout].recipe if LAYOUTS[layout] else "shop"
    if not recipe:
        return
    options = {"data.root": Path(out), "data.train_json": Path(out, "train.json"), "eval.recall_at": "[1,7]"}
    words = shlex.split(next_command("train", recipe, options))
    behind = words[words.index("--config") + 1 :]
    assert behind[0] == recipe
    typed = [parse_override(word) for word in behind[1:]]
    config = load(Recipe, shipped_configs()[recipe], typed).config
    assert (config.data.root, config.data.train_json) == (Path(out), Path(out, "train.json"))
    assert config.eval.recall_at == (1, 7)
    # The recipe's other files are other data's.
    assert config.data.val_json is config.data.retrieval_json is config.data.test_json is None


def test_the_command_leaves_out_what_the_recipe_says_already():
    names = ("train", "val", "retrieval", "test")
    options = {f"data.{name}_json": Path(f"dataset/grocery/{name}.json") for name in names}
    command = next_command("train", "grocery_pretrained", {"data.root": Path("dataset/grocery"), **options})
    assert command.endswith("train --config grocery_pretrained data.test_json=dataset/grocery/test.json")
    flags = next_command("cluster fit", "", {"--embeddings": Path("some where"), "--out": "log/clusterer"})
    assert flags.endswith("cluster fit --embeddings 'some where' --out log/clusterer")
