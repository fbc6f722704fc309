"""What differs first between two folders of runs: in their records, their summaries and their weights, bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
WEIGHTS = ("best_model/model.safetensors", "last/model.safetensors")
TIMES = ("images_per_s", "data_wait_share", "seconds", "peak_memory_bytes")
"""Fields of records and summaries that say how long something took; they differ from run to run."""

Record = dict[str, Any]
Key = tuple[Any, Any, int]


@dataclass
class Comparison:
    """difference: the first that was found, or "". notes: what only one side has and is no difference."""

    difference: str = ""
    notes: list[str] = field(default_factory=list)
    num_runs: int = 0


def compare_runs(old: Path, new: Path) -> Comparison:
    """The runs below both folders: each folder with metrics.jsonl, matched by its path.

    Whatever OLD has must be in NEW; fields, kinds of records, files and runs that only NEW has are notes. A field of a
    record or a summary that only OLD has is a note too: what can be compared are the fields of both.
    """
    found = Comparison()
    runs, others = run_folders(old), run_folders(new)
    found.notes += [f"only new: {name}" for name in others if name not in runs]
    found.num_runs = len(runs)
    if not runs:
        found.difference = f"no run was written: there is no {METRICS}"
    for name in runs:
        if name not in others:
            found.difference = f"{name} is missing"
        else:
            found.difference = next(_differences(old / name, new / name, found.notes), "")
            found.difference = found.difference and f"{name}: {found.difference}"
        if found.difference:
            break
    found.notes = list(dict.fromkeys(found.notes))
    return found


def run_folders(root: Path) -> list[str]:
    """The paths below `root` of folders with metrics.jsonl; hidden ones are somebody's work in progress."""
    paths = (file.parent.relative_to(root) for file in root.rglob(METRICS))
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def record_difference(old: Iterable[Record], new: Iterable[Record], notes: list[str]) -> str:
    """The first difference of two logs, or "". Records are matched in order and by (kind, step)."""
    of_old, of_new = _keyed(old), _keyed(new)
    kinds = {key[0] for key in of_old}
    notes += [
        f"only new: records of kind {kind}" for kind in sorted({str(key[0]) for key in of_new if key[0] not in kinds})
    ]
    of_new = {key: record for key, record in of_new.items() if key[0] in kinds}
    for key, record in of_old.items():
        if key not in of_new:
            return f"{_told(key)} is missing"
        if difference := value_difference(record, of_new[key], notes):
            return f"{_told(key)}, {difference}"
    if more := [key for key in of_new if key not in of_old]:
        return f"{_told(more[0])} is only new"
    if list(of_old) != list(of_new):
        place = next(index for index, pair in enumerate(zip(of_old, of_new)) if pair[0] != pair[1])
        return f"record {place + 1} is {_told(list(of_new)[place])}, and was {_told(list(of_old)[place])}"
    return ""


def value_difference(old: Any, new: Any, notes: list[str], name: str = "") -> str:
    """The first difference of two values of JSON, or "": of objects in the fields of both, without times."""
    if isinstance(old, dict) and isinstance(new, dict):
        notes += [f"only old: field {name}{key}" for key in old if key not in new]
        notes += [f"only new: field {name}{key}" for key in new if key not in old]
        both = [key for key in old if key in new and key not in TIMES]
        return next(
            (said for key in both if (said := value_difference(old[key], new[key], notes, f"{name}{key}."))), ""
        )
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new))
        return next((said for i, pair in pairs if (said := value_difference(*pair, notes, f"{name}{i}."))), "")
    # A NaN is the same as a NaN.
    is_same = old == new or (old != old and new != new)
    return "" if is_same else f"{name.rstrip('.')}: {new!r}, and was {old!r}"


def weights_difference(old: Path, new: Path) -> str:
    """The first tensor of two safetensors files that differs in a bit, its type or its shape, or ""."""
    of_old, of_new = load_file(old), load_file(new)
    for name in sorted(of_old.keys() | of_new.keys()):
        if name not in of_new:
            return f"{name} is missing"
        if name not in of_old:
            return f"{name} is only new"
        one, other = of_old[name], of_new[name]
        if one.dtype != other.dtype or one.shape != other.shape:
            return f"{name} is {other.dtype} {tuple(other.shape)}, and was {one.dtype} {tuple(one.shape)}"
        if not torch.equal(_bytes(one), _bytes(other)):
            return f"{name} differs by up to {(other.double() - one.double()).abs().max():.3g}"
    return ""


def _differences(old: Path, new: Path, notes: list[str]) -> Iterator[str]:
    for name in (METRICS, SUMMARY, *WEIGHTS):
        has_old, has_new = (old / name).is_file(), (new / name).is_file()
        if has_old and not has_new:
            yield f"{name} is missing"
        elif has_new and not has_old:
            notes.append(f"only new: {name}")
        elif has_old and (said := _file_difference(old / name, new / name, notes)):
            yield f"{name}: {said}"


def _file_difference(old: Path, new: Path, notes: list[str]) -> str:
    try:
        if old.name == METRICS:
            return record_difference(_records(old), _records(new), notes)
        if old.name == SUMMARY:
            return value_difference(json.loads(old.read_text()), json.loads(new.read_text()), notes)
        return weights_difference(old, new)
    except (ValueError, SafetensorError) as error:
        return f"cannot be read: {error}"


def _records(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def _keyed(records: Iterable[Record]) -> dict[Key, Record]:
    """Each by its kind, its step, and how many such there were before it."""
    seen: Counter[tuple[Any, Any]] = Counter()
    keyed: dict[Key, Record] = {}
    for record in records:
        name = record.get("kind"), record.get("step")
        keyed[*name, seen[name]] = record
        seen[name] += 1
    return keyed


def _told(key: Key) -> str:
    kind, step, before = key
    return f"{kind} of step {step}" + (f" ({before + 1}.)" if before else "")


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
