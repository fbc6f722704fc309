"""Stored features are used again where they fit model and pictures, and nowhere else; labels are never theirs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_recipe import SMALL

from shelfmark.calibration import Linear
from shelfmark.cli import main
from shelfmark.core.contracts import Embeddings
from shelfmark.core.disk import DiskFullError
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.data import dataset
from shelfmark.data.images import read_rgb
from shelfmark.data.sources import ImageSource
from shelfmark.pipelines import evaluate
from shelfmark.runtime import features as pipeline
from shelfmark.runtime import stored_features
from shelfmark.runtime.recalibration import save_recalibrated
from shelfmark.runtime.trained_model import open_model

MODEL = ["--RESUME_MODEL", "log/small/best_model"]
FINER = "model.last_stride=1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shop_root: Path) -> Path:
    """A small model of twelve classes and its run folder; pictures of its own, so that they can be changed."""
    folder = tmp_path_factory.mktemp("stored")
    with contextlib.chdir(folder):
        for split, per_class in [("train", 4), ("val", 2), ("retrieval", 2)]:
            document = json.loads((shop_root / f"{split}.json").read_text())
            seen = dict.fromkeys(range(12), 0)
            kept = []
            for one in document["annotations"]:
                label = one["category_id"]
                if label in seen and (split == "retrieval" or seen[label] < per_class):
                    seen[label] += 1
                    kept.append(one)
                    copy = folder / "pictures" / one["fpath"]
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(shop_root / one["fpath"], copy)
            document.update(annotations=kept, num_classes=12)
            document["class_names"] = document["class_names"][:12]
            document.pop("groups", None)
            Path(f"{split}.json").write_text(json.dumps(document))
        files = [f"data.{name}_json={name}.json" for name in ("train", "val", "retrieval")]
        words = ["name=small", "data.generated=", "data.root=pictures", "data.test_json=null", *files]
        short = ["train.num_epochs=1", "train.steps_per_epoch=4", "eval.every_epochs=1", "train.precision=fp32"]
        assert main(["train", *SMALL, *words, *short]) == 0
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in. Stored features know the pictures by their root, so that stays."""
    for name in ("log", "train.json", "val.json", "retrieval.json"):
        copy = shutil.copytree if (trained / name).is_dir() else shutil.copy
        copy(trained / name, tmp_path / name)
    (tmp_path / "pictures").symlink_to(trained / "pictures")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that were decoded for a network."""
    paths: list[Path] = []

    def counted(source: ImageSource, row: int, *limits: Any) -> np.ndarray:
        paths.append(Path(source.name(row)))
        return read_rgb(source, row, *limits)

    monkeypatch.setattr(dataset, "read_rgb", counted)
    # Drawing takes longer than all the rest.
    monkeypatch.setattr(evaluate, "draw_evaluation", lambda *_, **__: None)
    return paths


def num_records(split: str) -> int:
    return len(json.loads(Path(f"{split}.json").read_text())["annotations"])


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def with_other_labels(split: str, number: int) -> str:
    """Annotations of the same pictures, with other labels of the first `number`."""
    document = json.loads(Path(f"{split}.json").read_text())
    for one in document["annotations"][:number]:
        one["category_id"] = (one["category_id"] + 1) % 12
    Path("corrected.json").write_text(json.dumps(document))
    return f"data.{split}_json=corrected.json"


def said(capsys: pytest.CaptureFixture[str], argv: list[str], status: int = 2) -> str:
    capsys.readouterr()
    assert main(argv) == status
    return capsys.readouterr().err


def test_evaluations_read_the_features_that_training_left_and_score_the_same(place: Path, decoded: list[Path]) -> None:
    for _ in range(2):
        assert main(["evaluate", *MODEL]) == 0
    assert decoded == []
    assert summary("log/small/evaluation") == summary("log/small/evaluation_2") == summary("log/small")
    for name in ("val", "retrieval"):
        ours, theirs = (read_embeddings(Path("log/small", one, "embeddings", name)) for one in ("", "evaluation_2"))
        np.testing.assert_array_equal(ours.features, theirs.features)
    # No file is shared: who removes or changes one folder changes no other.
    assert Path("log/small/evaluation_2/embeddings/val/features.npy").stat().st_nlink == 1


@pytest.mark.parametrize("changed", [[FINER], ["model.pooling.name=gem"]])
def test_another_network_or_other_inputs_get_a_pass_of_their_own_and_one_is_enough(
    place: Path, decoded: list[Path], changed: list[str]
) -> None:
    pictures = num_records("val") + num_records("retrieval")
    argv = ["evaluate", *MODEL, "--out", "scores"]
    assert main(argv) == 0
    assert main([*argv, *changed]) == 0
    assert len(decoded) == pictures
    ours, theirs = (read_embeddings(Path(one, "embeddings/val")) for one in ("scores", "scores_2"))
    assert not np.array_equal(ours.features, theirs.features)
    assert main([*argv, *changed, "--post", "dba"]) == 0
    assert len(decoded) == pictures
    assert summary("scores_3") == summary("scores_2")


def test_a_corrected_label_embeds_nothing_and_counts_at_once(
    place: Path, decoded: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    before = summary("log/small")
    corrected = with_other_labels("val", 9)
    assert main(["evaluate", *MODEL, "--out", "scores", corrected]) == 0
    assert f"9 of the {num_records('val')} labels stored in log/small/embeddings/val differ" in caplog.text
    after, stored = summary("scores"), read_embeddings(Path("scores/embeddings/val"))
    assert decoded == []
    assert after["recall@1"] == before["recall@1"]
    assert (after["top1"], after["top5"]) != (before["top1"], before["top5"])
    # By an oracle: the classifier on the stored features, against the labels that are now in the file.
    opened = open_model(Path("log/small/best_model"))
    weight, bias = (
        value.detach().numpy() for value in (opened.network.classifier.weight, opened.network.classifier.bias)
    )
    labels = [one["category_id"] for one in json.loads(Path("corrected.json").read_text())["annotations"]]
    hits = (stored.features @ weight.T + bias).argmax(axis=1) == labels
    assert after["top1"] == pytest.approx(hits.mean())
    # The copy has the labels that it was made with.
    assert stored.labels.tolist() == labels


@pytest.mark.parametrize(
    ("argv", "split"),
    [
        (["calibrate", "--method", "temperature"], "val"),
        (["tau-norm"], "val"),
        (["clean"], "train"),
        (["index", "build", "--out", "index"], "train"),
        (["embed", "--out", "features"], "val"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value,
)
def test_no_command_takes_features_of_other_options_for_its_own(
    place: Path, decoded: list[Path], argv: list[str], split: str
) -> None:
    if split == "train":
        assert main(["embed", *MODEL, "--split", "train", "--out", "log/small/embeddings/train"]) == 0
        decoded.clear()
    kept = Path("kept")
    shutil.copytree("log", kept)
    assert main([*argv, *MODEL]) == 0
    assert decoded == []
    for folder in (Path("index"), Path("index_features"), Path("features"), Path("log"), Path("log_tau")):
        shutil.rmtree(folder, ignore_errors=True)
    kept.rename("log")
    assert main([*argv, *MODEL, FINER]) == 0
    assert len(decoded) == num_records(split)


def test_embed_leaves_what_fits_names_what_differs_and_overwrites_nothing(
    place: Path, decoded: list[Path], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    argv = ["embed", *MODEL, "--out", "features"]
    assert main(argv) == 0
    assert decoded == []
    files = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in Path("features").iterdir()}
    assert main(argv) == 0
    assert "those in features fit this model and these images" in caplog.text
    told = said(capsys, [*argv, FINER, "data.input_size_px=40"])
    assert "features do not fit: data.input_size_px was 32, now 40; model.last_stride was 2, now 1" in told
    assert "the number of images was 24, now 48; the list of images changed" in said(
        capsys, [*argv, "--split", "train"]
    )
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in Path("features").iterdir()} == files
    assert decoded == []
    corrected = with_other_labels("val", 2)
    assert main([*argv, corrected]) == 0
    assert "labels and image ids in features are those of the annotations now" in caplog.text
    labels = [one["category_id"] for one in json.loads(Path("corrected.json").read_text())["annotations"]]
    assert read_embeddings(Path("features")).labels.tolist() == labels
    Path("notes").mkdir()
    Path("notes/mine.txt").write_text("mine")
    assert "notes exists and" in said(capsys, ["embed", *MODEL, "--out", "notes"])
    assert Path("notes/mine.txt").read_text() == "mine"


def test_features_of_an_earlier_version_are_made_anew(
    place: Path, decoded: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path("log/small/embeddings/val")
    new = read_embeddings(folder, mmap=False)
    known = {"checkpoint_sha256": new.manifest["facts"]["checkpoint_sha256"]}  # type: ignore[index]
    old = {**known, "rows_sha256": "0" * 64, "config_sha256": "1" * 64}
    write_embeddings(folder, replace(new, manifest=old, features=new.features + 1))
    assert main(["calibrate", *MODEL, "--method", "temperature"]) == 0
    assert len(decoded) == num_records("val")
    assert "those in log/small/embeddings/val do not fit and are made anew: they do not say" in caplog.text
    np.testing.assert_array_equal(read_embeddings(folder).features, new.features)


def test_a_picture_that_was_replaced_is_embedded_anew(trained: Path, place: Path, decoded: list[Path]) -> None:
    record = json.loads(Path("val.json").read_text())["annotations"][0]
    picture = trained / "pictures" / record["fpath"]
    before, stat = picture.read_bytes(), picture.stat()
    try:
        Image.new("RGB", (50, 40), "red").save(picture)
        assert main(["embed", *MODEL, "--out", "features"]) == 0
    finally:
        picture.write_bytes(before)
        os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(decoded) == num_records("val")
    ours, theirs = (read_embeddings(Path(one)).features for one in ("log/small/embeddings/val", "features"))
    np.testing.assert_allclose(ours[1:], theirs[1:], atol=1e-5)
    assert not np.allclose(ours[0], theirs[0], atol=1e-3)


def test_a_picture_that_was_replaced_by_one_of_the_same_size_is_embedded_anew(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bitmaps").mkdir()
    for name, colour in (("a", "red"), ("b", "green")):
        Image.new("RGB", (32, 32), colour).save(f"bitmaps/{name}.bmp")
    argv = ["embed", *MODEL, "--images", "bitmaps", "--out", "features"]
    assert main(argv) == 0
    first = read_embeddings(Path("features"), mmap=False).features
    Path("bitmaps/a.bmp").write_bytes(Path("bitmaps/b.bmp").read_bytes())
    assert "features do not fit: the size or the time of an image file changed" in said(capsys, argv)
    assert main([*argv[:-1], "new"]) == 0
    second = read_embeddings(Path("new")).features
    np.testing.assert_array_equal(second[0], second[1])
    assert not np.allclose(first[0], second[0], atol=1e-3)


def test_features_that_cannot_be_copied_for_want_of_room_are_the_fault_of_the_target(
    place: Path, decoded: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, features: Embeddings) -> None:
        raise DiskFullError(folder, "no space is left on the disk", 5000)

    monkeypatch.setattr(stored_features, "write_embeddings", full)
    told = said(capsys, ["embed", *MODEL, "--out", "features"])
    assert "features cannot be written: no space is left on the disk" in told
    assert "passed over" not in told
    assert decoded == []


def test_features_outlive_their_pictures(place: Path, decoded: list[Path]) -> None:
    table_root = Path("pictures").resolve()
    opened = open_model(Path("log/small/best_model"))
    from shelfmark.runtime.splits import read_evaluation

    val, _ = read_evaluation(opened)
    assert val is not None
    gone = replace(val, root=table_root)
    hidden = table_root.with_name("hidden")
    table_root.rename(hidden)
    try:
        found = pipeline.model_features(opened, gone, Path("log/small/embeddings/val"))
    finally:
        hidden.rename(table_root)
    assert len(found) == len(val)
    assert decoded == []


def test_features_with_pictures_left_out_are_told_and_serve_only_where_pictures_may_be_left_out(
    place: Path, decoded: list[Path], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = read_embeddings(Path("log/small/embeddings/val"), mmap=False)
    kept = np.arange(len(whole)) != 3
    fewer = replace(
        whole,
        features=whole.features[kept],
        labels=whole.labels[kept],
        image_ids=whole.image_ids.take(np.flatnonzero(kept)),
        paths=whole.paths.take(np.flatnonzero(kept)),
        rows=whole.rows[kept],
    )
    write_embeddings(Path("features"), fewer)
    argv = ["embed", *MODEL, "--out", "features"]
    assert main([*argv, "data.on_bad_image=skip"]) == 0
    assert f"warning: features: left out, because it could not be read: 1 of {len(whole)} images" in caplog.text
    assert "data.on_bad_image was 'skip', now 'error'" in said(capsys, argv)
    assert decoded == []


@pytest.fixture
def index(place: Path) -> Path:
    assert main(["index", "build", *MODEL, "--split", "val", "--out", "index"]) == 0
    return Path("index")


def test_an_index_is_asked_and_grown_with_the_options_that_it_was_built_with(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(next(Path("pictures").rglob("*.jpg")))
    before = {file: file.read_bytes() for file in index.iterdir()}
    for argv in (
        ["search", "--index", "index", photo],
        ["recognise", "--index", "index", photo],
        ["index", "add", "--index", "index", "--split", "train"],
    ):
        told = said(capsys, [*argv, FINER, "model.pooling.name=gem"])
        assert "index was built with model.last_stride=2 (now 1), model.pooling.name=backbone (now gem)" in told
    assert {file: file.read_bytes() for file in index.iterdir()} == before
    told = said(capsys, ["index", "build", *MODEL, FINER, "--embeddings", "index_features", "--out", "other"])
    assert "made with other options: model.last_stride was 2, now 1" in told
    assert main(["index", "info", "--index", "index"]) == 0
    assert "model.last_stride" in capsys.readouterr().out
    assert main(["search", "--index", "index", photo, "model.classifier.type=linear"]) == 0


def test_a_checkpoint_that_differs_behind_the_embedding_serves_the_same_features_and_index(
    index: Path, decoded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for source, name in (("log/small", "first"), ("first", "again")):
        opened = open_model(Path(source, "best_model"))
        halved = Linear(opened.network.classifier.weight.detach() / 2)
        save_recalibrated(opened, Path(name, "best_model"), halved, {"method": "lws", "unmodified": False})
    first = ["--RESUME_MODEL", "first/best_model"]
    photo = str(next(Path("pictures").rglob("*.jpg")))
    before = json.loads(_printed(capsys, ["search", "--index", "index", photo, "--json"]))
    for other in (first, ["--RESUME_MODEL", "again/best_model"]):
        decoded.clear()
        assert main(["evaluate", *other]) == 0
        assert decoded == []
        assert json.loads(_printed(capsys, ["search", "--index", "index", *other, photo, "--json"])) == before
        assert main(["recognise", "--index", "index", *other, photo]) == 0
    assert main(["index", "build", *first, "--embeddings", "index_features", "--out", "second"]) == 0
    assert main(["search", "--index", "second", *MODEL, photo]) == 0
    assert main(["index", "add", "--index", "second", *MODEL, "--split", "train"]) == 0


def _printed(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 0
    return capsys.readouterr().out


def test_features_beside_an_index_that_are_of_other_pictures_stay(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", *MODEL, "--split", "train", "--out", "other_features"]) == 0
    before = Path("other_features/features.npy").read_bytes()
    assert "other_features exists" in said(capsys, ["index", "build", *MODEL, "--split", "val", "--out", "other"])
    shutil.copytree("other_features", "index_added_features")
    assert main(["index", "add", "--index", "index", "--split", "train"]) == 0
    for name in ("other_features", "index_added_features"):
        assert Path(name, "features.npy").read_bytes() == before


def test_what_version_0_1_0_wrote_opens_with_a_warning_of_what_it_did_not_note(
    place: Path, checkout: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(checkout / "tests" / "version_0_1_0", "old")
    photo = str(next(Path("pictures").rglob("*.jpg")))
    model = ["--RESUME_MODEL", "old/run/best_model"]
    assert main(["search", "--index", "old/index", *model, photo]) == 0
    assert "did not record model.backbone, " in caplog.text
    assert "model.last_stride, model.pooling, " in caplog.text
    told = said(capsys, ["search", "--index", "old/index", *model, photo, "data.input_size_px=40"])
    assert "old/index was built with data.input_size_px=32 (now 40)." in told
    assert main(["index", "build", *model, "--embeddings", "old/features", "--out", "index"]) == 0
    assert "the features in old/features do not say with which options they were made" in caplog.text
    # These noted the hash of their whole checkpoint alone; one that was made from it by recalibration is known by that.
    opened = open_model(Path("old/run/best_model"))
    weight = opened.network.classifier.weight.detach() * 2
    save_recalibrated(opened, Path("old/tau/best_model"), Linear(weight), {"method": "tau_norm", "unmodified": False})
    recalibrated = ["--RESUME_MODEL", "old/tau/best_model"]
    assert main(["search", "--index", "old/index", *recalibrated, photo]) == 0
    assert main(["index", "build", *recalibrated, "--embeddings", "old/features", "--out", "second"]) == 0
    assert "was built with another checkpoint" in said(capsys, ["search", "--index", "old/index", *MODEL, photo])


def test_damaged_features_are_named_and_made_anew(
    place: Path, decoded: list[Path], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    stored = Path("log/small/embeddings")
    whole = read_embeddings(stored / "val", mmap=False)
    for name, before, after in [("val/manifest.json", b'"centre"', b'"centrf"'), ("retrieval/rows.npz", b"PK", b"PL")]:
        (stored / name).write_bytes((stored / name).read_bytes().replace(before, after, 1))
    assert "retrieval/rows.npz does not match" in said(
        capsys, ["embed", *MODEL, "--split", "retrieval", "--out", str(stored / "retrieval")]
    )
    assert decoded == []
    assert main(["evaluate", *MODEL]) == 0
    for name in ("val", "retrieval"):
        assert f"the features in {stored / name} are passed over: " in caplog.text
    assert len(decoded) == num_records("val") + num_records("retrieval")
    assert summary("log/small/evaluation") == summary("log/small")
    shutil.rmtree("log/small/evaluation")
    assert main(["calibrate", *MODEL, "--method", "temperature"]) == 0
    assert "does not match its own digest. The features are made anew" in caplog.text
    np.testing.assert_array_equal(read_embeddings(stored / "val").features, whole.features)
