"""With published weights, pictures are read as in the training of these weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm

from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import parse_override
from shelfmark.config.write import to_yaml
from shelfmark.core.errors import UserError
from shelfmark.data.options import InputSettings
from shelfmark.data.transforms import eval_transform
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.models.published import FILES, published, published_settings
from shelfmark.recipe import Recipe
from shelfmark.recipe.input_settings import disagreement, settled
from shelfmark.recipe.of_checkpoint import recipe_of

TODAY = InputSettings((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875)
LITE0 = InputSettings((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875)
LITE0_PRETRAINED = ("model.backbone=tf_efficientnet_lite0", "model.weights=pretrained")


def recipe(*options: str, file: Path | None = None) -> Loaded[Recipe]:
    return load(Recipe, file, [parse_override(option) for option in options])


def checkpoint_with(loaded: Loaded[Recipe], **data: Any) -> Checkpoint:
    config = loaded.config.model_dump(mode="json")
    return Checkpoint(Path("log/run/last"), {"config": {**config, "data": {**config["data"], **data}}})


def test_published_weights_bring_their_input_and_config_yaml_says_so() -> None:
    loaded = settled(recipe(*LITE0_PRETRAINED))
    assert loaded.config.data.input_settings == LITE0
    lines = [line.strip() for line in to_yaml(loaded).splitlines()]
    assert "mean: [0.5, 0.5, 0.5]  # timm's value for the weights of tf_efficientnet_lite0.in1k" in lines
    assert settled(loaded) == loaded


def test_from_the_seed_or_a_file_by_hand_the_defaults_stay() -> None:
    for weights in ("", "moco.pth"):
        loaded = recipe("model.backbone=tf_efficientnet_lite0", f"model.weights={weights}")
        assert settled(loaded) is loaded
        assert loaded.config.data.input_settings == TODAY
        assert disagreement(loaded.config) == ""


def test_what_was_written_stays_and_what_differs_from_the_weights_is_told() -> None:
    loaded = settled(recipe(*LITE0_PRETRAINED, "data.std=[0.25, 0.25, 0.25]", "data.interpolation=bicubic"))
    assert loaded.config.data.input_settings == LITE0._replace(std=(0.25, 0.25, 0.25))
    assert loaded.origins["data.std"] == "command line: data.std=[0.25, 0.25, 0.25]"
    told = "data.std=[0.25, 0.25, 0.25] (theirs: [0.5, 0.5, 0.5])."
    assert disagreement(loaded.config) == (
        f"the weights of tf_efficientnet_lite0.in1k were trained with another input than this run has: {told}"
    )
    assert disagreement(settled(recipe(*LITE0_PRETRAINED)).config) == ""


def test_a_crop_that_a_resize_in_pixels_replaces_is_not_told() -> None:
    options = (*LITE0_PRETRAINED, "data.eval_crop=1")
    assert "data.eval_crop=1.0 (theirs: 0.875)" in disagreement(settled(recipe(*options)).config)
    assert disagreement(settled(recipe(*options, "data.eval_resize_px=[256]")).config) == ""


def test_backbone_may_be_written_whatever_the_weights_are() -> None:
    loaded = settled(recipe("model.backbone=convnext_tiny", "data.interpolation=backbone", "data.eval_crop=backbone"))
    config: Any = timm.get_pretrained_cfg("convnext_tiny")
    settings = TODAY._replace(interpolation=config.interpolation, eval_crop=config.crop_pct)
    assert loaded.config.data.input_settings == settings != TODAY


def test_each_published_file_has_the_input_of_its_own_training(tmp_path: Path) -> None:
    # torchvision's weights saw a bilinear resize, timm's own ones of the same network a bicubic one.
    timms = published_settings("resnet50", tmp_path)
    assert timms is not None
    assert timms[1] == "resnet50.a1_in1k"
    assert timms[0]["interpolation"] == "bicubic"
    (tmp_path / "resnet50-11ad3fa6.pth").touch()
    assert published("resnet50.tv2_in1k", tmp_path).file == tmp_path / "resnet50-11ad3fa6.pth"
    assert published("resnet50.tv_in1k", tmp_path).file is None
    (tmp_path / "resnet50-11ad3fa6.pth").unlink()
    for name, files in FILES.items():
        for file, trained_as in files.items():
            (tmp_path / file).touch()
            found = published_settings(name, tmp_path)
            config: Any = timm.get_pretrained_cfg(trained_as)
            assert found is not None
            settings = InputSettings(config.mean, config.std, config.interpolation, config.crop_pct)
            assert InputSettings(**found[0]) == settings, file
            if config.url and "download.pytorch.org" in config.url and file in config.url:
                assert trained_as.endswith(config.tag)
            (tmp_path / file).unlink()


def test_a_checkpoint_keeps_its_numbers_whatever_timm_says_later(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_with(settled(recipe(*LITE0_PRETRAINED)))
    monkeypatch.setattr("shelfmark.recipe.input_settings.published_settings", lambda *_: pytest.fail("timm was asked"))
    assert recipe_of(checkpoint).data.input_settings == LITE0
    assert recipe_of(checkpoint, [parse_override("data.mean=backbone")]).data.input_settings == LITE0
    # Of an older run, that had other values: what its weights saw, not what timm says of the backbone.
    by_weights = recipe(*LITE0_PRETRAINED, *(f"data.{name}=backbone" for name in LITE0._fields))
    older = checkpoint_with(by_weights, **TODAY._asdict())
    assert recipe_of(older).data.input_settings == TODAY


def test_a_run_that_begins_from_a_checkpoint_has_its_input_and_is_told_of_another() -> None:
    loaded = recipe(*LITE0_PRETRAINED)
    checkpoint = checkpoint_with(settled(loaded), mean=[0.1, 0.2, 0.3], eval_crop=0.5)
    begun = settled(loaded, checkpoint)
    assert begun.config.data.input_settings == LITE0._replace(mean=(0.1, 0.2, 0.3), eval_crop=0.5)
    assert begun.origins["data.mean"] == "checkpoint log/run/last"
    assert disagreement(begun.config, checkpoint) == ""
    from_file = recipe("model.backbone=tf_efficientnet_lite0", "data.eval_crop=0.5", "data.interpolation=bicubic")
    assert disagreement(settled(from_file, checkpoint).config, checkpoint).startswith(
        "the weights of log/run/last were trained with another input than this run has: data.mean=[0.485"
    )


def test_a_backbone_that_timm_does_not_know_has_the_ordinary_defaults() -> None:
    options = ("model.backbone=resnet32_cifar", "model.weights=pretrained")
    assert settled(recipe(*options)).config.data.input_settings == TODAY
    with pytest.raises(UserError, match=r"data\.mean=backbone: timm knows no published weights of.*resnet32_cifar"):
        settled(recipe(*options, "data.mean=backbone"))


def test_a_name_that_timm_does_not_know_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"tf_efficientnet_lit0.*Did you mean tf_efficientnet_lite0 or"):
        settled(recipe("model.backbone=tf_efficientnet_lit0", "model.weights=pretrained"))
    with pytest.raises(UserError, match=r"'tv3_in1k'\. Did you mean resnet50\.tv_in1k\?"):
        settled(recipe("model.backbone=resnet50.tv3_in1k", "model.weights=pretrained"))


def test_an_unsettled_recipe_makes_no_transform() -> None:
    with pytest.raises(UserError, match=r"data\.mean=backbone is replaced by a number when a run starts"):
        eval_transform(32, recipe(*LITE0_PRETRAINED).config.data)


def test_no_shipped_recipe_leaves_its_input_to_a_table(checkout: Path) -> None:
    for file in sorted((checkout / "configs").rglob("*.yaml")):
        assert recipe(file=file).config.data.by_weights == (), file
    # `shelfmark migrate` writes lines that take published weights over these.
    for pattern in ("aliproducts*", "retrieval/fastretri*", "discovery/pss*"):
        files = [*(checkout / "configs").glob(f"{pattern}.yaml")]
        assert files
        assert all(recipe("model.weights=pretrained", file=file).config.data.by_weights == () for file in files)
