"""What is wrong on a command line is told before long imports; seconds follow from these (`make bench-commands`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shelfmark.cli.existing import checkpoint, checkpoint_or_auto, existing_folder
from shelfmark.core.errors import UserError

# Runs doors one after the other, and tells of each its exit status, what it said, and the modules imported so far.
RUN = """
import contextlib, io, json, runpy, sys
def run(door, argv):
    sys.argv = [door, *argv]
    with contextlib.redirect_stdout(said := io.StringIO()), contextlib.redirect_stderr(said):
        try:
            (runpy.run_path if door.endswith(".py") else runpy.run_module)(door, run_name="__main__")
        except SystemExit as stop:
            return stop.code or 0, said.getvalue(), sorted(sys.modules)
print(json.dumps([run(door, argv) for door, argv in json.loads(sys.argv[1])]))
"""
# `import torch` alone takes 1.4 of the 2 seconds that a config may take, and a mistake may take 0.3.
NOT_FOR_A_MISTAKE = {"torch", "numpy", "pydantic", "cv2", "PIL", "rich", "orjson", "pandas"}
NOT_FOR_A_CONFIG = {
    *("timm", "torchvision", "torch._dynamo", "sklearn", "scipy", "matplotlib", "faiss", "pandas", "tensorboard"),
    *("shelfmark.pipelines", "shelfmark.recipe.assemble", "shelfmark.models.network"),
}
MISTAKES = [
    (0, "usage: shelfmark COMMAND", "shelfmark --help"),
    (0, "shelfmark 0.", "shelfmark --version"),
    (0, "--RESUME_MODEL CKPT", "main.py --help"),
    (0, "--topk K", "test.py --help"),
    (0, "--gpu_ids", "tau_norm.py --help"),
    (2, "'trian' is not a command; there are: train, ", "shelfmark trian"),
    (2, "Did you mean 'train'?", "shelfmark trian"),
    (2, "Did you mean 'tau-norm'?", "shelfmark tau_norm"),
    (2, "`shelfmark index` wants one of: build, add", "shelfmark index"),
    (2, "Did you mean --BASE_LR?", "main.py --base_lr 0.1"),
    (2, "Did you mean --dry-run?", "main.py --dryrun"),
    (2, "argument --topk: invalid int value: 'five'", "test.py --topk five"),
    (2, "--RESUME_MODEL is missing: name the checkpoint", "test.py"),
    (2, "--RESUME_MODEL is missing: name the checkpoint", "tau_norm.py"),
    (2, "optim..lr' is not a key", "main.py optim..lr=1"),
    (2, "configs/mnie.yaml does not exist. Did you mean configs/mine.yaml?", "main.py --config configs/mnie.yaml"),
    (2, "no.yaml:1: _base_ names gone.yaml, which does not exist.", "shelfmark config --config no.yaml"),
    (
        2,
        "no checkpoint at log/run/lats. Nearby: log/run/best_model, log/run/last.",
        "main.py --RESUME_MODEL log/run/lats",
    ),
    (2, "log/run is a run folder; name one of its checkpoints", "test.py --RESUME_MODEL log/run"),
    (2, "there is no checkpoint at ..", "main.py --RESUME_MODEL ./"),
    (2, "there is no checkpoint at /.", "test.py --RESUME_MODEL /"),
    (2, "aaa cannot be used: File name too long.", f"shelfmark search --index images {'a' * 300}"),
    (2, "aaa/manifest.json cannot be used: File name too long.", f"test.py --RESUME_MODEL {'a' * 300}"),
    (2, "Nearby: log/run/best_model", "shelfmark evaluate --RESUME_MODEL log/rnu/best_model"),
    (2, "idx is not an index: it does not exist. Build one with", "shelfmark index info --index idx"),
    (2, "imagse is not a folder of photographs: it does not exist. Did you mean images?", "test.py --images imagse"),
    (2, "no.yaml is not a folder of photographs: it is a file.", "test.py --images no.yaml"),
    (2, "images is not an annotation file: it is a folder.", "shelfmark clean --annotations images"),
    (
        2,
        "tain.json is not an annotation file: it does not exist. Did you mean train.json?",
        "shelfmark clean --annotations tain.json",
    ),
    (2, "a.csv is not a top-k file: it does not exist. Write it with", "shelfmark ensemble a.csv b.csv"),
    (2, "raw is not the original data: it does not exist.", "shelfmark prepare sop --source raw"),
    (2, "emb is not a folder of embeddings: it does not exist.", "shelfmark cluster fit --embeddings emb --out x"),
    (2, "a.jpg is not a photograph: it does not exist.", "shelfmark search --index images a.jpg"),
]
CONFIGS = [
    (2, "optim.lrr=0.1 is not an option. Did you mean optim.lr?", "shelfmark config optim.lrr=0.1"),
    (
        2,
        "bad.yaml:2: optim.learning_rate=1 is not an option. Did you mean optim.lr?",
        "shelfmark config --config bad.yaml",
    ),
    (2, "optim.name='sdg' is not one of: sgd, adam, adamw. Did you mean 'sgd'?", "main.py optim.name=sdg"),
    (2, "optim.lrr=0.1 is not an option.", "test.py --RESUME_MODEL log/run/last optim.lrr=0.1"),
    (0, "num_epochs: 7  # command line: train.num_epochs=7", "shelfmark config train.num_epochs=7"),
    (0, "a number above 0", "shelfmark config --describe optim.lr"),
    (0, '"$schema"', "shelfmark config --schema"),
]


def test_what_is_wrong_is_told_before_long_imports(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text("seed: 1\n")
    (tmp_path / "configs" / "shop.yaml").write_text("seed: 1\n")
    (tmp_path / "no.yaml").write_text("_base_: gone.yaml\n")
    (tmp_path / "bad.yaml").write_text("optim:\n  learning_rate: 1\n")
    (tmp_path / "train.json").write_text("{}")
    (tmp_path / "images").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "run").symlink_to(checkout / "tests" / "version_0_1_0" / "run")
    lines = [line.split() for _, _, line in (*MISTAKES, *CONFIGS)]
    doors = [(str(checkout / door) if door.endswith(".py") else door, argv) for door, *argv in lines]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(doors)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(checkout / "lib")},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for (status, said, line), (ended, told, _) in zip((*MISTAKES, *CONFIGS), found):
        assert (ended, said in told) == (status, True), f"{line}\n{told}"
        assert "Traceback" not in told
    assert NOT_FOR_A_MISTAKE.isdisjoint(found[len(MISTAKES) - 1][2])
    assert NOT_FOR_A_CONFIG.isdisjoint(found[-1][2])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.yaml",
        "configs",
        "images",
        "log",
        "no.yaml",
        "train.json",
    ]


def test_a_checkpoint_that_would_open_is_not_refused(tmp_path: Path, checkout: Path) -> None:
    last = tmp_path / "run" / "last"
    shutil.copytree(checkout / "tests" / "version_0_1_0" / "run" / "last", last)
    for given in (last, last.with_suffix(".pth")):
        assert checkpoint(str(given)) == checkpoint_or_auto(str(given)) == given
    assert checkpoint_or_auto("auto") == Path("auto")
    # As a kill between the two renames of a save leaves it.
    place = last.with_name(".last.0123456789abcdef.part")
    place.mkdir()
    (place / ".0123456789abcdef.owner").write_text("{}")
    last.rename(place / ".0123456789abcdef.former")
    (place / "last").mkdir()
    assert checkpoint(str(last)) == last
    shutil.rmtree(place)
    with pytest.raises(UserError, match="there is no checkpoint"):
        checkpoint_or_auto(str(last))


def test_a_run_goes_on_where_only_the_generation_before_is_left(tmp_path: Path, checkout: Path) -> None:
    last = tmp_path / "run" / "last"
    shutil.copytree(checkout / "tests" / "version_0_1_0" / "run" / "last", last.with_name(".last.previous"))
    assert checkpoint_or_auto(str(last)) == last
    with pytest.raises(UserError, match=r"there is no checkpoint at .* Nearby: .*run/\.last\.previous\."):
        checkpoint(str(last))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 300, "cannot be read: File name too long"),
        ("a\0b", "no name holds a NUL character"),
        ("train.json/x", "it does not exist"),
        ("dangling", "it does not exist"),
    ],
)
def test_what_can_be_no_folder_is_refused_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.json").write_text("{}")
    Path("dangling").symlink_to("nowhere")
    with pytest.raises(UserError, match=said):
        existing_folder("an index")(name)
