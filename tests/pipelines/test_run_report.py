"""The report of a whole run: what it holds, hostile names, axe-core in Chromium, and that it fails no training."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from markupsafe import escape
from untrained_models import make_place

from shelfmark.core.errors import UserError
from shelfmark.core.manifests import write_manifest
from shelfmark.data.sources import FileSource, Picture
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.explain import METHODS
from shelfmark.pipelines import report as module
from shelfmark.pipelines.calibrate import calibrate
from shelfmark.pipelines.report import report, report_of_training
from shelfmark.reports.html.parts import Folded
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.run_page.reasons import reasons_part
from shelfmark.runtime.explained_pictures import regions_in_words
from shelfmark.runtime.explainer import Explainer
from shelfmark.runtime.run_report.classes import recalibrated
from shelfmark.runtime.run_report.material import Material
from shelfmark.runtime.run_report.reasons import Case, reasons_of
from shelfmark.runtime.run_report.stored_run import summary_of
from shelfmark.runtime.trained_model import open_model

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from chromium import AXE, chromium, missing, violations

NAMES = ("<script>alert(1)</script> \"quoted\" 'so' & so", "\u202eקפה שחור", "long " + "x" * 300)
HEADINGS = (
    *("What to do next", "Curves", "The tail", "Mistakes", "Retrieval", "Confidence", "What the network saw"),
    "Provenance",
)
RECORDS: list[dict[str, Any]] = [
    {"kind": "train", "step": 2, "epoch": 0, "loss": 1.2, "lr": 0.1, "grad_norm": 1.0},
    {"kind": "epoch", "step": 4, "epoch": 0, "loss": 1.1, "lr": 0.1, "images_per_s": 10.0, "data_wait_share": 0.5},
    {"kind": "val", "step": 4, "epoch": 0, "recall@1": 0.4},
]
SUMMARY = {"top1": 0.4, "top1_low": 0.3, "top1_high": 0.5, "many": 0.9, "few": 0.2, "ece": 0.2, "recall@1": 0.5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a model that has learned nothing, whose three products have names of an enemy."""
    folder = tmp_path_factory.mktemp("hostile")
    make_place(folder, NAMES)
    run = folder / "log" / "run"
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in RECORDS))
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    (run / "environment.json").write_text(json.dumps({"command": ["shelfmark", "train", NAMES[0]], "torch": "2"}))
    (run / "config.yaml").write_text(f"name: {json.dumps(NAMES[0])}  # command line: name={NAMES[0]}\n")
    rows = [f"{label},{0.5}" for label in range(3)]
    (run / "per_class.csv").write_text("\n".join(["class_id,accuracy", *rows]) + "\n")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def page(place: Path) -> Path:
    return place / report(Path("log/run")).page


def test_every_part_is_there_and_names_are_text(page: Path) -> None:
    html = page.read_text()
    assert re.findall(r"<h2[^>]*>([^<]*)", html) == list(HEADINGS)
    assert "could not be made" not in html
    assert "<script" not in html
    assert "\u202e" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt; &#34;quoted&#34;") > 3
    assert "קפה שחור" in html
    assert NAMES[2] in html
    assert len(html.encode()) < 3_000_000
    links = re.findall(r'href="([^#"][^"]*)"', html)
    assert len(links) == len(set(links)) >= 20
    assert all((page.parent / link).stat().st_size for link in links)
    assert not re.search(r"https?://", html)


def test_scores_answers_and_advice_are_those_of_the_run(place: Path, page: Path) -> None:
    html = page.read_text()
    assert "<b>40.0%</b><span>top-1</span><small>30.0 to 50.0</small>" in html
    model = open_model(Path("log/run/last"))
    found = re.search(r"(\d+) of 11 images on val are answered wrongly", html)
    assert found is not None
    features = np.load("log/run/embeddings/val/features.npy")
    weight, bias = (getattr(model.network.classifier, name).detach().numpy() for name in ("weight", "bias"))
    predicted = (features @ weight.T + (0 if bias is None else bias)).argmax(axis=1)
    assert int(found[1]) == int((predicted != np.arange(11) % 3).sum())
    for rule in (
        "Recalibrate the classifier.",
        "Learn a temperature.",
        "Read images faster.",
        "Decide when to answer.",
    ):
        assert rule in html


def test_wrong_answers_are_shown_with_what_spoke_for_them(place: Path, page: Path) -> None:
    html = page.read_text()
    model, val = open_model(Path("log/run/last")), json.loads(Path("val.json").read_text())["annotations"]
    found = re.search(r"what spoke for (\d) of (\d+) wrong answers and (\d) of (\d) confused pairs", html)
    assert found is not None
    surest, num_wrong, pairs, num_pairs = map(int, found.groups())
    assert (surest, num_wrong) == (6, int(re.findall(r"(\d+) of 11 images on val are answered wrongly", html)[0]))
    assert html.count('alt="What speaks for') == surest + pairs
    features = np.load("log/run/embeddings/val/features.npy")
    with torch.no_grad():
        chances = model.network.logits(torch.from_numpy(features)).softmax(dim=1).numpy()
    wrong = [row for row in range(11) if chances[row].argmax() != row % 3]
    assert 0 <= pairs <= num_pairs == len({(row % 3, int(chances[row].argmax())) for row in wrong})
    first = max(wrong, key=lambda row: chances[row].max())
    expected = Explainer(model).explain(Path("pictures") / val[first]["fpath"])
    assert f"Method: {expected.method_in_words}." in html
    for line in regions_in_words(expected):
        assert str(escape(line)) in html


def test_an_explanation_that_fails_is_told_and_costs_no_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(Path("log/run/last"))
    source = FileSource(["pictures/nowhere.png", "pictures/val_1.png"])
    cases = [Case(Shown(Picture(source, row), "a picture", "its answer"), 0) for row in range(2)]
    found = reasons_of(model, cases, cases[:1], 20, 3)
    assert (len(found.surest), len(found.pairs), found.method) == (1, 0, METHODS["grad_cam"])
    assert found.lacking == ("a picture cannot be read: missing",)
    calls: list[int] = []

    def broken(error: Exception) -> Any:
        def explain(*_: object, **__: object) -> None:
            calls.append(0)
            raise error

        return explain

    for error, number in ((MemoryError("no room"), 2), (UserError("a network without a map"), 1)):
        calls.clear()
        monkeypatch.setattr(Explainer, "explain", broken(error))
        part = reasons_part(reasons_of(model, cases[1:], cases[1:], 20, 3))
        assert isinstance(part, Folded)
        [told] = part.parts
        assert str(error) in told.text
        assert len(calls) == number


def test_a_folder_that_is_no_run_is_refused_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not the folder of a run: it has neither best_model/ nor last/"):
        report(tmp_path)


def test_a_report_that_fails_costs_a_training_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of ink")

    monkeypatch.setattr(module, "write_page", broken)
    splits: Any = SimpleNamespace(train=None, val=None, retrieval=None)
    report_of_training(open_model(Path("log/run/last")), splits, Path("log/run"))
    [told] = [one.message for one in caplog.records if "not written" in one.message]
    assert "RuntimeError: out of ink" in told
    assert "report log/run` tries it again" in told


def test_a_run_without_its_files_says_why_parts_are_absent(place: Path, tmp_path: Path) -> None:
    with contextlib.chdir(place):
        found = report(Path("log/experts"), tmp_path)
    html = found.page.read_text()
    for told in ("summary.json is not in the folder", "metrics.jsonl is not in the folder", "environment.json is not"):
        assert told in html
    assert "shelfmark evaluate --RESUME_MODEL log/experts/last" in html


def test_an_interrupted_run_is_told_as_such_and_a_finished_one_is_not(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "log/run", run)
    checkpoint = load_checkpoint(run / "last")
    config = checkpoint.manifest["config"]
    for epoch, titles in ((1, ["Go on with the training."]), (7, [])):
        # The best model is of a time before train.num_epochs was raised.
        longer = {**config, "train": {**config["train"], "num_epochs": 7}}
        write_manifest(run / "last/manifest.json", {**checkpoint.manifest, "epoch": epoch, "config": longer})
        found = report(run).next
        assert [one["title"] for one in found if one["title"].startswith("Go on")] == titles


def test_a_run_outlives_its_pictures(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (place / "pictures").rename(place / "gone")
    try:
        with contextlib.chdir(place):
            html = report(Path("log/run"), tmp_path).page.read_text()
    finally:
        (place / "gone").rename(place / "pictures")
    assert re.findall(r"<h2[^>]*>([^<]*)", html) == list(HEADINGS)
    assert html.count("The images of the evaluation cannot be opened.") == 3
    assert "40.0%" in html
    assert "pictures is not a folder" in caplog.text


def test_scores_that_are_no_numbers_are_told_as_damage(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"top1": "high", "few": 0.1}')
    with pytest.raises(UserError, match=r"summary\.json is damaged"):
        summary_of(tmp_path)


def test_of_a_recalibration_the_scores_are_those_of_the_model_that_it_saved(tmp_path: Path) -> None:
    rows = [
        {"method": "unmodified", "top1": 0.4, "ece": 0.2, "ece_with_temperature": None},
        {"method": "crt", "top1": 0.6, "ece": 0.16, "ece_with_temperature": 0.05, "learned": {"temperature": 1.7}},
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"chosen": "crt", "saved": "crt", "methods": rows}))
    assert summary_of(tmp_path) == {"top1": 0.6, "ece": 0.05}


def test_a_recalibrated_model_has_a_report_of_its_own_and_stands_in_that_of_its_run_alone(
    place: Path, tmp_path: Path
) -> None:
    root = tmp_path / "log_tau"
    output = SimpleNamespace(output=SimpleNamespace(tau_root=root))
    with contextlib.chdir(place):
        found = calibrate(open_model(Path("log/run/last")), ["tau_norm"], root / "run")
        html = report(found.folder, tmp_path / "page").page.read_text()
        for of_run in (True, False):
            # Afterwards another training has taken the run's name.
            own = Path("log/run") if of_run else Path("log/stranger")
            run = SimpleNamespace(name="run", folder=own)
            material = cast(Material, SimpleNamespace(run=run, model=SimpleNamespace(recipe=output)))
            assert recalibrated(material) == (found.checkpoint if of_run else None)
    assert "recalibrated by a temperature alone." in html
    assert "A recalibration trains nothing." in html
    assert "Row lengths after recalibration" not in html


def test_axe_finds_no_violation_and_nothing_reaches_out_of_the_window(page: Path) -> None:
    if lacking := missing(axe=True):
        pytest.skip(lacking)
    said: list[str] = []
    with chromium() as browser:
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 800})
            context.add_init_script(path=AXE)
            shown = context.new_page()
            shown.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
            shown.on("console", lambda message: said.append(message.text))
            shown.goto(page.as_uri())
            shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            # A check of the whole page takes seconds; each scheme and each width is in one of the two.
            for width in (320, 1280) if scheme == "light" else (1280, 320):
                shown.set_viewport_size({"width": width, "height": 800})
                assert shown.evaluate("document.documentElement.scrollWidth") == width
            assert violations(shown) == []
            if scheme == "dark":
                # Paper is white, whatever the screen is.
                shown.emulate_media(media="print")
                colours = "one => [getComputedStyle(one).color, getComputedStyle(document.body).backgroundColor]"
                assert shown.locator("h1").evaluate(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
            context.close()
    assert said == []
