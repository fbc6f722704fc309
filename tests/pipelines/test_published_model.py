"""`--model NAME`: a run from published weights, from its command line to its checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from small_recipe import SMALL, UNSCORED

from shelfmark.cli import main
from shelfmark.cli.recipes import train_recipe
from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.models import hub
from shelfmark.pipelines.discover.loop import discover
from shelfmark.recipe import Recipe

ARGV = ["train", "--model", "test_resnet", *SMALL[1:], *UNSCORED, "name=run", "train.steps_per_epoch=2"]
ARGV += ["augment.randaugment.num_ops=0", "train.precision=fp32", "train.batch_size=8"]


def input_of(checkpoint: str) -> dict[str, Any]:
    data = load_checkpoint(Path(checkpoint)).manifest["config"]["data"]
    return {name: data[name] for name in ("mean", "std", "interpolation", "eval_crop")}


def test_a_run_from_published_weights_keeps_the_numbers_that_it_began_with(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("pretrain_models").mkdir()
    torch.save(timm.create_model("test_resnet").state_dict(), "pretrain_models/test_resnet.pth")
    assert main([*ARGV, "train.num_epochs=1"]) == 0
    assert "backbone weights: pretrain_models/test_resnet.pth" in caplog.text
    # configs/shop.yaml, the default, writes its crop.
    assert "data.eval_crop=1.0 (theirs: 0.95)." in caplog.text
    numbers = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "eval_crop": 1.0}
    assert input_of("log/run/last") == numbers
    told = "mean: [0.5, 0.5, 0.5]  # timm's value for the weights of test_resnet.r160_in1k\n"
    assert told in Path("log/run/config.yaml").read_text()

    changed = timm.get_pretrained_cfg("test_resnet")
    changed.mean = (0.1, 0.1, 0.1)
    monkeypatch.setattr(hub.timm, "get_pretrained_cfg", lambda *_, **__: changed)
    caplog.clear()
    assert main([*ARGV, "train.num_epochs=2", "--RESUME_MODEL", "auto"]) == 0
    assert input_of("log/run/last") == numbers
    assert "data.mean" not in caplog.text
    assert "trained with another input" not in caplog.text


def test_the_config_of_a_model_is_printed_with_its_numbers(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--model", "tf_efficientnet_lite0", "data.std=[1, 1, 1]", "model.weights=my.pth"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "backbone: tf_efficientnet_lite0  # command line: --model tf_efficientnet_lite0" in lines
    assert "weights: my.pth  # command line: model.weights=my.pth" in lines
    assert "mean: [0.485, 0.456, 0.406]" in lines
    assert main(["config", "--model", "tf_efficientnet_lite0", "--describe", "data.mean"]) == 0
    here = "[0.5, 0.5, 0.5] (timm's value for the weights of tf_efficientnet_lite0.in1k)"
    assert here in " ".join(capsys.readouterr().out.split())
    assert main(["config", "--model", "tf_efficientnet_lite0", "data.std=[1, 1, 1]"]) == 0
    told = "were trained with another input than this run has: data.std=[1.0, 1.0, 1.0] (theirs: [0.5, 0.5, 0.5])"
    assert told in capsys.readouterr().err
    for command in ("config", "train"):
        assert main([command, "--model", "tf_efficientnet_lit0"]) == 2
        assert "Did you mean tf_efficientnet_lite0 or" in capsys.readouterr().err
    assert not (workplace / "log").exists()


def test_a_small_run_of_it_begins_from_the_seed_with_the_ordinary_input() -> None:
    args = argparse.Namespace(config=None, RESUME_MODEL=None, model="tf_efficientnet_lite0", overrides=[], smoke=True)
    loaded = train_recipe(args)
    assert (loaded.config.model.backbone, loaded.config.model.weights) == ("tf_efficientnet_lite0", "")
    assert loaded.config.data.by_weights == ()
    args.smoke = False
    assert train_recipe(args).config.model.weights == "pretrained"


def test_discovery_looks_the_numbers_up_before_its_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    class SeenError(Exception):
        pass

    def see(recipe: Recipe) -> None:
        raise SeenError(recipe.data.input_settings.mean)

    monkeypatch.setattr("shelfmark.pipelines.discover.loop.require_trainable", see)
    by_weights = load(
        Recipe, None, [Override("model.backbone", "test_resnet", ""), Override("data.mean", "backbone", "")]
    )
    with pytest.raises(SeenError, match=r"\(0\.5, 0\.5, 0\.5\)"):
        discover(by_weights)
