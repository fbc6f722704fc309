"""What a pass says of its progress where there is no terminal."""

from __future__ import annotations

import pytest

from shelfmark.data import image_bar
from shelfmark.runtime.pass_bar import pass_bar


def test_lines_count_the_images_name_the_phase_and_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock_s = iter([0.0, 4.0, 10.0, 11.0, 30.0])
    monkeypatch.setattr(image_bar.time, "monotonic", lambda: next(clock_s))
    with caplog.at_level("INFO"), pass_bar("features of val", 4000) as report:
        for _ in range(4):
            report(1000)
    # At 10 s half of the images are done. The last batch needs no line.
    assert [record.message for record in caplog.records] == ["features of val: 2,000 of 4,000 images, 10 s left"]


def test_lines_of_a_pass_that_goes_on_count_what_was_done_before_and_time_what_is_done_now(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock_s = iter([0.0, 12.0])
    monkeypatch.setattr(image_bar.time, "monotonic", lambda: next(clock_s))
    with caplog.at_level("INFO"), image_bar.image_bar("checking images", 40_000, begun=20_000) as show:
        show(30_000)
    assert [record.message for record in caplog.records] == ["checking images: 30,000 of 40,000 images, 12 s left"]
