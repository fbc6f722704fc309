from __future__ import annotations

import re
import shlex

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.examples import EXAMPLES
from shelfmark.cli.flags_2020 import flags_2020
from shelfmark.config.options import find
from shelfmark.config.shape import Shape
from shelfmark.recipe import Recipe


def page(capsys, *argv: str) -> str:
    try:
        status = main([*argv])
    except SystemExit as stop:
        status = stop.code
    assert status == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", ["60", "120"])
def test_every_help_has_examples_required_options_and_defaults(capsys, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", columns)
    shown = page(capsys, *name.split(), "--help")
    usage, _, rest = shown.partition("\n\n")
    for line in EXAMPLES[name]:
        assert f"\n  {line}\n" in rest
    for flag in COMMANDS[name].options:
        default = flag.settings.get("default")
        if flag.is_required:
            assert not re.search(rf"\[{flag.flag} ", usage)
            assert rest.index("required options:") < rest.index(f"  {flag.flag} ") < rest.index("\noptions:\n")
        elif default not in (None, "", []):
            assert f"(default: {default})" in " ".join(rest.split())
    # Neither an example nor a list of values is broken.
    others = [line for line in shown.splitlines() if line.strip() not in EXAMPLES[name] and not set(line) & set("{|")]
    assert max(map(len, others)) <= int(columns)


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_the_examples_use_options_that_are_there(name, line):
    if name == "completion":
        return
    words = shlex.split(line)[1:]
    assert " ".join(words[: name.count(" ") + 1]) == name
    command = COMMANDS[name]
    words = words[name.count(" ") + 1 :]
    flags = {flag.flag for flag in command.options} | {"--json"}
    for word in words:
        if word.startswith("--"):
            assert word in flags | (set(flags_2020()) if command.takes_config else set())
        elif re.fullmatch(r"[a-z_.0-9]+=.*", word):
            assert command.takes_config
            assert find(Shape.of(Recipe), word.partition("=")[0])
    assert {flag.flag for flag in command.options if flag.is_required and flag.flag.startswith("-")} <= set(words)


@pytest.mark.parametrize("argv", [("index", "--help"), ("index", "-h"), ("help", "index"), ("cluster", "--help")])
def test_a_group_of_commands_has_a_help_of_its_own(capsys, argv):
    group = next(word for word in argv if word in ("index", "cluster"))
    shown = page(capsys, *argv)
    assert shown.startswith(f"usage: shelfmark {group} COMMAND")
    assert all((name in shown) == name.startswith(f"{group} ") for name in COMMANDS if " " in name)


def test_help_of_a_command_by_the_word_help(capsys):
    assert page(capsys, "help", "index", "build") == page(capsys, "index", "build", "--help")
    assert page(capsys, "help") == page(capsys, "--help")


def test_a_command_that_begins_a_group_names_the_others(capsys):
    assert "See also: shelfmark discover assign." in page(capsys, "discover", "--help")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("train", "--epochs", "3"), "Did you mean train.num_epochs=3?"),
        (("train", "lr:0.1"), "on the command line an option is given as lr=0.1."),
        (("prepare", "folder", "--sorce", "x"), "Did you mean --source?"),
        (("completion", "bash", "--jsn"), "Did you mean --json?"),
    ],
)
def test_a_wrong_word_is_told_the_right_one(capsys, argv, said):
    assert main([*argv]) == 2
    assert said in capsys.readouterr().err
