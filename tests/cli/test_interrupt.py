from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.pipelines.train import _kept


@pytest.mark.parametrize(
    ("carried", "said"), [((), "interrupted\n"), (("go on with x",), "interrupted; go on with x\n")]
)
def test_ctrl_c_says_what_it_carries_and_names_no_place_that_may_not_be_there(monkeypatch, capsys, carried, said):
    def interrupted(args):
        raise KeyboardInterrupt(*carried)

    monkeypatch.setitem(COMMANDS, "migrate", replace(COMMANDS["migrate"], run=interrupted))
    assert main(["migrate", "python main.py"]) == 130
    assert capsys.readouterr().err == said


def test_a_run_that_ends_at_once_names_the_checkpoint_that_is_there(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("shelfmark.core.door.shutil.which", lambda name: f"/bin/{name}")
    folder = tmp_path / "run"
    assert _kept(folder) == f"no checkpoint was saved in {folder}"
    (folder / "last").mkdir(parents=True)
    assert _kept(folder) == f"go on with `shelfmark train --RESUME_MODEL {folder / 'last'}`"
