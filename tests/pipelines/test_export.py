"""`shelfmark export` on a small model: the folder, its proof, and what is published when the proof fails."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import untrained_models
from PIL import Image
from untrained_models import make_place

import shelfmark
from shelfmark.cli import main
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_file
from shelfmark.core.manifests import file_facts, read_manifest, write_manifest
from shelfmark.data.images import decode_rgb
from shelfmark.data.sources import UnreadableImage
from shelfmark.export import onnx_files, predict
from shelfmark.export.network import ExportedNetwork
from shelfmark.export.predict import Predictor, UnreadablePicture
from shelfmark.serving.models import CheckpointModel, ExportedModel

NUM_VAL = 210
ANSWER = """
import json, runpy, sys
sys.argv = ["predict.py", *sys.argv[2:], "--json"]
try:
    runpy.run_path({file!r}, run_name="__main__")
except SystemExit as stop:
    found = [name for name in ("torch", "torchvision", "cv2", "timm", "shelfmark") if name in sys.modules]
    print(json.dumps([stop.code, found]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models, and enough pictures for a full proof."""
    place = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(untrained_models.SIZES, "val", NUM_VAL)
        make_place(place)
    return place


@pytest.fixture(scope="module")
def folder(place: Path) -> Path:
    assert main(["export", "--RESUME_MODEL", str(place / "log/run/last"), "--out", str(place / "export")]) == 0
    return place / "export"


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.fixture(scope="module")
def photos(place: Path) -> list[Path]:
    """Pictures that no proof has seen, of several kinds."""
    made = place / "photos"
    made.mkdir()
    generator = np.random.default_rng(7)
    for number in range(12):
        size = (int(generator.integers(9, 90)), int(generator.integers(9, 90)), 3)
        image = Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8))
        exif = image.getexif()
        exif[0x0112] = number % 8 + 1
        if number % 3 == 0:
            image.save(made / f"{number}.jpg", exif=exif)
        else:
            image.convert(("L", "RGBA", "P")[number % 3]).save(made / f"{number}.png")
    return sorted(made.iterdir())


@contextlib.contextmanager
def exporters(**changed: Callable[[ExportedNetwork, torch.Tensor, Path], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(onnx_files.EXPORTERS, "onnx", changed)
        yield


def by_chance(network: ExportedNetwork, pixels: torch.Tensor, file: Path) -> None:
    """An exporter that gets one number wrong, as a runtime or an exporter may in silence."""
    onnx_files.by_torchscript(network, pixels, file)
    model = onnx.load(str(file))
    name = model.graph.output[1].name
    model.graph.node[-1].output[0] = "before"
    one = onnx.numpy_helper.from_array(np.float32(1.05), "factor")
    model.graph.initializer.append(one)
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], [name]))
    onnx.save(model, str(file))


def test_held_out_pictures_get_from_the_folder_alone_what_the_checkpoint_says(
    place: Path, folder: Path, photos: list[Path]
) -> None:
    words = [sys.executable, "-c", ANSWER.format(file=str(folder / "predict.py")), "-", *map(str, photos), "nix.jpg"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, env={"PYTHONPATH": ""})
    assert json.loads(done.stderr.splitlines()[-1]) == [1, []], done.stderr  # one could not be read; no torch
    *found, missing = json.loads(done.stdout)
    assert missing == {"id": "nix.jpg", "error": "No such file or directory"}
    model = shelfmark.load(place / "log/run/last")
    chances = model.predict(photos)
    for one, photo, row in zip(found, photos, chances, strict=True):
        best = one["candidates"][0]
        assert one["id"] == str(photo)
        assert best["class"] == row.argmax()
        assert best["name"] == f"class {row.argmax()}"
        assert one["answer"] == {"kind": "product", **best, "rule": None}
        assert one["promise"] is None
        np.testing.assert_allclose([each["score"] for each in one["candidates"]], -np.sort(-row), atol=1e-4)
    embedding, logits = predict.load(folder).predict(photos)
    np.testing.assert_allclose(embedding, model.embed(photos), atol=1e-4)
    np.testing.assert_allclose(predict.softmax(logits), chances, atol=1e-4)


def test_the_folder_tells_what_a_client_needs(place: Path, folder: Path) -> None:
    facts = json.loads((folder / "model.json").read_text())
    assert facts["input"]["size_px"] == [16, 16]
    assert facts["outputs"] == {"embedding": 64, "logits": 3} or facts["outputs"]["logits"] == 3
    assert facts["class_names"] == ["class 0", "class 1", "class 2"]
    assert (facts["thresholds"], facts["index"], facts["groups"]) == (None, None, None)
    weights = read_manifest(place / "log/run/last/manifest.json")["files"]["model.safetensors"]["sha256"]
    assert facts["checkpoint_sha256"] == weights
    parity = json.loads((folder / "parity.json").read_text())
    assert (parity["pictures"], parity["is_weaker"], parity["unread"]) == (NUM_VAL, False, {})
    assert parity["measured"]["top1_agreement"] == 1
    assert parity["measured"]["recall@1_change"] == 0
    assert parity["pixels"]["resize_differs"] == 0
    assert parity["reference"]["pictures"] == 200 == len(list((folder / "reference").glob("*.png")))
    assert not {file.name for file in folder.iterdir()} - {
        *("model.onnx", "model.json", "parity.json", "predict.py", "manifest.json", "reference"),
    }
    model = onnx.load(str(folder / "model.onnx"))
    [pixels] = model.graph.input
    assert pixels.name == "pixels"
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [axis.dim_value for axis in pixels.type.tensor_type.shape.dim] == [0, 16, 16, 3]


def test_the_check_passes_and_finds_a_runtime_that_answers_otherwise(
    folder: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "verify", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["unmet"], told["pixels_equal"], told["is_weaker"]) == ([], 200, False)
    assert main(["export", "verify", str(folder), "--images", str(photos[0].parent)]) == 0
    assert "weaker" in capsys.readouterr().out
    true = predict._onnx

    def half_bits(*given: Any) -> Any:
        run = true(*given)
        return lambda pixels: [one.astype(np.float16).astype(np.float32) * 1.01 for one in run(pixels)]

    monkeypatch.setattr(predict, "_onnx", half_bits)
    for images in ([], ["--images", str(photos[0].parent)]):
        assert main(["export", "verify", str(folder), *images, "--json"]) == 3
        unmet = json.loads(capsys.readouterr().out)["unmet"]
        assert any(line.startswith("embedding_relative is 0.0") for line in unmet), unmet

    def not_a_number(*given: Any) -> Any:
        run = true(*given)
        return lambda pixels: [one * np.nan for one in run(pixels)]

    monkeypatch.setattr(predict, "_onnx", not_a_number)
    assert main(["export", "verify", str(folder)]) == 3
    assert "not met: top1_agreement" in capsys.readouterr().out


def test_a_damaged_folder_is_told_and_is_not_taken_for_a_failed_proof(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert main(["export", "verify", str(copied)]) == 2
    assert "model.onnx does not match the SHA-256" in capsys.readouterr().err
    (copied / "manifest.json").unlink()
    assert main(["export", "verify", str(copied)]) == 2
    assert "is not an exported model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["model.json", "model.onnx", "parity.json", "reference/outputs.npz", "reference/0007.png"]
)
def test_a_machine_without_the_package_tells_a_damaged_folder_too(
    name: str, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict, "__file__", str(copied / "predict.py"))
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    for said in (f"{name} is damaged", f"{name} is missing"):
        with pytest.raises(SystemExit, match="2"):
            predict.main(["--check"])
        assert said in capsys.readouterr().err
        (copied / name).unlink(missing_ok=True)


def test_a_name_with_a_colon_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["Tea : green", "Tea : black"]
    answer = {"kind": "family", "family": "Tea : all", "classes": [0, 1], "names": names}
    assert predict._line({"id": "a : b.jpg", "answer": answer}) == f"a : b.jpg: family Tea : all: {', '.join(names)}"
    del answer["family"]
    assert predict._line({"id": "a.jpg", "answer": {**answer, "kind": "shortlist"}}).startswith(
        "a.jpg: shortlist: Tea :"
    )


def test_a_folder_handed_on_without_its_pictures_is_served_and_compared_on_others(
    copied: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "reference")
    assert len(ExportedModel.open(copied, 1).run(np.zeros((1, 16, 16, 3), np.uint8))["embedding"]) == 1
    assert main(["export", "verify", str(copied), "--images", str(photos[0].parent)]) == 0
    assert main(["export", "verify", str(copied)]) == 2
    assert "--images DIR" in capsys.readouterr().err
    monkeypatch.setattr(predict, "__file__", str(copied / "predict.py"))
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--check"])
    assert "no reference/" in capsys.readouterr().err
    for name in ("model.onnx", "model.json"):
        (copied / name).write_text("{")
        with pytest.raises(SystemExit, match="2"):
            predict.main(["a.png"])
        assert f"the model in {copied} cannot be opened" in capsys.readouterr().err


def test_a_name_is_one_line_of_what_can_be_shown(
    folder: Path,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["new\nline \x1b[31m.png", os.fsdecode(b"latin \xff.png"), "\u725b\u5976 <b>.png"]
    for name in names:
        shutil.copy(next(one for one in photos if one.suffix == ".png"), tmp_path / name)
    monkeypatch.setattr(predict, "__file__", str(folder / "predict.py"))
    assert predict.main([str(tmp_path / name) for name in names]) == 0
    told = [line.rpartition("/")[2].partition(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["new\\nline \\x1b[31m.png", "latin \\udcff.png", names[2]]


def test_a_wrong_file_is_never_published_and_the_other_exporter_is_tried(
    place: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(*given: object) -> None:
        raise RuntimeError("operator aten::wonder is not there")

    words = ["export", "--RESUME_MODEL", str(place / "log/run/last"), "--reference", "3", "--out"]
    with exporters(first=by_chance, second=onnx_files.by_torchscript):
        assert main([*words, str(tmp_path / "other"), "--json"]) == 0
    parity = json.loads(capsys.readouterr().out)["parity"]
    assert parity["exporter"] == "second"
    assert [bool(one["unmet"]) for one in parity["tried"]] == [True, False]
    before = (tmp_path / "other" / "manifest.json").read_bytes()
    with exporters(first=by_chance, second=breaks):
        for out in ("other", "new"):
            assert main([*words, str(tmp_path / out)]) == 3
            said = capsys.readouterr().out
            assert "nothing was published" in said
            assert "first: probability_difference is " in said
            assert "second: RuntimeError: operator aten::wonder is not there" in said
        assert main([*words, str(tmp_path / "new"), "--json"]) == 3
        told = json.loads(capsys.readouterr().out)
        assert told["folder"] is None
        assert len(told["parity"]["tried"]) == 2
    # What was published before stays.
    assert (tmp_path / "other" / "manifest.json").read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["other"]


def test_a_picture_that_is_gone_meanwhile_is_no_fault_of_the_exporter(
    place: Path, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos[0].parent, tmp_path / "photos")

    def and_takes_one_away(*given: Any) -> None:
        onnx_files.by_torchscript(*given)
        (tmp_path / "photos" / photos[3].name).unlink()

    words = ["--images", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    with exporters(first=and_takes_one_away, second=by_chance):
        assert main(["export", "--RESUME_MODEL", str(place / "log/run/last"), *words]) == 2
    said = capsys.readouterr()
    assert f"{photos[3].name} was read for the checkpoint, and cannot be read any more: missing" in said.err
    assert "exporter" not in said.out
    assert not (tmp_path / "out").exists()


def test_an_export_never_takes_the_place_of_the_checkpoint(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = place / "log/run/last"
    before = {file.name: sha256_file(file) for file in checkpoint.iterdir()}
    assert main(["export", "--RESUME_MODEL", str(checkpoint), "--out", str(checkpoint)]) == 2
    assert "is not a folder that this command wrote" in capsys.readouterr().err
    assert {file.name: sha256_file(file) for file in checkpoint.iterdir()} == before


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_are_told_with_their_loss_and_verified_against_it(
    place: Path, tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--RESUME_MODEL", str(place / "log/run/last"), "--out", str(tmp_path / "small")]
    assert main([*words, "--precision", precision, "--json"]) == 0
    parity = json.loads(capsys.readouterr().out)["parity"]
    exact, small = parity["table"]
    assert (exact["precision"], small["precision"]) == ("fp32", precision)
    assert exact["top1_agreement"] == 1
    assert 0.5 < small["top1_agreement"] <= 1
    assert {"bytes", "latency_ms", "top1", "mean_class_error", "recall@1"} <= small.keys()
    # The pictures that give int8 its ranges are not among those that it is measured on.
    assert (parity["calibrated_on"], parity["pictures"]) == ((10, 200) if precision == "int8" else (0, 210))
    kinds = {one.data_type for one in onnx.load(str(tmp_path / "small/model.onnx")).graph.initializer}
    assert (onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.INT8) in kinds
    assert main(["export", "verify", str(tmp_path / "small")]) == 0
    capsys.readouterr()


def test_a_program_of_torch_gives_the_same(place: Path, folder: Path, tmp_path: Path, photos: list[Path]) -> None:
    words = ["export", "--RESUME_MODEL", str(place / "log/experts/last"), "--to", "torch", "--heads", "experts"]
    assert main([*words, "--reference", "5", "--out", str(tmp_path / "program"), "train.precision=bf16"]) == 0
    # The commands of this checkpoint would compute in bf16; how many classes that changes is told.
    commands = json.loads((tmp_path / "program" / "parity.json").read_text())["commands"]
    assert (commands["precision"], type(commands["other_class"])) == ("bf16", int)
    predictor = predict.load(tmp_path / "program")
    model = shelfmark.load(place / "log/experts/last")
    for pictures in (photos[:1], photos):
        embedding, logits = predictor.predict(pictures)
        np.testing.assert_allclose(embedding, model.embed(pictures), atol=1e-4)
        np.testing.assert_allclose(predict.softmax(logits), model.predict(pictures), atol=1e-4)
    experts = predictor.run(np.stack([predictor.pixels(photo) for photo in photos]))["head.experts"]
    np.testing.assert_allclose(experts.mean(axis=1), logits, atol=1e-4)
    # What a service has of a client may be read alone.
    pixels = np.frombuffer(bytes(16 * 16 * 3), np.uint8).reshape(1, 16, 16, 3)
    served = ExportedModel(predictor), CheckpointModel.open(place / "log/experts/last", (), 1)
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True, action="always") as said:
            found = [model.run(pixels)["logits"] for model in served]
    finally:
        torch.set_warn_always(False)
    assert not [one for one in said if "writable" in str(one.message)]
    np.testing.assert_allclose(*found, atol=0.05)  # in bf16 and in fp32
    assert [model.platform for model in served] == ["pytorch", "pytorch"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict.views=flip"], "predict.views=flip: the model's probabilities are a mean over several passes"),
        (["predict.sizes_px=[16,24]"], "predict.sizes_px=[16, 24]: the model's"),
        (["--to", "torch", "--precision", "int8"], "--precision int8 is of onnx files"),
        (["--heads", "rank"], "--heads rank: the model has no such head"),
        (["--reference", "0"], "--reference 0 is no number of pictures"),
        (["data.val_json=null", "data.retrieval_json=null"], "give photographs as --images DIR"),
        (["--images", "{place}/pictures/spoilt"], "5 of 6 images could not be read, so they prove nothing"),
    ],
)
def test_what_an_export_cannot_say_is_refused_before_anything_is_written(
    place: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(place=place) for word in words]
    out = tmp_path / "out"
    assert main(["export", "--RESUME_MODEL", str(place / "log/run/last"), "--out", str(out), *given]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_is_not_an_export_is_not_replaced(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert main(["export", "--RESUME_MODEL", str(place / "log/run/last"), "--out", str(tmp_path / "mine")]) == 2
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_thresholds_beside_the_checkpoint_decide_and_those_of_an_index_are_carried_along(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    index, run, checkpoint = tmp_path / "index", tmp_path / "run", tmp_path / "run" / "last"
    shutil.copytree(place / "log/run", run)
    assert main(["index", "build", "--RESUME_MODEL", str(checkpoint), "--out", str(index)]) == 0
    rule = {"name": "product: softmax >= 0.99", "kind": "product", "size": 1}
    thresholds: dict[str, Any] = {
        "format": 1,
        "max_wrong": 0.01,
        "confidence": 0.95,
        "max_false_accept": None,
        "coverage": 0.4,
        "rules": [{**rule, "conditions": [{"score": "softmax", "at_least": 0.99}]}],
        "checkpoint_sha256": read_manifest(checkpoint / "manifest.json")["files"]["model.safetensors"]["sha256"],
        "index_sha256": None,
    }
    (run / "thresholds.json").write_text(json.dumps(thresholds))
    logits = np.array([[1.0, 1.1, 0.9], [0.0, 30.0, 0.0]])
    words = ["export", "--reference", "3", "--out", str(tmp_path / "out"), "--RESUME_MODEL"]
    assert main([*words, str(checkpoint)]) == 0
    unsure, sure = predict.load(tmp_path / "out").answer(np.zeros((2, 4)), logits)
    assert unsure["answer"] == {
        "kind": "unknown",
        "class": None,
        "name": None,
        "score": None,
        "rule": None,
        "reason": "product: softmax is 0.367, and 0.99 is asked for",
    }
    assert (sure["answer"]["class"], sure["answer"]["rule"]) == (1, "product: softmax >= 0.99")
    assert sure["promise"] == {"max_wrong": 0.01, "confidence": 0.95, "max_false_accept": None, "coverage": 0.4}
    # Of an index: only who has the index can rank products as the rules do.
    of_index = {**thresholds, "index_sha256": sha256_file(index / "manifest.json")}
    (index / "thresholds.json").write_text(json.dumps(of_index))
    assert main([*words, str(checkpoint), "--index", str(index)]) == 0
    predictor = predict.load(tmp_path / "out")
    assert (predictor.facts["thresholds"], predictor.facts["index"]["num_vectors"]) == (of_index, 13)
    assert [(one["answer"]["kind"], one["promise"]) for one in predictor.answer(np.zeros((2, 4)), logits)] == [
        ("product", None),
        ("product", None),
    ]
    # What was learned in fp32 is not promised of a file in fewer bits.
    caplog.clear()
    assert main([*words, str(checkpoint), "--index", str(index), "--precision", "fp16"]) == 0
    assert "a file in fp16 has other scores" in caplog.text
    assert predict.load(tmp_path / "out").facts["thresholds"] is None
    (index / "thresholds.json").write_text(json.dumps({**of_index, "checkpoint_sha256": "0" * 64}))
    caplog.clear()
    assert main([*words, str(checkpoint), "--index", str(index)]) == 0
    assert "they were learned with another checkpoint" in caplog.text
    assert predict.load(tmp_path / "out").facts["thresholds"] is None
    capsys.readouterr()
    assert main([*words, str(place / "log/experts/last"), "--index", str(index)]) == 2
    assert "was built with another checkpoint" in capsys.readouterr().err


def test_another_checkpoint_than_the_exported_one_is_no_comparison(
    place: Path, folder: Path, copied: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images = ["--images", str(photos[0].parent)]
    other = ["--RESUME_MODEL", str(place / "log/experts/last")]
    assert main(["export", "verify", str(folder), *images, *other]) == 2
    assert "Give that one as --RESUME_MODEL" in capsys.readouterr().err
    assert main(["export", "verify", str(folder), *images, "data.input_size_px=24"]) == 2
    assert "was exported with another input" in capsys.readouterr().err
    assert main(["export", "verify", str(folder), *other]) == 2
    assert "--RESUME_MODEL is read for --images alone" in capsys.readouterr().err
    facts = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps({**facts, "checkpoint": "/gone"}))
    manifest = read_manifest(copied / "manifest.json")
    manifest["files"]["model.json"] = file_facts(copied / "model.json")
    write_manifest(copied / "manifest.json", manifest)
    assert main(["export", "verify", str(copied), *images]) == 2
    assert "/gone is gone; say where it is now" in capsys.readouterr().err
    assert main(["export", "verify", str(copied)]) == 0


def test_a_picture_that_cannot_be_read_is_one_error(folder: Path, photos: list[Path]) -> None:
    predictor: Predictor = predict.load(folder)
    with pytest.raises(UnreadablePicture, match="picture 1 could not be read: empty file"):
        predictor.predict([photos[0].read_bytes(), b""])
    floats = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(floats, "TIFF")
    good, bad, odd = predictor.answers([photos[0], b"no picture", floats.getvalue()])
    assert good["answer"]["kind"] == "product"
    assert bad["error"].startswith("not one of: JPEG")
    with pytest.raises(UnreadableImage) as of_commands:
        decode_rgb(floats.getvalue(), "")
    assert odd["error"] == of_commands.value.reason
    assert [one.shape for one in predictor.predict([])] == [(0, predictor.facts["outputs"]["embedding"]), (0, 3)]


def test_a_library_that_logs_does_not_make_our_own_lines_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with onnx_files._silence():
        logging.warning("please consider pre-processing")
        assert logging.root.handlers
    assert logging.root.handlers == []


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[export\]'"):
        onnx_files.require_packages()
