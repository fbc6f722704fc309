from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.predictions import submission
from shelfmark.predictions.submission import (
    read_submission,
    read_topk,
    write_submission,
    write_topk,
)

AWKWARD = ["1849756.jpg", "a,b.jpg", 'say "hi".png', "größe/ü.webp", "two\r\nlines", " space ", "lone\udcff"]


def test_a_submission_is_these_bytes(tmp_path: Path) -> None:
    write_submission(tmp_path / "out.csv", Strings.of(["1849756.jpg", "a,b.jpg"]), torch.tensor([12, 50029]))
    assert (tmp_path / "out.csv").read_bytes() == b'id,predicted\r\n1849756.jpg,12\r\n"a,b.jpg",50029\r\n'


def test_awkward_ids_are_read_back_in_order(tmp_path: Path) -> None:
    write_submission(tmp_path / "out.csv", AWKWARD, np.arange(len(AWKWARD)))
    ids, predicted = read_submission(tmp_path / "out.csv")
    assert list(ids) == AWKWARD
    assert predicted.tolist() == list(range(len(AWKWARD)))


def test_the_best_k_keep_every_digit_of_their_scores(tmp_path: Path) -> None:
    scores = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)).sort(dim=1, descending=True).values
    scores[1] = torch.nan
    write_topk(tmp_path / "top.csv", ["a", "b", "c"], torch.arange(12).view(3, 4), scores)
    table = pd.read_csv(tmp_path / "top.csv")
    assert list(table) == ["id", *(f"{name}_{place}" for place in range(1, 5) for name in ("class", "score"))]
    read = table[[f"score_{place}" for place in range(1, 5)]].to_numpy(np.float32)
    np.testing.assert_array_equal(read, scores.numpy())
    assert table["class_3"].tolist() == [2, 6, 10]
    assert (tmp_path / "top.csv").read_bytes().splitlines()[2] == b"b,4,,5,,6,,7,"


def test_the_best_k_are_read_back_as_written(tmp_path: Path) -> None:
    scores = torch.rand(len(AWKWARD), 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores[3] = torch.nan
    classes = torch.arange(2 * len(AWKWARD)).view(-1, 2)
    write_topk(tmp_path / "top.csv", AWKWARD, classes, scores)
    ids, read_classes, read_scores, _ = read_topk(tmp_path / "top.csv")
    assert list(ids) == AWKWARD
    np.testing.assert_array_equal(read_classes, classes.numpy())
    np.testing.assert_array_equal(read_scores, scores.numpy())


NAMES = {0: "a, b", 1: 'say "hi"', 2: "two\r\nlines", 3: "=HYPERLINK(1)", 4: "商品", 5: " blank ", 6: "cr\rhere"}


def test_names_follow_the_columns_of_old_and_a_spreadsheet_runs_none(tmp_path: Path) -> None:
    classes, scores = np.array([[0, 1], [2, 3], [4, 5], [6, 7]]), np.full((4, 2), 0.5)
    for file, names in (("named.csv", NAMES), ("old.csv", None), ("empty.csv", {})):
        write_topk(tmp_path / file, list("abcd"), classes, scores, names)
    old = pd.read_csv(tmp_path / "old.csv")
    assert list(old) == ["id", "class_1", "score_1", "class_2", "score_2"]
    assert (tmp_path / "empty.csv").read_bytes() == (tmp_path / "old.csv").read_bytes()
    named = pd.read_csv(tmp_path / "named.csv", keep_default_na=False, dtype=str)
    assert list(named) == [*old, "name_1", "name_2"]
    assert named["name_2"].tolist() == ['say "hi"', "'=HYPERLINK(1)", " blank ", ""]
    read = read_topk(tmp_path / "named.csv")
    assert read.names == {**NAMES, 3: "'=HYPERLINK(1)"}
    assert read.classes.tolist() == classes.tolist()
    assert read_topk(tmp_path / "old.csv").names == {}
    # A spreadsheet saves the file with a mark at its beginning.
    (tmp_path / "marked.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "named.csv").read_bytes())
    assert read_topk(tmp_path / "marked.csv").names == read.names


def test_a_file_that_gives_a_class_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "top.csv").write_text("id,class_1,score_1,name_1\na,1,0.5,tea\nb,1,0.5,rice\n")
    with pytest.raises(UserError, match=r"top.csv, line 3, row 2: class 1 is 'rice', and 'tea' in a row above"):
        read_topk(tmp_path / "top.csv")
    (tmp_path / "top.csv").write_text("id,class_1,score_1,name_1\na,1,0.5\n")
    with pytest.raises(UserError, match=r"line 2, row 1: 'a,1,0.5' has 3 cells, not 4"):
        read_topk(tmp_path / "top.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,predicted\r\na,1\r\n", "begins with 'id,predicted'; a top-k file begins with"),
        ("", "begins with ''"),
        ("id,class_1,score_1\r\na,1,0.5\r\nb,1\r\n", "row 2: 'b,1' is not an image id and 1 classes"),
        ("id,class_1,score_1\r\na,x,0.5\r\n", "row 1: 'a,x,0.5'"),
        ("id,class_1,score_1\r\na,-1,0.5\r\n", "row 1: 'a,-1,0.5'"),
        *(
            (f"id,class_1,score_1\r\na,1,0.5\r\nb,{cells}\r\n", "top.csv, line 3, row 2: 'b,")
            for cells in ("1,inf", "1,nan", "1,-5", "1,1e101", "1,x", "100000000,1", "9" * 5000 + ",1", "٣,1", "1,1,1")
        ),
        ("id,class_1,score_1\r\na,1,1\r\nb,1,1\r\na,1,1\r\n", "line 4, row 3: the image 'a' stands in line 2, row 1"),
        ('id,class_1,score_1\r\n"a\nb",1,1\r\n,1,1\r\n', "line 4, row 2: the image id is empty"),
        ("id,class_1,score_1,class_2,score_2\r\na,1,0.5,1,0.4\r\n", "line 2, row 1: 'a' has the class 1 twice"),
        ("id,class_1,score_1,class_2,score_2\r\na,1,0.5,2,\r\n", "line 2, row 1: 'a' has some scores and lacks others"),
        (f"id,class_1,score_1\r\n{'x' * 200_000},1,1\r\n", "line 2: no CSV: field larger"),
    ],
)
def test_a_file_that_is_no_list_of_the_best_k_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "top.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_topk(tmp_path / "top.csv")


def test_an_empty_test_set_gives_the_header_alone(tmp_path: Path) -> None:
    write_submission(tmp_path / "out.csv", [], [])
    assert (tmp_path / "out.csv").read_bytes() == b"id,predicted\r\n"
    assert len(read_submission(tmp_path / "out.csv")[0]) == 0


@pytest.mark.parametrize(
    ("ids", "predicted", "error", "message"),
    [
        (["a", "b", "a"], [1, 2, 3], UserError, "images 0 and 2 have the same id 'a'"),
        (["a", ""], [1, 2], UserError, "image 1 has an empty id"),
        (["a", "b"], [1], ValueError, r"\(1,\); the images ask for \(2,\)"),
        (["a", "b"], [1, -1], ValueError, "image 1 has the predicted class -1"),
        (["a", "b"], [1.0, 2.0], ValueError, "must be integers"),
    ],
)
def test_bad_predictions_are_refused_and_leave_nothing(
    tmp_path: Path, ids: list[str], predicted: list, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_submission(tmp_path / "out.csv", ids, predicted)
    with pytest.raises(error):
        write_topk(tmp_path / "top.csv", ids, np.array(predicted)[:, None], torch.ones(len(predicted), 1))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_reads_back_differently_is_never_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_submission(tmp_path / "out.csv", ["former"], [1])
    rows = submission._rows
    for damage, message in (
        (lambda found: found[:-1], "row 2: wrote .*read back None"),
        (lambda found: [*found, ["c", "3"]], "row 3: wrote None"),
        (lambda found: [found[0], ["a", "7"], *found[2:]], "row 1: wrote .*'1'.*read back .*'7'"),
        (lambda found: found[1:], "header is damaged"),
    ):
        monkeypatch.setattr(submission, "_rows", lambda path, damage=damage: iter(damage(list(rows(path)))))
        with pytest.raises(UserError, match=message):
            write_submission(tmp_path / "out.csv", ["a", "b"], [1, 2])
    monkeypatch.undo()
    assert list(read_submission(tmp_path / "out.csv")[0]) == ["former"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_no_submission_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    with pytest.raises(UserError, match="does not exist"):
        read_submission(file)
    for text, message in (
        ("", "begins with 'id,predicted'"),
        ("id,class\r\n", "begins with 'id,class'"),
        ("id,predicted\r\na,1\r\nb,x\r\n", "row 2: 'b,x'"),
        ("id,predicted\r\na\r\n", "row 1: 'a'"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_submission(file)
