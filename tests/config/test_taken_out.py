from __future__ import annotations

import pytest
from small_tree import Tree

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override

BASE = "heads: {rank: {dim: 3}, other: {dim: 4}}\n"


def loaded(tmp_path, text: str, *typed: str):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "a.yaml").write_text(f"_base_: base.yaml\n{text}")
    return load(Tree, tmp_path / "a.yaml", [parse_override(one) for one in typed])


@pytest.mark.parametrize(
    ("text", "typed", "left"),
    [
        ("heads: {rank: null}\n", (), {"other": 4}),
        ("heads:\n  rank:\n", (), {"other": 4}),
        ("", ("heads.rank=null",), {"other": 4}),
        ("", ("heads.rank=null", "heads.other=null"), {}),
        ("heads: {rank: null}\n", ("heads.rank=null",), {"other": 4}),
        ("heads: {rank: null}\n", ("heads.rank.dim=5",), {"rank": 5, "other": 4}),
        ("", ("heads.rank=null", "heads.rank.dim=5"), {"rank": 5, "other": 4}),
        ("", ("heads={rank: null}",), {}),
    ],
)
def test_null_takes_an_entry_of_the_base_out(tmp_path, text, typed, left):
    found = loaded(tmp_path, text, *typed)
    assert {name: head.dim for name, head in found.config.heads.items()} == left
    assert {key.split(".")[1] for key in found.origins if key.startswith("heads.")} == left.keys()


def test_a_null_that_takes_nothing_out_names_what_is_there(tmp_path):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "", "heads.rnk=null")
    assert str(caught.value) == (
        "command line: heads.rnk=null takes an entry out, and heads has rank, other. Did you mean heads.rank=null?"
    )
    with pytest.raises(ConfigError, match=r"a\.yaml:2: heads\.ranks=null takes an entry out"):
        loaded(tmp_path, "heads: {ranks: null}\n")


def test_a_loss_on_a_head_that_was_taken_out_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a head of the model"):
        loaded(tmp_path, "losses: [{name: ranked, head: rank}]\n", "heads.rank=null")


def test_null_stays_a_value_where_an_option_takes_it(tmp_path):
    assert loaded(tmp_path, "data: {test_root: null}\n").config.data.test_root is None
    with pytest.raises(ConfigError, match=r"optim=null must be a group of keys"):
        loaded(tmp_path, "", "optim=null")
