from __future__ import annotations

import pytest
from small_tree import Tree

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import Override, parse_override


def problems(*texts: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(Tree, None, [parse_override(text) for text in texts])
    return caught.value.problems


def problem(*texts: str) -> str:
    [only] = problems(*texts)
    return only.removeprefix("command line: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim.name=sdg", "optim.name='sdg' is not one of: sgd, adam. Did you mean 'sgd'?"),
        ("optim.name=rmsprop", "optim.name='rmsprop' is not one of: sgd, adam."),
        ("optim.name=1", "optim.name=1 is not one of: sgd, adam."),
        ("data.use=shp", "data.use='shp' is not one of: '', shop. Did you mean 'shop'?"),
        ("optim.lr=0", "optim.lr=0 must be a number above 0."),
        ("optim.lr=fast", "optim.lr='fast' must be a number above 0."),
        ("optim.momentum=1", "optim.momentum=1 must be a number of at least 0 and below 1."),
        ("train.num_epochs=2.5", "train.num_epochs=2.5 must be a whole number above 0."),
        (
            "train.num_epochs=null",
            "train.num_epochs=null must be a whole number above 0. Leave it out to keep the default.",
        ),
        ("data.root=3", "data.root=3 must be a path. Quote it twice: \"'3'\"."),
        ("data.test_root=true", "data.test_root=true must be a path, or null. Quote it twice: \"'true'\"."),
        ("name=No way", "name='No way' must be text of the form ^[a-z0-9_]+$."),
        ("data.mean=[1, 2]", "data.mean=[1, 2] must be a list of 3, each entry a number."),
        ("data.mean=[1, 2, 3, 4]", "data.mean=[1, 2, 3, 4] must be a list of 3, each entry a number."),
        ("data.mean=0.5", "data.mean=0.5 must be a list of 3, each entry a number."),
        ("data.more_roots=a", "data.more_roots='a' must be a list, each entry a path."),
        ("optim=adam", "optim='adam' must be a group of keys. Did you mean optim.name=adam?"),
        ("heads.rank=3", "heads.rank=3 must be a group of keys."),
        ("heads.rank.dim=-1", "heads.rank.dim=-1 must be a whole number of at least 0."),
        (
            "optim.steps.factor=x",
            "optim.steps.factor='x' must be a number or a list, each entry a number.",
        ),
        (
            "losses=[]",
            "losses=[] must be a list of at least 1, each entry a group of keys with `name`, one of: plain, ranked.",
        ),
    ],
)
def test_a_bad_value_is_told_with_what_is_allowed(text, said):
    assert problem(text) == said


@pytest.mark.parametrize("text", ["train.num_epochs=true", "optim.lr=true", "optim.nesterov=1", "optim.nesterov=no"])
def test_a_switch_is_no_number_and_a_number_no_switch(text):
    assert " must be " in problem(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("train.num_epochs='3'", " Write 3 without quotes."),
        ("train.num_epochs=1_000", " Write 1000 without quotes."),
        ("train.num_epochs=1e2", " Write 100."),
        ("optim.lr='0.1'", " Write 0.1 without quotes."),
    ],
)
def test_a_number_in_another_form_is_shown_as_it_should_be(text, advice):
    assert problem(text).endswith(advice)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("optim.learning_rate=1", "optim.lr"),  # by its description
        ("optim.momentun=1", "optim.momentum"),
        ("optim.Momentum=1", "optim.momentum"),
        ("lr=1", "optim.lr"),
        ("train.lr=1", "optim.lr"),
        ("batch_size=1", "train.batch_size or eval.batch_size"),
        ("epochs=1", "train.num_epochs"),
        ("optm.lr=1", "optim"),
        ("train.batch-size=1", "train.batch_size"),
        ("losses.0.smothing=1", "losses.0.smoothing"),
        ("heads.rank.dims=1", "heads.rank.dim"),
    ],
)
def test_an_unknown_key_gets_the_nearest_right_one(text, meant):
    said = problem(text)
    assert " is not an option. " in said
    assert f"Did you mean {meant}?" in said


def test_an_unknown_key_like_nothing_lists_what_there_is():
    assert problem("train.zzz=1") == "train.zzz=1 is not an option. train has: num_epochs, batch_size."
    assert problem("zzz=1").endswith("The top level has: name, data, heads, losses, optim, train, eval.")


def test_an_unknown_group_is_told_once_without_its_contents():
    assert problem("zzz={a: 1, b: 2}").startswith("zzz is not an option. ")


def test_base_on_the_command_line_says_where_it_belongs():
    assert problem("_base_=a.yaml") == "_base_ is not an option here: `_base_` stands in a file, at its top level."


def test_a_dotted_key_in_a_file_says_where_it_belongs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("name: x\noptim.lr: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(Tree, tmp_path / "a.yaml")
    assert str(caught.value) == (
        "a.yaml:2: optim.lr=1 is not an option. In a file keys are nested; the dotted form belongs on the command line."
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("losses=[{name: ranked}]", "losses.0.head is missing; it must be text."),
        ("losses=[{head: classifier}]", "losses.0.name is missing; it is one of: plain, ranked."),
        (
            "losses=[{nme: plain}]",
            "losses.0.name is missing; it is one of: plain, ranked. Is 'nme' meant to be 'name'?",
        ),
        (
            "losses=[plain]",
            "losses.0='plain' must be a group of keys with `name`, one of: plain, ranked. Write {name: plain}.",
        ),
        ("losses=[{name: rankd}]", "losses.0.name='rankd' is not one of: plain, ranked. Did you mean 'ranked'?"),
        ("losses=[{name: [1]}]", "losses.0.name=[1] is not one of: plain, ranked."),
    ],
)
def test_an_entry_of_a_union_is_told_what_it_lacks(text, said):
    assert problem(text).endswith(said)


def test_each_bad_entry_of_a_list_is_told_and_not_that_the_list_is_short():
    said = problems("losses=[{name: a}, {name: b}]")
    assert len(said) == 2
    assert all("is not one of: plain, ranked." in one for one in said)


def test_a_bad_entry_is_told_and_not_that_the_whole_is_no_number():
    assert problem("optim.steps.factor=[1, x]").endswith("optim.steps.factor.1='x' must be a number.")


def test_a_check_over_a_section_names_the_section_and_the_line_of_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("optim:\n  steps:\n    high: 1\n    low: 2\n")
    with pytest.raises(ConfigError) as caught:
        load(Tree, tmp_path / "a.yaml")
    assert str(caught.value) == "a.yaml:4: optim.steps.low=2.0 must not exceed high=1.0."


def test_a_check_within_a_loss_names_the_entry():
    assert problem("losses=[{name: ranked, head: classifier, temperature: 0}]").endswith(
        "losses.0.temperature=0.0 must be above 0."
    )


def test_a_check_over_the_whole_tree_names_its_key():
    assert problem("losses.0.head=rank") == "losses.0.head='rank' is not a head of the model."


def test_a_number_for_text_in_a_file_is_to_be_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("name: 7\n")
    with pytest.raises(ConfigError, match=r"^a\.yaml:1: name=7 must be text of the form .*\. Put it in quotes: '7'\.$"):
        load(Tree, tmp_path / "a.yaml")


def test_a_flag_that_set_a_bad_value_is_named():
    with pytest.raises(ConfigError) as caught:
        load(Tree, None, [Override("optim.lr", -1.0, "--BASE_LR -1")])
    assert str(caught.value) == "--BASE_LR -1: optim.lr=-1.0 must be a number above 0."


def test_a_long_value_is_cut():
    assert len(problem(f"optim.name={'x' * 1000}")) < 130
