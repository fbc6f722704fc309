"""`shelfmark grow` on small models that have learned nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refusal
from untrained_models import NUM_CLASSES, make_place, options

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.data.annotations import read_annotations
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.models.embedding_hash import embedding_hash
from shelfmark.pipelines.evaluate import evaluate
from shelfmark.pipelines.grow import Growth, grow
from shelfmark.recipe import Recipe, assemble
from shelfmark.retrieval.index_files import read_index
from shelfmark.runtime.run_classes import weights_by_class
from shelfmark.runtime.searcher import Searcher
from shelfmark.runtime.trained_model import open_model

RUN = Path("log/run/last")
OTHERS = {
    "proxies": ["model.classifier.type=cosine", "model.heads={near: {type: proxy, dim: 8, centers_per_class: 2}}"],
    "nobias": ["model.classifier.bias=false", "data.num_classes=3"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, models and `new`, a folder of pictures for each of two new classes."""
    place = tmp_path_factory.mktemp("grow")
    make_place(place)
    facts = {name: value for name, value in load_checkpoint(place / RUN).manifest.items() if name != "files"}
    for name, more in OTHERS.items():
        recipe = load(Recipe, None, [parse_override(word) for word in (*options(place), *more)]).config
        network = assemble.network(recipe, NUM_CLASSES)
        own = {**facts, "config": recipe.model_dump(mode="json")}
        save_checkpoint(place / "log" / name / "last", network.state_dict(), {}, own)
    nameless = {**facts, "class_names": None}
    save_checkpoint(place / "log" / "nameless" / "last", load_checkpoint(place / RUN).read_model(), {}, nameless)
    for number, (name, colour) in enumerate({"moon tea": (200, 40, 180), "Éclair": (30, 190, 90)}.items()):
        (place / "new" / name).mkdir(parents=True)
        for picture in range(3):
            noise = np.random.default_rng(10 * number + picture).integers(0, 60, (20, 20, 3))
            pixels = (noise + np.array(colour) * 0.75).astype(np.uint8)
            Image.fromarray(pixels).save(place / "new" / name / f"{picture}.png")
    return place


@pytest.fixture
def at(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return tmp_path


@pytest.mark.parametrize("name", ["run", "experts", "proxies", "nobias"])
def test_old_rows_and_all_else_stay_bit_for_bit_and_the_new_rows_come_behind(name: str, at: Path) -> None:
    model = open_model(Path("log") / name / "last")
    grown = grow(model, Path("new"), at / "grown")
    before, after = (load_checkpoint(one).read_model() for one in (model.checkpoint.folder, at / "grown"))
    assert before.keys() == after.keys()
    longer = {key for key in before if before[key].shape != after[key].shape}
    heads = {"heads.near.weight"} if name == "proxies" else set()
    bias = {"classifier.bias"} if name in ("run", "experts") else set()
    assert longer == {"classifier.weight"} | bias | heads
    for key, tensor in before.items():
        assert after[key].dtype == tensor.dtype
        assert torch.equal(after[key][: len(tensor)] if key in longer else after[key], tensor)
    assert embedding_hash(before) == embedding_hash(after)
    manifest = load_checkpoint(at / "grown").manifest
    assert manifest["class_names"] == ["class 0", "class 1", "class 2", "moon tea", "Éclair"]
    assert (manifest["counts"], manifest["num_classes"]) == ([5, 4, 4, 3, 3], 5)
    assert manifest["calibration"]["method"] == "grow"
    assert (grown.num_classes, dict(grown.classes)) == (5, {3: "moon tea", 4: "Éclair"})
    # The new classes are of one colour each, so that even an untrained network tells them apart; unless its rows, which
    # know nothing, score any picture by chance, and the new ones get their scale.
    assert grown.new.top1 == 1 or name == "nobias"
    opened = open_model(at / "grown")
    with torch.inference_mode():
        embedding = torch.randn(4, model.network.classifier.weight.shape[1])
        old, new = (one.network.outputs(embedding) for one in (model, opened))
    torch.testing.assert_close(new.logits[:, :NUM_CLASSES], old.logits)
    if name == "proxies":
        assert new.heads["near"].weight.shape == (5, 2, 8)


def test_the_change_of_old_classes_is_that_of_two_evaluations(at: Path) -> None:
    model = open_model(RUN)
    grown = grow(model, Path("new"), at / "grown")
    opened = open_model(at / "grown")
    before, after = (evaluate(one, at / str(place)) for place, one in enumerate((model, opened)))
    assert grown.old is not None
    assert (grown.old.top1_before, grown.old.top1_after) == pytest.approx((before["top1"], after["top1"]))
    assert grown.old.num_images == 11


def test_an_index_of_the_model_fits_the_grown_one_and_numbers_new_products_alike(at: Path) -> None:
    built = ["index", "build", "--RESUME_MODEL", str(RUN), "--split", "train", "--out", str(at / "index")]
    assert main(built) == 0
    grow(open_model(RUN), Path("new"), at / "grown")
    given = ["--index", str(at / "index"), "--RESUME_MODEL", str(at / "grown")]
    assert main(["index", "add", *given, "--images", "new", "--label-from", "folder"]) == 0
    records = read_index(at / "index").records
    assert {label: records.names[label] for label in (3, 4)} == {3: "moon tea", 4: "Éclair"}
    assert main(["recognise", *given, "new/moon tea/0.png"]) == 0
    found = Searcher.open(at / "index", at / "grown").answer([Path("new/Éclair/1.png")], k=1).neighbours
    assert records.labels[found.ids[0, 0]] == 4


def test_one_folder_of_pictures_is_one_new_class_and_screens_say_what_changed(
    at: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    argv = ["grow", "--RESUME_MODEL", str(RUN), "--images", "new/moon tea", "--out", str(at / "grown")]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "moon tea (3): 3 pictures" in shown
    assert "of 11 val images" in shown
    assert "each left out in turn" in shown
    assert "thresholds are not carried over" in caplog.text
    assert f"shelfmark thresholds --RESUME_MODEL {at}/grown" in caplog.text
    # A second growth stands on the first, and keeps its rows.
    again = grow(open_model(at / "grown"), Path("new/Éclair"), at / "again")
    assert dict(again.classes) == {4: "Éclair"}
    first, second = (load_checkpoint(at / name).read_model()["classifier.weight"] for name in ("grown", "again"))
    assert torch.equal(second[:4], first)
    assert "exists; a checkpoint is not written over another" in refusal(argv, capsys)


def test_without_val_training_images_give_the_scale_and_without_both_it_is_refused(at: Path) -> None:
    def grown(*words: str) -> Growth:
        model = open_model(RUN, [parse_override(word) for word in words])
        return grow(model, Path("new"), at / f"grown{len(list(at.iterdir()))}")

    measured, unmeasured = grown(), grown("data.val_json=null", "eval.metric=none")
    assert measured.old is not None
    assert unmeasured.old is None
    assert unmeasured.new.top1 == 1
    with pytest.raises(Exception, match="neither val nor training images of .* are there: data.val_json=gone.json"):
        grown("data.val_json=gone.json", "data.train_json=gone_too.json")


def test_a_known_name_classes_without_names_and_unreadable_pictures_are_refused_and_nothing_is_left(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("new", at / "new")
    shutil.copytree("new/Éclair", at / "new" / "class 1")
    out = at / "grown"

    def told(images: Path, checkpoint: Path = RUN) -> str:
        return refusal(["grow", "--RESUME_MODEL", str(checkpoint), "--images", str(images), "--out", str(out)], capsys)

    assert "has a folder of the class 'class 1', which " in told(at / "new")
    assert "has classes without names" in told(Path("new"), Path("log/nameless/last"))
    shutil.rmtree(at / "new" / "class 1")
    for picture in (at / "new" / "Éclair").iterdir():
        picture.write_bytes(b"no picture")
    assert "no picture of Éclair can be read" in told(at / "new")
    assert "is not a folder of photographs" in told(at / "nowhere")
    assert not out.exists()
    assert [path.name for path in at.iterdir() if path.name.endswith(".part")] == []


def test_a_finetuning_takes_the_new_rows_by_name(at: Path) -> None:
    grow(open_model(RUN), Path("new"), at / "grown")
    checkpoint = load_checkpoint(at / "grown")
    document = json.loads(Path("train.json").read_text())
    document["class_names"] = ["Éclair", "class 1", "class 2", "moon tea", "fresh"]
    (at / "train.json").write_text(json.dumps({**document, "num_classes": 5}))
    train = read_annotations(at / "train.json", Path("pictures"))
    network = assemble.network(open_model(at / "grown").recipe, 5)
    weight = weights_by_class(network, train, checkpoint)["classifier.weight"]
    assert torch.equal(weight[:4], checkpoint.read_model()["classifier.weight"][[4, 1, 2, 3]])
    assert torch.equal(weight[4], network.classifier.weight[4])
