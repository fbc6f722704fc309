"""The original's recipe, with either backbone, runs small, two rounds from end to end; so does the control."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_discovery import write_small_discovery

from shelfmark.cli import main
from shelfmark.pipelines.discover import report
from shelfmark.pipelines.discover.files import RunFiles

SMALL = [
    *("data.input_size_px=32", "data.num_workers=0", "train.steps_per_epoch=2"),
    *("discovery.annotations=small.json", "discovery.max_images=0"),
]


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With few pictures of the shop, and no plots: these take longer than all the rest, and other tests draw them."""
    write_small_discovery(Path("dataset/shop"), Path("small.json"))
    monkeypatch.setattr(report, "_draw", lambda *given, **named: None)
    return workplace


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("shop_original", ["model.backbone=test_resnet"]),
        ("pss_inat_vit", []),
    ],
)
def test_the_original_s_recipes_run_small(place: Path, name: str, more: list[str]) -> None:
    assert main(["discover", "--config", f"configs/discovery/{name}.yaml", "--smoke", *SMALL, *more]) == 0
    run = RunFiles(place / "log" / f"discovery_{name}_smoke")
    assert run.finished_rounds == [0, 1]
    clusterer = json.loads((run.stage(1, "clusterer") / "clusterer.json").read_text())
    assert (clusterer["name"], clusterer["options"]["k"]) == ("lander", 10)
    first, second = run.read_selection(0), run.read_selection(1)
    assert first.is_selected.all()
    np.testing.assert_array_equal(second.labels, first.labels)
    # Every round begins anew, and a selected image is a new class, never a known one.
    assert json.loads((run.model(1) / "manifest.json").read_text())["config"]["model"]["weights"] == ""
    assert (first.labels >= len(run.read_sets().known_classes)).all()
    decay = [json.loads((run.model(number) / "manifest.json").read_text())["config"]["optim"] for number in (0, 1)]
    if name.startswith("pss"):
        assert [one["weight_decay"] for one in decay] == [4e-4, 1e-3]
        assert run.read_sets().images["val"] == 0


def test_the_control_selects_nothing_and_goes_on_with_the_labelled_images(place: Path) -> None:
    more = ["model.backbone=test_resnet", "discovery.selection.density_threshold=2.0"]  # --smoke's own selects all
    words = ["discover", "--config", "configs/discovery/shop_labelled.yaml", "--smoke", *SMALL, *more]
    assert main(words) == 0
    run = RunFiles(place / "log" / "discovery_shop_labelled_smoke")
    assert run.finished_rounds == [0, 1]
    assert not run.read_selection(0).is_selected.any()
    assert run.train_json(1).read_bytes() == run.train_json(0).read_bytes()
    weights = json.loads((run.model(1) / "manifest.json").read_text())["config"]["model"]["weights"]
    assert Path(weights).resolve() == run.model(0).resolve()
    told = json.loads(run.report(1).read_text())
    assert told["selection"]["coverage"] == 0
    assert told["truth"]["selection"]["all"]["pairwise_precision"] is None
    assert "No photograph was selected" in (run.report(1).parent / "index.html").read_text()
