"""docs/python.md: its blocks are run in order, in one process, in a folder that has the files it speaks of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import shelfmark
from shelfmark.core.errors import UserError

RECIPE = """
data: {{root: photos, train_json: train.json, val_json: train.json, input_size_px: 32, num_workers: 0}}
model: {{backbone: test_resnet, classifier: {{type: linear}}}}
losses: [{{name: cross_entropy}}]
optim: {{schedule: {{warmup_epochs: 0}}}}
train: {{batch_size: 8, precision: fp32}}
output: {{log_root: log}}
"""
CLASSES = ("apple", "milk", "oat drink")


def lay_out(folder: Path) -> None:
    """Photographs, each in the folder of its class, a recipe and one photograph more."""
    generator = np.random.default_rng(0)
    records = []
    for label, name in enumerate(CLASSES):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(5):
            pixels = generator.integers(0, 120, (40, 48, 3), dtype=np.uint8)
            pixels[..., label] += 130
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.jpg", quality=95)
            records.append({"fpath": f"{name}/{number}.jpg", "category_id": label})
    document = {"annotations": records, "num_classes": len(CLASSES), "class_names": list(CLASSES)}
    (folder / "train.json").write_text(json.dumps(document))
    (folder / "recipe.yaml").write_text(RECIPE.format())
    Image.open(folder / "photos" / "milk" / "3.jpg").save(folder / "photo.jpg", quality="keep")


def test_the_page_runs_as_it_stands(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path)
    # As the recipe of `shelfmark train --images`: its second stage begins late.
    late = "train: {num_epochs: 40, stages: [{from_epoch: 37, freeze: [], lr: 0.001}], "
    (tmp_path / "recipe.yaml").write_text(RECIPE.format().replace("train: {", late))
    monkeypatch.chdir(tmp_path)
    page = (checkout / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out

    # The loop of one's own went backwards through the loss.
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    assert 0 < loss.item() < 1
    assert (tmp_path / "log/mine/summary.json").is_file()
    assert (len(names["features"]), names["probabilities"].shape) == (15, (15, 3))  # type: ignore[attr-defined]
    assert "photos/apple/0.jpg" in printed
    # The same picture is the nearest one.
    assert names["found"][0].path.endswith("photos/milk/3.jpg")  # type: ignore[index]
    assert 1 not in {image.label for image in names["found_among_others"]}  # type: ignore[attr-defined]
    assert len(names["found_among_others"]) == 3  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not the address of a Milvus"):
        shelfmark.load_index("log/mine/index", store="shop.db")
    with pytest.raises(UserError, match="the vectors of this index are not in a database"):
        shelfmark.load_index("log/mine/index", store="milvus://shop.db")
    with pytest.raises(UserError, match="'fresh' is no condition"):
        shelfmark.load_index("log/mine/index", where=["category_id=1", "fresh"])
    model, plain = names["model"], names["plain"]
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = model.trained.network.backbone(pixels)  # type: ignore[attr-defined]
        assert torch.equal(plain.eval()(pixels), ours)  # type: ignore[attr-defined]
    # And what stands in the weights is what was learned.
    fresh = timm.create_model("test_resnet", num_classes=0).state_dict()
    assert any(not torch.equal(fresh[name], one) for name, one in plain.state_dict().items())  # type: ignore[attr-defined]


def test_a_run_goes_on_with_the_options_of_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    begun = shelfmark.train(
        Path("recipe.yaml"), {"name": "mine", "train.num_epochs": 1, "output.log_root": Path("log")}
    )
    assert begun.checkpoint == begun.folder / "best_model"
    gone_on = shelfmark.train(options={"train.num_epochs": 2}, resume=begun.folder / "last")
    assert gone_on.folder == begun.folder
    again = shelfmark.load(begun.folder / "last").trained.checkpoint.manifest
    assert (again["config"]["train"]["num_epochs"], again["config"]["train"]["batch_size"]) == (2, 8)
    unscored = {"name": "unscored", "train.num_epochs": 1, "data.val_json": None, "eval.metric": "none"}
    assert shelfmark.load(shelfmark.train("recipe.yaml", unscored).checkpoint).class_names == CLASSES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grocry",), "Did you mean grocery"),
        (("recipe.yaml", {"optim.lrr": 1}), "Did you mean optim.lr"),
        (("recipe.yaml", {"optim.lr": "fast"}), "optim.lr"),
        ((), "data.train_json"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(
    arguments: tuple[Any, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=said):
        shelfmark.train(*arguments)
    assert sorted(tmp_path.rglob("*")) == before
