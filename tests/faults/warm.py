"""Programs under test: forked from a warm process, or started as a user does; both are waited for and killed alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "10000",
    "PYTHONPATH": str(CHECKOUT / "lib"),
    "MASTER_ADDR": "localhost",
}
LIMIT_S = 240.0


@dataclass
class Program:
    """One started process. output: the file of what it prints, which lies on no disk that a test fills.

    poll: its exit status, negative for a signal.
    """

    pid: int
    output: IO[bytes]
    poll: Callable[[], int | None]

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its exit status; a program that takes longer is killed, with all of its session, and fails the test."""
        deadline = time.monotonic() + limit_s
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"still running after {limit_s:.0f} s; it printed:\n{self.printed()[-2000:]}")
            time.sleep(0.005)
        return status

    def kill(self) -> None:
        """SIGKILL to it alone."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def printed(self) -> str:
        """All that it has printed until now."""
        return Path(self.output.name).read_text(errors="replace")


@dataclass
class Warm:
    """The warm process; `start` forks it."""

    _server: subprocess.Popen[str]

    @classmethod
    def up(cls) -> Warm:
        command = [sys.executable, str(HERE / "warm_server.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        server = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, **pipes)
        warm = cls(server)
        threads = warm._answer()["threads"]
        assert threads == 1, f"the warm process has {threads} threads; a fork would lose all but one"
        return warm

    def start(
        self, target: str, *args: Any, folder: Path, argv: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> Program:
        """Calls `target` (module:function) with args, JSON values, in a child that works in `folder`."""
        output = _output()
        request = {"target": target, "args": args, "folder": str(folder), "output": output.name, "env": dict(env or {})}
        pid = self._ask({**request, "argv": list(argv) or [str(CHECKOUT / "main.py")]})
        return Program(pid, output, lambda: self._ask({"poll": pid}))

    def shelfmark(self, words: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Program:
        """The command line `shelfmark WORDS`."""
        argv = [str(CHECKOUT / "main.py"), *words]
        return self.start("shelfmark.cli:main", list(words), folder=folder, argv=argv, env=env)

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(timeout=30)

    def _ask(self, request: Mapping[str, Any]) -> Any:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._server.stdout.readline()
        assert line, f"the warm process ended with status {self._server.wait()}"
        return json.loads(line)


def _output() -> IO[bytes]:
    """A file that goes when its program is forgotten."""
    return cast(IO[bytes], tempfile.NamedTemporaryFile(suffix=".out"))


def main_py(words: Sequence[str], folder: Path) -> Program:
    """`python main.py WORDS`, as a user starts it."""
    return started([sys.executable, str(CHECKOUT / "main.py"), *words], folder)


def started(command: Sequence[str], folder: Path) -> Program:
    """A command in a session of its own."""
    output = _output()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    return Program(process.pid, output, process.poll)
