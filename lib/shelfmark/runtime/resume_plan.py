"""How a training run begins: fresh, as the continuation of another, or as its finetuning."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from shelfmark.config.keys import is_within
from shelfmark.config.load import Loaded, load
from shelfmark.core import dist
from shelfmark.core.destinations import require_place
from shelfmark.core.disk import make_folders, remove_empty, require_room, system_says
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, unused_path
from shelfmark.core.folders import holds_our_manifest
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.data.table import Table
from shelfmark.engine import resume
from shelfmark.engine.checkpoint import (
    Checkpoint,
    config_overrides,
    copy_checkpoint,
    load_checkpoint,
    newest_whole,
    previous_of,
    whole_checkpoint,
)
from shelfmark.engine.checkpointer import BEST, LAST
from shelfmark.recipe import Recipe

Mode = Literal["resume", "finetune"]

AUTO = Path("auto")
"""In place of a checkpoint: the newest one of the run that the recipe names."""
_BEGINNING, _METRICS = ("config.yaml", "environment.json", "tensorboard"), "metrics.jsonl"
"""What a run writes before its first step; the metrics are empty then."""
SMALL_RUNS = ("--smoke", "--dry-run", "--check")


@dataclass(frozen=True)
class RunOrigin:
    """checkpoint: to begin from, None for a fresh run. folder: the run's folder, if it does not depend on the
    checkpoint. is_own: the checkpoint is the run's own, so the run goes on from it, whatever was asked for."""

    checkpoint: Checkpoint | None = None
    folder: Path | None = None
    is_own: bool = False


@dataclass(frozen=True)
class RunStart:
    """kind: of the run. reason: the log's first line. folder: of the run; None makes a new one, `name`. tries_resume: a
    small run that starts from the weights alone, and checks that the real run could be resumed."""

    kind: Literal["fresh", "resume", "finetune"]
    reason: str
    name: str
    folder: Path | None = None
    checkpoint: Checkpoint | None = None
    tries_resume: bool = False

    @property
    def resumed(self) -> Checkpoint | None:
        """The checkpoint whose optimizer, schedule and position go on, if any."""
        return self.checkpoint if self.kind == "resume" else None


def find_checkpoint(recipe: Recipe, asked: Path | None, aside: bool = False) -> RunOrigin:
    """The checkpoint that `--RESUME_MODEL asked` means. Rank 0 finds it and checks every byte, for all processes.

    aside: the run writes to a new folder, whatever its checkpoint. A launch that torchrun restarted goes on with its
    own run.
    """
    found = from_main(lambda: _found(recipe, asked, aside))
    if found.checkpoint is not None and not dist.is_main():
        # Only the folder is sent; each process reads the checkpoint itself.
        return replace(found, checkpoint=load_checkpoint(found.checkpoint.folder))
    return found


def decide_start(recipe: Recipe, train: Table, found: RunOrigin, mode: Mode | None, aside: bool = False) -> RunStart:
    """Decides between resume and finetune, by the content of the training annotations, never by paths.

    mode: the user's choice; None decides here. aside: the run writes to a new folder.
    """
    checkpoint = found.checkpoint
    if checkpoint is None:
        return RunStart("fresh", "a fresh run", recipe.name, found.folder)
    same = checkpoint.manifest["train_sha256"] == train.sha256
    kind = "resume" if found.is_own else mode or ("resume" if same else "finetune")
    why = f"--mode {mode}" if mode else f"the training annotations are {'the same' if same else 'different'}"
    if kind == "finetune":
        if found.folder is not None and found.folder == checkpoint.folder.parent and mode is None:
            raise UserError(
                f"the run in {found.folder} was trained on other annotations, so --RESUME_MODEL auto cannot resume"
                f" it. --RESUME_MODEL {checkpoint.folder} finetunes it; name=NAME starts another run."
            )
        reason = f"finetuning {checkpoint.folder}: its weights, a fresh optimizer and schedule ({why})"
        folder = None if found.folder == checkpoint.folder.parent else found.folder
        return RunStart("finetune", reason, f"{recipe.name}_finetune", folder, checkpoint)
    if not checkpoint.has_state:
        raise UserError(
            f"{checkpoint.folder} is a recalibrated model and holds no optimizer to resume; use --mode finetune,"
            " or resume the checkpoint that it was made from."
        )
    if aside:
        reason = f"a small run with the weights of {checkpoint.folder}, with a fresh optimizer and schedule"
        return RunStart("finetune", reason, recipe.name, checkpoint=checkpoint, tries_resume=True)
    if not same:
        why += "; the training annotations are different, so the epoch in progress starts again"
    done = checkpoint.manifest["step"]
    reason = f"resuming {checkpoint.folder} at step {done}, epoch {checkpoint.manifest['epoch'] + 1} ({why})"
    epochs = checkpoint.manifest["epoch"]
    if epochs >= recipe.train.num_epochs:
        has = f"all its {epochs}" if epochs == recipe.train.num_epochs else f"{epochs}"
        reason = f"{checkpoint.folder} has {has} epochs; train.num_epochs=N adds more"
    folder = found.folder or _own_folder(checkpoint)
    return RunStart("resume", reason, recipe.name, folder, checkpoint)


def resumable(loaded: Loaded[Recipe], start: RunStart) -> tuple[Loaded[Recipe], list[str]]:
    """The recipe of a resumed run, by the rules of `engine.resume`, and a line for each option that differs.

    Options that follow the checkpoint get its values. UserError: an option changed that may not change.
    """
    checkpoint = start.checkpoint
    if checkpoint is None or not (start.resumed or start.tries_resume):
        return loaded, []
    recipe = loaded.config.model_dump(mode="json")
    # Options that are newer than the checkpoint count as having had their defaults.
    before = load(Recipe, None, config_overrides(checkpoint)).config.model_dump(mode="json")
    found = [change for change in resume.changes(before, recipe) if _origin(loaded, change.option) not in SMALL_RUNS]
    resume.require_allowed(found)
    origins = dict(loaded.origins)
    for change in found:
        if change.rule.rule == "follows":
            _put(recipe, change.option, change.before)
            origins[change.option] = f"checkpoint {checkpoint.folder}"
    followed = Recipe.model_validate_json(json.dumps(recipe), strict=True)
    return replace(loaded, config=followed, origins=origins), resume.told(found)


def require_run_place(start: RunStart, log_root: Path) -> None:
    """Raises a UserError where the run's folder cannot be written or made; nothing is made."""
    folder = start.folder or log_root / start.name
    from_main(lambda: require_place(folder / LAST, "the run's folder:", is_folder=True))


@contextmanager
def run_folder(start: RunStart, log_root: Path, checkpoint_bytes: int = 0, num_checkpoints: int = 1) -> Iterator[Path]:
    """Locks and yields the run's folder: the resumed one, or a new one, numbered if its name exists.

    A new folder is removed again if a UserError ends the run before it has a result. checkpoint_bytes: of one
    checkpoint. num_checkpoints: how many will stand there at the end. UserError: another process trains there, or the
    disk has no room for the checkpoints.
    """
    with ExitStack() as opened:

        def begin() -> Path:
            place = start.folder or log_root / start.name
            require_room(place, checkpoint_bytes * _num_more(start.folder, num_checkpoints))
            made = make_folders(place.parent)
            opened.callback(remove_empty, made)
            folder = start.folder or _new_folder(place)
            if folder != start.folder:
                opened.callback(remove_empty, [folder])
            opened.enter_context(folder_lock(folder, "training"))
            made = make_folders(folder)
            opened.callback(remove_empty, made)
            if made or folder != start.folder:
                opened.push(partial(_take_back, folder))
            _require_unchanged(start)
            _require_places(folder)
            _put_in_place_of_last(start)
            return folder

        yield from_main(begin)


def _take_back(folder: Path, kind: object, error: BaseException | None, trace: object) -> None:
    """Empties the folder of a run that was refused, unless it has more than how the run was begun."""
    if isinstance(error, UserError) and not any(_is_result(path, folder) for path in folder.rglob("*")):
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_result(path: Path, folder: Path) -> bool:
    if path.is_dir() or path.relative_to(folder).parts[0] in _BEGINNING:
        return False
    return path.name != _METRICS or path.stat().st_size > 0


def _num_more(folder: Path | None, num_checkpoints: int) -> int:
    """How many checkpoints come to those in the folder; at least the one that stands beside another until it replaces
    it."""
    names = (LAST, previous_of(Path(LAST)).name, BEST)
    num_there = 0 if folder is None else sum((folder / name).is_dir() for name in names)
    return max(1, num_checkpoints - num_there)


def _found(recipe: Recipe, asked: Path | None, aside: bool) -> RunOrigin:
    launched = None if aside else _folder_of_this_launch(recipe)
    if launched is not None:
        say(f"restart {dist.restart_count()} of this launch: it continues its own run in {launched}")
        newest = newest_whole(launched)
        if newest is not None:
            return RunOrigin(newest, launched, is_own=True)
        # The attempt died before its first checkpoint: it starts as before, in the same folder.
        return RunOrigin(None if asked in (None, AUTO) else whole_checkpoint(asked), launched)
    if asked != AUTO:
        return RunOrigin(None if asked is None else whole_checkpoint(asked))
    folder = recipe.output.log_root / recipe.name
    checkpoint = newest_whole(folder)
    if checkpoint is None:
        say(f"there is no whole checkpoint in {folder}: the run starts there")
        _require_no_other_files(folder)
    return RunOrigin(checkpoint, None if aside else folder)


def _folder_of_this_launch(recipe: Recipe) -> Path | None:
    """The run folder of an earlier attempt of this launch; None in the first attempt, or if none had a folder yet."""
    launch = dist.launch_id()
    if launch is None or not dist.restart_count():
        return None
    for file in sorted(recipe.output.log_root.glob("*/environment*.json")):
        told = read_json(file)
        if isinstance(told, dict) and told.get("launch") == launch:
            return file.parent
    return None


def _require_no_other_files(folder: Path) -> None:
    ours = ("environment*.json", "config*.yaml", "metrics.jsonl", ".*.part")
    if folder.is_dir() and any(folder.iterdir()) and not any(any(folder.glob(name)) for name in ours):
        raise UserError(
            f"{folder} has files that are not of a run, so no run starts there; give the run another name, by"
            " name=NAME."
        )


def _require_unchanged(start: RunStart) -> None:
    """Raises a UserError if another process replaced the checkpoint between our reading and the lock."""
    if start.folder is not None and start.resumed is not None:
        _require_same(start.resumed)


def _require_places(folder: Path) -> None:
    """Raises a UserError, before the training, if a file or folder is in the way of the run's files."""
    last = folder / LAST
    for path in (last, previous_of(last), folder / BEST):
        is_empty = path.is_dir() and not any(path.iterdir())
        if os.path.lexists(path) and not is_empty and not holds_our_manifest(path):
            raise UserError(f"the run will write a checkpoint to {path}, which is not a checkpoint; move it away.")
    for name in ("metrics.jsonl", "config.yaml", "environment.json", "summary.json", "per_class.csv"):
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder, and the run will write a file there; move it away.")
    for name in ("tensorboard", "embeddings"):
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            raise UserError(f"{folder / name} is a file, and the run will make a folder there; move it away.")


def _put_in_place_of_last(start: RunStart) -> None:
    """Copies the generation before a damaged `last` to `last`, so that the next save keeps a good generation."""
    if start.folder is not None and start.resumed is not None:
        last = start.folder / LAST
        if start.resumed.folder == previous_of(last):
            copy_checkpoint(start.resumed.folder, last)


@contextmanager
def unchanged(start: RunStart) -> Iterator[None]:
    """A block that reads the checkpoint. If another run replaced it meanwhile, the error says that, not damage."""
    try:
        yield
    except UserError:
        if start.checkpoint is not None:
            _require_same(start.checkpoint)
        raise


def _require_same(checkpoint: Checkpoint) -> None:
    if load_checkpoint(checkpoint.folder).manifest["files"] != checkpoint.manifest["files"]:
        raise UserError(f"another process wrote {checkpoint.folder} while this run was starting; start it again.")


def _own_folder(checkpoint: Checkpoint) -> Path | None:
    # `last` is the end of its run, so the run can go on in the same folder. From an older checkpoint that would
    # overwrite later results.
    run = checkpoint.folder.parent
    heads = (LAST, previous_of(run / LAST).name)
    return run if checkpoint.folder.name in heads else None


def _new_folder(path: Path) -> Path:
    """Makes `path`, or `path` with the first free number. Two runs that choose at the same moment get two folders."""
    while True:
        folder = unused_path(path)
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"the folder {folder} cannot be made: {system_says(error)}. Give another path.") from None


def _origin(loaded: Loaded[Recipe], option: str) -> str:
    """The origin of an option: where it, or the first of its parts, was set."""
    for key, origin in loaded.origins.items():
        if is_within(key, option) or is_within(option, key):
            return origin
    return ""


def _put(recipe: dict[str, Any], option: str, value: Any) -> None:
    *path, last = option.split(".")
    section = recipe
    for part in path:
        section = section[part]
    section[last] = value
