"""The annotations that `prepare folder` wrote to a folder before: what it may write anew, and which split holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path, read_json, write_json
from shelfmark.data.converters.prepared import refuse_to_replace
from shelfmark.data.documents import read_document

RECORD = "prepared.json"


@dataclass(frozen=True)
class EarlierFolder:
    """facts: what the files in `out` are made from now. before: the record of the earlier ones; empty for none."""

    out: Path
    facts: Mapping[str, Any]
    before: Mapping[str, Any]

    @classmethod
    def of(cls, out: Path, source: Path, options: Mapping[str, Any]) -> EarlierFolder:
        """Raises a UserError where `out` holds annotations of another source, or made with other options."""
        facts = {"layout": "folder", "source": str(source.resolve()), **options}
        file = out / RECORD
        before = read_json(file) if file.is_file() else {}
        if not isinstance(before, dict) or (before and not isinstance(before.get("files"), dict)):
            raise UserError(f"{file} is no record of `prepare folder`. Give another --out, or delete {out}.")
        changed = [name for name in facts if before and before.get(name) != facts[name]]
        if changed:
            told = ", ".join(f"{name}={before.get(name)}" for name in changed)
            raise UserError(
                f"{out} was prepared with {told}. A new split there would mix the training and validation images of"
                " runs that use it. Give another --out, or delete the folder if no run uses it."
            )
        return cls(out, facts, before)

    def parts(self) -> dict[str, str]:
        """path -> `train` or `val`, as it was; empty where nothing was prepared."""
        files = {part: self.out / f"{part}.json" for part in ("train", "val")}
        if not self.before or not all(file.is_file() for file in files.values()):
            return {}
        found: dict[str, str] = {}
        for part, file in files.items():
            document, _ = read_document(file, "annotations")
            found |= {record["fpath"]: part for record in document["annotations"] if "fpath" in record}
        return found

    def write(self, contents: Mapping[Path, bytes]) -> list[str]:
        """Writes the files and their record; returns what to tell. UserError: a file was edited since, or is another's.

        Nothing is written where nothing changes.
        """
        own = self.before.get("files", {})
        refuse_to_replace({path: content for path, content in contents.items() if not self._is_own(path, own)})
        changed = {path: content for path, content in contents.items() if not _holds(path, content)}
        gone = [name for name in own if self.out / name not in contents and self._is_own(self.out / name, own)]
        for path, content in changed.items():
            with atomic_path(path) as beside:
                beside.write_bytes(content)
        for name in gone:
            (self.out / name).unlink(missing_ok=True)
        files = {path.name: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
        record = {**self.facts, "files": files}
        if record != self.before:
            write_json(self.out / RECORD, record)
        if not self.before:
            return []
        if not changed and not gone:
            return ["nothing has changed since it was prepared"]
        return [f"written anew: {', '.join(path.name for path in changed)}; images stay in the part that they were in"]

    def _is_own(self, path: Path, own: Mapping[str, str]) -> bool:
        return path.is_file() and own.get(path.name) == hashlib.sha256(path.read_bytes()).hexdigest()


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
