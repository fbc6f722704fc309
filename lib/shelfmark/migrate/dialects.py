"""The dialects: whose a command line is, and what it comes to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from shelfmark.core.errors import UserError, choose
from shelfmark.migrate.command import Line, line_of
from shelfmark.migrate.fastretri.flags import translate_fastretri
from shelfmark.migrate.hilander import HILANDER, HILANDER_TEST, translate_hilander
from shelfmark.migrate.pnp import PNP, translate_pnp
from shelfmark.migrate.pss import PSS, translate_pss_embedder
from shelfmark.migrate.smoothap import DATA_SETS, SMOOTH_AP, translate_smoothap
from shelfmark.migrate.translation import Dialect, Translation


def translate(command: str | Sequence[str], dialect: str | None = None) -> Translation:
    """What an old command line, whole or in words, means here; `dialect` None finds out whose it is.

    Raises UserError for what the original would refuse: an unknown flag (with the nearest), a value that does not fit.
    """
    line = line_of(command, _known())
    name = choose("--dialect", dialect, DIALECTS) if dialect else _recognised(line)
    return DIALECTS[name].translate(line)


def _translate_pss(line: Line) -> Translation:
    """A line of the embedder, or of the network that clusters, whose scripts are called train and test."""
    is_graph = PurePosixPath(line.script).name.startswith(("train", "test"))
    return translate_hilander(line) if is_graph else translate_pss_embedder(line)


DIALECTS = {
    "pnp": Dialect("PNPloss", "python main.py --loss PNP --variant PNP-D_q", translate_pnp),
    "smoothap": Dialect("Smooth_AP", "python main.py --dataset vehicle_id --fc_lr_mul 1", translate_smoothap),
    "fastretri": Dialect("FastRetri", "python3 projects/FastRetri/train_net.py --config-file F", translate_fastretri),
    "pss": Dialect("PSS and Hi-LANDER", "python main.py --dataset Inaturalist --class_num 948", _translate_pss),
}
_PSS_SCRIPTS = re.compile(r"finetune_1head\.py|get_features\.py|(train|test)_subg\w*\.py")
_FLAGS = {"pnp": {*PNP}, "smoothap": {*SMOOTH_AP}, "pss": {*PSS, *HILANDER, *HILANDER_TEST}}
_VALUES = {
    ("loss", "PNP"): "pnp",
    ("loss", "smoothap"): "smoothap",
    ("loss", "ams"): "pss",
    ("loss", "ce"): "pss",
    **{("dataset", data_set): "smoothap" for data_set in DATA_SETS},
}


def _recognised(line: Line) -> str:
    """The dialect of a command line, by its script, and by the flags and values that only one dialect has."""
    script = PurePosixPath(line.script).name
    hints = {hint for flag, text in _pairs(line.words) if (hint := _hint(flag, text))}
    if _PSS_SCRIPTS.fullmatch(script) or "pss" in hints:
        return "pss"
    if script == "train_net.py" or any(word.startswith("--config-file") for word in line.words):
        return "fastretri"
    if script == "evaluate_model.py":
        return "smoothap"
    if len(hints) == 1:
        return hints.pop()
    why = "has parts of several dialects" if hints else "could be of none or of several dialects"
    raise UserError(f"The command line {why}; name the dialect with --dialect. {_known()}")


def _pairs(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    for index, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            yield name, value if equals else (words[index + 1] if index + 1 < len(words) else "")


def _hint(flag: str, text: str) -> str | None:
    """The one dialect that has the flag, perhaps cut short, or the value. PSS has all flags of Smooth_AP too."""
    if flag == "dataset" and "online_products" in text:
        return "pnp"
    owners = {name for name, flags in _FLAGS.items() if any(one.startswith(flag) for one in flags)}
    owners = owners - {"pss"} or owners
    return _VALUES.get((flag, text)) or (owners.pop() if len(owners) == 1 else None)


def _known() -> str:
    listed = "".join(f"\n  {name:<10} {one.name}, as `{one.example}`" for name, one in DIALECTS.items())
    return f"The dialects are:{listed}"
