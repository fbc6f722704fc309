"""`prepare csv` and `prepare parquet`: tables with columns of any names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.wording import counted
from shelfmark.data import findings as problem
from shelfmark.data.converters.foreign_rows import Classes, ForeignRows, Wanted, prepare_rows
from shelfmark.data.converters.foreign_table import ForeignTable, read_csv, read_parquet
from shelfmark.data.converters.part_files import images_folder, part_files, part_of
from shelfmark.data.converters.plain_numbers import number_of, why_no_number
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.findings import Findings

WHERE = (
    "Give the file, or a folder with train and val files of the same kind, as --source; the folder that its paths start"
    " from as --images; and its columns as --columns fpath=THEIRS label=THEIRS."
)
REQUIRED = ("fpath", "label")
OPTIONAL = ("bbox", "corners", "image_id", "part", "group", "weight", "source")
_NUMBERS = ("bbox", "corners", "weight")
_SIDES = {"bbox": ("x", "y", "width", "height"), "corners": ("left", "top", "right", "bottom")}
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")
_IN_BRACKETS = re.compile(r"\[(.*)\]|\((.*)\)|([^\[\]()]*)", re.DOTALL)


def prepare_csv(source: Path, out: Path, **options: Any) -> Prepared:
    """Writes annotations of a CSV file with a header, or of a folder of `train.csv`, `val.csv` and `test.csv`.

    columns: `fpath=THEIRS label=THEIRS` and any of OPTIONAL; columns of our names need not be given. A label is text,
    and each text is a class: `0012` is not `12`. For images, val_fraction, seed and form see `Wanted`.
    """
    return _prepare(source, out, ".csv", read_csv, **options)


def prepare_parquet(source: Path, out: Path, **options: Any) -> Prepared:
    """As `prepare_csv`, of Parquet files. A label is text or a whole number, whose digits are the class's name."""
    return _prepare(source, out, ".parquet", read_parquet, **options)


def _prepare(
    source: Path,
    out: Path,
    ending: str,
    read: Callable[[Path, Findings], ForeignTable],
    *,
    images: Path | None = None,
    columns: Sequence[str] = (),
    val_fraction: float = 0.2,
    seed: int = 0,
    form: str = "json",
) -> Prepared:
    theirs = parsed_columns(columns)
    files: list[ForeignRows] = []
    groups: dict[str, str] = {}
    for part, file in part_files(Path(source), ending):
        findings = Findings()
        table = read(file, findings)
        rows, own_groups = _rows(table, _chosen(table, theirs), part, findings)
        files.append(rows)
        groups |= own_groups
    wanted = Wanted(images_folder(images, Path(source)), Path(out), val_fraction, seed, form)
    return prepare_rows(files, Classes(groups=groups), wanted)


def parsed_columns(columns: Sequence[str]) -> dict[str, str]:
    """Their names by ours, of `--columns`."""
    known = (*REQUIRED, *OPTIONAL)
    found: dict[str, str] = {}
    for text in columns:
        ours, sign, theirs = text.partition("=")
        if not sign or not theirs or ours not in known or ours in found:
            close = did_you_mean(ours, known)
            hint = f" Did you mean {close}?" if close and close != ours else ""
            raise UserError(
                f"--columns {text!r}: give each as OURS=THEIRS, OURS one of {', '.join(known)}, once.{hint}"
            )
        found[ours] = theirs
    if "bbox" in found and "corners" in found:
        raise UserError(
            "--columns has bbox and corners; give one of the two: x,y,width,height or left,top,right,bottom."
        )
    return found


def _chosen(table: ForeignTable, theirs: Mapping[str, str]) -> dict[str, list[str]]:
    """The columns of the table by our names: one each, or four for a box."""
    found: dict[str, list[str]] = {}
    for ours in (*REQUIRED, *OPTIONAL):
        if ours in theirs:
            whole = theirs[ours]
            is_divided = whole not in table.names and ours in ("bbox", "corners")
            found[ours] = whole.split(",") if is_divided else [whole]
        elif ours in table.names:
            found[ours] = [ours]
    if "corners" in theirs:
        found.pop("bbox", None)
    for ours in REQUIRED:
        if ours not in found:
            raise UserError(f"{table.file} has no column {ours!r}: say which it is, by {_example(ours, table)}.")
    for ours, names in found.items():
        lacking = [name for name in names if name not in table.names]
        if lacking or (len(names) not in (1, 4)):
            close = did_you_mean(lacking[0], table.names) if lacking else None
            hint = f" Did you mean {close!r}?" if close else ""
            raise UserError(
                f"--columns {ours}={','.join(names)}: {table.file} has no such column, or not four for a box; its"
                f" columns are {', '.join(map(repr, table.names))}.{hint}"
            )
    return found


def _example(ours: str, table: ForeignTable) -> str:
    return f"--columns {ours}=NAME. Its columns are {', '.join(map(repr, table.names))}"


def _rows(
    table: ForeignTable, chosen: Mapping[str, Sequence[str]], part: str, findings: Findings
) -> tuple[ForeignRows, dict[str, str]]:
    for ours in chosen:
        if ours not in _NUMBERS and (what := table.names_nothing(chosen[ours][0])):
            raise UserError(
                f"{table.file}: the column {chosen[ours][0]!r} has {what}, which name nothing: write {ours} as text or"
                " as integers."
            )
    labels = list(table.cells(chosen["label"][0]))
    for row in [row for row, label in enumerate(labels) if not label.strip()]:
        findings.error(row, problem.MISSING_FIELD, "the label is empty")
    rows = ForeignRows(
        table.file,
        list(table.cells(chosen["fpath"][0])),
        labels,
        _parts(table, chosen, part, findings),
        findings,
        table.places,
        _boxes(table, chosen, findings),
        _more(table, chosen, findings),
    )
    return rows, _groups(table, chosen, labels, findings)


def _parts(table: ForeignTable, chosen: Mapping[str, Sequence[str]], part: str, findings: Findings) -> list[str]:
    if "part" not in chosen:
        return [part] * table.num_rows
    parts = []
    for row, text in enumerate(table.cells(chosen["part"][0])):
        found = part_of(text)
        if found is None:
            findings.error(row, problem.WRONG_TYPE, f"part={text!r}, wanted train, val or test")
        parts.append(found or "")
    return parts


def _boxes(table: ForeignTable, chosen: Mapping[str, Sequence[str]], findings: Findings) -> np.ndarray | None:
    ours = next((one for one in ("bbox", "corners") if one in chosen), None)
    if ours is None:
        return None
    columns = [table.cells(name) for name in chosen[ours]]
    boxes = np.full((table.num_rows, 4), np.nan)
    for row, cells in enumerate(zip(*columns)):
        if not any(cell.strip() for cell in cells):
            continue
        texts = list(cells) if len(cells) == 4 else _of_one_cell(cells[0])
        numbers = [number_of(text) for text in texts]
        if len(numbers) != 4 or None in numbers:
            why = _why_no_box(texts, chosen[ours] if len(cells) == 4 else _SIDES[ours])
            told = f"{ours}={','.join(cells)!r}, wanted four numbers, {', '.join(_SIDES[ours])}: {why}"
            findings.error(row, problem.WRONG_BOX, told)
            continue
        boxes[row] = numbers
    if ours == "corners":
        boxes[:, 2:] -= boxes[:, :2]
    return boxes


def _why_no_box(texts: Sequence[str], names: Sequence[str]) -> str:
    if not texts:
        return "its brackets do not match"
    if len(texts) != 4:
        return f"it has {counted(len(texts), 'part')}"
    wrong = [(name, text) for name, text in zip(names, texts) if number_of(text) is None]
    return "; ".join(f"{name}: {why_no_number(text)}" for name, text in wrong)


def _of_one_cell(text: str) -> list[str]:
    """The parts of `1 2 3 4`, `[1, 2, 3, 4]` or `(1;2;3;4)`; none of a text with other brackets."""
    inside = _IN_BRACKETS.fullmatch(text.strip())
    return _BETWEEN.split(next(part for part in inside.groups() if part is not None).strip()) if inside else []


def _more(table: ForeignTable, chosen: Mapping[str, Sequence[str]], findings: Findings) -> dict[str, list[Any]]:
    more: dict[str, list[Any]] = {}
    for ours in ("image_id", "source"):
        if ours in chosen:
            more[ours] = [text or None for text in table.cells(chosen[ours][0])]
    if "weight" in chosen:
        cells = table.cells(chosen["weight"][0])
        more["weight"] = [number_of(text) if text else None for text in cells]
        for row, (text, number) in enumerate(zip(cells, more["weight"])):
            if text and (number is None or not 0 <= number < 3e38):
                findings.error(row, problem.WEIGHT_RANGE, f"weight={text!r}, wanted a finite number from 0")
    return more


def _groups(
    table: ForeignTable, chosen: Mapping[str, Sequence[str]], labels: Sequence[str], findings: Findings
) -> dict[str, str]:
    if "group" not in chosen:
        return {}
    groups: dict[str, str] = {}
    for row, (label, group) in enumerate(zip(labels, table.cells(chosen["group"][0]))):
        if label and groups.setdefault(label, group) != group:
            findings.error(row, problem.TWO_GROUPS, f"{label!r} is in {group!r}, and in {groups[label]!r} further up")
    return groups
