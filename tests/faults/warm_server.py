"""A process that has imported everything, and forks one child a run: a run then starts in milliseconds, not in seconds.

Started by `warm.py`; one request a line on standard input, one answer a line on standard output, both JSON. A child
leads a session of its own, and ends as a program does that Python started: its threads joined, its exit functions run.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

PRELOADED = ("shelfmark.cli", "shelfmark.pipelines.train", "shelfmark.pipelines.index", "shelfmark.pipelines.calibrate")
MORE = (
    "saves",
    "agents",
    "faiss",
    "torch.distributed.launcher.api",
    "torch._dynamo",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)


def serve() -> dict[str, Any] | None:
    """Answers requests; comes back in a child, with its request, and with None once the input ends."""
    children: dict[int, int | None] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer: object = _status(children, request["poll"])
        else:
            answer = os.fork()
            if not answer:
                return request
            children[answer] = None
        print(json.dumps(answer), flush=True)
    return None


def _status(children: dict[int, int | None], pid: int) -> int | None:
    """The exit status, negative for a signal; None while it runs."""
    if children[pid] is None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children[pid] = os.waitstatus_to_exitcode(status)
    return children[pid]


def become(request: dict[str, Any]) -> Any:
    """What a started program is: a session, a folder, an environment, its output in a file."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    with open(request["output"], "ab") as output, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    module, _, name = request["target"].partition(":")
    return getattr(importlib.import_module(module), name)(*request["args"])


def _one_pixel(figure: object, file: Path, **_: object) -> None:
    from PIL import Image

    Image.new("RGB", (1, 1)).save(file, "PNG")


def preload() -> None:
    """Imports; nothing that starts a thread, which a child would not have."""
    for name in (*PRELOADED, *MORE):
        importlib.import_module(name)
    # A child that collects garbage would else write to, and so copy, the pages of all that was imported.
    gc.collect()
    gc.freeze()
    # Figures are composed and written, but not rendered: that is half of a small run's time.
    sys.modules["matplotlib.figure"].Figure.savefig = _one_pixel


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    preload()
    print(json.dumps({"threads": len(os.listdir("/proc/self/task"))}), flush=True)
    mine = serve()
    if mine is None:
        # Nothing here needs tidying, and a thorough end takes seconds.
        os._exit(0)
    sys.exit(become(mine))
