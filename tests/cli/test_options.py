"""`shelfmark config --describe` and docs/options.md: every option, found by its key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from shelfmark.cli import main
from shelfmark.cli.option_screens import default_of
from shelfmark.cli.options_page import options_page
from shelfmark.config.errors import ConfigError
from shelfmark.config.options import Place, all_groups, find
from shelfmark.config.shape import Shape
from shelfmark.engine.resume import rule_of
from shelfmark.recipe import Recipe

TOP = Shape.of(Recipe)


def described(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["config", "--describe", *argv]) == 0
    return capsys.readouterr().out


def test_the_page_is_that_of_the_options(checkout: Path) -> None:
    written = (checkout / "docs" / "options.md").read_text(encoding="utf-8")
    assert written == options_page(), "docs/options.md is out of date: `make options` writes it"


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = options_page()
    headings = re.findall(r"^##+ (.*)$", page, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]*)\)", page)) <= anchors
    assert len(headings) == len(set(headings))


def test_every_option_of_a_recipe_is_found_by_its_key_and_shows_its_default() -> None:
    def leaves(value: Any, key: str = "") -> list[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            return [leaf for name, item in value.items() for leaf in leaves(item, f"{key}.{name}".strip("."))]
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            return [leaf for number, item in enumerate(value) for leaf in leaves(item, f"{key}.{number}")]
        return [(key, value)]

    defaults = Recipe().model_dump(mode="json")
    for key, value in leaves(defaults):
        place, in_values = find(TOP, key, defaults)
        assert (place.key, in_values) == (key, key)
        assert place.shape.default == value, key


@pytest.mark.parametrize("former", ["train.stages.0.update_batch_norm", "train.stages[].update_batch_norm"])
def test_a_former_name_describes_the_present_option(capsys: pytest.CaptureFixture[str], former: str) -> None:
    assert described(capsys, former) == described(capsys, "train.stages.0.adapt_frozen_bn_statistics")


def test_every_option_has_a_description_and_is_named_once() -> None:
    members = [member for group in all_groups(Place("", TOP)) for member in group.members()]
    assert len({member.key for member in members}) == len(members)
    options = [one for one in members if not one.groups() and one.shape.choices != [one.shape.default]]
    assert [one.key for one in options if len(one.description) < 3] == []


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("train.stages[].lr", "train.stages.0.lr"),
        ("train.stages.lr", "train.stages.0.lr"),
        ("train.stages.3.schedule.name", "train.stages.3.schedule.name"),
        ("model.heads.rank.dim", "model.heads.rank.dim"),
        ("losses.smooth_ap.temperature", "losses.smooth_ap.temperature"),
        ("losses[].smooth_ap.temperature", "losses.0.smooth_ap.temperature"),
        ("data.mean.0", "data.mean.0"),
        ("optim", "optim"),
    ],
)
def test_a_key_may_be_typed_as_it_stands_in_a_file_or_on_the_page(typed: str, found: str) -> None:
    assert find(TOP, typed)[0].key == found


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("optim.lrr", "optim.lrr is not an option. Did you mean optim.lr? optim has: name, lr, "),
        ("lr", "Did you mean optim.lr or "),
        ("optm.lr", "Did you mean optim?"),
        ("losses.smoothap", "Did you mean losses.smooth_ap?"),
        ("losses.smooth_ap.temprature", "Did you mean losses.smooth_ap.temperature?"),
        ("optim.lr.x", "optim.lr.x is not an option."),
        ("", "is not an option. The top level has: name, "),
    ],
)
def test_an_unknown_key_is_answered_with_the_right_one(key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        find(TOP, key)


def test_one_option_is_shown_with_where_a_config_sets_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("optim: {lr: 0.5}\nlosses:\n- {name: cross_entropy}\n- {name: focal}\n")
    assert described(capsys, "optim.lr").splitlines() == [
        "optim.lr",
        f"  {Recipe.model_fields['optim'].annotation.model_fields['lr'].description}",
        "  value      a number above 0",
        "  default    0.1",
        f"  on resume  free: {rule_of('optim.lr').why}",
    ]
    with_config = ["--config", "a.yaml", "losses.1.gamma=3"]
    assert "  here       0.5 (a.yaml:1)\n" in described(capsys, "optim.lr", *with_config)
    assert "  here       0.9 (the default)\n" in described(capsys, "optim.momentum", *with_config)
    for key in ("losses.focal.gamma", "losses.1.gamma"):
        assert "  here       3.0 (command line: losses.1.gamma=3)\n" in described(capsys, key, *with_config)
    assert "  here " not in described(capsys, "losses.ldam.scale", *with_config)


def test_a_group_is_shown_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    loss = described(capsys, "losses.focal")
    assert re.search(r"^  gamma +\S", loss, flags=re.MULTILINE)
    assert not re.search(r"^  name ", loss, flags=re.MULTILINE)
    assert "model.heads.NAME\n  type " in described(capsys, "model.heads")
    assert re.search(r"^  smooth_ap +\S", described(capsys, "losses"), flags=re.MULTILINE)
    assert default_of(find(TOP, "losses")[0]) == "[cross_entropy]"
