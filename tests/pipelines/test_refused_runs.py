"""What is refused leaves nothing behind: no folder, no lock, and nothing that stood there is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.core import disk

TRAIN = ["train", *SMALL, "name=refused"]
REFUSED: dict[str, tuple[list[str], str]] = {
    "an option that is none": (["optim.lrr=1"], "Did you mean optim.lr?"),
    "a config that is none": (["--config", "grocry"], "Did you mean grocery?"),
    "a missing file": (["data.train_json=gone.json"], "gone.json"),
    "annotations with errors": (["data.train_json=wrong.json"], "4 findings in 2 records"),
    "weights of another network": (["model.weights=other.pth"], "does not fit model.backbone=test_resnet"),
    "a score that is none": (["eval.metric=mean_class_acuracy"], "eval.metric='mean_class_acuracy' is no score"),
    "a batch that is too large": (["train.batch_size=1000000", "train.steps_per_epoch=0"], "train.batch_size=1000000"),
    "a log that cannot be written": (
        ["output.log_root=val_small.json/x"],
        "the run's folder: val_small.json/x/refused",
    ),
}


def files(folder: Path) -> dict[str, bytes]:
    """All there is, but the pictures, and the list of what is wrong with annotations, which the error names."""
    found = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in found
        if not path.is_relative_to(folder / "log" / "findings") and path != folder / "log"
    }


@pytest.fixture
def place(small: Path) -> Path:
    (small / "wrong.json").write_text(
        json.dumps({"annotations": [{"category_id": -1}, {"fpath": 3}], "num_classes": 2})
    )
    torch.save({"conv.weight": torch.zeros(3)}, small / "other.pth")
    return small


@pytest.mark.parametrize("name", REFUSED)
def test_a_training_that_is_refused_leaves_no_folder(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, said = REFUSED[name]
    before = files(place)
    assert main([*TRAIN, *words]) == 2
    assert said in capsys.readouterr().err
    assert files(place) == before
    assert (place / "log").exists() == (name == "annotations with errors")


def test_without_a_gpu_a_training_for_one_leaves_no_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    before = files(place)
    assert main([*TRAIN, "train.device=cuda"]) == 2
    assert "there is no GPU" in capsys.readouterr().err
    assert files(place) == before


def test_a_run_whose_checkpoints_will_not_fit_does_not_begin(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(place)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 1 << 20)
    assert main(TRAIN) == 2
    said = capsys.readouterr().err
    assert "log/refused cannot be written: no space is left" in said
    assert "bytes are needed, 1,048,576 bytes are free" in said
    assert files(place) == before
    assert not (place / "log").exists()


def test_commands_over_a_checkpoint_refuse_what_cannot_apply_and_say_what_has_no_effect(
    base: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--RESUME_MODEL", str(base / "best_model")]
    before = files(small)
    for words, said in (
        (
            ["model.backbone=resnet18"],
            "do not fit model.backbone='resnet18', where the checkpoint's run had 'test_resnet'",
        ),
        (["model.heads.rank.dim=7"], "Leave model.heads.rank.dim out"),
        (["model.embedding_dim=7", "model.neck=bn"], "Leave model.embedding_dim, model.neck out"),
        (["data.num_classes=7"], "data.num_classes=7, but the model in"),
        (["data.val_json=wrong.json", "--out", "new/scores"], "wrong.json does not exist"),
        (["--out", "val_small.json/x"], "--out val_small.json/x cannot be written"),
    ):
        assert main(["evaluate", *model, *words]) == 2, words
        assert said in capsys.readouterr().err
        assert files(small) == before, words
    for command in (["tau-norm"], ["calibrate", "--method", "tau_norm"]):
        assert main([*command, *model, "output.tau_root=val_small.json/x", "optim.lr=1"]) == 2
        said = capsys.readouterr().err
        assert f"note: optim.lr has no effect here: `shelfmark {command[0]}` trains nothing." in said
        assert "output.tau_root: val_small.json/x/base cannot be written" in said
    assert main(["index", "build", *model, "--out", "new/index", "data.train_json=gone.json"]) == 2
    assert main(["embed", *model, "--out", "new/features", "--annotations", "data.json"]) == 2
    assert main(["prepare", "folder", "--source", "gone", "--out", "new/data"]) == 2
    assert files(small) == before
