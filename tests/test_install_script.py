"""`make` installs into .venv: a Python that is too old is told first, and no .venv is left that does not work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

# Stands for an interpreter: its version, and how `-m venv` and the `pip` of the environment end.
PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit {is_old} ;;
    --version) echo "Python {version}" ;;
    "-m venv .venv")
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        printf '#!/bin/sh\\necho pip "$@" >>called\\nexit {pip_status}\\n' >.venv/bin/pip
        chmod +x .venv/bin/pip
        exit {venv_status} ;;
esac
"""


def install(
    folder: Path, checkout: Path, version: str = "3.11.9", venv_status: int = 0, pip_status: int = 0
) -> subprocess.CompletedProcess[str]:
    python = folder / "python"
    python.write_text(
        PYTHON.format(
            is_old=int(version.startswith("3.10")), version=version, venv_status=venv_status, pip_status=pip_status
        )
    )
    python.chmod(0o755)
    words = ["sh", str(checkout / "scripts" / "install.sh"), str(python)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


def test_an_old_python_is_told_before_anything_is_made(tmp_path: Path, checkout: Path) -> None:
    done = install(tmp_path, checkout, version="3.10.12")
    assert done.returncode == 2
    assert "Shelfmark needs Python 3.11 or 3.12, and" in done.stderr
    assert "is Python 3.10.12. Nothing was installed. Name another: make ... PYTHON=python3.12" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_a_python_that_is_not_there_is_told(tmp_path: Path, checkout: Path) -> None:
    words = ["sh", str(checkout / "scripts" / "install.sh"), "python9"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "there is no python9 here" in done.stderr) == (2, True)


@pytest.mark.parametrize("failing", ["venv_status", "pip_status"])
def test_what_fails_half_way_leaves_no_environment_and_the_next_call_begins_anew(
    tmp_path: Path, checkout: Path, failing: str
) -> None:
    done = install(tmp_path, checkout, **{failing: 1})
    assert done.returncode == 1
    assert ("apt install python3-venv" if failing == "venv_status" else "pip could not install") in done.stderr
    assert not (tmp_path / ".venv").exists()
    assert install(tmp_path, checkout).returncode == 0
    assert (tmp_path / ".venv" / "bin" / "pip").exists()
    assert not (tmp_path / ".venv" / "begun").exists()


def test_an_environment_that_stood_there_outlives_a_failure_of_pip(tmp_path: Path, checkout: Path) -> None:
    assert install(tmp_path, checkout).returncode == 0
    (tmp_path / ".venv" / "mine").touch()
    (tmp_path / ".venv" / "bin" / "pip").write_text("#!/bin/sh\nexit 1\n")
    assert install(tmp_path, checkout).returncode == 1
    assert (tmp_path / ".venv" / "mine").exists()


def test_one_that_a_kill_cut_off_is_made_anew(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / ".venv" / "half").mkdir(parents=True)
    (tmp_path / ".venv" / "begun").touch()
    assert install(tmp_path, checkout).returncode == 0
    assert not (tmp_path / ".venv" / "half").exists()


def test_a_foreign_environment_that_does_not_work_is_not_touched(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    done = install(tmp_path, checkout)
    assert (done.returncode, "Remove it (make clean)" in done.stderr) == (2, True)
    assert (tmp_path / ".venv" / "bin").exists()
    assert not (tmp_path / "called").exists()
