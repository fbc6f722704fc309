"""`shelfmark shrink`: what is whole is kept, what is not fits again, and a training needs the copy alone."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_profiles import DISPLAY_P3, rgb_profile, srgb_of_rgb
from drawn_pictures import drawn
from forks import fork
from PIL import Image

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.data import packing
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.sources import packed_copy
from shelfmark.data.sources.packed_copy import open_copy
from shelfmark.pipelines.discover.sets import read_sets
from shelfmark.pipelines.shrink import Packed, shrink
from shelfmark.recipe import Recipe, assemble

NUM_TRAIN, NUM_VAL = 20, 6


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures of two classes, and blocks of about four pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packing, "BLOCK_BYTES", 6000)
    monkeypatch.setattr(packing, "_BATCH_SIZE", 2)
    Path("pictures").mkdir()
    for number in range(NUM_TRAIN + NUM_VAL):
        Image.fromarray(drawn(number, 100)).save(f"pictures/{number}.jpg", quality=90)
    for name, numbers in (("train", range(NUM_TRAIN)), ("val", range(NUM_TRAIN, NUM_TRAIN + NUM_VAL))):
        records = [{"fpath": f"{number}.jpg", "category_id": number % 2} for number in numbers]
        Path(f"{name}.json").write_text(json.dumps({"annotations": records, "num_classes": 2}))
    return tmp_path


DATA = ["data.root=pictures", "data.train_json=train.json", "data.val_json=val.json", "data.num_workers=0"]


def packed(out: str, *options: str, size_px: int = 40) -> Packed:
    recipe = load(Recipe, None, [parse_override(one) for one in (*DATA, *options)]).config
    return shrink(recipe, size_px, 90, Path(out))


def content(folder: str) -> dict[str, bytes]:
    """The files of a copy; of the manifest what does not name the folder."""
    found = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    told = json.loads(found.pop("manifest.json"))
    return {**found, "content": told["content"].encode()}


def damage(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_after_a_kill_the_same_command_goes_on_to_the_same_bytes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = packed("a")
    finish = packing._finish_block

    def killed(folder: Path, number: int, *rest: Any) -> None:
        if number == 2:
            os._exit(9)
        finish(folder, number, *rest)

    child = fork()
    if not child:
        monkeypatch.setattr(packing, "_finish_block", killed)
        packed("b")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with pytest.raises(UserError, match="b is not packed to the end. The command that began it goes on: .*--out b"):
        open_copy(Path("b"))
    before = {name: (Path("b") / name).stat().st_ino for name in ("block_00000.jpegs", "block_00001.jpegs")}
    shrunk: list[str] = []
    one = packing.shrunk_picture
    monkeypatch.setattr(
        packing, "shrunk_picture", lambda data, name, *rest: shrunk.append(name) or one(data, name, *rest)
    )
    again = packed("b")
    assert content("a") == content("b")
    assert {name: (Path("b") / name).stat().st_ino for name in before} == before
    num_kept = sum(
        json.loads((Path("b") / f"block_0000{number}.json").read_text())["num_pictures"] for number in (0, 1)
    )
    assert len(shrunk) == NUM_TRAIN + NUM_VAL - num_kept
    assert (again.num_images, again.bytes_after) == (whole.num_images, whole.bytes_after)
    assert whole.bytes_before == sum(file.stat().st_size for file in Path("pictures").iterdir())
    assert whole.bytes_after == sum(file.stat().st_size for file in Path("a").glob("*.jpegs"))
    assert len(list(Path("a").glob("*.jpegs"))) >= 4


def test_a_signal_and_a_full_disk_keep_what_is_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed("a")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limit[1]))
        with pytest.raises(UserError, match=r"b/block_00000.jpegs cannot be written: .* bytes are free"):
            packed("b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [file.name for file in Path("b").iterdir()] == ["manifest.json"]
    calls: list[None] = []

    def stop_later() -> None:
        calls.append(None)
        if len(calls) == 12:
            raise Stopped(15)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "raise_if_stopped", stop_later)
        with pytest.raises(Stopped):
            packed("b")
    assert (Path("b") / "block_00000.json").is_file()
    packed("b")
    assert content("a") == content("b")
    assert not list(place.glob(".b*"))


def test_what_is_damaged_or_was_changed_is_packed_again_and_nothing_else(place: Path) -> None:
    packed("a")
    before = content("a")
    damage(Path("a/block_00001.jpegs"), 700)
    # Opening looks at sizes; the command looks at each byte.
    open_copy(Path("a"))
    packed("a")
    assert content("a") == before
    damage(Path("a/block_00002.npy"), -1)
    packed_copy._opened.cache_clear()
    with pytest.raises(UserError, match=r"block_00002.npy does not match .* command that made .*a again: it repairs"):
        open_copy(Path("a"))
    packed("a")
    assert content("a") == before
    Image.fromarray(drawn(99, 100)).save("pictures/0.jpg", quality=90)
    packed("a")
    after = content("a")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"block_00000.jpegs", "block_00000.npy", "block_00000.json", "content"}


def test_another_copy_in_the_same_folder_is_refused_with_the_reason(place: Path) -> None:
    packed("a")
    before = content("a")
    with pytest.raises(
        UserError, match="a has a packed copy that does not fit: size_px was 40, now 50. A copy is never"
    ):
        packed("a", size_px=50)
    shutil.copytree("pictures", "other")
    with pytest.raises(UserError, match=r"pictures\.root was '.*/pictures', now '.*/other'"):
        packed("a", "data.root=other")
    with pytest.raises(UserError, match="pictures exists and is not a packed copy, so nothing is written there"):
        packed("pictures")
    for size_px in (0, -3):
        with pytest.raises(UserError, match=f"--size {size_px}: give a whole number from 16"):
            packed("b", size_px=size_px)
    with pytest.raises(UserError, match="does not fit: color_profiles was 'ignore', now 'apply'"):
        packed("a", "data.color_profiles=apply")
    assert content("a") == before
    assert not Path("b").exists()


def test_what_is_no_copy_is_refused_with_the_next_step(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"data\.source: .*nowhere is not a packed copy.*there is no such folder"):
        open_copy(Path("nowhere"))
    with pytest.raises(UserError, match=r"pictures is not a packed copy.*it has no manifest\.json"):
        open_copy(Path("pictures"))
    for number, text in enumerate(("{", "[]", '{"name": "an app"}')):
        theirs = Path(f"theirs_{number}")
        theirs.mkdir()
        (theirs / "manifest.json").write_text(text)
        for refusing in (open_copy, lambda folder: packed(str(folder))):
            with pytest.raises(UserError, match="is no packed copy that can be read. Give another folder"):
                refusing(theirs)
        assert [one.name for one in theirs.iterdir()] == ["manifest.json"]
    for command in (["shrink", "--size", "40", "--out", "packed:copy"], ["to-lance", "--out", "lance://copy"]):
        assert main([*command, *DATA]) == 2
        assert "here give copy alone" in capsys.readouterr().err
    assert not list(place.glob("*copy*"))


def test_a_picture_that_cannot_be_read_is_an_error_or_a_bad_image_of_the_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("pictures/3.jpg")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"(?s)1 of 26 images could not be read.*truncated: 1.*data.on_bad_image=skip"):
        packed("a")
    assert Path("a/unreadable_images.csv").read_text() == f"path,reason\n{file.absolute()},truncated\n"
    assert packed("a", "data.on_bad_image=skip").num_unreadable == 1
    words = ["train", *DATA, "data.source=packed:a", "name=run", *SMALL]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "1 of 26 images could not be read, so nothing was trained. truncated: 1." in told
    assert not Path("log/run").exists()
    # The advice is of the copy: a repaired file alone changes nothing.
    command = re.search(r"Repair their files, .* pack them anew: `(.*?)`; or take them out of the annotations", told)[1]
    log = BadImageLog(Path("bad.csv"), 26, limit=0.01, source="packed:a")
    with pytest.raises(UserError, match=re.escape(f"pack them anew: `{command}`; or")):
        log.add(BadImage(row, str(row), "truncated") for row in range(11))
    again = shlex.split(command)
    Image.new("RGB", (60, 60)).save(file)
    assert main([*again[again.index("shrink") :], *DATA]) == 0
    assert main([*words, "train.steps_per_epoch=1"]) == 0


def test_the_images_of_a_discovery_are_packed_and_found(place: Path) -> None:
    roles = ("labelled", "unlabelled", "labelled", "test")
    records = [{"fpath": f"{row}.jpg", "category_id": row // 4, "role": roles[row % 4]} for row in range(20)]
    for record in records:
        if record["role"] == "unlabelled":
            record["category_id"] = None
    Path("pool.json").write_text(json.dumps({"annotations": records, "num_classes": 5}))
    options = ["discovery.annotations=pool.json", "data.train_json=null", "data.val_json=null"]
    assert packed("a", *options).num_images == 20
    Path("pictures").rename("away")
    options += ["data.source=packed:a", "discovery.val_classes=0", "eval.metric=none"]
    recipe = load(Recipe, None, [parse_override(one) for one in (*DATA, *options)]).config
    table, _, rows = read_sets(recipe)
    assert (len(table), len(rows["unlabelled"])) == (20, 5)


SMALL = [
    *("model.backbone=test_resnet", "data.input_size_px=32", "train.batch_size=8", "train.num_epochs=1"),
    *("train.precision=fp32", "optim.schedule.warmup_epochs=0", "data.generated="),
]


def test_a_training_needs_the_copy_alone_and_commands_after_it_read_the_originals(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["shrink", "--size", "40", *DATA, "data.generated=", "data.test_json=", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["num_images"]) == ("pictures_40", 26)
    assert re.search(r"train data.root=pictures .*data.source=packed:pictures_40$", told["command"])
    Path("pictures").rename("away")
    words = ["data.source=packed:pictures_40"]
    assert main(["train", *DATA, *words, "name=run", *SMALL]) == 0
    assert re.search(r"source: .?packed:pictures_40", Path("log/run/config.yaml").read_text())
    evaluate = ["evaluate", "--RESUME_MODEL", "log/run/best_model"]
    capsys.readouterr()
    assert main(evaluate) == 2
    assert "pictures is not a folder" in capsys.readouterr().err
    assert "Where the files of listed images are gone, add data.source=packed:pictures_40" in caplog.text
    # A network sees the pictures that the doctor looks at.
    assert main(["doctor", "--RESUME_MODEL", "log/run/best_model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 26
    assert main([*evaluate, *words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    trained = json.loads(Path("log/run/summary.json").read_text())
    assert {name: trained[name] for name in ("top1", "ece")} == {name: scores[name] for name in ("top1", "ece")}
    Path("away").rename("pictures")
    assert main(["index", "build", "--RESUME_MODEL", "log/run/best_model", "--out", "index"]) == 0
    assert "trained with data.source=packed:pictures_40; images are read with data.source=files" in caplog.text
    caplog.clear()
    photo = str(next(Path("pictures").rglob("*.jpg")))
    assert main(["search", "--index", "index", photo]) == 0
    assert main(["explain", "--RESUME_MODEL", "log/run/best_model", photo]) == 0
    assert main(["test", "--RESUME_MODEL", "log/run/best_model", "--images", "pictures"]) == 0
    assert "data.source" not in caplog.text, "these never read a copy, so there is nothing to choose"
    assert main(["test", "--RESUME_MODEL", "log/run/best_model", "--images", "pictures", *words]) == 0
    assert main(["doctor", *DATA, *words, "data.test_json=", "name=run", "data.generated="]) == 0
    measured = np.load(next(Path("log/.doctor").glob("*/part_00000_*.npy")))
    assert set(measured["record"]["width"].tolist()) == {40}
    resumed = ["train", "--RESUME_MODEL", "log/run/last", "data.source=files", "train.num_epochs=2"]
    assert main(resumed) == 0
    assert "data.source: 'packed:pictures_40' -> 'files' from here on" in caplog.text
    assert "the validation images, or the way they are read, changed" in caplog.text


def test_profiles_are_applied_when_a_copy_is_made_and_another_choice_is_refused(place: Path) -> None:
    wide = {"icc_profile": rgb_profile(DISPLAY_P3, 2.2), "quality": 95, "subsampling": 0}
    for file in Path("pictures").iterdir():
        Image.new("RGB", (60, 40), (200, 60, 40)).save(file, **wide)
    applied = open_copy(packed("applied", "data.color_profiles=apply", size_px=100).folder)
    ignored = open_copy(packed("ignored", size_px=100).folder)
    assert ignored.read(0) == Path("pictures/0.jpg").read_bytes()
    stored = np.asarray(Image.open(io.BytesIO(applied.read(0))))[20, 30]
    meant = srgb_of_rgb(np.array([200, 60, 40]), DISPLAY_P3, 2.2)
    assert np.abs(stored - meant).max() <= 4 < np.abs(stored - np.array([200.0, 60, 40])).max()
    data = [*DATA, "data.source=packed:applied"]
    with pytest.raises(UserError, match=r"made with data\.color_profiles=apply.*has ignore"):
        assemble.read_training(load(Recipe, None, [parse_override(one) for one in data]).config)
