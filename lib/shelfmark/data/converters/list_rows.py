"""`prepare list`: text files with a picture a line, as `path label`."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.regular_files import read_regular
from shelfmark.core.text_encoding import UTF8_MARK, NotUtf8
from shelfmark.data import findings as problem
from shelfmark.data.converters.foreign_rows import TEST, Classes, ForeignRows, Wanted, prepare_rows
from shelfmark.data.converters.part_files import images_folder, part_files
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.documents import file_errors_told
from shelfmark.data.findings import Findings, Places

WHERE = (
    "Give a file with lines `path label`, or a folder with train.txt and val.txt, as --source, and the folder that the"
    " paths start from as --images."
)


def prepare_list(
    source: Path,
    out: Path,
    images: Path | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    form: str = "json",
) -> Prepared:
    """Writes annotations of text files. A label is what stands behind the line's tab, or else behind its last blank.

    Empty lines are passed over. Lines of test.txt may be paths alone. For the options see `Wanted`.
    """
    files = [_rows(part, file) for part, file in part_files(Path(source), ".txt")]
    wanted = Wanted(images_folder(images, Path(source)), Path(out), val_fraction, seed, form)
    return prepare_rows(files, Classes(), wanted)


def _rows(part: str, file: Path) -> ForeignRows:
    findings = Findings()
    lines, places = _lines(file)
    is_bare = part == TEST and not any("\t" in line or " " in line.strip() for line in lines)
    pairs = [(line, "") if is_bare else _divided(line) for line in lines]
    for row, (_, label) in enumerate(pairs):
        if not label and not is_bare:
            findings.error(row, problem.MISSING_FIELD, f"no label in {lines[row]!r}, wanted a path, a tab and a label")
    return ForeignRows(
        file,
        [path for path, _ in pairs],
        [label for _, label in pairs],
        [part] * len(pairs),
        findings,
        places,
    )


def _divided(line: str) -> tuple[str, str]:
    path, _, label = line.rpartition("\t") if "\t" in line else line.rstrip().rpartition(" ")
    return (path.rstrip(), label.strip()) if path else (line.strip(), "")


def _lines(file: Path) -> tuple[list[str], Places]:
    """The lines that are not empty, and where they are."""
    with file_errors_told(file):
        raw = read_regular(file)
    lines: list[str] = []
    begins: list[int] = []
    numbers: list[int] = []
    at = len(UTF8_MARK) if raw.startswith(UTF8_MARK) else 0
    try:
        for number, part in enumerate(raw[at:].split(b"\n"), start=1):
            line = part.decode("utf-8").removesuffix("\r")
            if line.strip():
                lines.append(line)
                begins.append(at)
                numbers.append(number)
            at += len(part) + 1
    except UnicodeDecodeError:
        told = NotUtf8(raw)
        raise UserError(f"{file}, line {told.line}, byte {told.byte:,}: the file is {told}") from None
    return lines, Places.of_rows(begins, numbers)
