"""The commands that write, each on a run that is there already, with all of their output on one small disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from runs import NAME, RECIPE, Launch, Place
from small_discovery import write_small_discovery
from warm import Warm

MODEL = ("--RESUME_MODEL", f"log/{NAME}/last")
DISCOVERY = (
    *("discover", "--config", "configs/discovery/shop.yaml", "--smoke", "name=d", "model.backbone=test_resnet"),
    *("data.input_size_px=32", "train.num_epochs=1", "train.steps_per_epoch=2", "data.num_workers=0"),
    *("discovery.annotations=small.json", "discovery.max_images=0", "discovery.selection.density_threshold=0.2"),
    *("discovery.selection.min_size=2", "discovery.selection.weight_by_density=true", "sampling.type=weighted"),
)


@dataclass(frozen=True)
class Writer:
    """words: the command. before: commands that have to come first, with room. goes_on: writes into the run folder of
    a run in progress, whose checkpoints, metrics and events it may replace by newer ones."""

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    goes_on: bool = False


WRITERS = {
    "train anew": Writer(("train", *RECIPE, "name=y")),
    "train on": Writer(
        ("train", "--RESUME_MODEL", "log/z/last", "train.num_epochs=2"),
        before=(("train", *RECIPE, "name=z", "train.num_epochs=1"),),
        goes_on=True,
    ),
    "embed": Writer(("embed", *MODEL, "--out", "features")),
    "evaluate": Writer(("evaluate", *MODEL, "--out", "scores")),
    "index build": Writer(("index", "build", *MODEL, "--out", "idx", "--annotations", "first.json")),
    "index add": Writer(
        ("index", "add", "--index", "idx", "--annotations", "second.json"),
        before=(("index", "build", *MODEL, "--out", "idx", "--annotations", "first.json"),),
    ),
    "test": Writer(("test", *MODEL, "--images", "photographs", "--topk", "3", "--out", "submission.csv")),
    "calibrate": Writer(("calibrate", *MODEL, "--method", "tau_norm,temperature", "--out", "calibrated")),
    "tau-norm": Writer(("tau-norm", *MODEL)),
    "prepare": Writer(("prepare", "folder", "--source", "photographs", "--out", "prepared")),
    "discover": Writer(DISCOVERY),
    "clean": Writer(("clean", *MODEL, "--annotations", "val_small.json", "--out", "cleaned")),
    "pseudo-label": Writer(
        ("pseudo-label", *MODEL, "--images", "photographs", "--min-confidence", "0.001", "--out", "pseudo.json")
    ),
}


def furnish(place: Place, warm: Warm, shop: Path) -> None:
    """What the commands start from: a finished run, two halves of annotations, a folder of photographs by class."""
    Launch().finish(warm, place)
    document = json.loads((place.folder / "val_small.json").read_text())
    records = document["annotations"]
    for name, part in (("first", records[::2]), ("second", records[1::2])):
        (place.folder / f"{name}.json").write_text(json.dumps({**document, "annotations": part}))
    for record in records:
        target = place.folder / "photographs" / f"class_{record['category_id']}" / Path(record["fpath"]).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shop / record["fpath"], target)
    write_small_discovery(shop, place.folder / "small.json")
