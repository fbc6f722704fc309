from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tree import Data, Tree

from shelfmark.config.load import Loaded, load
from shelfmark.config.nodes import plain
from shelfmark.config.overrides import parse_override
from shelfmark.config.write import schema_json, to_yaml
from shelfmark.config.yaml_lines import parse
from shelfmark.recipe.tree import Recipe

OVERRIDES = [
    "optim.lr=1e-5",
    "optim.steps.milestones=[1, 2]",
    "data.root=a dir/with: colon # and 'quotes'",
    "data.test_root=null",
    "data.more_roots=[no, '1', x]",
    "heads={rank: {dim: 3}, '007': {}}",
    "losses=[{name: plain}, {name: ranked, head: rank, temperature: 0.5}]",
]


@pytest.fixture
def loaded() -> Loaded[Tree]:
    return load(Tree, None, [parse_override(text) for text in OVERRIDES])


def test_what_is_written_is_read_as_the_same_configuration(loaded, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(loaded), encoding="utf-8")
    assert load(Tree, file).config == loaded.config


@pytest.mark.parametrize("overrides", [[], ["losses=[{name: cross_entropy, weight: 0.5}]", "train.precision=O1"]])
def test_the_real_tree_is_written_and_read_again(overrides, tmp_path):
    loaded = load(Recipe, None, [parse_override(text) for text in overrides])
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(loaded), encoding="utf-8")
    assert load(Recipe, file).config == loaded.config


def test_each_value_that_was_set_says_by_whom_and_defaults_say_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("optim:\n  lr: 0.05\n  steps: {milestones: [1]}\nheads: {rank: {}}\n")
    lines = to_yaml(load(Tree, Path("a.yaml"), [parse_override("train.batch_size=8")])).splitlines()
    assert "  lr: 0.05  # a.yaml:2" in lines
    assert "    milestones: [1.0]  # a.yaml:3" in lines
    assert "  batch_size: 8  # command line: train.batch_size=8" in lines
    assert "  momentum: 0.9" in lines


def test_a_loss_begins_with_its_name():
    loaded = load(Recipe, None, [parse_override("losses=[{head: classifier, name: cross_entropy}]")])
    written = to_yaml(loaded)
    assert "losses:\n  - name: cross_entropy  # command line" in written


def test_older_readers_of_yaml_see_the_same_values(loaded):
    by_yaml_1_1 = yaml.safe_load(to_yaml(loaded))
    assert by_yaml_1_1 == plain(parse(to_yaml(loaded), str))
    assert by_yaml_1_1["optim"]["lr"] == 1e-5
    assert by_yaml_1_1["data"]["more_roots"] == ["no", "1", "x"]


@settings(max_examples=30, deadline=None)
@given(
    st.text("aN0 .:#-'\"\\{}[]!&*%@`|>?,~=/\t\n\x7f\xa0é中😀", max_size=8)
    | st.sampled_from(["no", "1e5", "true", "null"])
)
def test_any_text_survives(text):
    config = Tree(data=Data(root=Path("x"), more_roots=(Path(text),)))
    written = to_yaml(Loaded(config, {}))
    assert plain(parse(written, str))["data"]["more_roots"] == [str(Path(text))]
    assert yaml.safe_load(written)["data"]["more_roots"] == [str(Path(text))]


@settings(max_examples=30, deadline=None)
@given(st.floats(min_value=0, allow_nan=False, exclude_min=True))
def test_any_float_survives_exactly(number):
    config = Tree.model_validate({"optim": {"lr": number}})
    written = to_yaml(Loaded(config, {}))
    assert plain(parse(written, str))["optim"]["lr"] == number
    assert yaml.safe_load(written)["optim"]["lr"] == number


def test_an_origin_with_a_line_break_stays_one_comment():
    loaded = load(Tree, None, [parse_override("data.root=a\nb")])
    assert '  root: "a\\nb"  # command line: data.root=a b' in to_yaml(loaded).splitlines()


def test_the_schema_describes_every_option_and_allows_bases():
    schema = json.loads(schema_json(Tree))
    assert schema["properties"]["_base_"]["anyOf"][1]["type"] == "array"
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Optim"]["properties"]["lr"] == {
        "default": 0.1,
        "description": "learning rate of everything",
        "exclusiveMinimum": 0,
        "title": "Lr",
        "type": "number",
    }
