"""fastai on grocery photographs, as its tutorial shows, from the starter weights: the peer of bench_start.py.

    python peer_fastai.py DATA SEED SIZE_PX SECONDS OUT

DATA: a folder with the annotations train.json and val.json. SECONDS: the time that the whole command may take; the
number of epochs is the largest that fits, by a frozen epoch and two parts of an unfrozen one that are timed first and
do not count. OUT: a JSON file for the scores.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.vision.all import (
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)

from shelfmark.models.starter import starter_file, timm_names

BACKBONE = "tf_efficientnet_lite0"
BATCH_SIZE = 64
NUM_STEPS_TIMED = 4


def main() -> None:
    """Trains, evaluates, writes the scores."""
    started = time.perf_counter()
    data, seed, size_px, seconds, out = sys.argv[1:]
    set_seed(int(seed), reproducible=True)
    learner = _learner(Path(data), int(size_px))
    _check(learner)
    num_steps = len(learner.dls.train)
    frozen_s = _step_s(learner) * num_steps
    learner.unfreeze()
    epoch_s = _step_s(learner) * num_steps
    start_s = time.perf_counter() - started
    # The trial is not the peer's: a fresh learner begins.
    set_seed(int(seed), reproducible=True)
    learner = _learner(Path(data), int(size_px))
    evaluation_s = _evaluation_s(learner)
    left = float(seconds) - (time.perf_counter() - started - start_s) - frozen_s - evaluation_s
    epochs = max(1, int(left / (epoch_s + evaluation_s)))
    learner.fine_tune(epochs)
    _, top1 = learner.validate()
    told = f"{size_px} px, {frozen_s:.0f} s a frozen epoch, {epoch_s:.0f} s an epoch"
    Path(out).write_text(json.dumps({"top1": float(top1), "epochs": epochs, "told": told}))


def _learner(data: Path, size_px: int) -> Learner:
    names, labels, is_val = [], [], []
    for part in ("train", "val"):
        document = json.loads((data / f"{part}.json").read_text())
        for record in document["annotations"]:
            names.append(str(data / record["fpath"]))
            labels.append(str(record["category_id"]))
            is_val.append(part == "val")
    loaders = _loaders(names, labels, is_val, size_px)
    return vision_learner(
        loaders,
        BACKBONE,
        pretrained=True,
        metrics=accuracy,
        pretrained_cfg_overlay={"file": str(_weights())},
        path=tempfile.gettempdir(),
    )


def _loaders(names: list[str], labels: list[str], is_val: list[bool], size_px: int) -> Any:
    from fastai.data.block import CategoryBlock, DataBlock
    from fastai.data.transforms import ColReader, MaskSplitter
    from fastai.vision.data import ImageBlock
    from pandas import DataFrame

    table = DataFrame({"name": names, "label": labels})
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("name"),
        get_y=ColReader("label"),
        splitter=MaskSplitter(is_val),
        # As its tutorial shows: a larger size first, then crops of the size on the whole batch.
        item_tfms=Resize(2 * size_px),
        batch_tfms=aug_transforms(size=size_px),
    )
    loaders: ImageDataLoaders = block.dataloaders(table, bs=BATCH_SIZE, num_workers=1)
    return loaders


def _weights() -> Path:
    """The starter weights under timm's names, so that timm loads them as its own."""
    from timm import create_model

    file = starter_file(BACKBONE)
    assert file is not None, "the extra `starter` is not installed"
    own = create_model(BACKBONE).state_dict()
    state = timm_names(torch.load(file, weights_only=True), own)
    assert state.keys() == own.keys()
    path = Path(tempfile.gettempdir()) / f"{BACKBONE}.pth"
    torch.save(state, path)
    return path


def _check(learner: Learner) -> None:
    """That the weights are in, the input is normalised as they want it, and the backbone is frozen at first."""
    stem = dict(learner.model.named_parameters())["0.model.conv_stem.weight"]
    published = torch.load(Path(tempfile.gettempdir()) / f"{BACKBONE}.pth", weights_only=True)["conv_stem.weight"]
    assert torch.equal(stem.cpu(), published)
    assert not stem.requires_grad
    (normalize,) = [one for one in learner.dls.after_batch if isinstance(one, Normalize)]
    assert torch.allclose(normalize.mean.flatten().cpu(), torch.full((3,), 0.5))


class _Stop(Callback):
    """Ends after some steps, and knows the seconds of those behind the first."""

    def before_fit(self) -> None:
        self.times: list[float] = []

    def after_batch(self) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > NUM_STEPS_TIMED:
            raise CancelFitException


def _step_s(learner: Learner) -> float:
    stop = _Stop()
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, cbs=stop)
    return (stop.times[-1] - stop.times[0]) / (len(stop.times) - 1)


def _evaluation_s(learner: Learner) -> float:
    started = time.perf_counter()
    learner.validate()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
