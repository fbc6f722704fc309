"""Features in shards are those of one pass, byte for byte, whatever stopped the work and whoever does it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from two_processes import on_two_processes

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.locks import folder_lock
from shelfmark.core.strings import Strings
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.accounts import Accounts
from shelfmark.runtime.feature_work import FeatureWork, in_one_go
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.shards import InShards
from shelfmark.runtime.shards.plan import Plan
from shelfmark.runtime.shards.shard import make_shard, read_shard

NUM, BATCH, SHARD = 23, 3, 5
SPOILT = (1, 12, 13, 14, 15, 16, 17, 22)
"""With batches of 3, a shard has two of them, 6 images: nothing of shard 2 can be read."""


class MeanColour(torch.nn.Module):
    """A network that keeps count of its images, and kills its process behind a number of them."""

    def __init__(self, until: int = 1000) -> None:
        super().__init__()
        self.until, self.seen = until, 0

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        if self.seen > self.until:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.pad(images.mean(dim=(2, 3)), (0, 2), value=1.0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_pictures(tmp_path)
    return tmp_path


def make_pictures(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for row in range(NUM):
        if row in SPOILT:
            (folder / f"{row}.png").write_bytes(b"no picture")
        else:
            Image.fromarray(generator.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(folder / f"{row}.png")


def work(
    folder: Path, out: str, network: torch.nn.Module | None = None, limit: float = 1.0, words: Sequence[str] = ()
) -> FeatureWork:
    options = ["data.input_size_px=8", "data.num_workers=0", "data.on_bad_image=skip", f"eval.batch_size={BATCH}"]
    recipe = load(Recipe, None, [parse_override(word) for word in (*options, *words)]).config
    paths = Strings.of(f"{row}.png" for row in range(NUM))
    table = Table(paths, np.arange(NUM), paths, num_classes=NUM, root=folder, sha256="")
    precision = Precision.resolve("fp32", torch.device("cpu"))
    images = evaluation_pass(recipe, network or MeanColour(), precision, assemble.image_source(recipe, table))  # type: ignore[arg-type]
    facts = {"checkpoint_sha256": "a" * 64, "data.input_size_px": 8, "pictures.num": NUM}
    log = BadImageLog(folder / f"{out}_bad_images.csv", NUM, limit)
    return FeatureWork(images, table, folder / out, facts, log)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def killed(run: Callable[[], object]) -> None:
    """Runs something in a process of its own, which a SIGKILL ends."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            run()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_shards_give_the_bytes_of_one_pass_and_leave_nothing_else(place: Path) -> None:
    whole = in_one_go(work(place, "whole"))
    parts = InShards(SHARD)(work(place, "parts"))
    assert content(place / "whole") == content(place / "parts")
    np.testing.assert_array_equal(whole.features, parts.features)
    assert (place / "whole_bad_images.csv").read_bytes() == (place / "parts_bad_images.csv").read_bytes()
    assert not list(place.glob("*_shards")) + list(place.glob(".*"))


def test_a_killed_pass_goes_on_behind_its_whole_shards(place: Path) -> None:
    # 5, 6 and none of the images of the first three shards can be read; the next image is in shard 3.
    killed(lambda: InShards(SHARD)(work(place, "parts", MeanColour(until=11))))
    shards = place / "parts_shards"
    assert sorted(one.name for one in shards.iterdir() if not one.name.startswith(".")) == [
        *("00000", "00001", "00002", "plan.json")
    ]
    assert not (place / "parts").exists()
    network = MeanColour()
    # A plan that stands keeps its shards, whatever the size is now.
    InShards(1000)(work(place, "parts", network))
    assert network.seen == NUM - len(SPOILT) - 11
    in_one_go(work(place, "whole"))
    assert content(place / "whole") == content(place / "parts")
    assert (place / "whole_bad_images.csv").read_bytes() == (place / "parts_bad_images.csv").read_bytes()
    assert not shards.exists()


@pytest.mark.parametrize("name", ["features.f32", "rows.npy", "manifest.json"])
def test_a_damaged_shard_is_named_and_made_anew(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    killed(lambda: InShards(SHARD)(work(place, "parts", MeanColour(until=11))))
    file = place / "parts_shards" / "00001" / name
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    network = MeanColour()
    InShards(SHARD)(work(place, "parts", network))
    assert network.seen == NUM - len(SPOILT) - 5
    said = capsys.readouterr().out + caplog.text
    assert str(file) in said
    assert "The shard is made anew" in said
    in_one_go(work(place, "whole"))
    assert content(place / "whole") == content(place / "parts")


def test_a_shard_that_lacks_an_image_does_not_add_up(place: Path) -> None:
    plan = Plan(place / "shards", NUM, 6, {})
    images = work(place, "parts").images
    make_shard(plan, 0, images)
    assert [one.row for one in read_shard(plan, 0).unread] == [1]
    shorter = Plan(place / "other", NUM, 6, {})
    make_shard(shorter, 0, images)
    (shorter.folder(0) / "manifest.json").unlink()
    # The same plan by its content, whose shard has one image more.
    longer = Plan(place / "other", NUM, 6, {})
    object.__setattr__(longer, "rows", lambda number: range(7))
    shutil.copy(plan.folder(0) / "manifest.json", longer.folder(0) / "manifest.json")
    with pytest.raises(UserError, match="5 images with features and 1 that could not be read are not the 7 images"):
        read_shard(longer, 0)


def test_shards_of_another_model_list_or_rule_are_refused_with_the_reason(place: Path) -> None:
    killed(lambda: InShards(SHARD)(work(place, "parts", MeanColour(until=11))))
    before = content(place / "parts_shards" / "00000")
    for facts, reason in (
        ({"checkpoint_sha256": "b" * 64}, "checkpoint_sha256 changed"),
        ({"data.input_size_px": 16}, "data.input_size_px was 8, now 16"),
        ({"pictures.num": 24}, "pictures.num was 23, now 24"),
    ):
        other = work(place, "parts")
        object.__setattr__(other, "facts", {**other.facts, **facts})
        with pytest.raises(UserError, match=reason):
            InShards(SHARD)(other)
    with pytest.raises(UserError, match="data.on_bad_image was 'skip', now 'error'"):
        InShards(SHARD)(work(place, "parts", words=["data.on_bad_image=error"]))
    with pytest.raises(UserError, match=f"eval.batch_size was {BATCH}, now {BATCH + 1}"):
        InShards(SHARD)(work(place, "parts", words=[f"eval.batch_size={BATCH + 1}"]))
    # One shard of another embedding among ours.
    killed(lambda: InShards(SHARD)(work(place, "others", MeanColour(until=11))))
    plan = place / "others_shards" / "plan.json"
    plan.unlink()
    shutil.rmtree(place / "others_shards" / "00001")
    other = work(place, "others")
    object.__setattr__(other, "facts", {**other.facts, "data.input_size_px": 16})
    with pytest.raises(UserError, match="exists and holds no shards of ours"):
        InShards(SHARD)(other)
    shutil.move(place / "others_shards" / "00000", place / "kept")
    shutil.rmtree(place / "others_shards")
    killed(lambda: InShards(SHARD)(FeatureWork(**{**vars(other), "images": work(place, "x", MeanColour(0)).images})))
    shutil.move(place / "kept", place / "others_shards" / "00000")
    with pytest.raises(UserError, match="others_shards/00000 is a shard of another embedding"):
        InShards(SHARD)(other)
    assert content(place / "parts_shards" / "00000") == before


def test_unreadable_images_count_over_shards_and_restarts(place: Path) -> None:
    killed(lambda: InShards(SHARD)(work(place, "parts", MeanColour(until=11))))
    # 7 of the 8 lie in shards that are whole; the limit is 10 images where the share is smaller.
    log = work(place, "parts", limit=0.0)
    log.bad_images.num_images = 7
    with pytest.raises(UserError, match="7 of 7 images could not be read"):
        InShards(SHARD)(log)
    done = work(place, "parts")
    features = InShards(SHARD)(done)
    accounts = Accounts.of(NUM, features, done.bad_images.file)
    assert set(accounts.reasons) == set(SPOILT)
    assert accounts.as_json()["listed"] == NUM == accounts.embedded + sum(accounts.skipped.values())
    assert accounts.told.startswith(f"{NUM} images listed: {NUM - len(SPOILT)} embedded, {len(SPOILT)} skipped (not a")


def test_two_commands_do_not_fill_one_place(place: Path) -> None:
    with (
        folder_lock(place / "parts_shards", "embedding"),
        pytest.raises(UserError, match=r"process \d+ on .*embedding"),
    ):
        InShards(SHARD)(work(place, "parts"))


def test_a_folder_that_other_machines_do_not_see_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shelfmark.runtime.shards.plan.SEEN_WITHIN_S", 0.0)
    monkeypatch.setattr("shelfmark.runtime.shards.plan.write_manifest", lambda *_: None)
    with pytest.raises(UserError, match="a folder that all machines share"):
        InShards(SHARD)(work(place, "parts"))


def in_two(folder: Path) -> dict[str, int]:
    network = MeanColour()
    features = InShards(SHARD)(work(folder, "parts", network))
    return {"seen": network.seen, "rows": len(features), "rank": dist.rank()}


@pytest.mark.dist
def test_two_processes_share_the_shards_and_write_the_bytes_of_one(place: Path) -> None:
    in_one_go(work(place, "whole"))
    (place / "meeting").mkdir()
    found = on_two_processes(partial(in_two, place), place / "meeting")
    # Four shards of 6: rank 0 has the first and the third, of which nothing can be read.
    assert [one["seen"] for one in found] == [5, 10]
    assert [one["rows"] for one in found] == [NUM - len(SPOILT)] * 2
    assert content(place / "whole") == content(place / "parts")
    assert (place / "whole_bad_images.csv").read_bytes() == (place / "parts_bad_images.csv").read_bytes()
    assert not (place / "parts_shards").exists()
