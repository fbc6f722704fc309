"""Where checkpoints lie: the folder that a path means, and the generation kept beside it. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.folders import folder_to_read, left_by_version_1

MODEL, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"


def previous_of(folder: Path) -> Path:
    """The place of the generation before the checkpoint `folder`: `.last.previous` beside `last`."""
    return folder.parent / f".{folder.name}.previous"  # not with_name: `.` and `/` have no name


def generation_before(path: Path) -> Path | None:
    """The generation before the checkpoint that `--RESUME_MODEL path` means; None where none is kept."""
    before = previous_of(path.with_suffix("") if path.suffix == ".pth" else path)
    return before if (before / MANIFEST).is_file() else None


def checkpoint_folder(path: Path) -> Path:
    """The folder that `--RESUME_MODEL path` means: `X.pth` is the folder `X` where that exists.

    Raises UserError where there is none, with the checkpoints of the run that was named.
    """
    candidates = [path.with_suffix("")] if path.suffix == ".pth" else []
    for candidate in [*candidates, path]:
        folder = folder_to_read(candidate)
        if (folder / MANIFEST).is_file():
            return folder
        nested = [candidate / name for name in ("last", "best_model") if (candidate / name / MANIFEST).is_file()]
        if nested:
            raise UserError(f"{candidate} is a run folder; name one of its checkpoints: {', '.join(map(str, nested))}.")
    if path.is_file():
        raise UserError(
            f"{path} is a file, but a Shelfmark checkpoint is a folder with {MODEL}, {STATE} and {MANIFEST}."
            " To start from backbone weights in a file, set model.weights=FILE."
        )
    raise UserError(f"there is no checkpoint at {path}.{left_by_version_1(path)}{_nearby(path)}")


def _nearby(path: Path) -> str:
    """The checkpoints of the run that was meant, or, where there is no such run, those of the runs beside it."""
    run, runs = path.parent, path.parent.parent
    found: list[Path] = []
    # Look nowhere else: the working folder and the disk hold many other files.
    if run != runs and run not in (Path(), Path("/")):
        found = _checkpoints_in(run)
        if not found and run.is_dir():
            return (
                f" The run in {run} has written no checkpoint yet; start it anew, or with --RESUME_MODEL auto, which"
                " begins where there is none."
            )
        if not found and runs not in (Path(), Path("/")) and runs.is_dir():
            found = [one for folder in sorted(runs.iterdir()) for one in _checkpoints_in(folder)]
    if found:
        return f" Nearby: {', '.join(map(str, found[:5]))}."
    return f" Train one with `{command_line('train')}`; it lands under log/<run>/best_model."


def _checkpoints_in(run: Path) -> list[Path]:
    found = [run / name for name in ("best_model", "last") if (run / name / MANIFEST).is_file()]
    # Of a `last` that is gone, the generation before it may be all that is left.
    before = None if run / "last" in found else generation_before(run / "last")
    return [*found, before] if before else found
