"""The report of a round, from files as its stages write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from discovered_run import Picture, pictures, write_run
from PIL import Image

from shelfmark.core.files import read_json, write_json
from shelfmark.core.manifests import read_manifest, write_manifest
from shelfmark.discovery.rounds import Selection
from shelfmark.pipelines.discover.files import RunFiles, write_arrays
from shelfmark.pipelines.discover.report import round_rows, stage_seconds, write_report

FILES = ("report.json", "index.html", "cluster_sizes.png", "review.csv")


@pytest.fixture(autouse=True)
def _quick_plot(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One white pixel for the plot, which takes a second, but in tests that ask for `real_plot`."""
    if "real_plot" not in request.fixturenames:
        monkeypatch.setattr(
            "shelfmark.pipelines.discover.report.cluster_sizes",
            lambda _, path: Image.new("RGB", (1, 1), "white").save(path),
        )


@pytest.fixture
def real_plot() -> None:
    """Asked for by tests that look at the plot."""


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return write_run(tmp_path, pictures())


def _bytes(run: RunFiles, number: int = 0) -> dict[str, bytes]:
    return {name: (run.report(number).parent / name).read_bytes() for name in FILES}


def _page(run: RunFiles, number: int = 0) -> str:
    return (run.report(number).parent / "index.html").read_text()


def test_a_report_holds_scores_what_was_selected_and_what_the_truth_says(run: RunFiles) -> None:
    report = write_report(run, 0, recall_at=(1, 2))
    assert read_json(run.report(0)) == json.loads(json.dumps(report))
    for name in ("val", "test"):
        assert report["retrieval"][name]["recall@1"] == report["retrieval"][name]["map@r"] == 1
        assert report["retrieval"][name]["recall@2_low"] == 1
    assert report["retrieval"]["val"]["num_queries"] == 6
    # Seven images are in pseudo-classes, of which one is wrong; two joined Soap, which they are.
    assert report["selection"]["num_selected"] == 9
    assert report["selection"]["num_pseudo_classes"] == 2
    truth = report["truth"]
    assert truth["selection"]["all"]["precision"] == pytest.approx(8 / 9)
    assert truth["selection"]["known"]["joined_precision"] == 1
    assert truth["selection"]["known"]["num_images"] == 3
    assert truth["new_classes"]["new_classes_found"] == 1
    assert truth["clusters"]["all"]["num_clusters"] == 4
    assert [one["num_selected_images"] for one in report["cluster_sizes"]["bins"]] == [0, 5, 4]


def test_the_page_shows_products_with_pictures_truth_and_what_they_are_like(run: RunFiles) -> None:
    write_report(run, 0)
    page = _page(run)
    assert "round_trip: round 0" in page
    for text in ("New 7", "4 images of the cluster&#39;s 5", "density 0.75", "truth: 100% Blue tea (new)"):
        assert text in page
    assert "truth: 67% Salt (new)" in page
    assert "like Oat milk, known, cosine 0.4" in page
    assert "Joined to known classes: 1 cluster<" in page
    # Three sections of two new products, one joined one; each with the picture of what it is like.
    assert page.count("<article") == 7
    assert page.count("data:image/jpeg") == 3 * (4 + 3 + 2) + 2 + 1


@pytest.mark.usefixtures("real_plot")
def test_a_report_made_again_is_the_same_bytes(run: RunFiles) -> None:
    write_report(run, 0)
    first = _bytes(run)
    for name in FILES[:3]:
        (run.report(0).parent / name).unlink()
    write_report(run, 0)
    assert _bytes(run) == first


def test_without_truth_its_rows_are_absent(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(), has_truth=False)
    report = write_report(run, 0)
    assert "truth" not in report
    assert "null" not in run.report(0).read_text()
    assert "truth" not in _page(run).split("</style>")[1].lower()
    rows = dict(round_rows([report])[1])
    assert "images selected" in rows
    assert not {"selected rightly", "new classes found"} & rows.keys()


def test_only_some_truth_is_scored_where_it_is(tmp_path: Path) -> None:
    images = pictures()
    run = write_run(tmp_path, images)
    file = Path(run.read_sets().annotations)
    document = read_json(file)
    for record in [one for one in document["annotations"] if one["role"] == "unlabelled"][1:]:
        del record["true_category_id"]
    write_json(file, document)
    sets = read_manifest(run.sets)
    write_manifest(run.sets, sets | {"annotations_sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
    truth = write_report(RunFiles(run.folder), 0)["truth"]
    assert truth["selection"]["all"]["num_images"] == 1
    assert truth["selection"]["known"]["precision"] is None


def test_unreadable_pictures_and_missing_sets_leave_the_report_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path, [image for image in pictures() if image.role != "test"], has_names=False)
    for image in (tmp_path / "images").iterdir():
        image.write_bytes(b"no picture")
    report = write_report(run, 0)
    assert list(report["retrieval"]) == ["val"]
    assert "cannot be read" in _page(run)
    assert "data:image/jpeg" not in _page(run)
    assert "class 4" in _page(run)


def test_a_round_that_selected_nothing_has_a_report(tmp_path: Path) -> None:
    images = [Picture(one.category, one.role, one.cluster, -1, one.density) for one in pictures()]
    run = write_run(tmp_path, images)
    report = write_report(run, 0)
    assert report["selection"]["num_selected"] == 0
    assert report["truth"]["selection"]["all"]["precision"] is None
    assert "No photograph was selected for a new product in this round." in _page(run)
    assert len(run.review(0).read_text().splitlines()) == 1


def test_the_next_round_has_curves_and_what_stays_selected_is_told(run: RunFiles, tmp_path: Path) -> None:
    write_report(run, 0)
    assert "<svg" not in _page(run)
    run = write_run(tmp_path, pictures(), number=1)
    selection = run.read_selection(1)
    stays = selection.labels == 3
    write_arrays(
        run.selection(1),
        Selection(
            selection.rows,
            selection.labels,
            np.where(stays, -1, selection.clusters),
            selection.density,
            np.where(stays, 0, selection.selected_in),
        ),
    )
    write_json(run.names(1), {"3": "Tea tin"})
    write_report(run, 1)
    page = _page(run, 1)
    assert page.count("<svg") == 3
    assert "test, 0: 100.0%" in page
    assert "test, 1: 100.0%" in page
    assert "selected in round 0" in page
    assert "Tea tin" in page
    # A class that an earlier round settled is no row of this round's review.
    assert [line.split(",")[0] for line in run.review(1).read_text().splitlines()[1:]] == ["2", "3"]


def test_thresholds_stand_in_the_report_and_on_the_page(run: RunFiles) -> None:
    thresholds: dict[str, Any] = {
        "density": {"threshold": 0.55, "precision": 0.8, "coverage": 0.4},
        "join": {"threshold": 0.7, "precision": None, "coverage": None},
    }
    write_json(run.thresholds(0), thresholds)
    assert write_report(run, 0)["thresholds"] == thresholds
    assert "denser than 0.550 (80% of pairs right in calibration)" in _page(run)
    assert "from a cosine of 0.700 on." in _page(run)
    write_json(run.thresholds(0), {"density": {"threshold": -1.0, "precision": 0.8, "coverage": 1.0}})
    write_report(run, 0)
    assert "Selected is every one (80% of pairs right in calibration)" in _page(run)


def test_the_table_on_screen_has_a_column_a_round(run: RunFiles) -> None:
    report = write_report(run, 0)
    later = json.loads(json.dumps(report)) | {"round": 1}
    headings, rows = round_rows([report, later])
    assert headings == ["", "round 0", "round 1"]
    assert all(len(row) == 3 and row[1] == row[2] for row in rows)
    assert {row[0]: row[1] for row in rows} == {
        "val Recall@1": "100.0% (100.0 - 100.0)",
        "val mAP@R": "100.0% (100.0 - 100.0)",
        "test Recall@1": "100.0% (100.0 - 100.0)",
        "test mAP@R": "100.0% (100.0 - 100.0)",
        "images selected": "9 (81.8%)",
        "joined to known classes": "2",
        "new products": "2",
        "selected rightly": "88.9%",
        "new classes found": "2 of 2",
    }


def test_the_time_of_a_round_is_that_of_its_stages(run: RunFiles) -> None:
    report = write_report(run, 0)
    for stage, seconds in (("train", 70.4), ("embed", 9.2), ("report", None)):
        write_json(run.round(0) / stage / "manifest.json", {"seconds": seconds})
    seconds = stage_seconds(run, 0)
    assert seconds == {"train": 70.4, "embed": 9.2}
    assert round_rows([report, report], [seconds, {}])[1][-1] == ["time", "80 s (train 70 s)", ""]


def test_a_picture_that_cannot_be_drawn_costs_a_warning(
    run: RunFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("shelfmark.pipelines.discover.report.cluster_sizes", fail)
    write_report(run, 0)
    assert "warning: cluster_sizes.png could not be drawn: no font" in caplog.text
    assert "Sizes of the clusters" not in _page(run)
