"""`shelfmark thresholds`, from a run that kept a family out to answers with a promise, and the check of it."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.files import read_json
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.models.network import Network
from shelfmark.runtime.run_report.promised import risk_of
from shelfmark.runtime.validation import Validation

NUM_FAMILIES, MEMBERS = 6, 2
NAMES = [f"{family} {member}" for family in "ABCDEF" for member in range(MEMBERS)]
PROMISE = ["--max-wrong", "20%", "--max-false-accept", "85%"]
TRAIN = [
    *["train", "name=run", "model.backbone=test_resnet", "data.generated=", "data.root=pictures"],
    *["data.train_json=train.json", "data.val_json=val.json", "data.test_json=null", "data.input_size_px=32"],
    *["data.num_workers=0", "data.open_set_classes=0.2", "train.batch_size=10", "train.num_epochs=1"],
    *["train.steps_per_epoch=10", "train.precision=fp32", "augment.crop_scale=[0.9, 1.0]", "optim.lr=0.02"],
    *["optim.schedule.warmup_epochs=0", "data.retrieval_json=null", "train.log_every_steps=1"],
]
MODEL = ["--RESUME_MODEL", "log/run/best_model"]


def colour(label: int) -> np.ndarray:
    """Of the two products of a family alike, of families far apart."""
    generator = np.random.default_rng(label // MEMBERS)
    return generator.integers(30, 226, 3) + 25 * (label % MEMBERS)


def write_pictures(folder: Path, labels: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for row, label in enumerate(labels):
        pixels = np.clip(colour(label) + generator.normal(0, 6, size=(32, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{row:03}.png")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, an index, and thresholds in it."""
    folder = tmp_path_factory.mktemp("thresholds")
    groups = [name[0] for name in NAMES]
    with contextlib.chdir(folder):
        for number, (split, per_class) in enumerate([("train", 6), ("val", 8)]):
            labels = [label for label in range(len(NAMES)) for _ in range(per_class)]
            write_pictures(Path("pictures", split), labels, number)
            records = [{"category_id": label, "fpath": f"{split}/{row:03}.png"} for row, label in enumerate(labels)]
            document = {"annotations": records, "num_classes": len(NAMES), "class_names": NAMES, "groups": groups}
            Path(f"{split}.json").write_text(json.dumps(document))
        assert main(TRAIN) == 0
        assert main(["index", "build", *MODEL, "--out", "index"]) == 0
        assert main(["thresholds", *MODEL, "--index", "index", *PROMISE]) == 0
    return folder


@pytest.fixture
def inside(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shop)
    return shop


def recognised(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["recognise", "--index", "index", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def held_out() -> list[int]:
    return list(load_checkpoint(Path("log/run/best_model")).manifest["open_set_classes"])


def test_a_whole_family_was_kept_out_of_training_of_val_and_of_the_index(inside: Path) -> None:
    held = held_out()
    assert len(held) == 2
    assert len({NAMES[label][0] for label in held}) == 1
    manifest = load_checkpoint(Path("log/run/best_model")).manifest
    assert [count for label, count in enumerate(manifest["counts"]) if label in held] == [0, 0]
    assert sum(manifest["counts"]) == 6 * 10
    assert read_json(Path("log/run/summary.json"))["num_images"] == 8 * 10
    assert read_json(Path("index/manifest.json"))["num_vectors"] == 60


def test_the_file_says_what_is_promised_of_what_and_by_what(inside: Path) -> None:
    content = read_json(Path("index/thresholds.json"))
    assert (content["max_wrong"], content["confidence"], content["max_false_accept"]) == (0.2, 0.95, 0.85)
    # A third of 80 pictures chose. Two products were never seen, and a third of two is none.
    assert content["bound"]["num_pictures"] == 54
    assert content["bound"]["num_products_never_seen"] == 2
    assert content["learned_on"]["num_pictures"] == 26
    assert content["learned_on"]["products_never_seen"] == ["open_set", "open_set_val"]
    assert content["learned_on"]["chose_model"] is True
    assert "chose best_model" in content["learned_on"]["notes"][0]
    assert content["checkpoint_sha256"] == load_checkpoint(Path("log/run/best_model")).weights_hash
    assert content["groups"] == {str(label): NAMES[label][0] for label in range(12) if label not in held_out()}
    with open("index_thresholds/risk_coverage.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["score"] for row in rows} == {"softmax", "energy", "joined", "nearest", "margin"}
    assert {row["bucket"] for row in rows} == {"all", "few"}
    assert Path("index_thresholds/risk_coverage.png").is_file()


def test_recognise_answers_by_the_rules_and_tells_the_promise(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = read_json(Path("index/thresholds.json"))
    answers = recognised(capsys, "pictures/val")
    names = [rule["name"] for rule in content["rules"]]
    kinds = {answer["answer"]["kind"] for answer in answers}
    assert kinds <= {"product", "shortlist", "family", "unknown"}
    wrong = num_answers = 0
    known = set(range(len(NAMES))) - set(held_out())
    for row, answer in enumerate(answers):
        label, found = row // 8, answer["answer"]
        assert answer["promise"] == {
            "max_wrong": 0.2,
            "confidence": 0.95,
            "max_false_accept": 0.85,
            "coverage": content["coverage"],
        }
        if found["kind"] == "unknown":
            assert found["rule"] is None
            assert "is asked for" in found["reason"]
            continue
        assert found["rule"] in names
        assert found["rule"].startswith(found["kind"])
        named = [found["class"]] if found["kind"] == "product" else found["classes"]
        if label not in held_out():
            num_answers, wrong = num_answers + 1, wrong + (label not in named)
    assert num_answers > 30
    assert wrong <= 0.2 * num_answers
    # What the rules did to the pictures of the bound is among what they do to all of val.
    assert wrong >= content["bound"]["num_wrong"]
    # The report of the run shows the curves that were written, and on them where the first rule stands.
    shown = risk_of(Path())
    assert shown is not None
    of_products = [rule for rule in content["rules"] if rule["kind"] == "product"]
    [first, *more] = (*of_products, *content["rules"])[0]["conditions"]
    assert (shown.score, shown.max_wrong, set(shown.by_group)) == (first["score"], 0.2, {"all", "few"})
    products = [
        answer for row, answer in enumerate(answers) if answer["answer"]["kind"] == "product" and row // 8 in known
    ]
    if not of_products:
        assert shown.answered is None
        assert not products
    else:
        assert len(products) <= round(80 * shown.answered) <= 80
        assert more or len(products) == round(80 * shown.answered)
    coverage, risk = shown.by_group["all"]
    # A picture whose score is none is never answered.
    assert len(products) <= round(80 * coverage[-1]) <= 80
    assert (np.diff(coverage) > 0).all()
    wrong_answers = 80 * coverage * risk
    np.testing.assert_allclose(wrong_answers, np.round(wrong_answers), atol=1e-3)


def test_thresholds_hold_for_the_search_they_were_learned_with_alone(
    inside: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = recognised(capsys, "pictures/val/000.png", "--k", "3")
    assert answer["promise"] is None
    assert answer["answer"]["kind"] == "product"
    assert answer["answer"]["rule"] is None
    assert "learned with --k 10 --weight 0.5 --temperature 0.1, and hold for these values alone" in caplog.text


def test_without_thresholds_and_with_stale_ones_recognise_answers_as_before_and_warns_once(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree("index", tmp_path / "changed")
    with contextlib.chdir(tmp_path):
        assert main(["index", "remove", "--index", "changed", "--labels", str((held_out_of(inside)[0] + 2) % 12)]) == 0
        caplog.clear()
        capsys.readouterr()
        words = ["recognise", "--index", "changed", "--json", str(inside / "pictures/val/000.png")]
        assert main(words) == 0
        (stale,) = json.loads(capsys.readouterr().out)
        assert caplog.text.count("the index was changed since") == 1
        (tmp_path / "changed" / "thresholds.json").unlink()
        caplog.clear()
        assert main(words) == 0
        (without,) = json.loads(capsys.readouterr().out)
        assert caplog.text.count("nothing is promised") == 1
    assert stale == without
    assert (stale["promise"], stale["answer"]["kind"]) == (None, "product")


def held_out_of(folder: Path) -> list[int]:
    with contextlib.chdir(folder):
        return held_out()


def test_a_promise_that_the_pictures_do_not_show_is_not_given(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("index/thresholds.json").read_bytes()
    assert main(["thresholds", *MODEL, "--index", "index"]) == 2
    said = capsys.readouterr().err
    assert "at most 1% wrong at 95% needs 299 answers without an error" in said
    assert "at most 1% of products never seen answered needs 299 such products" in said
    assert "there are 54 pictures of known products and 2 products never seen" in said
    assert Path("index/thresholds.json").read_bytes() == before
    # What it advises is given.
    advised = re.search(r"They could promise, at 95%: (--max-wrong \S+ --max-false-accept \S+)\. Give", said)
    assert advised is not None
    shutil.copytree("index", tmp_path / "index")
    assert main(["thresholds", *MODEL, "--index", str(tmp_path / "index"), *advised[1].split()]) == 0


def test_the_check_keeps_a_promise_and_finds_one_that_is_broken(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [label for label in range(12) if label not in held_out()]
    for place, shown in (("same", {}), ("drift", dict(zip(known, [*known[2:], *known[:2]])))):
        for label in known:
            # In the drifted shop the packs of each product look as those of another do.
            write_pictures(tmp_path / place / NAMES[label], [shown.get(label, label)] * 6, label + 100)
    found = {}
    for place, status in (("same", 0), ("drift", 3)):
        capsys.readouterr()
        words = ["thresholds", "check", *MODEL, "--index", "index", "--images", str(tmp_path / place), "--json"]
        assert main(words) == status, place
        found[place] = json.loads(capsys.readouterr().out)
    assert found["same"]["holds"] is True
    assert found["drift"]["holds"] is False
    assert found["drift"]["wrong"]["verdict"] == "broken"
    assert found["drift"]["wrong"]["low"] > 0.2


def write_shelves(folder: Path, num_shelves: int, shown: dict[int, int]) -> list[str]:
    """Shelves of three packs each, and shelves.json with the box of every pack. shown: what a product looks like.

    The words that name them for a command."""
    known = [label for label in range(len(NAMES)) if label not in held_out()]
    generator = np.random.default_rng(5)
    folder.mkdir()
    records = []
    for number in range(num_shelves):
        labels = generator.choice(known, 3)
        packs = [np.tile(colour(shown.get(label, label)), (32, 32, 1)) for label in labels.tolist()]
        pixels = np.concatenate(packs, axis=1) + generator.normal(0, 6, size=(32, 96, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
        records += [
            {"category_id": label, "fpath": f"{number:03}.png", "bbox": [32 * place, 0, 32, 32]}
            for place, label in enumerate(labels.tolist())
        ]
    document = {"annotations": records, "num_classes": len(NAMES), "class_names": NAMES}
    (folder / "shelves.json").write_text(json.dumps(document))
    return ["--annotations", str(folder / "shelves.json"), f"data.root={folder}", "data.train_json=null"]


def test_boxes_are_counted_by_photograph_in_the_promise_and_in_its_check(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("index", tmp_path / "index")
    words = [*MODEL, "--index", str(tmp_path / "index")]
    known = [label for label in range(12) if label not in held_out()]
    shelves = write_shelves(tmp_path / "shelves", 30, {})
    assert main(["thresholds", *words, *shelves, "--max-wrong", "30%", "--max-false-accept", "none"]) == 0
    said = capsys.readouterr().out
    content = read_json(tmp_path / "index/thresholds.json")
    # A third of the 30 photographs chose, with all their boxes.
    assert (content["learned_on"]["num_photographs"], content["learned_on"]["num_pictures"]) == (10, 30)
    assert content["bound"]["num_pictures"] == 60
    assert 0 < content["bound"]["num_photographs"] <= 20
    assert f"over {content['bound']['num_photographs']} photographs, each counted once" in said
    drifted = write_shelves(tmp_path / "drift", 30, dict(zip(known, [*known[2:], *known[:2]])))
    for pictures, status, verdict in ((shelves, 0, "holds"), (drifted, 3, "broken")):
        capsys.readouterr()
        assert main(["thresholds", "check", *words, *pictures, "--json"]) == status
        wrong = json.loads(capsys.readouterr().out)["wrong"]
        assert (wrong["unit"], wrong["verdict"]) == ("photographs with answers", verdict)
        assert wrong["trials"] <= 30
    before = (tmp_path / "index/thresholds.json").read_bytes()
    assert main(["thresholds", *words, *shelves, "--max-wrong", "5%", "--max-false-accept", "none"]) == 2
    said = capsys.readouterr().err
    assert "at most 5% wrong at 95% needs 69 photographs with answers, none of them wrong" in said
    assert "there are 20 photographs with 60 boxes of known products" in said
    assert (tmp_path / "index/thresholds.json").read_bytes() == before


def test_products_that_are_taken_for_never_seen_are_named(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt folder is one of them, and would be counted against the promise in silence."""
    write_pictures(tmp_path / "new" / "Moon tea", [0] * 2, 300)
    words = ["thresholds", "check", *MODEL, "--index", "index", "--images", str(tmp_path / "new")]
    capsys.readouterr()
    assert main(words) == 2
    assert "nothing can be promised or checked; they are of: Moon tea." in capsys.readouterr().err
    known = next(label for label in range(12) if label not in held_out())
    write_pictures(tmp_path / "new" / NAMES[known], [known] * 2, 301)
    assert main(words) == 0
    assert "pictures: 2 of known products, 2 of 1 product never seen" in caplog.messages
    assert "never seen are, by their names: Moon tea" in caplog.messages


def test_pictures_that_are_kept_choose_neither_the_epoch_nor_the_recalibration(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chose: list[set[str]] = []
    scored = Validation._classification

    def noted(self: Validation, network: Network, val: Table) -> dict[str, float | None]:
        chose.append(set(val.paths))
        return scored(self, network, val)

    monkeypatch.setattr(Validation, "_classification", noted)
    assert main([*TRAIN, "name=half", "eval.choose_share=0.5"]) == 0
    half = ["--RESUME_MODEL", "log/half/best_model"]
    assert main(["calibrate", *half, "--method", "temperature", "calibrate.folds=2"]) == 0
    chose.append(set(read_embeddings(Path("log/half/embeddings/val_choosing")).paths))
    capsys.readouterr()
    assert main(["thresholds", *half, "--max-wrong", "99.9%", "--max-false-accept", "none", "--json"]) == 0
    learned_on = json.loads(capsys.readouterr().out)["learned_on"]
    kept = set(read_embeddings(Path("log/half/thresholds/embeddings/val_kept")).paths)
    assert [len(paths) for paths in (*chose, kept)] == [40, 40, 40]
    assert chose[0] == chose[1]
    assert not kept & chose[0]
    assert (learned_on["chose_model"], learned_on["notes"]) == (False, [])
    assert read_json(Path("log/half/summary.json"))["num_images"] == 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-wrong", "0"], "--max-wrong 0 is no share between 0 and 1"),
        (["--max-wrong", "much"], "'much' is no share; write 1% or 0.01"),
        (["--confidence", "95"], "--confidence 95 is no share between 0 and 1"),
        (["--images", "pictures", "--annotations", "val.json"], "take one of them"),
        (["--k", "0"], "ask for at least one neighbour"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(
    inside: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["thresholds", *MODEL, "--index", "index", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_checkpoint_alone_has_its_thresholds_in_the_run_folder(
    inside: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    capsys.readouterr()
    assert main(["thresholds", *MODEL, "--max-wrong", "99.9%", "--max-false-accept", "none", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["thresholds"] == "log/run/thresholds.json"
    content = read_json(Path("log/run/thresholds.json"))
    assert (content["index_sha256"], content["search"], content["max_false_accept"]) == (None, None, None)
    used = {one["score"] for rule in content["rules"] for one in rule["conditions"]}
    assert used <= {"softmax", "energy"}
    shown = risk_of(Path("log/run"))
    assert shown is not None
    assert (shown.score, shown.max_wrong) == (content["rules"][0]["conditions"][0]["score"], content["max_wrong"])
    # Every checkpoint of a run has its thresholds there: the one that loses them is told.
    again = ["thresholds", *MODEL, "--max-wrong", "99.9%", "--max-false-accept", "none"]
    for checkpoint, is_told in ((content["checkpoint_sha256"], False), ("0" * 64, True)):
        Path("log/run/thresholds.json").write_text(json.dumps({**content, "checkpoint_sha256": checkpoint}))
        caplog.clear()
        assert main(again) == 0
        assert any("had thresholds of another checkpoint" in one for one in caplog.messages) is is_told
    Path("log/run/thresholds.json").write_text("{}")
    assert risk_of(Path("log/run")) is None
