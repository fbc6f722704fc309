"""Joining top-k files: scores worked out by hand, and files that do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import main
from shelfmark.core.errors import UserError
from shelfmark.pipelines.ensemble import ensemble
from shelfmark.predictions.ensemble import join_topk
from shelfmark.predictions.submission import read_submission, read_topk, write_topk

NAN = math.nan


def write(path: Path, ids: list[str], classes: list[list[int]], scores: list[list[float]]) -> Path:
    write_topk(path, ids, np.array(classes), np.array(scores))
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / "a.csv", ["x", "y", "z"], [[1, 2], [3, 4], [5, 6]], [[0.6, 0.3], [0.9, 0.1], [NAN, NAN]]),
        # Another order of images, and three classes each.
        write(
            tmp_path / "b.csv",
            ["z", "x", "y"],
            [[7, 5, 8], [2, 1, 9], [4, 3, 0]],
            [[0.5, 0.4, 0.1], [0.8, 0.1, 0.05], [0.7, 0.2, 0.1]],
        ),
    ]


def test_a_class_has_the_mean_of_its_scores_and_0_where_it_is_not_listed(two: list[Path]) -> None:
    ids, classes, scores, _ = join_topk(two, [1.0, 1.0])
    assert list(ids) == ["x", "y", "z"]
    # x: class 2 has (0.3 + 0.8) / 2, class 1 (0.6 + 0.1) / 2. y: 3 has (0.9 + 0.2) / 2. z: only b has scores.
    assert classes.tolist() == [[2, 1], [3, 4], [7, 5]]
    np.testing.assert_allclose(scores, [[0.55, 0.35], [0.55, 0.4], [0.5, 0.4]], rtol=1e-12)


def test_weights_shift_the_judgement(two: list[Path]) -> None:
    _, classes, scores, _ = join_topk(two, [3.0, 1.0])
    assert classes[0].tolist() == [1, 2]
    np.testing.assert_allclose(scores[0], [(1.8 + 0.1) / 4, (0.9 + 0.8) / 4], rtol=1e-12)


def test_an_image_without_any_score_keeps_the_first_files_guess(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.csv", ["x"], [[4, 5]], [[NAN, NAN]]),
        write(tmp_path / "b.csv", ["x"], [[6, 7]], [[NAN, NAN]]),
    ]
    _, classes, scores, _ = join_topk(files, [1.0, 1.0])
    assert classes.tolist() == [[4, 5]]
    assert np.isnan(scores).all()


def test_of_equal_scores_the_smaller_class_comes_first(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.csv", ["x"], [[9]], [[0.5]]),
        write(tmp_path / "b.csv", ["x"], [[2]], [[0.5]]),
    ]
    assert join_topk(files, [1.0, 1.0])[1].tolist() == [[2]]


def test_files_of_other_test_sets_are_refused(two: list[Path], tmp_path: Path) -> None:
    other = write(tmp_path / "c.csv", ["x", "y", "w"], [[1]] * 3, [[0.5]] * 3)
    with pytest.raises(UserError, match=r"c.csv has no image 'z', unlike .*a.csv with its 3"):
        join_topk([two[0], other], [1.0, 1.0])
    larger = write(tmp_path / "d.csv", ["x", "y", "z", "w"], [[1]] * 4, [[0.5]] * 4)
    with pytest.raises(UserError, match=r"d.csv has 4 images, unlike"):
        join_topk([two[0], larger], [1.0, 1.0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "1 numbers for 2 files"), ([1.0, 0.0], "above 0"), ([1.0, NAN], "finite number")],
)
def test_weights_that_do_not_fit_are_refused(two: list[Path], weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        join_topk(two, weights)


def test_what_no_ensemble_can_use_is_refused_with_its_file_and_row(two: list[Path], tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("id,class_1,score_1\r\n")
    with pytest.raises(UserError, match=r"none\.csv has no row"):
        join_topk([two[0], tmp_path / "none.csv"], [1.0, 1.0])
    with pytest.raises(UserError, match=r"b\.csv, row 2: 'x' has the class 9; with --num-classes 9 .* from 0 to 8"):
        join_topk(two, [1.0, 1.0], num_classes=9)
    assert len(join_topk(two, [1.0, 1.0], num_classes=10)[0]) == 3


@pytest.mark.parametrize("place", [0, 1])
def test_an_id_that_a_file_has_twice_is_refused_in_whichever_file(two: list[Path], place: int) -> None:
    text = two[place].read_text()
    two[place].write_text(text + text.splitlines()[1].replace("0.", "0.0") + "\r\n")
    repeated = text.splitlines()[1].split(",")[0]
    said = rf"{two[place].name}, line 5, row 4: the image '{repeated}' stands in line 2, row 1 already"
    with pytest.raises(UserError, match=said):
        join_topk(two, [1.0, 1.0])


def test_names_are_joined_with_files_of_old_and_two_names_of_a_class_are_refused(
    two: list[Path], tmp_path: Path
) -> None:
    names = {label: f"product {label}" for label in range(10)} | {2: "=two"}
    named = tmp_path / "named.csv"
    write_topk(named, ["y", "x", "z"], np.array([[3], [2], [5]]), np.array([[0.9], [0.8], [0.7]]), names)
    out = tmp_path / "joint.csv"
    assert main(["ensemble", str(two[0]), str(named), "--out", str(out)]) == 0
    header, *rows = (tmp_path / "joint_top1.csv").read_text().splitlines()
    assert header == "id,class_1,score_1,name_1"
    assert [row.rpartition(",")[2] for row in rows] == ["'=two", "product 3", "product 5"]
    assert out.read_text().splitlines() == ["id,predicted", "x,2", "y,3", "z,5"]
    other = tmp_path / "other.csv"
    write_topk(other, ["x", "y", "z"], np.array([[2], [3], [5]]), np.ones((3, 1)), {**names, 3: "tea"})
    with pytest.raises(UserError, match=r"class 3 is 'tea' in .*other.csv and 'product 3' in .*named.csv"):
        join_topk([named, other], [1.0, 1.0])


def test_where_the_result_cannot_go_is_told_before_files_are_read(two: list[Path], tmp_path: Path) -> None:
    two[1].write_text("broken")
    with pytest.raises(UserError, match=rf"--out {tmp_path} is a folder; name a file in it"):
        ensemble(two, None, tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        ensemble(two, None, two[0] / "joint.csv")


def test_the_command_writes_a_submission_and_its_scores(two: list[Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "joint.csv"
    assert main(["ensemble", *map(str, two), "--weights", "1", "1", "--out", str(out)]) == 0
    ids, predicted = read_submission(out)
    assert (list(ids), predicted.tolist()) == (["x", "y", "z"], [2, 3, 7])
    assert read_topk(tmp_path / "joint_top2.csv")[1].tolist() == [[2, 1], [3, 4], [7, 5]]
    assert main(["ensemble", str(two[0]), "--out", str(out)]) == 2
    assert "two top-k files at least" in capsys.readouterr().err
