"""One process and three write the same bytes, and end alike where something is wrong.

All commands run one after the other in each number of processes, at the same place, which is then moved aside.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from two_processes import on_processes
from untrained_models import MODELS, SIZES, SPOILT_ALL, make_place

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.options import NUM_GPUS
from shelfmark.core import dist
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.pipelines import index
from shelfmark.pipelines.calibrate import calibrate
from shelfmark.pipelines.clean import clean
from shelfmark.pipelines.embed import embed
from shelfmark.pipelines.evaluate import evaluate
from shelfmark.pipelines.grow import grow
from shelfmark.pipelines.post_processing import Plan, post_process
from shelfmark.pipelines.predict import predict
from shelfmark.pipelines.pseudo_label import pseudo_label
from shelfmark.pipelines.tau_norm import tau_norm
from shelfmark.pipelines.thresholds import thresholds
from shelfmark.pipelines.thresholds_check import check
from shelfmark.pipelines.weigh_experts import weigh_experts
from shelfmark.runtime.index_content import Source
from shelfmark.runtime.promised_pictures import Given
from shelfmark.runtime.trained_model import open_model

NUMBERS = (1, 3)


def undrawn(place: Path) -> dict[str, str]:
    """`all_commands`, without the figures: they take longer than all the rest."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("shelfmark.pipelines.evaluate.draw_evaluation", lambda *_: None)
        patched.setattr("shelfmark.pipelines.thresholds.risk_coverage_plot", lambda *_: None)
        patched.setattr("shelfmark.pipelines.tau_norm.tau_curve", lambda *_, **__: None)
        return all_commands(place)


def all_commands(place: Path) -> dict[str, str]:
    """Writes all into `place`; returns what became of what has to fail, in this process."""
    opened, experts = (open_model(place / "log" / name / "last") for name in MODELS)
    test = place / "pictures" / "test"
    embed(opened, place / "embedded", images=test)
    embed(opened, place / "embedded_spoilt", images=place / "pictures" / "spoilt")
    predict(opened, place / "pictures" / "spoilt", topk=2, out=place / "spoilt.csv")
    evaluate(opened, place / "scores", former=place / "scores")
    evaluate(opened, place / "scores_2", former=place / "scores")
    post_process(opened, place / "scores", Plan(("flip", "whiten")), place / "scores")
    predict(opened, test, topk=2, out=place / "submission.csv")
    calibrate(opened, ["temperature", "logit_adjustment", "ncm"], place / "calibrated")
    tau_norm(opened)
    clean(opened, place / "doubts")
    pseudo_label(opened, place / "pseudo.json", test, min_confidence=0.1, with_train=True)
    weigh_experts(experts, test)
    grow(opened, test, place / "grown")
    index.build(opened, place / "index", Source(split="retrieval"))
    index.add(place / "index", Source(annotations=place / "more.json"))
    # Nothing was learned, so little can be promised.
    thresholds(opened, place / "index", 0.9, 0.5)
    checked = check(opened, place / "index", Given(annotations=place / "val.json"))
    # The room for seconds is the only one that may differ.
    if dist.is_main():
        (place / "checked.json").write_text(json.dumps(checked.as_json(), default=str))
        table = (place / "scores" / "post_processing.csv").read_text().splitlines()
        (place / "scores" / "post_processing.csv").write_text("\n".join(row.rpartition(",")[0] for row in table))
    return {name: told(partial(case, opened, place)) for name, case in FAILURES.items()}


def told(case: Callable[[], object]) -> str:
    try:
        case()
    except Exception as error:
        outcome = f"{'UserError' if isinstance(error, UserError) else type(error).__name__}: {error}"
    else:
        outcome = "nothing"
    # Whoever is not in step here waits for ever.
    assert dist.gather_objects("in step") == ["in step"] * dist.world_size()
    return outcome


FAILURES: dict[str, Callable[[Any, Path], object]] = {
    "unreadable": lambda opened, place: embed(opened, place / "x", annotations=place / "spoilt.json"),
    "photographs that nobody can read": lambda opened, place: embed(opened, place / "x", images=place / SPOILT_ALL),
    "features of others": lambda opened, place: embed(opened, place / "embedded", split="val"),
    "no folder": lambda opened, place: embed(opened, place / "no.json" / "x", annotations=place / "no.json"),
    "no index": lambda opened, place: index.add(place / "nothing", Source()),
    "an index over another": lambda opened, place: index.build(opened, place / "index", Source()),
    "ids that are there": lambda opened, place: index.add(place / "index", Source(annotations=place / "more.json")),
    "a promise that cannot be given": lambda opened, place: thresholds(opened, place / "index", 0.01, 0.95, None),
    "nobody is sure": lambda opened, place: pseudo_label(opened, place / "p.json", place / "pictures" / "test", 1.0),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, list[dict[str, str]]]]:
    """For each number of processes what they wrote and what each of them met."""
    folder = tmp_path_factory.mktemp("several")
    make_place(folder / "place")
    (folder / "place").rename(folder / "made")
    found = {}
    for number in NUMBERS:
        # The same name, for it stands in what is written, and the same times of files.
        shutil.copytree(folder / "made", folder / "place")
        (folder / f"meeting_{number}").mkdir()
        work = partial(undrawn, folder / "place")
        outcomes = [work()] if number == 1 else on_processes(number, work, folder / f"meeting_{number}")
        (folder / "place").rename(folder / f"{number}")
        found[number] = (folder / f"{number}", outcomes)
    return found


def digests(place: Path) -> dict[str, str]:
    files = [file for file in sorted(place.rglob("*")) if file.is_file()]
    return {str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.dist
@pytest.mark.parametrize("number", NUMBERS[1:])
def test_any_number_of_processes_writes_the_bytes_of_one(places: dict[int, Any], number: int) -> None:
    ours, theirs = digests(places[1][0]), digests(places[number][0])
    assert {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)} == set()


@pytest.mark.dist
def test_what_they_wrote_is_all_there(places: dict[int, Any]) -> None:
    place = places[3][0]
    rows = {
        "embedded": 5,
        "embedded_spoilt": 1,
        "scores/embeddings/val": 11,
        "log/run/embeddings/train": 13,
        "index_features": 7,
    }
    assert {name: len(read_embeddings(place / name)) for name in rows} == rows
    assert len((place / "submission.csv").read_text().splitlines()) == 6
    assert (place / "spoilt.csv").read_text().splitlines()[0] == "id,predicted"
    assert [line.split(",")[0] for line in (place / "spoilt_top2.csv").read_text().splitlines()] == ["id", "0.png"]
    for name in ("spoilt_bad_images.csv", "embedded_spoilt_bad_images.csv"):
        assert [line.split(",")[0] for line in (place / name).read_text().splitlines()[1:]] == list("12345")
    assert json.loads((place / "index" / "manifest.json").read_text())["num_vectors"] == 9
    for name in ("calibrated/summary.json", "log_tau/run/summary.json", "log_tau/experts/summary.json", "pseudo.json"):
        assert (place / name).is_file(), name
    content = json.loads((place / "index" / "thresholds.json").read_text())
    assert content["bound"]["num_pictures"] + content["learned_on"]["num_pictures"] == SIZES["val"]
    assert len(read_embeddings(place / "index_thresholds/embeddings/val")) == SIZES["val"]
    assert json.loads((place / "checked.json").read_text())
    assert not list(place.rglob("*.part")) + list(place.rglob("*.lock"))


@pytest.mark.dist
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("unreadable", "UserError: .*could not be read: not a JPEG"),
        ("photographs that nobody can read", "UserError: no photograph is left to answer: .*/8.png could not be read"),
        ("features of others", "UserError: .*its features do not fit"),
        ("no folder", "UserError: "),
        ("no index", "UserError: .*nothing"),
        ("an index over another", "UserError: .*an index is not built over another"),
        ("ids that are there", "UserError: .*more_0.png"),
        ("a promise that cannot be given", "UserError: the promise cannot be given: .* needs 299 answers"),
        ("nobody is sure", "UserError: no image is predicted with a probability of 1"),
    ],
)
def test_all_processes_end_in_the_same_words(places: dict[int, Any], number: int, case: str, said: str) -> None:
    outcomes = {one[case] for one in places[number][1]}
    assert len(outcomes) == 1
    assert re.match(said, outcomes.pop())


# The command line


SHARED = ["grow", "test", "tau-norm", "calibrate", "weigh-experts", "evaluate", "embed", "clean", "pseudo-label"]
SHARED += ["thresholds", "thresholds check", "compare"]


def test_the_commands_that_share_their_work_say_so_and_no_other_does() -> None:
    found = {name for name, one in COMMANDS.items() if any(option.flag == NUM_GPUS for option in one.options)}
    assert found == {*SHARED, "index build", "index add", "train", "discover", "doctor"}
    assert {name for name, one in COMMANDS.items() if one.recipe is not None} == found - {"train", "discover"}


@pytest.mark.parametrize("rank", ["0", "1"])
def test_under_torchrun_a_command_of_one_process_refuses_and_one_process_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    for argv in (["ensemble", "a.csv"], ["search", "a.jpg", "--index", "x"], ["index", "info", "--index", "x"]):
        assert main(argv) == 2
        said = capsys.readouterr().err
        assert ("works in one process, and 2 were started" in said) == (rank == "0")


def test_a_signal_that_ends_a_pass_gives_the_status_of_one_that_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_place(tmp_path)
    argv = ["embed", "--RESUME_MODEL", str(tmp_path / "log/run/last"), "--out", str(tmp_path / "out")]

    def stopped(*_: object) -> None:
        raise Stopped(15)

    with monkeypatch.context() as patched:
        patched.setattr("shelfmark.runtime.image_pass.raise_if_stopped", stopped)
        assert main(argv) == 75
    assert "stopped by SIGTERM: nothing is left half-written; the same command starts it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(argv) == 0
    assert len(read_embeddings(tmp_path / "out")) == SIZES["val"]


@pytest.mark.dist
def test_num_gpus_starts_the_processes_and_says_a_wrong_option_once_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_place(tmp_path)
    argv = ["embed", "--RESUME_MODEL", str(tmp_path / "log/run/last"), "--num-gpus", "2", "--out"]
    monkeypatch.setattr(sys, "argv", ["shelfmark", *argv, str(tmp_path / "out"), "optim.lrr=1"])
    assert main(sys.argv[1:]) == 2
    assert capfd.readouterr().err.count("error: ") == 1
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1]])
    assert main(sys.argv[1:]) == 0
    said = capfd.readouterr().out
    assert said.count("model: ") == said.count("11 embeddings of") == 1
    assert len(read_embeddings(tmp_path / "out")) == SIZES["val"]
