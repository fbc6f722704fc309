"""What `make mutants` breaks, finds again, and calls caught: on single statements and on a package of two files."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import mutant_runs
import mutant_watch
from mutant_draw import draw, entry
from mutant_kinds import AXIS, DROPPED, OFF_BY_ONE, SIGN, Change, changes_of
from mutant_places import MOVED, RENAMED, SAME, Places, broken
from mutant_renewal import candidate_of, renewed
from mutant_runs import CAUGHT, GONE, HUNG, SURVIVED
from mutant_table import table_text

from shelfmark.core.errors import UserError

PACKAGE = Path("lib", "little")
FILES = {
    "pytest.ini": "[pytest]\n",
    "lib/little/sums/total.py": '''
def total(a, b):
    """The sum; of 3 at most 4."""
    return a + b


def at_most_three(x):
    if x < 3:
        return x
    return 3


def count_down(n):
    while n > 0:
        n -= 1
    return n
''',
    "lib/little/rows/width.py": """
class Table:
    shape = (2, 5)

    def width(self):
        return self.shape[1]

    def unused(self):
        return -self.shape[1]
""",
    "tests/test_sums.py": """
import subprocess, sys
import pytest
from little.sums.total import at_most_three, count_down

def test_what_another_process_sums():
    program = "from little.sums.total import total; print(total(2, 3))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "5"

def test_the_ends_meet():
    assert [at_most_three(x) for x in (2, 3, 4)] == [2, 3, 3]

def test_it_ends():
    assert count_down(4) == 0

def test_that_fails_anyway():
    assert at_most_three(9) == 9
""",
    "tests/test_rows.py": """
import pytest
from little.rows.width import Table

@pytest.fixture(scope="module")
def width():
    return Table().width()

def test_that_does_not_look(width):
    pass

def test_the_width(width):
    assert sum(range(10**7)) and width == 5
""",
}


def written(root: Path) -> Path:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def changed(text: str) -> set[tuple[str, str]]:
    """The kinds and new texts of the one statement."""
    [statement] = ast.parse(text).body
    return {(change.kind, change.after) for change in changes_of(statement)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = a - b", {(SIGN, "x = a + b"), (DROPPED, "x = a")}),
        ("x = -a * b", {(SIGN, "x = a * b")}),
        ("x += a", {(SIGN, "x -= a"), (DROPPED, "pass")}),
        ("x = y[3]", {(OFF_BY_ONE, "x = y[4]"), (OFF_BY_ONE, "x = y[2]")}),
        ("assert_it = a < b", {(OFF_BY_ONE, "assert_it = a <= b")}),
        (
            "if a and b >= c:\n    x = 1 + 1",
            {(DROPPED, "if a:\n    ..."), (OFF_BY_ONE, "if a and b > c:\n    ...")},
        ),
        ("x = y.sum(dim=1)", {(AXIS, "x = y.sum(dim=0)"), (DROPPED, "x = y.sum()")}),
        ("x = torch.cat(y, -1)", {(AXIS, "x = torch.cat(y, 0)")}),
        ("x = y.softmax(0)", {(AXIS, "x = y.softmax(1)")}),
        ("x = y.shape[0]", {(AXIS, "x = y.shape[1]")}),
        # What people read, and types, cannot be wrong; a sum of texts or lists is none.
        ("x: tuple[1] = f'{a + b}'", set()),
        ("print(a + b, end=c)", set()),
        ("raise ValueError(a + b)", set()),
        ("x = 'a' + b", set()),
        ("x = y + [z]", set()),
        ("x = True", set()),
    ],
)
def test_a_statement_is_broken_in_these_ways(text: str, expected: set[tuple[str, str]]) -> None:
    assert changed(text) == expected


def test_a_broken_file_differs_in_the_one_statement(tmp_path: Path) -> None:
    begin = "def f(a, b):\n    if a:  # why\n        return 'ä'\n    "
    source = f"{begin}elif (\n        b > 1\n    ):\n        return 2  # this\n"
    (tmp_path / "m.py").write_text(source)
    places = {place.text: place for place in Places(tmp_path).all}
    head = broken(source, places["if b > 1:\n    ..."].statement, "if b >= 1:\n    ...")
    assert head == f"{begin}elif b >= 1:\n        return 2  # this\n"
    assert broken(source, places["return 2"].statement, "return 3") == source.replace("return 2", "return 3")


def test_a_statement_is_found_after_it_moved_was_renamed_or_rewritten(tmp_path: Path) -> None:
    def found(module: str, text: str, now: dict[str, str] | None = None) -> tuple[str, str, str] | None:
        shutil.rmtree(tmp_path / "lib", ignore_errors=True)
        (tmp_path / "lib" / module).parent.mkdir(parents=True)
        (tmp_path / "lib" / module).write_text(text)
        one = Places(tmp_path / "lib").find(mutant | {"now": now})
        return one and (one.how, one.place.module, one.after)

    mutant = {"module": "a/m.py", "function": "C.f", "occurrence": 1, "before": "x = y + 1", "after": "x = y - 1"}
    text = "class C:\n    def f(self):\n        x = y + 1\n        x = y + 1\n"
    assert found("a/m.py", text) == (SAME, "a/m.py", "x = y - 1")
    assert Places(tmp_path / "lib").find(mutant).place.lines == range(4, 5)  # type: ignore[union-attr]
    assert found("b/m.py", text) == (MOVED, "b/m.py", "x = y - 1")
    assert found("b/n.py", text.replace("class C", "class D")) == (RENAMED, "b/n.py", "x = y - 1")
    assert found("b/n.py", "def g():\n    x = y + 1\n") == (RENAMED, "b/n.py", "x = y - 1")
    # In two functions, of which either may be meant; and rewritten.
    assert found("b/n.py", "def g():\n    x = y + 1\ndef h():\n    x = y + 1\n") is None
    rewritten = {"module": "a/m.py", "function": "g", "before": "z = y + 1", "after": "z = y - 1"}
    assert found("a/m.py", "def g():\n    z = y + 1\n") is None
    assert found("a/m.py", "def g():\n    z = y + 1\n", rewritten) == (SAME, "a/m.py", "z = y - 1")


def test_a_draw_has_every_room_in_its_share_each_kind_and_no_function_twice(tmp_path: Path) -> None:
    line = "    x = y.sum(dim=1) + z[1]\n"
    for room, num_functions in (("a", 1), ("b", 8), ("c", 24)):
        (tmp_path / room).mkdir()
        (tmp_path / room / "m.py").write_text("".join(f"def f{n}(x, y, z):\n{line}" for n in range(num_functions)))
    places = Places(tmp_path)
    mutants = draw(places, 15, seed=3)
    assert mutants == draw(places, 15, seed=3) != draw(places, 15, seed=4)
    assert len({(one["module"], one["function"]) for one in mutants}) == 15
    # One each, and of the other twelve 0.4, 2.9 and 8.7.
    assert Counter(one["module"][0] for one in mutants) == {"a": 1, "b": 4, "c": 10}
    assert sorted(Counter(one["kind"] for one in mutants).values()) == [3, 4, 4, 4]


def test_each_broken_place_of_the_list_is_in_todays_code_once(checkout: Path) -> None:
    places = Places(checkout / "lib" / "shelfmark")
    mutants = json.loads((checkout / "benchmarks" / "mutants.json").read_text())["mutants"]
    assert [one["id"] for one in mutants] == list(range(1, 61))
    found = {one["id"]: candidate_of(places, one) for one in mutants}
    gone = [number for number, candidate in found.items() if candidate is None]
    assert not gone, f"rewritten, or in several functions: see docs/design.md on `now` and `mutants.py renew`: {gone}"
    where = Counter((place.module, place.statement.lineno) for place, _ in filter(None, found.values()))
    assert where.most_common(1)[0][1] == 1


def test_a_renewed_list_keeps_what_is_still_there_and_draws_the_rest_where_none_is(tmp_path: Path) -> None:
    def write(**files: int) -> Places:
        for module, num_functions in files.items():
            file = tmp_path / module.replace("_", "/")
            file.parent.mkdir(exist_ok=True)
            # No two statements alike: one is known by its text.
            lines = (f"def f{n}(x):\n    {module} = x.sum(dim=1) + {n} - x\n" for n in range(num_functions))
            file.with_suffix(".py").write_text("".join(lines))
        return Places(tmp_path)

    places = write(a_m=9, b_m=3)
    mutants = draw(places, 6, seed=0)
    assert renewed(places, mutants, 6, seed=0) == mutants
    again = {one["id"]: one for one in renewed(places, mutants, 6, seed=0, without=[2])}
    assert again.pop(2) != mutants[1]
    assert list(again.values()) == [one for one in mutants if one["id"] != 2]

    (tmp_path / "b" / "m.py").rename(tmp_path / "b" / "n.py")
    (tmp_path / "a" / "m.py").unlink()
    places = write(a_o=9, c_m=2, a_p=1)
    new = renewed(places, mutants, 6, seed=0, modules=["a/p.py"])
    assert [one["id"] for one in new] == [1, 2, 3, 4, 5, 6]
    assert Counter(one["module"] for one in new) >= Counter({"a/p.py": 1, "c/m.py": 1, "a/o.py": 1, "b/n.py": 1})
    moved = [one for one in mutants if one["module"] == "b/m.py"]
    assert moved
    assert all({**one, "module": "b/n.py"} in new for one in moved)
    assert all(candidate_of(places, one) for one in new)
    # Of two, one goes where another room must have one.
    assert {one["module"] for one in renewed(places, new, 3, seed=0)} == {one["module"] for one in new} - {"a/p.py"}
    with pytest.raises(UserError, match=r"d/m\.py is no module"):
        renewed(places, new, 6, seed=0, modules=["d/m.py"])


def test_tests_catch_what_they_reach_in_any_process_and_a_stopped_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutant_runs, "checked_out", lambda commit, folder: written(folder / "house"))
    monkeypatch.setattr(mutant_watch, "BUSY_S", 0.5)
    # The made-up tests need none of the installed ones.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    places = Places(written(tmp_path / "house") / PACKAGE)
    mutants: list[dict[str, Any]] = [
        entry(number, next(place for place in places.all if place.text == before), Change("kind", "way", after))
        for number, (before, after) in enumerate(
            [
                ("return a + b", "return a - b"),
                ("if x < 3:\n    ...", "if x <= 3:\n    ..."),
                ("n -= 1", "pass"),
                ("return self.shape[1]", "return self.shape[0]"),
                ("return -self.shape[1]", "return self.shape[1]"),
            ]
        )
    ]
    mutants.append({**mutants[0], "id": 5, "before": "return a * b"})
    out = tmp_path / "out"
    mutant_runs.run_all("commit", PACKAGE, [mutants[1], mutants[3]], out, 1, budget_s=0)
    survived = mutant_runs.results_of(out)
    assert [(line["status"], line["num_run"], line["num_reaching"]) for line in survived.values()] == [
        (SURVIVED, 1, 1),
        (SURVIVED, 1, 2),
    ]
    assert "left out: tests/test_sums.py::test_that_fails_anyway" in capsys.readouterr().out
    (out / "reach" / "said.txt").unlink()
    mutant_runs.run_all("commit", PACKAGE, mutants, out, 2, budget_s=60)
    assert not (out / "reach" / "said.txt").exists()

    results = mutant_runs.results_of(out)
    # With more time, only the one that not all tests had seen was tried again.
    assert len((out / "results.jsonl").read_text().splitlines()) == len(mutants) + 1
    assert [results[number]["status"] for number in range(6)] == [CAUGHT, SURVIVED, HUNG, CAUGHT, SURVIVED, GONE]
    caught_by = [results[number].get("test", "").split("::")[-1] for number in range(4)]
    assert caught_by == ["test_what_another_process_sums", "", "test_it_ends", "test_the_width"]
    reached = [(results[number]["num_reaching"], results[number]["reached_by"]) for number in range(5)]
    # The fixture's line belongs to both tests that use it; a function that none reaches has those of its module.
    assert reached == [(1, "line"), (1, "line"), (1, "line"), (2, "line"), (2, "module")]


def test_the_table_counts_both_sides_and_names_what_the_new_tests_lose(tmp_path: Path) -> None:
    mutants = [
        {"id": number, "kind": kind, "module": f"{room}/m.py", "function": "f", "before": "a + b", "after": "a - b"}
        for number, (kind, room) in enumerate([(SIGN, "ops"), (SIGN, "data"), (AXIS, "ops")])
    ]
    for side, statuses in (("old", [CAUGHT, HUNG, SURVIVED]), ("new", [SURVIVED, CAUGHT])):
        (tmp_path / side).mkdir()
        (tmp_path / side / "commit.json").write_text(json.dumps({"commit": side}))
        lines = (json.dumps({"id": number, "status": status}) + "\n" for number, status in enumerate(statuses))
        (tmp_path / side / "results.jsonl").write_text("".join(lines))
    text = table_text(mutants, tmp_path / "old", tmp_path / "new")
    assert "| sign | 2 | 2 | 1 | 0 | 0 | 1 | 0 | 1 | 0 |" in text
    assert "| ops | 2 | 1 | 0 | 1 | 0 | 0 | 0 | 1 | 0 (1 not run) |" in text
    assert "| all | 3 | 2 | 1 | 1 | 0 | 1 | 0 | 1 | 0 (1 not run) |" in text
    assert "Survived the old tests:\n\n- 2. swapped axis, `ops/m.py`, `f`: `a + b` became `a - b`" in text
    assert "Caught by the old tests and not by the new: 0." in text
