"""Every command that writes asks before its work whether its output can be written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.effects import without_effect
from shelfmark.config.overrides import Override

# What a command writes to: the option that names it. "" for one that only prints.
OUTPUTS = {
    "train": "output.log_root",
    "plan": "",
    "demo": "output.log_root",
    "discover": "output.log_root",
    "tau-norm": "output.tau_root",
    "weigh-experts": "output.tau_root",
    "test": "--out",
    "ensemble": "--out",
    "pseudo-label": "--out",
    "evaluate": "--out",
    "compare": "--out",
    "report": "--out",
    "calibrate": "--out",
    "embed": "--out",
    "clean": "--out",
    "doctor": "--out",
    "to-lance": "--out",
    "shrink": "--out",
    "export": "--out",
    "push": "",
    "pull": "--out",
    "index build": "--out",
    "index export": "--out",
    "discover assign": "--out",
    "cluster fit": "--out",
    "cluster run": "--out",
    "prepare": "--out",
    "index add": "--index",
    "index remove": "--index",
    "export verify": "",
    "index info": "",
    "index verify": "",
    "index compact": "--index",
    "grow": "--out",
    "index search": "",
    "search": "",
    "recognise": "--out",
    "explain": "--out",
    "serve": "",
    "thresholds": "--out",
    "thresholds check": "",
    "migrate": "",
    "config": "",
    "completion": "",
}
WITH_OUT = sorted(name for name, option in OUTPUTS.items() if option == "--out")


@pytest.fixture(scope="module")
def unwritable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Folders in which nobody can write, not even root, by what is wrong with them."""
    root = tmp_path_factory.mktemp("unwritable")
    (root / "file").write_text("mine")
    found = {"a part of the path is a file": root / "file"}
    if Path("/proc/self").exists():
        found["no file can be made there"] = Path("/proc")
    mounted = []
    for name, options in (("read-only", "size=64k,ro"), ("no space is left", "size=4k")):
        folder = root / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
        if done.returncode == 0:
            mounted.append(folder)
            found[name] = folder
    if "no space is left" in found:
        (found["no space is left"] / "full").write_bytes(bytes(4096))
    yield found
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_the_table_has_every_command_and_every_out() -> None:
    assert OUTPUTS.keys() == COMMANDS.keys()
    have_out = {name for name, command in COMMANDS.items() if any(one.flag == "--out" for one in command.options)}
    assert have_out == set(WITH_OUT)


@pytest.mark.parametrize("name", WITH_OUT)
def test_an_out_that_cannot_be_written_is_refused_before_anything_is_read(
    name: str, unwritable: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, folder in unwritable.items():
        before = sorted(folder.iterdir()) if wrong.startswith(("read", "no space")) else []
        # The other options are missing too; this one is told first.
        assert main([*name.split(), "--out", str(folder / "new" / "out")]) == 2, wrong
        said = capsys.readouterr().err
        assert said.startswith(f"error: --out {folder}/new/out cannot be written: "), said
        assert (wrong in said) or wrong == "a part of the path is a file", said
        assert said.count("\n") == 1, said
        assert before == (sorted(folder.iterdir()) if before else [])


def test_a_full_disk_behind_standard_output_is_told(checkout: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    words = [sys.executable, "-m", "shelfmark", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            words,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(checkout / "lib")},
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output ")
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("command", "keys", "idle"),
    [
        (
            "evaluate",
            ["optim.lr", "eval.batch_size", "losses"],
            "optim.lr, losses have no effect here: .* trains nothing",
        ),
        ("embed", ["data.input_size_px", "train.device", "train.num_epochs"], "^train.num_epochs has no effect here"),
        (
            "test",
            ["predict.views", "tau_norm.step"],
            "^tau_norm.step has no effect here: `shelfmark test` does not read",
        ),
        ("tau-norm", ["tau_norm.step", "output.tau_root", "seed"], None),
        ("calibrate", ["calibrate.folds", "tau_norm.stop", "augment.mixup"], "^augment.mixup has"),
        ("weigh-experts", ["augment.mixup", "model.freeze"], "^model.freeze has"),
        ("search", ["model.channels_last", "sampling.type"], "^sampling.type has"),
        ("discover assign", ["discovery.selection.join_precision"], None),
        ("cluster run", ["discovery.clusterer.k", "train.device", "optim.lr"], "^optim.lr has"),
        ("cluster fit", ["discovery", "discovery.rounds"], "^discovery.rounds has"),
        ("train", ["optim.lr", "losses", "predict.views"], None),
        ("doctor", ["name", "output.log_root", "data.num_workers", "model.weights", "losses"], "^losses has no effect"),
        ("shrink", ["data.lists.drop", "data.generated", "data.box_margin", "optim.lr"], "^optim.lr has no effect"),
        ("config", ["optim.lr"], None),
    ],
)
def test_an_option_that_the_command_does_not_read_is_said(command: str, keys: list[str], idle: str | None) -> None:
    said = without_effect(command, [Override(key, 1, "typed") for key in keys])
    if idle is None:
        assert said is None
    else:
        assert said is not None
        assert re.search(idle, said), said
