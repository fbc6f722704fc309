"""The final fit: one config that learns from train and val together, and still has images to validate it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.core.files import sha256_file
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.trained_model import open_model

TRAIN, VAL = Path("dataset/shop/train.json"), Path("val_small.json")


def _num_images(file: Path) -> int:
    return len(json.loads(file.read_text())["annotations"])


def test_a_final_fit_trains_on_the_union_and_holds_a_part_of_val_out(
    base: Path, kept: dict[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    argv = ["train", "--RESUME_MODEL", "log/base/best_model", f"data.more_train_json=[{VAL}]"]
    assert main([*argv, "train.steps_per_epoch=4"]) == 0
    assert "finetuning log/base/best_model" in caplog.text
    assert "held out of training" in caplog.text
    manifest = load_checkpoint(Path("log/base_finetune/last")).manifest
    held_out = json.loads(Path("log/base_finetune/summary.json").read_text())["num_images"]
    assert 0.1 * _num_images(VAL) < held_out < 0.3 * _num_images(VAL)
    assert sum(manifest["counts"]) == _num_images(TRAIN) + _num_images(VAL) - held_out
    hashes = sha256_file(TRAIN) + sha256_file(VAL)
    assert manifest["train_sha256"] == hashlib.sha256(hashes.encode()).hexdigest()
    assert len(read_evaluation(open_model(Path("log/base_finetune/last")))[0]) == held_out

    # The same union is the same data: that goes on.
    caplog.clear()
    assert main(["train", "--RESUME_MODEL", str(kept[3]), "name=again"]) == 0
    assert "resuming" in caplog.text
    assert load_checkpoint(Path("log/again/last")).weights_hash == manifest["files"]["model.safetensors"]["sha256"]


def test_two_labels_of_one_image_end_the_run_before_it_begins(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(VAL.read_text())
    document["annotations"] = [json.loads(TRAIN.read_text())["annotations"][0]]
    document["annotations"][0]["category_id"] = (document["annotations"][0]["category_id"] + 1) % 120
    Path("wrong.json").write_text(json.dumps(document))
    assert main(["train", *SMALL, "data.more_train_json=[wrong.json]"]) == 2
    assert "in wrong.json, but" in capsys.readouterr().err
    assert not Path("log").exists()


def test_lists_correct_the_union(small: Path) -> None:
    data = {"train_json": TRAIN, "more_train_json": [VAL], "root": TRAIN.parent, "lists": {"drop": ["drop.txt"]}}
    listed = [json.loads(file.read_text())["annotations"][3] for file in (TRAIN, VAL)]
    Path("drop.txt").write_text("".join(f"{one.get('image_id', one['fpath'])}\n" for one in listed))
    table = assemble.read_table(Recipe(data=data), "train")
    assert len(table) == _num_images(TRAIN) + _num_images(VAL) - 2
    assert not {one["fpath"] for one in listed} & set(table.paths)


def test_the_config_of_the_final_fit_is_the_shops_at_a_smaller_rate_on_both_files(checkout: Path) -> None:
    shop, final = (load(Recipe, checkout / "configs" / f"{name}.yaml").config for name in ("shop", "final_fit"))
    assert final.data.more_train_json == (shop.data.val_json,)
    assert final.data.val_json == shop.data.val_json
    assert (final.model, final.losses) == (shop.model, shop.losses)
    assert final.optim.lr < shop.optim.lr / 5
