from __future__ import annotations

from pathlib import Path

import pytest
from small_tree import Plain, Ranked, Tree

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import Override, parse_override
from shelfmark.core.errors import UserError

PLAIN = {"name": "plain"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def with_overrides(*texts: str, file: Path | None = None) -> Loaded[Tree]:
    return load(Tree, file, [parse_override(text) for text in texts])


def error_of(*texts: str, file: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        with_overrides(*texts, file=file)
    return str(caught.value)


def test_an_empty_file_is_the_defaults(folder):
    assert load(Tree, write("empty.yaml", "# later\n")) == Loaded(Tree(), {})


def test_a_file_sets_values_and_knows_where(folder):
    loaded = load(Tree, write("configs/a.yaml", "optim:\n  lr: 1e-3\n  steps: {milestones: [1, 2.5]}\n"))
    assert loaded.config.optim.lr == 1e-3
    assert loaded.config.optim.steps.milestones == (1.0, 2.5)
    assert loaded.origins == {"optim.lr": "configs/a.yaml:2", "optim.steps.milestones": "configs/a.yaml:3"}


def test_a_file_outside_the_working_folder_is_called_by_its_whole_path(folder, tmp_path_factory):
    file = tmp_path_factory.mktemp("elsewhere") / "a.yaml"
    file.write_text("name: x")
    assert load(Tree, file).origins == {"name": f"{file}:1"}


def test_groups_join_with_their_base_and_lists_replace(folder):
    write("configs/base.yaml", "optim: {lr: 1, momentum: 0.5, steps: {milestones: [1, 2]}}\nname: base\n")
    loaded = load(Tree, write("configs/top.yaml", "_base_: base.yaml\noptim:\n  lr: 2\n  steps: {milestones: [3]}\n"))
    assert (loaded.config.name, loaded.config.optim.lr, loaded.config.optim.momentum) == ("base", 2.0, 0.5)
    assert loaded.config.optim.steps.milestones == (3.0,)
    assert loaded.origins == {
        "name": "configs/base.yaml:2",
        "optim.lr": "configs/top.yaml:3",
        "optim.momentum": "configs/base.yaml:1",
        "optim.steps.milestones": "configs/top.yaml:4",
    }


def test_bases_are_relative_to_the_file_that_names_them_at_any_depth(folder):
    write("a/deep/one.yaml", "_base_: ../two.yaml\ntrain: {num_epochs: 3}")
    write("a/two.yaml", "_base_: three.yaml\ntrain: {batch_size: 5}")
    write("a/three.yaml", "train: {batch_size: 6, num_epochs: 7}\nname: three")
    config = load(Tree, write("top.yaml", "_base_: a/deep/one.yaml")).config
    assert (config.name, config.train.num_epochs, config.train.batch_size) == ("three", 3, 5)


def test_of_several_bases_the_later_rules_and_two_may_share_a_third(folder):
    write("root.yaml", "name: root\noptim: {lr: 1}")
    write("left.yaml", "_base_: root.yaml\noptim: {lr: 2}")
    write("right.yaml", "_base_: root.yaml\noptim: {momentum: 0.1}")
    config = load(Tree, write("top.yaml", "_base_: [left.yaml, right.yaml]")).config
    assert (config.name, config.optim.lr, config.optim.momentum) == ("root", 1.0, 0.1)


@pytest.mark.parametrize("text", ["_base_:\n", "_base_: []\n", "_base_: ~\nname: x\n"])
def test_no_base_is_no_error(folder, text):
    assert load(Tree, write("top.yaml", text)).config.optim == Tree().optim


def test_bases_in_a_circle_are_an_error_that_shows_it(folder):
    write("configs/b.yaml", "name: b\n_base_: c.yaml\n")
    write("configs/c.yaml", "_base_: b.yaml\n")
    assert error_of(file=write("configs/a.yaml", "_base_: b.yaml\n")) == (
        "configs/c.yaml:1: the `_base_` lines form a circle: "
        "configs/a.yaml -> configs/b.yaml -> configs/c.yaml -> configs/b.yaml."
    )


def test_a_missing_base_says_who_named_it_and_what_is_near(folder):
    write("configs/grocery.yaml", "")
    said = error_of(file=write("configs/top.yaml", "# c\n_base_: grocry.yaml\n"))
    assert said == (
        "configs/top.yaml:2: _base_ names configs/grocry.yaml, which does not exist. Did you mean configs/grocery.yaml?"
    )


@pytest.mark.parametrize("text", ["_base_: 3", "_base_: {a: b}", "_base_: ['']", "_base_: [[a.yaml]]"])
def test_a_base_that_is_no_file_name_is_an_error(folder, text):
    said = error_of(file=write("top.yaml", text))
    assert said.startswith("top.yaml:1: _base_=")
    assert said.endswith("must be a file, or a list of files.")


def test_a_missing_config_file_names_the_near_one_in_configs_too(folder):
    write("configs/grocery.yaml", "")
    assert error_of(file=Path("grocery")) == "grocery does not exist. Did you mean configs/grocery.yaml?"


def test_a_folder_is_no_config_file(folder):
    (folder / "configs").mkdir()
    assert error_of(file=Path("configs")) == "configs is a folder; name a YAML file in it."


def test_overrides_rule_over_files_and_later_ones_over_earlier_ones(folder):
    file = write("a.yaml", "optim: {lr: 1, momentum: 0.5}")
    loaded = with_overrides("optim.lr=2", "optim.lr=3", file=file)
    assert (loaded.config.optim.lr, loaded.config.optim.momentum) == (3.0, 0.5)
    assert loaded.origins == {"optim.lr": "command line: optim.lr=3", "optim.momentum": "a.yaml:1"}


def test_an_override_with_another_origin_is_shown_by_it():
    loaded = load(Tree, None, [Override("optim.lr", 0.2, "--BASE_LR 0.2")])
    assert loaded.origins == {"optim.lr": "--BASE_LR 0.2"}


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("# a group is replaced\noptim: {lr: 1, momentum: 0.5}", ["optim={lr: 2}"], {"optim": {"lr": 2}}),
        ("", ["heads.rank.dim=64", "heads.other={}"], {"heads": {"rank": {"dim": 64}, "other": {}}}),
        ("heads:\n", ["heads.a.dim=1"], {"heads": {"a": {"dim": 1}}}),
        (
            "# entry by entry",
            ["heads.r.dim=8", "losses.1.name=ranked", "losses.1.head=r"],
            {"heads": {"r": {"dim": 8}}, "losses": [{"name": "plain"}, {"name": "ranked", "head": "r"}]},
        ),
        ("", ["losses.0.name=ranked"], {"losses": [{"name": "ranked", "head": "classifier"}]}),
        ("losses: [&one {name: plain}, *one]", ["losses.0.weight=3"], {"losses": [PLAIN | {"weight": 3.0}, PLAIN]}),
        ("", ["optim.steps.factor=1"], {"optim": {"steps": {"factor": 1.0}}}),
        ("", ["optim.steps.factor=[0.1, 2]"], {"optim": {"steps": {"factor": [0.1, 2.0]}}}),
        ("", ["optim.steps.factor.0=3", "optim.steps.factor.1=4"], {"optim": {"steps": {"factor": [3.0, 4.0]}}}),
        ("optim: {steps: {factor: [1, 2]}}", ["optim.steps.factor.1=3"], {"optim": {"steps": {"factor": [1.0, 3.0]}}}),
    ],
)
def test_overrides_change_what_they_name_and_nothing_else(folder, text, overrides, expected):
    assert with_overrides(*overrides, file=write("a.yaml", text)).config == Tree.model_validate(expected)


def test_an_override_steps_into_an_entry_of_a_list(folder):
    file = write("a.yaml", "heads: {r: {}}\nlosses:\n  - {name: plain}\n  - {name: ranked, head: r}\n")
    loaded = with_overrides("losses.1.weight=2", file=file)
    assert loaded.config.losses == (Plain(), Ranked(head="r", weight=2.0))
    assert loaded.origins["losses.1.weight"] == "command line: losses.1.weight=2"
    assert loaded.origins["losses.1.head"] == "a.yaml:4"


def test_an_override_steps_into_the_default_list():
    loaded = with_overrides("losses.0.smoothing=0.1")
    assert loaded.config.losses == (Plain(smoothing=0.1),)
    assert loaded.origins == {"losses.0.smoothing": "command line: losses.0.smoothing=0.1"}


def test_another_member_of_a_union_keeps_what_the_user_wrote_and_complains(folder):
    file = write("a.yaml", "losses:\n  - name: plain\n    smoothing: 0.1\n    head: classifier\n")
    assert error_of("losses.0.name=ranked", file=file) == (
        "a.yaml:3: losses.0.smoothing=0.1 is not an option. losses.0 has: name, head, weight, temperature."
    )


def test_a_scalar_of_a_list_is_set_by_its_index(folder):
    loaded = with_overrides("data.mean.1=0.25", file=write("a.yaml", "data: {mean: [0, 0, 0]}"))
    assert loaded.config.data.mean == (0.0, 0.25, 0.0)
    assert loaded.origins == {"data.mean": "command line: data.mean.1=0.25"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "losses.2.weight=1",
            "command line: losses.2.weight=1: losses has 1 entries; losses.1 would add the next one.",
        ),
        ("losses.a.weight=1", "losses is a list; name an entry by its number, losses.0, not 'a'."),
        ("losses.-1.weight=1", "losses is a list; name an entry by its number, losses.0, not '-1'."),
    ],
)
def test_a_list_has_only_the_entries_it_has(text, said):
    assert said in error_of(text)


def test_a_value_has_no_parts(folder):
    file = write("a.yaml", "optim: {lr: 0.5}")
    assert error_of("optim.lr.x=1", file=file) == (
        "command line: optim.lr.x=1: optim.lr=0.5 (a.yaml:1) is one value; it has no part 'x'."
    )


def test_what_an_override_means_is_yaml():
    values = {
        "1": 1,
        "1e-3": 1e-3,
        "true": True,
        "no": "no",
        "null": None,
        "": "",
        "[1, a]": [1, "a"],
        "{a: {b: 1}}": {"a": {"b": 1}},
        "'1'": "1",
        '"a: b"': "a: b",
        "a: b": "a: b",
        "/data/set #2": "/data/set #2",
        "#1": "#1",
        "*x": "*x",
        "a=b": "a=b",
    }
    assert {text: parse_override(f"k.l={text}").value for text in values} == values
    assert parse_override("k.l=1") == Override("k.l", 1, "command line: k.l=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo", "'foo' is not understood: an option is given as key=value, for example optim.lr=0.1."),
        ("=3", "command line: =3: '' is not a key"),
        ("optim..lr=3", "command line: optim..lr=3: 'optim..lr' is not a key"),
        ("optim.=3", "'optim.' is not a key"),
        ("a=[1, 2", "command line: a=[1, 2, column 6: not valid YAML"),
    ],
)
def test_an_override_that_is_none_says_so(text, said):
    with pytest.raises(UserError) as caught:
        parse_override(text)
    assert said in str(caught.value)


def test_text_that_is_not_utf_8_is_refused():
    assert error_of("data.root=a\udcff") == "command line: data.root='a\\udcff' is not UTF-8 text."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim.lr=.inf", "command line: optim.lr=inf is not a number that an option can have; give a finite one."),
        ("optim.lr=1e999", "command line: optim.lr=inf is not a number that an option can have; give a finite one."),
        ("optim.lr=1e39", "command line: optim.lr=1e+39 is beyond float32, in which training computes;"),
        ("optim.steps={high: -.inf}", "command line: optim.steps={high: -.inf}: optim.steps.high=-inf is not a number"),
        ("optim.steps.low=.nan", "optim.steps.low='.nan' must be a number."),
        ("train.num_epochs=9223372036854775808", "train.num_epochs=9223372036854775808 is beyond 64 bits;"),
        ("train.num_epochs=1" + "0" * 39, f"train.num_epochs=1{39 * '0'} is beyond 64 bits"),
        ("data.root=a\0b", "command line: data.root='a\\x00b' holds a character that is no text."),
    ],
)
def test_what_no_option_can_be_is_refused_whichever_option_it_is(text, said):
    assert said in error_of(text)


def test_the_largest_values_are_taken():
    config = with_overrides(f"train.num_epochs={2**63 - 1}", "optim.lr=3.4e38").config
    assert (config.train.num_epochs, config.optim.lr) == (2**63 - 1, 3.4e38)


@pytest.mark.parametrize("digits", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000])
def test_a_number_of_thousands_of_digits_is_refused_where_it_is_read(folder, digits):
    for text in (f"train.num_epochs={digits}", f"optim={{lr: {digits}}}", f"losses.{digits}.weight=1"):
        with pytest.raises(UserError, match="command line") as caught:
            with_overrides(text)
        assert len(str(caught.value)) < 600
    file = write("long.yaml", f"optim:\n  lr: {digits}\n")
    with pytest.raises(UserError, match=r"long\.yaml:2: a number of 5,00"):
        load(Tree, file)


def test_a_key_of_thousands_of_parts_is_refused():
    with pytest.raises(UserError, match="longer than the key of any option"):
        parse_override("a" + ".a" * 5000 + "=1")


def test_files_that_name_each_other_over_and_over_are_refused(folder):
    for number in range(20):
        write(f"{number}.yaml", f"_base_: [{number + 1}.yaml, {number + 1}.yaml]\n")
    with pytest.raises(ConfigError, match="more than 64 files"):
        load(Tree, write("20.yaml", "{}\n").parent / "0.yaml")


@pytest.mark.parametrize("name", ['"a\\0b"', "x" * 300])
def test_a_base_whose_name_cannot_be_a_file_is_named(folder, name):
    with pytest.raises(ConfigError, match=r"top\.yaml:1: _base_ names"):
        load(Tree, write("top.yaml", f"_base_: {name}\n"))


def test_all_problems_come_at_once_from_files_and_overrides(folder):
    write("base.yaml", "optim:\n  lr: 0\n")
    file = write("top.yaml", "_base_: base.yaml\ntrain:\n  num_epochs: true\n")
    with pytest.raises(ConfigError) as caught:
        with_overrides("losses.7.weight=1", "name=UP", file=file)
    assert len(caught.value.problems) == 4
    assert str(caught.value).startswith("4 problems in the configuration:\n  command line: losses.7.weight=1: ")
    assert "base.yaml:2: optim.lr=0 must be a number above 0." in caught.value.problems
    assert "top.yaml:3: train.num_epochs=true must be a whole number above 0." in caught.value.problems
