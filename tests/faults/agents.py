"""torchrun's agent over forked ranks: restarts as of `torchrun --max-restarts`, without seconds of imports for each."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

NUM_RANKS = 2


def forked(words: Sequence[str], max_restarts: int) -> int:
    """The agent's exit status, as torchrun's: 0 where the last attempt of all ranks ended well, else 1."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=NUM_RANKS,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        monitor_interval=0.1,
        start_method="fork",
    )
    try:
        elastic_launch(config, _rank)(list(words))
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _rank(words: Sequence[str]) -> None:
    from shelfmark.cli import main

    if status := main(words):
        sys.exit(status)


def real(words: Sequence[str], max_restarts: int, script: str) -> list[str]:
    """The command line of the same with torchrun itself."""
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={NUM_RANKS}"]
    return [*agent, f"--max-restarts={max_restarts}", script, *words]
