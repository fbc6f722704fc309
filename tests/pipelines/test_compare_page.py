"""The page of a comparison in Chromium: whatever names it shows, in each look, and as axe-core judges it."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import missing, require_everyone_served
from PIL import Image

from shelfmark.core.strings import Strings
from shelfmark.data.class_map import ClassList
from shelfmark.data.table import Table
from shelfmark.evaluation.agreement import agreement, better_and_worse, changed_classes
from shelfmark.evaluation.paired_scores import PairedScore
from shelfmark.pipelines.compare_page import write_comparison
from shelfmark.pipelines.comparison import AgainstFirst, Comparison, Judgement, NamedChange
from shelfmark.runtime.compared_answers import ClassAnswers
from shelfmark.runtime.paired_pictures import PairedPictures
from shelfmark.runtime.run_config import ConfigDifference

SCRIPT = "<script>document.title = 'owned'</script>"
NAMES = (SCRIPT, '"><img src=x onerror="alert(1)">', "{{ 7 * 7 }} </style>", "שוקולד\u202e gpj.exe", "x" * 200)
RUN = "log/<b>new</b>"
LABELS = np.arange(30) % 5


def comparison(folder: Path) -> tuple[Comparison, ClassAnswers, Table]:
    """Two runs, of which the second takes class 0 for class 1 where the first was right, and learned class 2."""
    for place in range(len(LABELS)):
        Image.fromarray(np.full((40, 30, 3), 8 * place, np.uint8)).save(folder / f"{place}.png")
    paths = Strings.of([f"{place}.png" for place in range(len(LABELS))])
    ids = Strings.of([f"{SCRIPT}{place}" for place in range(len(LABELS))])
    val = Table(paths, LABELS, ids, 5, folder, "", class_names=NAMES)
    first, second = LABELS.copy(), LABELS.copy()
    first[LABELS == 2], second[LABELS == 0] = 3, 1
    rows = np.arange(len(LABELS))
    pictures = PairedPictures("file", (rows, rows), (0, 4), 1)
    scores = [
        PairedScore(name, (0.8, 0.7), ((0.7, 0.9), (0.6, 0.8)), (None, -0.1), (None, (-0.2, -0.01)))
        for name in ("top1", "mean_class_accuracy", "ece", "recall@1")
    ]
    answers = ClassAnswers(pictures, ClassList(5, NAMES, "a"), LABELS, (first, second), rows, scores)
    changed = better_and_worse(changed_classes(first, second, LABELS), 50)
    better, worse = ([NamedChange(NAMES[one.label], one) for one in side] for side in changed)
    other = AgainstFirst(RUN, agreement(first, second, LABELS), {"top1": 1.0}, 1, 1, better, worse)
    facts: dict[str, Any] = {
        **dict.fromkeys(("train_images_per_s", "train_features_per_s", "val_images_per_s", "peak_memory_bytes")),
        **dict.fromkeys(("num_parameters", "weights_bytes", "num_train_images", "num_classes", "epoch"), 1000),
        "recalibrations": [SCRIPT],
    }
    found = Comparison(
        [{"name": name, **facts} for name in ("log/a", RUN)],
        [ConfigDifference("model.weights", (SCRIPT, None), (f"a.yaml:3 {SCRIPT}", "default"))],
        pictures,
        None,
        scores,
        [other],
        [Judgement(RUN, "top1 >= -1%", False, -0.1, -0.2, -0.01, SCRIPT)],
    )
    return found, answers, val


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    found, answers, val = comparison(folder)
    found = replace(found, untrained=(RUN,))
    write_comparison(found, answers, val, folder / "page.html")
    return folder / "page.html"


def test_the_page_has_the_answer_the_changed_classes_and_their_pictures(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert html.index("Not all requirements are met: 0 of 1.") < html.index("Requirements</h2>")
    # Six pictures of each of the two classes changed sides.
    assert html.count("data:image/jpeg;base64,") == 12
    assert html.count("\u2717 now taken for &#34;&gt;&lt;img") == 6
    assert html.count("\u2713 was taken for ") == 6
    assert "right: 6 before, 0 now, of 6 images" in html
    assert html.index(f"{escape(RUN)}: no loss trained its classifier") < html.index("Scores</h2>")
    assert "<script" not in html


def test_names_are_text_and_nobody_is_shut_out_in_any_look(page: Path) -> None:
    if lacking := missing(axe=True):
        pytest.skip(lacking)
    # The class that was learned, then the one that was lost.
    require_everyone_served(page, f"{RUN} compared with log/a", headings=[NAMES[2], NAMES[0]])
