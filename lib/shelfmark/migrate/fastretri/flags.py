"""The flags of FastRetri's train_net.py, and what a whole command line comes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlparse

from shelfmark.core.errors import UserError, choose, did_you_mean
from shelfmark.migrate.command import Line
from shelfmark.migrate.fastretri.files import DATA_SETS, FILES, data_set_of
from shelfmark.migrate.fastretri.keys import FASTRETRI
from shelfmark.migrate.flags import OldFlag, defaults, meaning_of_values, typed_flags
from shelfmark.migrate.notes import prepare_note
from shelfmark.migrate.translation import RUN_FOLDER, Translation
from shelfmark.migrate.values import Values, to_int


def _num_gpus(text: str, values: Values) -> list[str]:
    one_machine = to_int(values["num-machines"]) == 1
    return ["--num-gpus", text] if to_int(text) > 1 and one_machine and "eval-only" not in values else []


FASTRETRI_FLAGS: dict[str, OldFlag] = {
    "config-file": OldFlag(),
    "resume": OldFlag(
        options=lambda text, values: [] if "eval-only" in values else ["--RESUME_MODEL", f"{RUN_FOLDER}/last"],
        note="the run goes on from its checkpoint; where there is none yet, leave --RESUME_MODEL out.",
        takes="switch",
    ),
    "eval-only": OldFlag(takes="switch"),
    "num-gpus": OldFlag(
        options=_num_gpus,
        default="1",
        note=lambda text, values: "`shelfmark evaluate` is one process." if "eval-only" in values else "",
    ),
    "num-machines": OldFlag(
        default="1", note=lambda text, values: "run the command on each machine." if to_int(text) > 1 else ""
    ),
    "machine-rank": OldFlag(default="0"),
    "dist-url": OldFlag(default="auto"),
}


def translate_fastretri(line: Line) -> Translation:
    typed = typed_flags(line.words, FASTRETRI_FLAGS)
    name = typed.values.get("config-file")
    if name is None:
        files = ", ".join(f"{stem}.yml" for stem in FILES)
        raise UserError(f"--config-file is missing: one of FastRetri's, {files}.")
    file = FILES[choose("--config-file", PurePosixPath(name).stem, FILES)]
    keys = _keys(typed.rest)
    environment = dict(line.environment)
    root = environment.pop("FASTREID_DATASETS", None)
    values = {**defaults(FASTRETRI_FLAGS), **file.values, **typed.values, **keys}
    values |= {"FASTREID_DATASETS": root} if root is not None else {}
    if "DATASETS.NAMES" not in values:
        choices = ", ".join(f"\"('{name}',)\"" for name in DATA_SETS)
        raise UserError(f"{name} names no data; add DATASETS.NAMES with one of {choices}, or take another file.")
    of_flags = meaning_of_values(FASTRETRI_FLAGS, values, typed.values, typed.shown)
    shown = {key: f"{key} {text}" for key, text in keys.items()}
    of_keys = meaning_of_values(FASTRETRI, values, keys, shown, prefix="")
    options = [*of_flags.options, *of_keys.options]
    evaluates = "eval-only" in values
    if evaluates and "MODEL.WEIGHTS" not in keys:
        options += ["--RESUME_MODEL", f"{RUN_FOLDER}/best_model"]
    data_set = data_set_of(values)
    return Translation(
        "fastretri",
        f"retrieval/{file.recipe}",
        of_keys.overrides,
        _without_second_checkpoint(options),
        [*of_flags.notes, *of_keys.notes, prepare_note(data_set.prepare, data_set.folder)],
        environment,
        command=("evaluate",) if evaluates else ("train",),
        tests=(f"dataset/{data_set.prepare}/test.json",) if evaluates else (),
        launcher=() if evaluates else _torchrun(values),
    )


def _keys(words: Sequence[str]) -> dict[str, str]:
    if len(words) % 2:
        raise UserError(f"{words[-1]!r} has no value: behind the flags stand KEY VALUE, as SOLVER.BASE_LR 0.01.")
    keys = dict(zip(words[::2], words[1::2]))
    for key in keys:
        if key not in FASTRETRI:
            hint = did_you_mean(key, FASTRETRI)
            meant = f" Did you mean {hint}?" if hint else " docs/migrate.md lists the keys that are."
            raise UserError(f"{key} is not a key that is translated.{meant}")
    return keys


def _without_second_checkpoint(options: list[str]) -> list[str]:
    """The one that `--resume` names stays: it overwrites the weights that the original loads first."""
    if options.count("--RESUME_MODEL") < 2:
        return options
    place = options.index("--RESUME_MODEL", options.index("--RESUME_MODEL") + 1)
    return options[:place]


def _torchrun(values: Values) -> tuple[str, ...]:
    """What starts the processes of several machines; nothing for one, where `--num-gpus` does."""
    num_machines = to_int(values["num-machines"])
    if num_machines < 2:
        return ()
    address = urlparse(values["dist-url"])
    if not address.hostname or not address.port:
        raise UserError(
            f"--dist-url {values['dist-url']}: {num_machines} machines need the address of the first, as"
            " tcp://HOST:PORT."
        )
    options = {
        "nnodes": num_machines,
        "node-rank": values["machine-rank"],
        "nproc-per-node": values["num-gpus"],
        "master-addr": address.hostname,
        "master-port": address.port,
    }
    return ("torchrun", *(f"--{name}={value}" for name, value in options.items()), "main.py")
