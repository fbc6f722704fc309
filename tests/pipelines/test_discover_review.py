"""The table that a person edits: what it says, what spreadsheets do to it, and what the next round makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from discovered_run import pictures, write_run

from shelfmark.core.errors import UserError
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.review.apply import (
    read_round_review,
    reviewed,
    round_findings,
    set_aside_review,
    write_review,
)
from shelfmark.pipelines.discover.review.decisions import Decision, Review, read_review
from shelfmark.pipelines.discover.review.table import COLUMNS, review_csv

CLUSTERS = (2, 3, 7)
KNOWN = ("Soap", "Oat milk", "12")
# Cluster 3 joined class 0; 7 and 2 are pseudo-classes 3 and 2; cluster 5 was not selected, and two images are frozen.
SELECTED = np.array([3, 3, 2, 0, 0, -1, 4, 4])
OF_CLUSTER = np.array([7, 7, 2, 3, 3, 5, -1, -1])


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return write_run(tmp_path, pictures())


def _read(tmp_path: Path, *rows: str, header: str = "cluster,decision,merge_into,name", ending: str = "\n") -> Review:
    (tmp_path / "review.csv").write_bytes(ending.join([header, *rows, ""]).encode())
    return read_review(tmp_path / "review.csv", CLUSTERS, KNOWN)


def test_the_table_has_a_row_for_each_selected_cluster_largest_first(run: RunFiles) -> None:
    lines = review_csv(round_findings(run, 0)).removeprefix("\ufeff").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    rows = [dict(zip(COLUMNS, line.split(","))) for line in lines[1:]]
    assert [(row["cluster"], row["size"], row["selected"]) for row in rows] == [
        ("7", "5", "4"),
        ("2", "3", "3"),
        ("3", "2", "2"),
    ]
    assert [row["density"] for row in rows] == ["0.7500", "0.7400", "0.9500"]
    assert [row["joined_to"] for row in rows] == ["", "", "Soap"]
    # Cluster 2 has an image of Oat milk, which is nearer to that than to Soap.
    assert (rows[1]["nearest_known"], rows[1]["nearest_cluster"]) == ("Oat milk", "7")
    assert float(rows[1]["known_cosine"]) == pytest.approx(0.47, abs=0.02)
    assert (rows[2]["nearest_known"], float(rows[2]["known_cosine"])) == ("Soap", pytest.approx(1, abs=1e-3))
    assert [row["suggested_name"] for row in rows] == ["new 7", "new 2", "Soap"]
    assert [(row["decision"], row["merge_into"], row["name"]) for row in rows] == [("keep", "", "")] * 3


def test_an_unedited_table_keeps_everything(run: RunFiles) -> None:
    before = reviewed(run, 0)
    write_review(run, 0)
    assert read_round_review(run, 0).changes_nothing
    for labels, names in (before, reviewed(run, 0)):
        assert labels.tolist() == run.read_selection(0).labels.tolist()
        assert names == {}


def test_an_edited_table_of_the_same_clusters_is_never_overwritten(run: RunFiles) -> None:
    file = write_review(run, 0)
    assert file.read_bytes().startswith(b"\xef\xbb\xbfcluster,")
    edited = file.read_text(encoding="utf-8-sig").replace("keep", "drop").replace(",", ";")
    file.write_text(edited)
    assert write_review(run, 0) == file
    assert file.read_text() == edited
    assert read_round_review(run, 0).decisions[7] == Decision("drop")


def test_an_edited_table_of_other_clusters_is_put_aside(run: RunFiles) -> None:
    file = write_review(run, 0)
    file.write_text(file.read_text().replace("\n7,5,", "\n9,1,"))
    write_review(run, 0)
    assert "\n7,5," in file.read_text()
    assert "\n9,1," in file.with_name("review_2.csv").read_text()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_do_is_understood(tmp_path: Path, encoding: str, delimiter: str, ending: str) -> None:
    table = [
        ["Decision", "Cluster", "Merge into", "Name", "remark", "", ""],
        ["KEEP ", "7.0", "", '"Thé noir"', "fine, really" if delimiter != "," else "fine", "", ""],
        ["", "", "", "", "", "", ""],
        ["Drop", "2"],
        [" merge", "3", " Oat milk", "", "", "", ""],
        ["", "", "", ""],
    ]
    text = ending.join(delimiter.join(row) for row in table) + ending * 3
    (tmp_path / "review.csv").write_bytes(text.encode(encoding))
    assert read_review(tmp_path / "review.csv", CLUSTERS, KNOWN).decisions == {
        7: Decision("keep", name="Thé noir"),
        2: Decision("drop"),
        3: Decision("merge", into_class=1),
    }


def test_an_empty_decision_and_a_missing_row_keep_a_cluster(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    review = _read(tmp_path, "7;;;", "2;keep;;", header="sep=;\ncluster;decision;merge_into;name")
    assert review.changes_nothing
    assert "no row for 1 of 3 clusters" in caplog.text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["7,kep,,"], "line 2, column decision: 'kep' is not one of keep, merge, drop; did you mean keep?"),
        (["7,keep,,", "8,drop,,"], "line 3, column cluster: '8' is not a cluster of this round"),
        (["x,keep,,"], "line 2, column cluster: 'x' is no number of a cluster"),
        (["7,keep,,", "7,drop,,"], "line 3, column cluster: cluster 7 stands in line 2 already"),
        (["7,merge,,"], "line 2, column merge_into: merge needs a cluster's number or a known class's name here"),
        (["7,merge,7,"], "cluster 7 cannot be merged into itself"),
        (["7,merge,5,"], "5 is not a cluster of this round"),
        (["7,merge,12,"], "the known class of that name is written class:12"),
        (["7,merge,Oat mlk,"], "'Oat mlk' is neither a cluster's number nor a known class; did you mean 'Oat milk'?"),
        (["7,merge,Cheese,"], "the column nearest_known shows how classes are written"),
        (["7,keep,2,"], "line 2, column merge_into: '2' stands beside keep; write merge, or empty this cell"),
        (["7,drop,2,"], "'2' stands beside drop"),
        (["7,merge,2,Tea"], "line 2, column name: a merged cluster takes the name of what it is merged into"),
        (["7,merge,2,", "2,merge,7,"], "merges go in a circle: 7 into 2 into 7; keep one of them"),
        (["7,merge,2,", "2,drop,,"], "cluster 2 is dropped; drop this one too, or keep that"),
        (["7,keep,,Tea", "2,keep,,Tea"], "cluster 7 in line 2 has the name 'Tea' too; merge one into the other"),
        (["7,keep,,Soap"], "'Soap' is a known class; to join it, write merge in decision and the name in merge_into"),
    ],
)
def test_what_cannot_be_obeyed_is_told_with_line_and_column(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        _read(tmp_path, *rows)
    assert said in str(raised.value)
    assert "review.csv cannot be obeyed" in str(raised.value)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)line 2, column decision.*line 3, column merge_into"):
        _read(tmp_path, "7,maybe,,", "2,merge,Cheese,")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"cluster,size\n7,4\n", "line 1: the first row must name the columns, and decision is missing"),
        (b"7,4\n", "cluster and decision are missing"),
        ("cluster,decision,name\n7,keep,Th\u00e9".encode("latin-1"), "Save it from the spreadsheet as `CSV UTF-8`"),
    ],
)
def test_what_is_no_such_table_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "review.csv").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_review(tmp_path / "review.csv", CLUSTERS, KNOWN)


def test_a_table_that_no_program_can_parse_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2: no CSV: field larger"):
        _read(tmp_path, f"1,keep,,{'x' * 200_000}")
    with pytest.raises(UserError, match="line 2, column cluster"):
        _read(tmp_path, f"{'9' * 5000},keep,,")


def test_a_class_whose_name_is_a_number_can_be_named(tmp_path: Path) -> None:
    assert _read(tmp_path, "7,merge,class:12,").decisions[7] == Decision("merge", into_class=2)
    assert _read(tmp_path, "7,merge,2,").decisions[7] == Decision("merge", into_cluster=2)


def test_decisions_change_the_labels_of_their_clusters_alone(tmp_path: Path) -> None:
    dropped = _read(tmp_path, "7,drop,,").applied(SELECTED, OF_CLUSTER, 2)
    assert dropped[0].tolist() == [-1, -1, 2, 0, 0, -1, 4, 4]
    joined = _read(tmp_path, "2,merge,Oat milk,").applied(SELECTED, OF_CLUSTER, 2)
    assert joined[0].tolist() == [3, 3, 1, 0, 0, -1, 4, 4]
    chained = _read(tmp_path, "7,merge,2,", "2,merge,3,").applied(SELECTED, OF_CLUSTER, 2)
    assert chained[0].tolist() == [0, 0, 0, 0, 0, -1, 4, 4]
    assert dropped[1] == joined[1] == chained[1] == {}


def test_names_become_class_names_and_part_a_cluster_from_the_class_that_it_joined(tmp_path: Path) -> None:
    labels, names = _read(tmp_path, "7,merge,2,", "2,keep,,Black tea", "3,keep,,Hard soap").applied(
        SELECTED, OF_CLUSTER, 2
    )
    assert labels.tolist() == [2, 2, 2, 5, 5, -1, 4, 4]
    assert names == {2: "Black tea", 5: "Hard soap"}


def test_a_selection_of_nothing_can_be_reviewed() -> None:
    labels, names = Review({}).applied(np.full(3, -1), np.arange(3), 2)
    assert (labels.tolist(), names) == ([-1, -1, -1], {})


def test_the_next_round_reads_what_was_decided(run: RunFiles) -> None:
    file = write_review(run, 0)
    file.write_text(
        file.read_text().replace("new 7,keep,,", "new 7,keep,,Blue tea tin").replace("new 2,keep", "new 2,drop")
    )
    labels, names = reviewed(run, 0)
    assert labels.tolist() == [3, 3, 3, 3, -1, -1, -1, -1, 0, 0, -1]
    assert names == {3: "Blue tea tin"}


def _named(run: RunFiles, names: dict[int, str]) -> None:
    """Writes names into the review of round 0, by cluster."""
    file = write_review(run, 0)
    table = file.read_text()
    for cluster, name in names.items():
        table = table.replace(f"new {cluster},keep,,", f"new {cluster},keep,,{name}")
    file.write_text(table)


def test_a_name_goes_over_to_the_cluster_that_most_of_its_images_are_in_later(run: RunFiles, tmp_path: Path) -> None:
    _named(run, {7: "Blue tea tin", 2: "Sea salt"})
    images = pictures()
    pool = [one for one in images if one.role == "unlabelled"]
    # Cluster 7 falls apart into 3 and 1 images, one of which joins the three of cluster 2.
    for one in pool[:3]:
        one.cluster, one.label = 1, 2
    for one in pool[3:8]:
        one.cluster, one.label = 0, 3
    later = write_run(tmp_path, images, number=1)
    labels, names = reviewed(later, 1)
    assert names == {2: "Blue tea tin", 3: "Sea salt"}
    assert "Blue tea tin" in review_csv(round_findings(later, 1))
    # A person has the last word, and then the name is no other's.
    file = write_review(later, 1)
    file.write_text(file.read_text().replace("Sea salt,keep,,", "Sea salt,keep,,Blue tea tin"))
    assert reviewed(later, 1)[1] == {3: "Blue tea tin"}
    assert labels.tolist() == [2, 2, 2, 3, 3, 3, 3, 3, 0, 0, -1]


def test_a_name_is_not_taken_over_by_a_cluster_of_other_images(run: RunFiles, tmp_path: Path) -> None:
    _named(run, {7: "Blue tea tin"})
    images = pictures()
    for one in images[-11:-3]:
        one.cluster, one.label = 1, 2
    # Of its eight images four were so named: not more than half.
    assert reviewed(write_run(tmp_path, images, number=1), 1)[1] == {}


def test_an_edited_table_is_kept_when_its_folder_is_about_to_be_removed(run: RunFiles) -> None:
    write_review(run, 0)
    set_aside_review(run, 0)
    assert run.review(0).is_file()
    _named(run, {7: "Blue tea tin"})
    set_aside_review(run, 0)
    assert not run.review(0).exists()
    assert "Blue tea tin" in (run.round(0) / "review.csv").read_text()
    set_aside_review(run, 0)
    run.review(0).write_text("not such a table")
    set_aside_review(run, 0)
    assert (run.round(0) / "review_2.csv").read_text() == "not such a table"


def test_each_renamed_cluster_that_joined_a_known_class_becomes_a_class_of_its_own() -> None:
    review = Review({cluster: Decision(name=name) for cluster, name in ((5, "Tea"), (6, "Rye"), (7, "Figs"))})
    labels, names = review.applied(np.array([0, 0, 1, 1, 2]), np.array([5, 6, 6, 7, -1]), num_known=3)
    assert labels.tolist() == [3, 4, 4, 5, 2]
    assert names == {3: "Tea", 4: "Rye", 5: "Figs"}
