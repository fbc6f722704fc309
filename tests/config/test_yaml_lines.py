from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.config.nodes import Node, plain
from shelfmark.config.yaml_lines import parse, read_file, scalar
from shelfmark.core.errors import UserError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aN0 .:#-'\"\\{}[]!&*%@`|>?,~=/\t\n\xa0é中😀", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcd", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def read(text: str) -> object:
    return plain(parse(text, lambda line: f"file:{line}"))


def origin(node: Node | None, *path: str | int) -> str:
    for part in path:
        assert node is not None
        node = node.child(part)
    assert node is not None
    return node.origin


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("010", 10),
        ("0o10", 8),
        ("0xff", 255),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "y", "12:30", "2020-02-14", "1_000", "0b11", ".nan", "1e", "e5", "tRUE", "+"]
)
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text):
    assert scalar(text) == text


def test_quoted_scalars_are_text():
    assert read("a: '1'\nb: \"true\"\nc: ''\nd: !!str 12") == {"a": "1", "b": "true", "c": "", "d": "12"}


@settings(max_examples=30, deadline=None)
@given(JSON_VALUES)
def test_json_is_read_as_json_reads_it(value):
    assert read(json.dumps(value, ensure_ascii=False)) == value


def test_each_value_knows_the_line_of_its_key():
    node = parse("a: 1\nb:\n  c:\n    - 2\n    - d: 3\n  e: >\n    long\n    text\n", lambda line: f"x.yaml:{line}")
    assert origin(node, "a") == "x.yaml:1"
    assert origin(node, "b", "c") == "x.yaml:3"
    assert origin(node, "b", "c", 0) == "x.yaml:4"
    assert origin(node, "b", "c", 1, "d") == "x.yaml:5"
    assert origin(node, "b", "e") == "x.yaml:6"


def test_numbers_as_keys_are_text_as_they_are_written():
    assert read("007: a\n1.50: b\nno: c") == {"007": "a", "1.50": "b", "no": "c"}


def test_an_anchor_is_read_wherever_its_alias_stands():
    assert read("a: &x {lr: 1}\nb: *x") == {"a": {"lr": 1}, "b": {"lr": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "file:3: the key 'a' stands twice in one group; first in line 1."),
        ("a:\n  b: 1\n  b: 2", "file:3: the key 'b' stands twice in one group; first in line 2."),
        ("a: 1\n\tb: 2", "file:2, column 1: not valid YAML: found character '\\t' that cannot start any token."),
        ("a: [1, 2", "file:1, column 9: not valid YAML: "),
        ("a: 1\n---\nb: 2", "file:2, column 1: not valid YAML: but found another document."),
        ("a: 1\nb: \x07", "file:2: not valid YAML: the character U+0007 is not allowed."),
        ("a: *x", "file:1, column 4: not valid YAML: found undefined alias 'x'."),
        ("a: &x [*x]", "an alias (`*name`) stands within its own anchor."),
        ("a: &x {lr: 1}\nb:\n  <<: *x", "file:3: `<<` is not in YAML 1.2; use `_base_:` to build on a file."),
        ("a: !!python/object/apply:os.system [ls]", "file:1: the tag !!python/object/apply:os.system is not"),
        ("a: !!int '3'", "file:1: the tag !!int is not used here; write the plain value."),
        ("? [a, b]\n: 1", "file:1: a key must be a single word."),
    ],
)
def test_what_is_no_yaml_names_its_line(text, said):
    with pytest.raises(UserError) as caught:
        read(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n", "\ufeff"])
def test_an_empty_file_has_no_keys(tmp_path: Path, text):
    file = tmp_path / "empty.yaml"
    file.write_text(text, encoding="utf-8")
    assert read_file(file, "empty.yaml") == Node({}, "empty.yaml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: \xff\n", "f.yaml:2: the file is not UTF-8 text; it seems to be Latin-1 or Windows-1252."),
        (b"- a\n- b\n", "f.yaml:1: a config file holds `key: value` lines, not a list."),
        (b"# c\n3\n", "f.yaml:2: a config file holds `key: value` lines, not a single value."),
    ],
)
def test_what_is_no_config_file_says_why(tmp_path: Path, content, said):
    file = tmp_path / "f.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_file(file, "f.yaml")
    assert str(caught.value).startswith(said)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"gone\.yaml cannot be read: No such file or directory\."):
        read_file(tmp_path / "gone.yaml", "gone.yaml")


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 25))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (BOMB, 9, "more than 20,000 values"),
        ("ok: 1\na: " + "[" * 20_000, 2, "more than 32 lists and groups within each other"),
        ("".join(f"{' ' * n}k:\n" for n in range(500)), 33, "more than 32 lists and groups within each other"),
        ("a: 1\nb: &loop\n  c: *loop\n", 3, "stands within its own anchor"),
        ('a: 1\nb: "\\U00110000"\n', 2, "not valid YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", 1, "not valid YAML"),
        ("a: 1\nb: " + "7" * 5000, 2, "a number of 5,000 digits"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_a_parser_chokes_on_is_refused_at_once_with_its_line(text, line, said):
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        read(text)
    assert time.process_time() - start < 1
    assert str(caught.value).startswith(f"file:{line}: ")
    assert said in str(caught.value)


def test_nesting_and_aliases_within_reason_are_read():
    assert read("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}
    text, value = "1", 1
    for _ in range(32):
        text, value = f"[{text}]", [value]
    assert read(text) == value


def test_a_file_that_is_no_config_is_not_parsed_for_minutes(tmp_path):
    file = tmp_path / "log.yaml"
    file.write_text("- {a: 1}\n" * 100_000)
    with pytest.raises(UserError, match="more than 262,144 bytes; is it a config file"):
        read_file(file, "log.yaml")


RECIPE = """\
_base_: base.yaml
name: "shop"   # the folder
optim: &o
  lr: 1.0e-3
  steps: {milestones: [10, 20], low: 0.5}
losses:
  - {name: ce, weight: 2}
  - {name: 'x'}
data: {root: !!str a/b, many: [1, 2, 3], on: true, off: null}
again: *o
"""
BITS = [
    *"[]{}:,#&*!|>%@`?-'\"\\\n\t \0",
    "\x85",
    "é",
    "\udc80",
    ": ",
    "- ",
    "&a ",
    "*a ",
    "<<: ",
    "!!int ",
    "9" * 50,
    "...",
]


def refusal(text: str) -> str | None:
    try:
        read(text)
    except UserError as error:
        return str(error)
    return None


def test_a_mutated_file_is_read_or_refused_with_its_place():
    draw = random.Random(0)
    num_refused = 0
    for _ in range(600):
        text = list(RECIPE)
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(len(text))
            text[place : place + draw.choice([0, 0, 1, 4, 30])] = draw.choice(BITS)
        said = refusal("".join(text))
        assert said is None or said.startswith("file:")
        num_refused += said is not None
    assert 100 < num_refused < 600
