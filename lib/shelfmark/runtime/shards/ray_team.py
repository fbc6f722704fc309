"""Shards made by Ray actors: on this machine, or on the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import beat
from shelfmark.core.stopping import STOPPING, raise_if_stopped
from shelfmark.core.wording import counted
from shelfmark.runtime.feature_work import FeatureWork
from shelfmark.runtime.image_pass import ImagePass
from shelfmark.runtime.shards.plan import PLAN, Plan, require_seen
from shelfmark.runtime.shards.shard import make_shard
from shelfmark.runtime.shards.team import Team

_ADDRESS = "RAY_ADDRESS"
_RETRIES = 2
_LOOK_S = 1.0
_ANSWER_S = 10.0

Made = tuple[BadImage, ...] | UserError
"""The images of a shard that could not be read; or what ended it, as a value: Ray would wrap it in its own error."""


def require_ray() -> ModuleType:
    """The package ray, which reports nothing about its use to its makers. UserError: it is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "--runner ray needs the package ray: pip install -e '.[ray]'. Without it, torchrun in front of the command"
            " shares its work among machines too (docs/distributed.md)."
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    return ray


class ShardMaker:
    """The work of an actor. images: its network is on the CPU, and goes to the device of the pass."""

    def __init__(self, images: ImagePass, plan: Plan) -> None:
        self.images = replace(images, network=images.network.to(images.precision.device).eval())
        self.plan = plan

    def make(self, number: int) -> Made:
        try:
            require_seen(self.plan.place / PLAN)
            return make_shard(self.plan, number, self.images)
        except UserError as error:
            return UserError(str(error))


@contextmanager
def ray_actors(images: ImagePass) -> Iterator[Team]:
    """As many actors as the cluster has room for: each takes a GPU, or, where the pass is one of the CPU, a core and
    one for each loader process. A Ray that was started here ends with the block."""
    ray = require_ray()
    with _session(ray):
        size, needs = _room(ray.cluster_resources(), images)
        actor = ray.remote(max_restarts=_RETRIES, max_task_retries=_RETRIES, **needs)(ShardMaker)
        yield Team(size, partial(_make, ray, actor, size))


def _make(
    ray: ModuleType,
    actor: Any,
    size: int,
    plan: Plan,
    numbers: Sequence[int],
    work: FeatureWork,
    report: Callable[[int], None],
) -> None:
    """Each actor has one shard at a time. A shard whose actor died is made again, by that actor in a new process."""
    images = ray.put(replace(work.images, network=deepcopy(work.images.network).cpu()))
    actors = [actor.remote(images, plan) for _ in range(min(size, len(numbers)))]
    waiting = list(numbers)[::-1]
    try:
        running = {one.make.remote(number): (one, number) for one, number in ((a, waiting.pop()) for a in actors)}
        while running:
            beat("evaluation")
            raise_if_stopped()
            for made in ray.wait(list(running), timeout=_LOOK_S)[0]:
                maker, number = running.pop(made)
                work.bad_images.add(_result(ray, made, number))
                report(len(plan.rows(number)))
                if waiting:
                    number = waiting.pop()
                    running[maker.make.remote(number)] = (maker, number)
    finally:
        for one in actors:
            with suppress(Exception):
                ray.kill(one)


def _result(ray: ModuleType, made: Any, number: int) -> tuple[BadImage, ...]:
    try:
        found: Made = ray.get(made)
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"shard {number} was not made: its Ray actor died {counted(_RETRIES + 1, 'time')}. Ray says:"
            f" {str(error).splitlines()[0]} Is there too little memory? The shards that are whole are kept; the same"
            " command makes the others."
        ) from None
    if isinstance(found, UserError):
        raise found
    return found


def _room(resources: Mapping[str, float], images: ImagePass) -> tuple[int, dict[str, int]]:
    """How many actors there will be, and what each takes, in Ray's words."""
    if images.precision.device.type == "cuda":
        if resources.get("GPU", 0) < 1:
            raise UserError(
                "the features are to be made on a GPU, as here, but Ray has none. Add train.device=cpu, or start Ray"
                " with GPUs."
            )
        return int(resources["GPU"]), {"num_gpus": 1, "num_cpus": 1}
    cores = max(1, int(resources.get("CPU", 1)))
    needs = min(1 + images.num_workers, cores)
    return cores // needs, {"num_cpus": needs}


@contextmanager
def _session(ray: ModuleType) -> Iterator[None]:
    """A connection to a running Ray, or a Ray of this machine for the time of the block."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get(_ADDRESS)
    own: dict[str, Any] = {} if address else {"include_dashboard": False}
    if address:
        _require_answer(address)
    try:
        with _kept_handlers():
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        at = f" at {_ADDRESS}={address}" if address else ""
        raise UserError(f"Ray{at} cannot be used: {str(error).splitlines()[0]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raises a UserError where nothing listens at host:port: Ray itself would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise UserError(
            f"no Ray answers at {_ADDRESS}={address}: {error.strerror or error}. Start one there (`ray start --head`),"
            f" or unset {_ADDRESS}; then a Ray of this machine is started."
        ) from None


@contextmanager
def _kept_handlers() -> Iterator[None]:
    """A block that changes no handler of a signal: Ray takes SIGTERM, and would end the process at any line."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in STOPPING} if is_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
