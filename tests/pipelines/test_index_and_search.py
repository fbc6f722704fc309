"""A small model of the shop, an index of it, and photographs that it has and has not seen."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forks import fork
from PIL import Image
from refusals import refusal
from small_recipe import SMALL

from shelfmark import retrieval
from shelfmark.cli import main
from shelfmark.core import log
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.manifests import write_manifest
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.pipelines import index as pipeline
from shelfmark.pipelines.recognise import combined, recognise
from shelfmark.pipelines.search import GalleryImage, _candidates, search_photographs
from shelfmark.retrieval import index_files
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_files import read_index
from shelfmark.runtime import opened_index, searcher
from shelfmark.runtime.index_content import Source
from shelfmark.runtime.searcher import Searcher
from shelfmark.runtime.trained_model import open_model

NUM_CLASSES = 20
MODEL = Path("log/small/best_model")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, shop_root: Path) -> Path:
    """A working folder with a trained model, and `index`, an index of some training images of twenty classes."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop_root)
    checkout = Path(__file__).parents[2]
    (folder / "configs").symlink_to(checkout / "configs")
    with contextlib.chdir(folder):
        for split, per_class in [("train", 5), ("val", 2), ("retrieval", 2)]:
            document = json.loads(Path(f"dataset/shop/{split}.json").read_text())
            kept = [one for one in document["annotations"] if one["category_id"] < NUM_CLASSES]
            seen = dict.fromkeys(range(NUM_CLASSES), 0)
            document["annotations"] = []
            for one in kept:
                seen[one["category_id"]] += 1
                if split == "retrieval" or seen[one["category_id"]] <= per_class:
                    document["annotations"].append(one)
            Path(f"{split}_small.json").write_text(json.dumps(document))
        short = ["name=small", "train.num_epochs=1", "train.steps_per_epoch=4", "eval.every_epochs=1"]
        assert main(["train", *SMALL, *short, "train.precision=fp32"]) == 0
        built = ["--annotations", "train_small.json", "--out", "index"]
        assert main(["index", "build", "--RESUME_MODEL", str(MODEL), *built]) == 0
    return folder


@pytest.fixture
def at(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def own_index(at: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be changed."""
    return Path(shutil.copytree("index", tmp_path / "index"))


def photographs(split: str) -> list[Path]:
    annotations = json.loads(Path(f"{split}_small.json").read_text())["annotations"]
    return [Path("dataset/shop", one["fpath"]) for one in annotations]


def printed_json(argv: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main([*argv, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def png_of(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel, without ever holding its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row, packer = bytes(1 + (width + 7) // 8), zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_build_says_which_kind_and_why_and_info_shows_it(
    at: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out = str(tmp_path / "again")
    shutil.copytree("index_features", tmp_path / "again_features")
    argv = ["index", "build", "--RESUME_MODEL", str(MODEL), "--annotations", "train_small.json", "--out"]
    assert main([*argv, out]) == 0
    assert "kind: flat; 100 vectors of 96 dimensions take 38.4 kB, at most 100 MB" in caplog.text
    assert "fit this model and these images" in caplog.text
    assert main(["index", "info", "--index", out]) == 0
    printed = capsys.readouterr().out
    facts = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert (facts["kind"], facts["metric"], facts["num_images"], facts["num_labels"]) == ("flat", "cosine", "100", "20")
    assert facts["checkpoint_sha256"] == load_checkpoint(MODEL).weights_hash
    assert "exists; an index is not built over another" in refusal([*argv, out], capsys)


def test_a_gallery_photograph_finds_itself_in_every_kind(at: Path, tmp_path: Path) -> None:
    opened, photos = open_model(MODEL), photographs("train")[::7]
    for kind in ("flat", "hnsw", "ivf_flat"):
        pipeline.build(opened, tmp_path / kind, Source(embeddings=Path("index_features")), kind)
        found = Searcher(read_index(tmp_path / kind), opened)
        near = found.answer(photos, k=5).neighbours
        paths = found.index.records.paths
        for photo, scores, rows in zip(photos, near.scores, near.ids):
            [score] = [score for score, row in zip(scores, rows) if Path(paths[int(row)]).samefile(photo)]
            assert score == pytest.approx(1, abs=1e-4)


def test_a_searcher_opened_once_answers_paths_and_bytes_with_the_digits_of_the_command(
    at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    photos = [tmp_path / "text.jpg", *photographs("val")[:6], tmp_path / "missing.jpg"]
    uploads = [photo.read_bytes() if number % 3 and photo.exists() else photo for number, photo in enumerate(photos)]
    counted: list[str] = []
    for module, name in ((opened_index, "open_model"), (searcher, "read_index"), (index_files, "_check_file")):
        monkeypatch.setattr(module, name, _counting(getattr(module, name), name, counted))
    one = Searcher.open(Path("index"))
    by_path, by_bytes = one.answer(photos), one.answer(uploads)
    with ThreadPoolExecutor(4) as threads:
        at_once = list(threads.map(one.answer, [photos, uploads] * 4))
    assert sorted(counted) == ["_check_file", "_check_file", "open_model", "read_index"]
    for found in (by_path, by_bytes, *at_once):
        assert found.errors == {0: "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image", 7: "missing"}
        for ours, theirs in zip(found.neighbours, by_path.neighbours):
            np.testing.assert_array_equal(ours, theirs)
    assert by_path.neighbours.ids.shape == (8, 10)
    assert (by_path.neighbours.ids[[0, 7]] == -1).all()
    # The index has 100 images.
    assert one.answer(photos, k=200).neighbours.ids.shape == (8, 100)
    assert one.answer(photos[:1]).errors.keys() == {0}
    assert one.answer(photos[:1]).neighbours.ids.tolist() == [[-1] * 10]
    answers = printed_json(["search", "--index", "index", *map(str, photos)], capsys, status=1)
    for answer, scores, rows in zip(answers, *by_path.neighbours):
        found = [(near["score"], near["id"]) for near in answer.get("neighbours", [])]
        assert found == [(score, one.index.records.ids[row]) for score, row in zip(scores.tolist(), rows) if row >= 0]


def _counting(real: Callable[..., Any], name: str, counted: list[str]) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        counted.append(name)
        return real(*given)

    return call


def test_a_searcher_answers_from_the_index_that_it_opened(own_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photographs("train")[:5]
    former = Searcher.open(own_index)
    before = former.answer(photos, k=3).neighbours
    pipeline.remove(own_index, ids=[former.index.records.ids[row] for row in before.ids[:, 0]])
    np.testing.assert_array_equal(former.answer(photos, k=3).neighbours.ids, before.ids)
    assert (Searcher.open(own_index).answer(photos, k=3).neighbours.scores[:, 0] < before.scores[:, 0]).all()
    # Another index takes its place between the look at the model and the look at the vectors.
    real = searcher.read_index

    def another(folder: Path, *_: object) -> Index:
        return Index(real(folder).store, real(folder).records, {})

    monkeypatch.setattr(searcher, "read_index", another)
    with pytest.raises(UserError, match="was built anew while it was opened"):
        Searcher.open(own_index)


def test_an_unseen_photograph_gets_the_products_of_its_nearest_gallery_images(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photographs("val")
    answers = printed_json(["search", "--index", "index", *map(str, photos)], capsys)
    assert (
        main(["embed", "--RESUME_MODEL", str(MODEL), "--annotations", "val_small.json", "--out", "val_features"]) == 0
    )
    query, gallery = read_embeddings(Path("val_features")), read_embeddings(Path("index_features"))
    scores, rows = retrieval.search(query.features, gallery.features, 10, metric="cosine")
    names = json.loads(Path("train_small.json").read_text())["class_names"]
    assert [answer["id"] for answer in answers] == [str(photo) for photo in photos]
    for answer, expected_scores, expected_rows in zip(answers, scores, rows):
        found = [one["score"] for one in answer["neighbours"]]
        np.testing.assert_allclose(found, expected_scores, atol=1e-4)
        assert answer["neighbours"][0]["id"] == gallery.image_ids[expected_rows[0]]
        candidates = answer["candidates"]
        assert [one["score"] for one in candidates] == sorted((one["score"] for one in candidates), reverse=True)
        assert sum(one["num_neighbours"] for one in candidates) == 10
        assert candidates[0]["class"] == answer["neighbours"][0]["class"]
        assert candidates[0]["name"] == names[candidates[0]["class"]]
        best = {name: candidates[0][name] for name in ("class", "name", "score")}
        assert answer["answer"] == {"kind": "product", **best}
        assert all(Path(one["path"]).is_file() for one in candidates)


def test_tables_show_products_scores_and_paths(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = photographs("val")[0]
    assert main(["index", "search", "--index", "index", str(photo), "data.num_workers=0"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in [photo.name, "product", "score", "nearest gallery image"])
    assert main(["recognise", "--index", "index", "--RESUME_MODEL", str(MODEL), str(photo)]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in [photo.name, "probability", "classifier", "neighbours"])
    assert main(["search", "--index", "index", "nowhere.jpg", str(photo)]) == 1
    assert "nowhere.jpg: could not be read: missing" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["search", "recognise"])
def test_what_cannot_be_read_is_reported_and_the_others_are_answered(
    at: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = photographs("val")[0]
    data = good.read_bytes()
    Image.open(good).convert("RGB").save(tmp_path / "whole.jpg")
    jpeg = (tmp_path / "whole.jpg").read_bytes()
    files = {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "text.jpg": b"this is no picture\n" * 100,
        "empty.png": b"",
        "huge.png": png_of(20_000, 20_000),
        "long.png": png_of(20_000, 30),
        "wide.png": png_of(20_000, 1_000),
        "copy.png": data,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    photos = [str(tmp_path / name) for name in [*files, "missing.jpg"]]
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capsys.readouterr()
    assert main([command, "--index", "index", *photos, str(good), "--json"]) == 1
    # The huge picture alone would be 1.2 GB; the wide one is 60 MB, a few times over.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 600_000
    printed = capsys.readouterr()
    answers = {Path(one["id"]).name: one for one in json.loads(printed.out)}
    reasons = {name: one["error"] for name, one in answers.items() if "error" in one}
    assert reasons == {
        "cut.jpg": "truncated",
        "text.jpg": "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image",
        "empty.png": "empty file",
        "huge.png": "too many pixels",
        "missing.jpg": "missing",
    }
    assert "text.jpg could not be read: not a JPEG" in printed.err
    assert all(one.keys() == {"id", "error"} for one in answers.values() if "error" in one)
    assert all(one["candidates"] for one in answers.values() if "error" not in one)
    assert answers["copy.png"]["candidates"] == answers[good.name]["candidates"]
    # Without an answer to any there is no result.
    said = refusal([command, "--index", "index", "--json", str(tmp_path / "text.jpg"), "missing.jpg"], capsys)
    assert f"text.jpg could not be read: {reasons['text.jpg']}; missing.jpg could not be read: missing" in said


def test_a_folder_stands_for_its_photographs(at: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, photo in enumerate(photographs("val")[:3]):
        shutil.copy(photo, tmp_path / f"{number}{photo.suffix}")
    answers = printed_json(["search", "--index", "index", str(tmp_path)], capsys)
    assert len(answers) == 3
    (tmp_path / "none").mkdir()
    assert "there is no photograph in" in refusal(["search", "--index", "index", str(tmp_path / "none")], capsys)


def test_with_json_standard_output_holds_nothing_else(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = log._StdoutHandler()
    logging.getLogger("shelfmark").addHandler(handler)
    try:
        answers = printed_json(["search", "--index", "index", str(photographs("val")[0])], capsys)
        assert main(["search", "--index", "index", str(photographs("val")[0])]) == 0
    finally:
        logging.getLogger("shelfmark").removeHandler(handler)
    assert len(answers) == 1
    # Without --json what is said stands there.
    assert "model: " in capsys.readouterr().out


def test_another_checkpoint_than_the_indexs_is_refused(
    at: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(MODEL)
    facts = {name: value for name, value in checkpoint.manifest.items() if name not in ("files", "format_version")}
    changed = {
        name: tensor * 1.01 if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.read_model().items()
    }
    save_checkpoint(tmp_path / "other", changed, {}, facts)
    photo = str(photographs("val")[0])
    other = ["--RESUME_MODEL", str(tmp_path / "other")]
    for argv in (
        ["search", "--index", "index", *other, photo],
        ["recognise", "--index", "index", *other, photo],
        ["index", "add", "--index", "index", *other, "--annotations", "val_small.json"],
    ):
        said = refusal(argv, capsys)
        assert "index was built with another checkpoint" in said
        assert "shelfmark index build" in said
    built = ["index", "build", *other, "--embeddings", "index_features", "--out", str(tmp_path / "index")]
    assert "were made by another checkpoint" in refusal(built, capsys)


def test_pictures_prepared_in_another_way_are_refused(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(["search", "--index", "index", str(photographs("val")[0]), "data.input_size_px=48"], capsys)
    assert "data.input_size_px=32 (now 48)" in said


def test_a_checkpoint_that_was_moved_can_be_named(
    own_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((own_index / "manifest.json").read_text())
    manifest["facts"]["checkpoint"] = "/nowhere/best_model"
    write_manifest(own_index / "manifest.json", manifest)
    photo = str(photographs("val")[0])
    said = refusal(["search", "--index", str(own_index), photo], capsys)
    assert "which is gone; say where it is now with --RESUME_MODEL" in said
    shutil.copytree(MODEL, tmp_path / "moved")
    moved = ["--RESUME_MODEL", str(tmp_path / "moved")]
    assert printed_json(["search", "--index", str(own_index), *moved, photo], capsys)[0]["candidates"]


def test_a_new_product_is_added_recognised_and_removed(
    own_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    new = tmp_path / "moon tea"
    new.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 60, size=(40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels + np.array([190, 0, 190], np.uint8)).save(new / f"{number}.png")
    (tmp_path / "photo").mkdir()
    photo = tmp_path / "photo" / "photo.png"
    shutil.move(new / "3.png", photo)
    add = ["index", "add", "--index", str(own_index), "--images", str(new), "--label", "120"]
    add += ["--class-name", "Moon tea"]
    assert main(add) == 0
    assert "3 images added" in caplog.text
    assert "'moon tea/0.png' is there already" in refusal(add, capsys)
    [answer] = printed_json(["recognise", "--index", str(own_index), str(photo), "--k", "3"], capsys)
    best = answer["candidates"][0]
    assert (best["class"], best["name"], best["classifier"], best["neighbours"]) == (120, "Moon tea", 0.0, 1.0)
    assert best["score"] == pytest.approx(0.5)
    assert Path(best["path"]).parent == new
    [answer] = printed_json(["search", "--index", str(own_index), str(photo), "--k", "4"], capsys)
    assert answer["candidates"][0]["num_neighbours"] == 3
    remove = ["index", "remove", "--index", str(own_index)]
    assert main([*remove, "--ids", "moon tea/1.png"]) == 0
    assert "which now holds 102" in caplog.text
    # Two of the new product that are left, and five of class 0.
    counts = {"index": str(own_index), "num_images": 95, "num_removed": 7}
    assert printed_json([*remove, "--labels", "120", "0"], capsys) == counts
    assert "which now holds 95" in caplog.text
    assert set(read_index(own_index).records.labels.tolist()) == set(range(1, NUM_CLASSES))
    assert "has the label 120. Nothing was removed." in refusal([*remove, "--labels", "1", "120"], capsys)
    assert "has the id 'moon'" in refusal([*remove, "--ids", "moon"], capsys)
    assert len(read_index(own_index)) == 95


def test_the_second_of_two_writers_is_told_so_and_nothing_is_lost(
    own_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline.index_content
    others: list[str] = []

    def overtaken(*values: Any) -> Any:
        child = fork()
        if child == 0:
            try:
                pipeline.remove(own_index, labels=[0])
            except UserError as told:
                os._exit(3 if f"process {os.getppid()} on " in str(told) and "adding images" in str(told) else 4)
            os._exit(5)
        others.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        with pytest.raises(UserError, match="is being changed by process"):
            pipeline.add(own_index, Source(annotations=Path("val_small.json")))
        return made(*values)

    monkeypatch.setattr(pipeline, "index_content", overtaken)
    pipeline.add(own_index, Source(annotations=Path("val_small.json")))
    assert others == [3]
    monkeypatch.undo()
    pipeline.remove(own_index, labels=[0])
    # 100 images and the 40 that were added, less the 5 and the 2 of label 0.
    assert len(read_index(own_index)) == 133
    assert sorted(path.name for path in own_index.parent.iterdir()) == ["index"]


def test_folders_of_the_user_that_lie_beside_an_index_are_left_as_they_are(
    at: Path, own_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = [own_index.with_name(f"index{ending}") for ending in ("_added_features", "_features", ".old")]
    for folder in beside:
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
    pipeline.add(own_index, Source(annotations=Path("val_small.json")))
    built = ["index", "build", "--RESUME_MODEL", str(MODEL), "--annotations", "train_small.json", "--out"]
    shutil.rmtree(own_index)
    assert (
        "index_features exists and holds no features of ours. Nothing is written there. Give another folder."
        in refusal([*built, str(own_index)], capsys)
    )
    assert "it does not exist" in refusal(["index", "info", "--index", str(own_index)], capsys)
    assert "it does not exist" in refusal(
        ["index", "remove", "--index", str(own_index / "x" / "y"), "--ids", "a"], capsys
    )
    assert sorted(own_index.parent.rglob("*")) == sorted([*beside, *(folder / "thesis.txt" for folder in beside)])


def test_an_index_of_stored_features_is_that_of_their_images(at: Path, tmp_path: Path) -> None:
    pipeline.build(open_model(MODEL), tmp_path / "index", Source(embeddings=Path("index_features")))
    one, other = read_index(tmp_path / "index"), read_index(Path("index"))
    np.testing.assert_array_equal(one.vectors(), other.vectors())
    for column in ("ids", "paths"):
        assert list(getattr(one.records, column)) == list(getattr(other.records, column))
    assert one.records.names == other.records.names


def test_stored_features_take_their_names_from_the_annotations_that_they_were_made_of(at: Path, tmp_path: Path) -> None:
    opened = open_model(MODEL)
    pipeline.build(opened, tmp_path / "first", Source(split="retrieval"))
    features = tmp_path / "first_features"
    pipeline.build(opened, tmp_path / "again", Source(split="retrieval", embeddings=features), "ivf_flat")
    first, again = read_index(tmp_path / "first"), read_index(tmp_path / "again")
    assert not (tmp_path / "again_features").exists()
    assert again.records.names == first.records.names
    assert list(again.records.paths) == list(first.records.paths)
    assert again.facts == first.facts
    with pytest.raises(UserError, match="are of other images than the annotations"):
        pipeline.build(opened, tmp_path / "other", Source(annotations=Path("val_small.json"), embeddings=features))


def test_of_a_retrieval_file_the_gallery_is_indexed_and_its_own_classes_are_only_searched(
    at: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.build(open_model(MODEL), tmp_path / "index", Source(split="retrieval"))
    index = read_index(tmp_path / "index")
    document = json.loads(Path("retrieval_small.json").read_text())
    assert len(index) == sum(bool(one.get("is_gallery")) for one in document["annotations"])
    assert len(index) < len(document["annotations"])
    [answer] = search_photographs(tmp_path / "index", photographs("retrieval")[:1])
    assert answer.candidates[0].name == document["class_names"][answer.candidates[0].label]
    photo = str(photographs("retrieval")[0])
    said = refusal(["recognise", "--index", str(tmp_path / "index"), photo], capsys)
    assert "numbers its classes by another list than the model" in said


def test_features_of_a_whole_retrieval_file_serve_an_index_of_its_gallery(at: Path, tmp_path: Path) -> None:
    argv = ["--RESUME_MODEL", str(MODEL), "--split", "retrieval", "--out", str(tmp_path / "features")]
    assert main(["embed", *argv]) == 0
    opened = open_model(MODEL)
    features = read_embeddings(tmp_path / "features")
    pipeline.build(opened, tmp_path / "one", Source(split="retrieval"))
    pipeline.build(opened, tmp_path / "other", Source(split="retrieval", embeddings=tmp_path / "features"))
    one, other = read_index(tmp_path / "one"), read_index(tmp_path / "other")
    assert len(other) < len(features)
    assert list(other.records.ids) == list(one.records.ids)
    np.testing.assert_allclose(other.vectors(), one.vectors(), atol=1e-6)
    kept = np.array([place for place, one in enumerate(features.image_ids) if one not in list(other.records.ids)[:3]])
    ids, paths = features.image_ids.take(kept), features.paths.take(kept)
    few = Embeddings(features.features[kept], features.labels[kept], ids, paths, features.manifest, features.rows[kept])
    write_embeddings(tmp_path / "few", few)
    with pytest.raises(UserError, match="few lack 3 of the 60 images to be indexed, such as "):
        pipeline.build(opened, tmp_path / "third", Source(split="retrieval", embeddings=tmp_path / "few"))


def test_what_is_added_must_number_its_classes_as_the_model_does_where_the_index_does(
    own_index: Path, tmp_path: Path
) -> None:
    document = json.loads(Path("val_small.json").read_text())
    document["class_names"][3] = "Something else"
    (tmp_path / "other.json").write_text(json.dumps(document))
    before = (own_index / "manifest.json").read_text()
    with pytest.raises(UserError, match="call class 3 'Something else', the checkpoint calls it"):
        pipeline.add(own_index, Source(annotations=tmp_path / "other.json"))
    assert (own_index / "manifest.json").read_text() == before
    pipeline.add(own_index, Source(annotations=Path("val_small.json")))
    assert len(read_index(own_index)) == 140


def test_export_writes_beside_nothing_that_exists(at: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["index", "export", "--index", "index", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    assert np.load(tmp_path / "out" / "vectors.npy").shape[0] == 100
    assert "exists; nothing is overwritten" in refusal(argv, capsys)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["index"], "`shelfmark index` wants one of: build, add, remove, info, export, search, verify, compact."),
        (["index", "bulid"], "wants one of: build"),
        (["index", "build", "--out", "x"], "--RESUME_MODEL is missing"),
        (["index", "add", "--index", "index", "--label", "3"], "--images DIR, which is not given"),
        (
            ["index", "add", "--index", "index", "--images", ".", "--annotations", "val_small.json"],
            "--annotations and --images",
        ),
        (["index", "add", "--index", "index", "--images", ".", "--split", "val"], "--split and --images"),
        (["index", "remove", "--index", "index"], "say what to remove"),
        (["index", "info", "--index", "log"], "log is not an index: it has no manifest.json"),
        (["search", "--index", "nowhere", "a.jpg"], "nowhere is not an index: it does not exist"),
        (["search", "--index", "index", "eval.retrieval_metric=dot"], "no photograph is given"),
        (["search", "--index", "index", "nowhere.jpg"], "nowhere.jpg is not a photograph: it does not exist"),
        (["search", "--index", "index", ".", "--k", "0"], "at least one neighbour"),
        (["recognise", "--index", "index", ".", "--weight", "2"], "--weight 2 is not within 0"),
        (["recognise", "--index", "index", ".", "--temperature", "0"], "--temperature 0 must be above 0"),
        (["recognise", "--index", "index", ".", "--topk", "0"], "at least one product"),
    ],
)
def test_commands_that_do_not_fit_are_explained(
    at: Path, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(argv, capsys)


def test_weight_0_is_the_classifier_alone_and_weight_1_the_neighbours(at: Path) -> None:
    photo = photographs("val")[:1]
    [classifier] = recognise(Path("index"), photo, weight=0, topk=120)
    [both] = recognise(Path("index"), photo, topk=120)
    [neighbours] = recognise(Path("index"), photo, weight=1, topk=120)
    assert sum(one.probability for one in both.products) == pytest.approx(1)
    assert all(one.probability == pytest.approx(one.classifier) for one in classifier.products)
    assert all(one.probability == pytest.approx(one.neighbours) for one in neighbours.products)
    records = read_index(Path("index")).records
    labels = dict(zip(records.paths, records.labels.tolist()))
    for one in both.products:
        assert one.probability == pytest.approx((one.classifier + one.neighbours) / 2)
        assert labels.get(one.path) == (one.label if one.neighbours else None)


def test_the_combined_probability_of_a_case_worked_by_hand() -> None:
    # exp(log(6)) = 6, exp(log(3)) = 3, exp(0) = 1: votes of 0.6, 0.3 and 0.1; labels 7 and 9 are new.
    scores = np.log([[6.0, 3.0, 1.0], [6.0, 3.0, 1.0], [6.0, 3.0, 1.0]]) * 0.2
    labels = np.array([[1, 7, 1], [-1, 9, 0], [-1, -1, -1]])
    own = np.array([[0.75, 0.25], [0.5, 0.5], [0.9, 0.1]])
    found, probabilities, votes = combined(own, scores, labels, weight=0.4, temperature=0.2)
    assert found.tolist() == [0, 1, 7, 9]
    np.testing.assert_allclose(votes, [[0, 0.7, 0.3, 0], [0.25, 0, 0, 0.75], [0, 0, 0, 0]], atol=1e-12)
    expected = [[0.45, 0.15 + 0.28, 0.12, 0], [0.3 + 0.1, 0.3, 0, 0.3], [0.9, 0.1, 0, 0]]
    np.testing.assert_allclose(probabilities, expected, atol=1e-12)


def test_a_product_is_scored_by_its_best_image_or_by_their_sum() -> None:
    near = [GalleryImage(score, str(score), label, "", str(score)) for score, label in [(0.9, 1), (0.8, 2), (0.5, 2)]]
    near += [GalleryImage(0.4, "", None, "", ""), GalleryImage(-0.5, "", 1, "", "")]
    by_best, by_sum = _candidates(near, "max"), _candidates(near, "sum")
    assert [(one.label, one.score, one.path) for one in by_best] == [(1, 0.9, "0.9"), (2, 0.8, "0.8")]
    assert [(one.label, one.score, one.num_neighbours) for one in by_sum] == [(2, 1.3, 2), (1, 0.9, 2)]
