"""Pictures that cannot be read: an error that names them, or counted, listed and limited."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from small_recipe import SMALL, UNSCORED

from shelfmark.cli import main

SHORT = [*SMALL, *UNSCORED, "train.num_epochs=1", "data.train_json=some.json", "data.root=pictures"]
SHORT += ["data.check_images=auto", "data.extra_roots=[dataset/shop]"]  # to which the links in `pictures` lead


@pytest.fixture
def some_broken(small: Path, request: pytest.FixtureRequest) -> list[str]:
    """400 training pictures, of which the first `request.param` are cut off in the middle."""
    document = json.loads(Path("dataset/shop/train.json").read_text())
    document["annotations"] = document["annotations"][:400]
    broken = [record["fpath"] for record in document["annotations"][: request.param]]
    Path("some.json").write_text(json.dumps(document))
    Path("pictures", "train").mkdir(parents=True)
    for folder in ("val", "novel"):
        Path("pictures", folder).symlink_to(Path("dataset/shop", folder).resolve())
    for record in document["annotations"]:
        picture, copy = Path("dataset/shop", record["fpath"]).resolve(), Path("pictures", record["fpath"])
        if record["fpath"] in broken:
            copy.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
        else:
            copy.symlink_to(picture)
    return broken


@pytest.mark.parametrize("some_broken", [3], indirect=True)
def test_all_unreadable_pictures_are_found_before_the_first_step_and_then_again_only_they_are_looked_at(
    some_broken: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", *SHORT, "name=scanned"]) == 2
    error = capsys.readouterr().err
    assert "checking 400 images" in caplog.text
    assert "3 of 400 images could not be read, so nothing was trained. truncated: 3." in error
    assert all(name in error for name in some_broken)
    with open("log/findings/unreadable_images.csv", newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == [
            str(Path("pictures", one).resolve()) for one in some_broken
        ]
    assert not Path("log/scanned").exists()
    caplog.clear()
    assert main(["train", *SHORT]) == 2
    assert "checking" not in caplog.text  # for three pictures there is no line
    assert "3 of 400 images" in capsys.readouterr().err


@pytest.mark.parametrize("some_broken", [3], indirect=True)
def test_without_the_scan_the_first_unreadable_picture_ends_the_run_with_its_path(
    some_broken: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SHORT, "train.steps_per_epoch=0", "data.check_images=never"]) == 2
    error = capsys.readouterr().err
    assert any(name in error for name in some_broken)
    assert "truncated" in error
    assert "nothing was trained" not in error


@pytest.mark.parametrize("some_broken", [3], indirect=True)
def test_skipped_pictures_are_counted_by_reason_and_listed(some_broken: list[str]) -> None:
    assert main(["train", *SHORT, "train.steps_per_epoch=0", "data.on_bad_image=skip", "name=skips"]) == 0
    with open("log/skips/bad_images.csv", newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert {row["path"].split("pictures/")[1] for row in listed} <= set(some_broken)
    assert len(listed) >= 2
    assert all(row["reason"] for row in listed)


@pytest.mark.parametrize("some_broken", [11], indirect=True)
def test_more_than_one_in_a_hundred_and_ten_end_the_run_whenever_they_are_found(
    some_broken: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    skip = ["train", *SHORT, "train.num_epochs=3", "data.on_bad_image=skip", "train.steps_per_epoch=0"]
    assert main(skip) == 2
    assert "11 of the 400 training images, more than 10, so nothing was trained" in capsys.readouterr().err
    assert main([*skip, "data.check_images=never"]) == 2
    assert "11 of 400 images could not be read, more than 10, so the run ends" in capsys.readouterr().err
    assert main([*skip, "data.max_bad_images=0.05", "train.num_epochs=1", "train.steps_per_epoch=1"]) == 0
    assert "11 of 400 images could not be read; in training" in caplog.text


def test_an_unreadable_photograph_leaves_no_submission(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "empty.jpg").write_bytes(b"")
    assert main(["test", "--RESUME_MODEL", "log/base/last", "--images", str(photographs)]) == 2
    assert "empty.jpg" in capsys.readouterr().err
    assert not list(Path("log/base").glob("submission*"))
