"""The script is run by a real bash, as its completion would."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.completion import SHELLS, words_of

CASES = {
    "": ["train", "index", "completion"],
    "tra": ["train"],
    "index ": ["build", "add", "remove", "info", "export", "search", "verify", "compact"],
    "index b": ["build"],
    "discover as": ["assign"],
    "train --con": ["--config"],
    "train --mode ": ["resume", "finetune"],
    "train --mode f": ["finetune"],
    "train --RESUME_MODEL ": [],
    "index build --ki": ["--kind"],
    "index build --kind ": ["auto", "flat", "hnsw", "ivf_flat", "ivf_pq"],
    "prepare gro": ["grocery"],
    "completion ": ["bash", "zsh", "fish"],
    "train optim.w": ["optim.weight_decay="],
    "train --smoke train.num_e": ["train.num_epochs="],
    "train optim.nam=": ["optim.name="][:0],
    "train optim.name = ad": ["adam", "adamw"],
    "train data.root = ": [],
    "prepare folder optim.w": [],
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What bash offers for each line; `=` stands apart, as bash takes words apart there."""
    file = tmp_path_factory.mktemp("completion") / "cases.sh"
    lines = [SHELLS["bash"](words_of(COMMANDS))]
    for line in CASES:
        words = [*line.split(), *([""] if not line or line.endswith(" ") else [])]
        typed = " ".join(shlex.quote(word) for word in ("shelfmark", *words))
        lines.append(f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMPREPLY=(); _shelfmark")
        lines.append('echo "${COMPREPLY[*]}"')
    file.write_text("set -u\n" + "\n".join(lines) + "\n")
    began = time.perf_counter()
    done = subprocess.run(["bash", "--norc", file], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert (time.perf_counter() - began) / len(CASES) < 0.5
    return dict(zip(CASES, (line.split() for line in done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("line", CASES)
def test_bash_offers_what_may_stand_there(answers, line):
    wanted = CASES[line]
    assert set(wanted) <= set(answers[line])
    if line and line.strip() != "":
        assert answers[line] == wanted or set(answers[line]) == set(wanted)


def test_bash_offers_every_command_and_every_key(answers):
    assert set(answers[""]) == {name.partition(" ")[0] for name in COMMANDS}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_all_words(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    words = words_of(COMMANDS)
    assert all(key in script for key in words.keys)
    assert len(words.keys) > 100
    assert all(flag.removeprefix("--") in script for flags in words.flags.values() for flag in flags)
    assert "shelfmark completion" in script


def test_the_script_is_made_without_long_imports():
    code = (
        "import sys; from shelfmark.cli.commands import COMMANDS; from shelfmark.cli.completion import words_of, bash;"
        "bash(words_of(COMMANDS)); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"timm", "torchvision", "cv2", "PIL", "matplotlib", "shelfmark.pipelines"} & set(done.stdout.split())
