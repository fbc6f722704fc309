"""The words that start a command: those of the door that this process came in by."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

_SCRIPTS = {"train": "main.py", "test": "test.py", "tau-norm": "tau_norm.py"}


def command_line(command: str, *words: object) -> str:
    """A command that can be pasted: `shelfmark train --config mine.yaml`.

    `python main.py ...` where a script of the checkout was started, since Shelfmark need not be installed there;
    `python -m shelfmark ...` where the path has no `shelfmark`. Words are quoted where a shell needs it.
    """
    return " ".join([_door(command), *(shlex.quote(str(word)) for word in words)])


def _door(command: str) -> str:
    started, script = Path(sys.argv[0]), _SCRIPTS.get(command)
    if script and started.name in _SCRIPTS.values():
        return f"python {shlex.quote(str(started.with_name(script)))}"
    return f"shelfmark {command}" if shutil.which("shelfmark") else f"python -m shelfmark {command}"
