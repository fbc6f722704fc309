"""The doctor's page in Chromium: whatever names it shows, in each look, and as axe-core judges it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chromium import missing, require_everyone_served
from drawn_pictures import drawn

from shelfmark.reports.doctor_page import DoctorPage, ShownFinding, ShownGroup, count_curve, some, write_doctor_page
from shelfmark.reports.html.parts import Number
from shelfmark.reports.html.pictures import Shown

SCRIPT = "<script>document.title = 'owned'</script>"
NAMES = (SCRIPT, '"><img src=x onerror="alert(1)">', "{{ 7 * 7 }} </style>", "שוקולד\u202e gpj.exe", "x" * 200)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shown = tuple(Shown(drawn(number, 40), f"{name}: dark", name) for number, name in enumerate(NAMES))
    pictures, more = some(shown, 4)
    findings = (
        ShownFinding(
            "Copies", "5 groups.", "Why.", groups=tuple(ShownGroup(name, (name,), shown, 3) for name in NAMES)
        ),
        ShownFinding("Dark", "5 images.", pictures=pictures, num_more=more, file="dark.csv"),
        ShownFinding("Unreadable", "2 images.", columns=("image", "reason"), rows=((NAMES[0], NAMES[1]),), num_more=1),
    )
    summary = (("copies", "5", "25"), ("doubtful labels", "not looked for", ""))
    counts = np.array([0, 1, 7, 300, 12])
    path = tmp_path_factory.mktemp("doctor") / "page.html"
    write_doctor_page(DoctorPage(SCRIPT, "What is wrong", summary, (Number("5", "images"),), findings, counts), path)
    return path


def test_the_page_has_every_group_what_is_left_out_and_the_curve(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 5 * 5 + 4
    assert "dark.csv" in html
    assert "and 1 more" in html
    assert "<script" not in html
    assert "the largest has 300 images, the one in the middle 7, the smallest 0" in html


def test_the_curve_falls_and_keeps_its_ends() -> None:
    counts = np.random.default_rng(0).integers(0, 1000, 5000)
    [line] = count_curve(counts).layers
    assert len(line.x) <= 200
    assert (line.x[0], line.x[-1], line.y[0], line.y[-1]) == (1, 5000, counts.max(), counts.min())
    assert (np.diff(line.y) <= 0).all()


def test_names_are_text_and_nobody_is_shut_out_in_any_look(page: Path) -> None:
    if lacking := missing(axe=True):
        pytest.skip(lacking)
    require_everyone_served(page, SCRIPT)
