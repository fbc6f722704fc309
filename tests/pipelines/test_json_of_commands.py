"""`--json` of every command: one document on standard output, of the form that docs/cli.md shows."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from untrained_models import make_place, options

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.core import log
from shelfmark.pipelines.discover.assign import Assignment

OPEN = {
    *("scores", "summary", "methods", "table", "cross_validated", "files", "options", "left_out", "rounds"),
    *("parity", "allowed", "by_kind", "skipped"),
}
"""Mappings of the examples whose names depend on the data."""
MODEL = ["--RESUME_MODEL", "log/run/last"]
ONE_SPOILT = ("search", "recognise", "explain")
PHOTOS = ["--images", "pictures/spoilt"]
OF_RECIPES = ("train", "plan", "doctor", "shrink", "to-lance")
LINES: list[tuple[str, int, list[str]]] = [
    ("test", 1, ["test", *MODEL, *PHOTOS, "--topk", "2", "--out", "a.csv"]),
    ("test", 0, ["test", *MODEL, "--images", "pictures/test", "--topk", "2", "--out", "b.csv"]),
    ("ensemble", 0, ["ensemble", "b_top2.csv", "b_top2.csv", "--out", "e.csv"]),
    ("train", 0, ["train", "train.num_epochs=1", "optim.schedule.warmup_epochs=0", "train.batch_size=8"]),
    ("train--check-overfit", 0, ["train", "--check", "overfit", "optim.lr=0.05", "train.batch_size=8"]),
    ("train--check-rate", 0, ["train", "--check", "rate", "train.batch_size=8"]),
    ("plan", 0, ["plan", "train.batch_size=8", "optim.schedule.warmup_epochs=0", "--memory", "16GB"]),
    ("doctor", 0, ["doctor", "data.test_json=", "--fix", "--out", "doctor"]),
    ("to-lance", 0, ["to-lance", "--out", "shop.lance"]),
    ("shrink", 0, ["shrink", "data.test_json=", "--size", "32", "--out", "packed"]),
    ("push", 0, ["push", "log/run/last", "file://{place}/shared"]),
    ("pull", 0, ["pull", "file://{place}/shared", "--out", "pulled"]),
    ("evaluate", 0, ["evaluate", *MODEL, "--post", "flip"]),
    ("compare", 3, ["compare", "log/run", "log/experts", "--require", "top1 >= 99%", "--out", "c.html"]),
    ("report", 0, ["report", "log/run"]),
    ("calibrate", 0, ["calibrate", *MODEL, "--method", "temperature"]),
    ("tau-norm", 0, ["tau-norm", *MODEL]),
    ("embed", 1, ["embed", *MODEL, *PHOTOS, "--out", "features"]),
    ("embed", 1, ["embed", *MODEL, *PHOTOS, "--out", "features"]),
    ("clean", 0, ["clean", *MODEL]),
    ("pseudo-label", 1, ["pseudo-label", *MODEL, *PHOTOS, "--out", "p.json", "--min-confidence", "0.1"]),
    ("weigh-experts", 1, ["weigh-experts", "--RESUME_MODEL", "log/experts/last", *PHOTOS]),
    ("index-build", 0, ["index", "build", *MODEL, "--split", "retrieval", "--out", "index"]),
    ("index-add", 1, ["index", "add", "--index", "index", *PHOTOS, "--label-from", "folder"]),
    ("search", 1, ["search", "--index", "index", "pictures/val_1.png", "pictures/spoilt/4.png"]),
    ("recognise", 1, ["recognise", "--index", "index", "pictures/val_1.png", "pictures/spoilt/4.png"]),
    ("explain", 1, ["explain", *MODEL, "--index", "index", "pictures/val_1.png", "pictures/spoilt/4.png"]),
    ("index-remove", 0, ["index", "remove", "--index", "index", "--ids", "spoilt/0.png"]),
    ("index-info", 0, ["index", "info", "--index", "index"]),
    ("index-verify", 0, ["index", "verify", "index"]),
    ("index-compact", 0, ["index", "compact", "--index", "index"]),
    ("grow", 1, ["grow", *MODEL, *PHOTOS, "--out", "grown"]),
    ("index-export", 0, ["index", "export", "--index", "index", "--out", "exported"]),
    ("export", 0, ["export", *MODEL, "--out", "out"]),
    ("export-verify", 0, ["export", "verify", "out"]),
    ("thresholds", 0, ["thresholds", *MODEL, "--index", "index", "--max-wrong", "99.9%"]),
    ("thresholds-check", 0, ["thresholds", "check", *MODEL, "--index", "index", "--annotations", "val.json"]),
    ("config--describe", 0, ["config", "--describe", "optim.lr"]),
    ("cluster-fit", 0, ["cluster", "fit", "--smoke", "--out", "clusterer"]),
    ("cluster-run", 0, ["cluster", "run", "--smoke", "--clusterer", "clusterer", "--out", "clusters"]),
    ("prepare", 0, ["prepare", "folder", "--source", "classes", "--out", "prepared"]),
    ("migrate", 0, ["migrate", "python main.py --loss PNP --seed 0 --bs 384"]),
    ("completion", 0, ["completion", "bash"]),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of untrained models, where what is said goes to standard output, as in a terminal."""
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    for row in range(8):
        file = Path(f"classes/{'ab'[row % 2]}/{row}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), row, np.uint8)).save(file)
    handler = log._StdoutHandler()
    logging.getLogger("shelfmark").addHandler(handler)
    yield tmp_path
    logging.getLogger("shelfmark").removeHandler(handler)


def test_every_command_writes_one_document_of_the_form_on_the_page(
    place: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forms = examples(checkout)
    for label, status, argv in LINES:
        argv = [word.replace("{place}", str(place)) for word in argv]
        words = [*argv, *options(place)] if argv[0] in OF_RECIPES else argv
        capsys.readouterr()
        ended = main([*words, "--json"])
        printed = capsys.readouterr()
        assert ended == status, f"{label}: {printed.err}"
        document = json.loads(printed.out, parse_constant=pytest.fail)
        assert fits(forms[label], document), f"{label}: {printed.out}\nand not as\n{json.dumps(forms[label])}"
        unread = re.findall(r'"error": "not a JPEG', printed.out)
        assert len(unread) == (0 if status in (0, 3) else 1 if label in ONE_SPOILT else 5), label
    capsys.readouterr()
    assert main(["test", *MODEL, "--images", "pictures/spoilt_all", "--out", "c.csv", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error: no photograph is left to answer: " in printed.err
    assert "spoilt_all/4.png could not be read: not a JPEG" in printed.err
    assert not list(place.glob("c.csv")) + list(place.glob("c_*"))


def test_an_assignment_has_the_form_on_the_page(checkout: Path) -> None:
    known = Assignment("a.jpg", "known", "Milk", 3, None, 0.9, "Tea", None, 7, 0.5, "/data/1.jpg")
    unknown = Assignment("b.jpg", "unknown", "Milk", 3, None, 0.1)
    broken = Assignment("c.jpg", error="truncated")
    document = [one.as_json() for one in (known, unknown, broken)]
    assert fits(examples(checkout)["discover-assign"], document[:1])
    assert document[0]["answer"] == {"kind": "product", "class": 3, "name": "Milk", "score": 0.9}
    assert document[0]["candidates"][1] == {"class": None, "name": "Tea", "score": 0.5, "cluster": 7}
    assert document[1]["answer"] == {"kind": "unknown", "class": None, "name": None, "score": None}
    assert document[1]["candidates"][0]["class"] == 3
    assert document[2] == {"id": "c.jpg", "error": "truncated"}


def test_the_page_names_every_command(checkout: Path) -> None:
    page = (checkout / "docs" / "cli.md").read_text()
    # `search` has two names.
    assert {name for name in COMMANDS if not re.search(rf"`(shelfmark )?{name}`", page)} == {"index search"}


def examples(checkout: Path) -> dict[str, Any]:
    """The documents on the page, by the commands that they are of."""
    page = (checkout / "docs" / "cli.md").read_text()
    blocks = re.findall(r"^```json ([^\n]*)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return {label: json.loads(text) for labels, text in blocks for label in labels.split()}


def fits(form: Any, value: Any) -> bool:
    """Whether a value has the keys and types of an example. An entry of a list fits some entry of the example's."""
    if form is None or value is None:
        return True
    if isinstance(form, dict):
        return (
            isinstance(value, dict) and form.keys() == value.keys() and all(fits_at(form, value, key) for key in form)
        )
    if isinstance(form, list):
        return isinstance(value, list) and (not form or all(any(fits(one, item) for one in form) for item in value))
    return type(form) is type(value) or {type(form), type(value)} == {int, float}


def fits_at(form: dict[str, Any], value: dict[str, Any], key: str) -> bool:
    if key in OPEN and not (key == "options" and isinstance(form[key], list)):
        return type(form[key]) is type(value[key]) and bool(value[key]) == bool(form[key])
    return fits(form[key], value[key])
