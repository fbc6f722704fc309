"""`embed --runner ray`: a local Ray gives the bytes of one process, and survives killed actors.

Those two tests are `slow`: the processes of a Ray of their own take a minute of two cores.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from untrained_models import make_place

from shelfmark.cli import main
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.pipelines.embed import embed
from shelfmark.runtime.shards import ray_team, team
from shelfmark.runtime.trained_model import open_model

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ModuleType]:
    """A Ray of two cores, whose processes are all gone at the end."""
    pytest.importorskip("ray")
    ray = ray_team.require_ray()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("RAY_ADDRESS", raising=False)
        patched.setattr(ray, "init", partial(ray.init, num_cpus=2, object_store_memory=80 << 20))
        with ray_team._session(ray):
            session = ray._private.worker.global_worker.node.get_session_dir_path()
            assert signal.getsignal(signal.SIGTERM) == handler
            assert processes_of(session)
            yield ray
    assert not ray.is_initialized()
    assert processes_of(session) == []


def processes_of(session: str) -> list[str]:
    found = subprocess.run(["ps", "-eo", "stat,args", "ww"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if session in line and not line.startswith("Z")]


@pytest.mark.slow
def test_actors_go_on_behind_whole_shards_and_give_the_bytes_of_one_process(
    cluster: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_place(tmp_path)
    model = open_model(tmp_path / "log/run/last")
    photos = tmp_path / "photos"
    photos.mkdir()
    for row in range(11):
        shutil.copy(tmp_path / f"pictures/val_{row}.png", photos / f"{row:02d}.png")
    for row in (2, 9):
        (photos / f"{row:02d}.png").write_bytes(b"no picture")
    # Three shards of 4, 4 and 3 photographs; a signal ends the first run behind the first shard.
    make_shard = team.make_shard

    def one_alone(plan: Any, number: int, *given: Any) -> Any:
        if number:
            raise Stopped(signal.SIGTERM)
        return make_shard(plan, number, *given)

    with monkeypatch.context() as patched:
        patched.setattr(team, "make_shard", one_alone)
        with pytest.raises(Stopped, match="whole are kept in .*features_shards; the same command makes the others"):
            embed(model, tmp_path / "features", images=photos, shard_size=4)
    made: list[int] = []
    result = ray_team._result

    def noted(ray: ModuleType, found: Any, number: int) -> Any:
        made.append(number)
        return result(ray, found, number)

    monkeypatch.setattr(ray_team, "_result", noted)
    found = embed(model, tmp_path / "features", images=photos, runner="ray", shard_size=4)
    assert sorted(made) == [1, 2]
    assert list(found.errors) == ["02.png", "09.png"]
    assert found.accounts.as_json()["listed"] == 11 == 9 + sum(found.accounts.skipped.values())
    embed(model, tmp_path / "alone", images=photos)
    for name in ("features.npy", "rows.npz", "manifest.json"):
        assert (tmp_path / "features" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    unread = [(tmp_path / f"{name}_bad_images.csv").read_bytes() for name in ("features", "alone")]
    assert unread[0] == unread[1]
    assert not (tmp_path / "features_shards").exists()


class Quiet:
    """A network that goes nowhere."""

    def cpu(self) -> Quiet:
        return self


def dying(cluster: ModuleType, marks: Path, deaths: int) -> Any:
    """An actor that is killed `deaths` times when it is asked for shard 1."""

    class Mortal:
        def __init__(self, images: Any, plan: Any) -> None: ...

        def make(self, number: int) -> ray_team.Made:
            (marks / f"{number}.{os.getpid()}").touch()
            if number == 3:
                return UserError("val_3.png could not be read: missing")
            if number == 1 and len(list(marks.glob("1.*"))) <= deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            return ()

    return cluster.remote(max_restarts=ray_team._RETRIES, max_task_retries=ray_team._RETRIES, num_cpus=1)(Mortal)


@pytest.mark.slow
def test_a_killed_actor_makes_its_shard_again_and_one_that_always_dies_is_told(
    cluster: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the actors are sent has nothing that they would have to import.
    monkeypatch.setattr(ray_team, "replace", lambda images, network: None)
    images, bad_images = SimpleNamespace(network=Quiet()), SimpleNamespace(add=lambda unread: None)
    work: Any = SimpleNamespace(images=images, bad_images=bad_images)
    for deaths in (1, 99):
        marks, counts = tmp_path / str(deaths), list[int]()
        marks.mkdir()
        plan = five_images_a_shard()
        run = partial(ray_team._make, cluster, dying(cluster, marks, deaths), 2, plan, [0, 1, 2], work, counts.append)
        if deaths == 1:
            run()
            assert counts == [5, 5, 5]
            assert len(list(marks.glob("1.*"))) == 2
            # What ends a shard by an error of the user's ends the command in the same words.
            with pytest.raises(UserError, match=r"^val_3\.png could not be read: missing$"):
                ray_team._make(cluster, dying(cluster, marks, 0), 2, plan, [3], work, counts.append)
        else:
            with pytest.raises(UserError, match="shard 1 was not made: its Ray actor died 3 times"):
                run()
            assert len(list(marks.glob("1.*"))) == 3


def five_images_a_shard() -> Any:
    class Plan:
        def rows(self, number: int) -> range:
            return range(5)

    return Plan()


def test_an_actor_takes_a_gpu_or_the_cores_of_its_loaders() -> None:
    def images(device: str, num_workers: int) -> Any:
        return SimpleNamespace(precision=SimpleNamespace(device=SimpleNamespace(type=device)), num_workers=num_workers)

    assert ray_team._room({"CPU": 16.0, "GPU": 4.0}, images("cuda", 8)) == (4, {"num_gpus": 1, "num_cpus": 1})
    assert ray_team._room({"CPU": 16.0}, images("cpu", 3)) == (4, {"num_cpus": 4})
    assert ray_team._room({"CPU": 2.0}, images("cpu", 7)) == (1, {"num_cpus": 2})
    with pytest.raises(UserError, match="but Ray has none"):
        ray_team._room({"CPU": 16.0}, images("cuda", 8))


def test_an_address_at_which_nothing_listens_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ray_team._require_answer(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    nobody: Any = SimpleNamespace(is_initialized=lambda: False)
    with pytest.raises(UserError, match=f"no Ray answers at RAY_ADDRESS={address}: .*`ray start --head`"):
        ray_team._session(nobody).__enter__()
    ray_team._require_answer("auto")


def test_without_ray_the_error_says_what_to_install_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_place(tmp_path)
    argv = [
        "embed",
        "--RESUME_MODEL",
        str(tmp_path / "log/run/last"),
        "--out",
        str(tmp_path / "out"),
        "--runner",
        "ray",
    ]
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "ray", None)
        assert main(argv) == 2
    assert "--runner ray needs the package ray: pip install -e '.[ray]'" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(argv) == 2
    assert "--runner ray starts its own processes" in capsys.readouterr().err
