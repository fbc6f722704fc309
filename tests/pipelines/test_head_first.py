"""Head first: a run on stored features has the digits of one on images, wherever it was stopped."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from small_recipe import UNSCORED

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.pipelines import train as flow
from shelfmark.recipe import Recipe
from shelfmark.runtime import frozen_features

UNTIMED = ("images_per_s", "data_wait_share", "peak_memory_bytes")
LAST_HEAD_STEP, NUM_STEPS = 6, 9
WORDS = [
    "model.backbone=test_resnet",
    "model.embedding_dim=24",
    "model.neck=bn",
    "model.heads={rank: {dim: 16}}",
    "model.freeze=[backbone]",
    "losses=[{name: cross_entropy}, {name: smooth_ap, head: rank, temperature: 0.1, memory_rows: 40}]",
    "data.root=dataset/shop",
    "data.train_json=train_small.json",
    "data.val_json=val_small.json",
    "data.retrieval_json=retrieval_small.json",
    "data.input_size_px=32",
    "data.num_workers=0",
    "sampling.type=class_balanced",
    "optim.lr=0.05",
    "train.batch_size=16",
    "train.num_epochs=3",
    "train.steps_per_epoch=3",
    "train.precision=fp32",
    "train.log_every_steps=1",
    "train.checkpoint_every_steps=2",
    "train.stages=[{from_epoch: 2, freeze: [], lr: 0.005}]",
    "eval.metric=recall@1",
]


@pytest.fixture
def place(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small workplace with few images; a run ends without its report, which this page does not ask about."""
    for name, source in (("train", "dataset/shop/train.json"), ("val", "val_small.json")):
        document = json.loads((small / source).read_text())
        document["annotations"] = [one for one in document["annotations"] if one["category_id"] < 10][::6]
        (small / f"{name}_small.json").write_text(json.dumps(document))
    monkeypatch.setattr(flow, "_finish", lambda folder, splits: {})
    return small


def trained(
    name: str, *words: str, views: int = 2, resume: Path | None = None, mode: Literal["finetune"] | None = None
) -> Path:
    chosen = [*WORDS, f"train.cache_features.views={views}", f"name={name}", *words]
    folder, _ = flow.train(load(Recipe, None, [parse_override(word) for word in chosen]), resume, mode)
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    found = read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in record.items() if name not in UNTIMED} for record in found]


@contextmanager
def ended_in_a_pass(phase: str, num_images: int) -> Iterator[Callable[[int], None]]:
    """In place of the bar of a pass: a signal comes after the first batch."""
    yield lambda done: os.kill(os.getpid(), signal.SIGTERM)


def test_every_resume_gives_the_same_digits(place: Path, kept: dict[int, Path]) -> None:
    whole = trained("whole")
    points = dict(kept)
    assert {2, LAST_HEAD_STEP, 8, NUM_STEPS} <= points.keys()
    assert not (whole / "frozen_features").exists()
    model = load_checkpoint(whole / "last").read_model()
    for step in (2, LAST_HEAD_STEP, 8):
        resumed = trained(f"from_{step}", resume=points[step])
        again = load_checkpoint(resumed / "last").read_model()
        assert all(again[name].equal(model[name]) for name in model)
        assert records(resumed) == [record for record in records(whole) if record["step"] > step]
    heads_alone = [*UNSCORED, "train.num_epochs=1", "train.stages=[]", "optim.lr=0.01"]
    finetuned = trained("finetuned", *heads_alone, resume=points[NUM_STEPS], mode="finetune")
    after = load_checkpoint(finetuned / "last").read_model()
    changed = {name.split(".")[0] for name in model if not after[name].equal(model[name])}
    assert changed == {"embedding", "classifier", "heads"}


def test_stored_features_have_the_losses_and_scores_of_images(place: Path) -> None:
    # Each row comes once an epoch: a further draw would have a view of the next epoch.
    whole, images = (records(trained(f"views_{n}", "sampling.type=instance", views=n)) for n in (2, 0))
    assert len(whole) == 3 * 3 + NUM_STEPS
    for ours, theirs in zip(whole, images, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            close = pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value
            assert ours[name] == close, (ours["step"], name)


def test_a_run_that_is_stopped_in_a_pass_says_how_to_go_on_and_does(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Features are stored before the first epoch and before the third.
    stages = "train.stages=[{from_epoch: 1, freeze: []}, {from_epoch: 2}]"
    # Passes of several batches, as a signal is heard behind one; and a stage begins with averaged weights.
    words = [*UNSCORED, stages, "train.steps_per_epoch=2", "eval.batch_size=32", "train.ema.decay=0.9"]
    begin = frozen_features.FrozenFeatures.begin
    for epoch, resume in ((0, None), (2, Path("log/stopped/last"))):

        def begin_and_end(self: frozen_features.FrozenFeatures, now: int, at: int = epoch) -> None:
            with monkeypatch.context() as patched:
                if now == at:
                    patched.setattr(frozen_features, "pass_bar", ended_in_a_pass)
                begin(self, now)

        with monkeypatch.context() as patched:
            patched.setattr(frozen_features.FrozenFeatures, "begin", begin_and_end)
            go_on = command_line("train", "--RESUME_MODEL", "log/stopped/last")
            said = f"step {2 * epoch} is saved; go on with `{go_on}`"
            with pytest.raises(Stopped, match=re.escape(said)):
                trained("stopped", *words, resume=resume)
    trained("stopped", *words, resume=Path("log/stopped/last"))
    trained("whole", *words)
    assert records(Path("log/stopped")) == records(Path("log/whole"))
    assert (
        load_checkpoint(Path("log/stopped/last")).weights_hash == load_checkpoint(Path("log/whole/last")).weights_hash
    )


def test_a_batch_of_one_image_is_refused_before_the_pass(place: Path) -> None:
    with pytest.raises(UserError, match="batch norm cannot learn from a batch of one image"):
        trained("one", *UNSCORED, "train.batch_size=1", "losses=[{name: cross_entropy}]", "model.heads={}")
    assert not (place / "log" / "one").exists()
