"""Command lines of other code bases, one table a dialect: flag -> the overrides that it means, or why it means none.

PNPloss (`pnp`), Smooth_AP (`smoothap`) and FastRetri (`fastretri`). A flag that is not typed has the default of the
original, which is not always the recipe's: the recipes have the values of the published commands.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import urlparse

from shelfmark.config.dialects import Reading
from shelfmark.config.load import Override
from shelfmark.core.errors import UserError, choose, nearest

Given = Mapping[str, str]
"""Every flag's value as text: what was typed, else the original's default. A switch that is on has the text ''."""

RUN_FOLDER = "{run}"
"""In a translation's options: the folder of the run that its recipe and overrides make."""


@dataclass(frozen=True)
class Old:
    """One flag or key of an original. Its functions get its value's text and all other values.

    sets: our options. options: words of our command line besides. default: the original's, where it decides anything.
    inert: why it changed nothing there. lacks: why there is nothing like it here, and what to do. says: what else to
    know with this value, or ''.
    """

    sets: Callable[[str, Given], Reading] | None = None
    default: str | None = None
    options: Callable[[str, Given], list[str]] | None = None
    inert: str = ""
    lacks: str = ""
    says: Callable[[str, Given], str] | None = None
    takes: Literal["one", "switch", "many"] = "one"


@dataclass(frozen=True)
class Translation:
    """What an old command line comes to.

    recipe: a file of configs/retrieval, without ending. overrides: all that the command says, the recipe's own values
    too. options: words such as `--num-gpus 4`. tests: annotations to evaluate; none of them means training.
    environment: `NAME=value` in front. launcher: words in place of `shelfmark train`. notes: for the user.
    """

    dialect: str
    recipe: str
    overrides: list[Override]
    options: list[str]
    tests: tuple[str, ...]
    environment: list[str]
    launcher: list[str]
    notes: list[str]


class _Line(NamedTuple):
    environment: dict[str, str]
    script: str
    words: list[str]


class _Typed(NamedTuple):
    """values: of each flag. shown: the flag as it was typed, with its value. rest: words that belong to no flag."""

    values: dict[str, str]
    shown: dict[str, str]
    rest: list[str]


class _Dialect(NamedTuple):
    what: str
    example: str
    translate: Callable[[_Line], Translation]


def translate(command: str | Sequence[str], dialect: str | None = None) -> Translation:
    """What an old command line, whole or in words, means here; `dialect` None finds out whose it is.

    Raises UserError for what the original would refuse: an unknown flag (with the nearest), a value that does not fit.
    """
    line = _line(command)
    name = choose("--dialect", dialect, DIALECTS) if dialect else _recognised(line)
    return DIALECTS[name].translate(line)


def shell_word(word: str) -> str:
    """The word as a shell takes it. A `$NAME` in it stays one, as it does in the commands of a README."""
    if re.fullmatch(r"[\w@%+=:,./${}-]+", word) and "$" in word:
        return f'"{word}"'
    return shlex.quote(word)


def override_text(override: Override) -> str:
    """`key=value`, from which `parse_override` reads the same value."""
    return f"{override.key}={_shown(override.value)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, int | float) else value


def _line(command: str | Sequence[str]) -> _Line:
    """The command's parts. `python3`, a prompt and continued lines are taken away."""
    if isinstance(command, str):
        try:
            words = shlex.split(re.sub(r"\\\s*\r?\n", " ", command))
        except ValueError as error:
            raise UserError(f"The command line cannot be read: {error}. Put it whole between quotes.") from None
    else:
        words = [word for word in command if word.strip()]
    words = [re.sub(r"^~(?=/|$)", "$HOME", word) for word in words]
    shell = [word for word in words if re.fullmatch(r"[|;&>].*|\d>.*|<(?!.*>$).*", word) or word.endswith(";")]
    if shell:
        raise UserError(f"{shell[0]!r} belongs to the shell; give one command alone, without what it is joined to.")
    environment: dict[str, str] = {}
    waiting = words[1:] if words[:1] == ["$"] else words
    while waiting and re.fullmatch(r"[A-Za-z_]\w*=.*", waiting[0], flags=re.DOTALL):
        name, _, value = waiting[0].partition("=")
        environment[name] = value
        waiting = waiting[1:]
    while waiting and re.fullmatch(r"(.*/)?python[\d.]*|nohup|-u", waiting[0]):
        waiting = waiting[1:]
    if not waiting or not waiting[0].endswith(".py"):
        found = f"{waiting[0]!r} is no Python script" if waiting else "There is no command"
        raise UserError(f"{found}; give the whole old command line, from `python` on. {_known()}")
    return _Line(environment, waiting[0], waiting[1:])


def _recognised(line: _Line) -> str:
    """The dialect of a command line, by its script, the values that only one knows, and the flags that only one has."""
    script = PurePosixPath(line.script).name
    if script == "train_net.py" or any(word.startswith("--config-file") for word in line.words):
        return "fastretri"
    if script == "evaluate_model.py":
        return "smoothap"
    hints = {hint for flag, text in _pairs(line.words) for hint in _hints(flag, text)}
    if len(hints) == 1:
        return hints.pop()
    why = "has parts of more than one of them" if hints else "could be of none or of several of them"
    raise UserError(f"The command line {why}; say whose it is with --dialect. {_known()}")


def _pairs(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    for index, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            yield name, value if equals else (words[index + 1] if index + 1 < len(words) else "")


def _hints(flag: str, text: str) -> list[str]:
    values = {"loss": {"PNP": "pnp", "smoothap": "smoothap"}, "dataset": dict.fromkeys(_SMOOTHAP_SETS, "smoothap")}
    if flag == "dataset" and "online_products" in text:
        return ["pnp"]
    if text in values.get(flag, {}):
        return [values[flag][text]]
    having = [
        name for name, table in (("pnp", PNP), ("smoothap", SMOOTH_AP)) if any(one.startswith(flag) for one in table)
    ]
    return having if len(having) == 1 else []


def _known() -> str:
    listed = "".join(f"\n  {name:<10} {one.what}, as `{one.example}`" for name, one in DIALECTS.items())
    return f"Known are:{listed}"


def _typed(words: Sequence[str], table: Mapping[str, Old]) -> _Typed:
    """Flags as argparse reads them: `--flag value`, `--flag=value`, any beginning of a name that fits one alone."""
    values: dict[str, str] = {}
    shown: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            rest.append(word)
            continue
        typed, equals, value = word[2:].partition("=")
        name = _whole_name(typed, table)
        found = [value] if equals else []
        if table[name].takes == "switch":
            if equals:
                raise UserError(f"--{name} is a switch: it takes no value, not even {value!r}.")
        else:
            wanted = len(waiting) if table[name].takes == "many" else 1
            while waiting and not waiting[0].startswith("--") and len(found) < wanted and not equals:
                found.append(waiting.pop(0))
            if not found:
                raise UserError(f"--{name} needs a value.")
        values[name] = " ".join(found)
        shown[name] = " ".join([word if equals else f"--{typed}", *([] if equals else found)])
    return _Typed(values, shown, rest)


def _whole_name(typed: str, table: Mapping[str, Old]) -> str:
    fitting = [typed] if typed in table else [name for name in table if name.startswith(typed)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"--{typed} could be {' or '.join(f'--{name}' for name in fitting)}; write it out.")
    hint = nearest(typed, table)
    meant = f" Did you mean --{hint}?" if hint else f" There are: {', '.join(f'--{name}' for name in table)}."
    raise UserError(f"--{typed} is not a flag of the original.{meant}")


def _no_rest(typed: _Typed) -> None:
    if typed.rest:
        raise UserError(f"{typed.rest[0]!r} stands behind no flag of the original; its flags begin with --.")


def _defaults(table: Mapping[str, Old]) -> dict[str, str]:
    return {name: old.default for name, old in table.items() if old.default is not None}


def _apply(
    table: Mapping[str, Old], given: Given, shown: Given, prefix: str = "--"
) -> tuple[list[Override], list[str], list[str]]:
    """Overrides, options and notes, in the table's order; of two values for one key the later holds."""
    overrides: dict[str, Override] = {}
    options: list[str] = []
    notes: list[str] = []
    for name, old in table.items():
        if name not in given:
            continue
        text = given[name]
        origin = shown.get(name, f"{prefix}{name} {text}, the original's default")
        try:
            for key, value in old.sets(text, given) if old.sets else []:
                overrides.pop(key, None)
                overrides[key] = Override(key, value, origin)
            options += old.options(text, given) if old.options else []
        except ValueError as error:
            raise UserError(f"{origin}: {error}") from None
        said = old.says(text, given) if old.says and name in shown else ""
        inert = f"without effect in the original: {old.inert}" if old.inert else ""
        lacks = f"without counterpart here: {old.lacks}" if old.lacks else ""
        notes += [f"{origin}: {note}" for note in (inert, lacks, said) if note and name in shown]
    return list(overrides.values()), options, notes


# Readers of one value.


def _whole(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, _int(text))]


def _number(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, _float(text))]


def _text(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, text)]


def _always(*pairs: tuple[str, Any]) -> Callable[[str, Given], Reading]:
    return lambda text, given: list(pairs)


def _choice(meanings: Mapping[str, Reading]) -> Callable[[str, Given], Reading]:
    return lambda text, given: meanings[_one_of(text, meanings)]


def _whole_list(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, [_int(part) for part in text.split()])]


def _int(text: str) -> int:
    if not re.fullmatch(r"[-+]?\d+", text.strip()):
        raise ValueError(f"{text!r} is not a whole number.")
    return int(text)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None


def _quotient(above: float, below: float) -> float:
    """Rounded, so that 3e-5 of 0.003 is the recipe's 0.01."""
    return float(f"{above / below:.12g}")


def _one_of(text: str, choices: Iterable[str]) -> str:
    allowed = list(choices)
    if text not in allowed:
        meant = nearest(text, allowed)
        hint = f" Did you mean {meant!r}?" if meant else ""
        raise ValueError(f"{text!r} is not one of: {', '.join(allowed)}.{hint}")
    return text


def _run_name(text: str) -> Reading:
    return [("name", re.sub(r"[^A-Za-z0-9._-]+", "-", text))] if text else []


def _finetune(text: str, given: Given) -> list[str]:
    return ["--RESUME_MODEL", text, "--mode", "finetune"] if text else []


def _about_checkpoints(text: str, given: Given) -> str:
    return "--RESUME_MODEL reads checkpoints of Shelfmark alone: name one in place of the original's." if text else ""


# PNPloss: main.py.


_PNP_VARIANTS = {f"PNP-{name}": name for name in ("O", "I_u", "I_b", "D_s", "D_q")}
_INERT_PNP = Old(inert="no sampler or miner of this code base reads it.")
_INERT_PNP_DATA = (
    "batchmatch_bigbs batchmatch_ncomps d2_coreset_lambda gc_coreset_lim sampler_lowproj_dim sim_measure mb_mom mb_lr"
)
_INERT_PNP_SWITCHES = "storage_no_update gc_softened idx_full_prec"
_INERT_PNP_MINERS = (
    "distance_lower_cutoff distance_upper_cutoff rho_distance_lower_cutoff rho_distance_upper_cutoff rho_distance_cp"
)


def _pnp_source(text: str, given: Given) -> Reading:
    return [("data.root", str(PurePosixPath(text) / "online_products"))]


def _pnp_dataset(text: str, given: Given) -> Reading:
    if "online_products" not in text:
        raise ValueError("the code has online_products alone.")
    return []


def _pnp_arch(text: str, given: Given) -> Reading:
    if "resnet50" not in text and "bninception" not in text:
        raise ValueError("the code trains resnet50 and bninception alone, as in resnet50_frozen_normalize.")
    return [("model.freeze_bn", "frozen" in text)]


def _about_pnp_arch(text: str, given: Given) -> str:
    said = []
    if "bninception" in text:
        said.append("timm has no BN-Inception, so the command has ResNet-50; model.backbone names another timm model.")
    if "normalize" not in text:
        said.append("a metric head's vectors have length 1, where the original has them as they come.")
    return f"without counterpart here: {' '.join(said)}" if said else ""


def _pnp_augmentation(text: str, given: Given) -> Reading:
    big: Reading = [("data.input_size_px", 256), ("data.eval_crop", 1)]
    adv: Reading = [("augment.color_jitter", [0.2, 0.2, 0.2, 0.2])]
    return _choice({"base": [], "adv": adv, "big": big, "red": []})(text, given)


def _about_pnp_augmentation(text: str, given: Given) -> str:
    file = "a pipeline saved with albumentations.save(), given as augment.albumentations, has both"
    return {
        "adv": f"without counterpart here: its random greyscale, of probability 0.2; {file}.",
        "red": f"without counterpart here: a plain random crop, so the command has the one of `base`; {file}.",
    }.get(text, "")


def _pnp_schedule(text: str, given: Given) -> Reading:
    # The original takes any other word for its steps.
    return [("optim.schedule.name", "constant" if text == "none" else "multistep")]


def _pnp_optimizer(text: str, given: Given) -> Reading:
    return _choice({"adam": [("optim.name", "adam")], "sgd": [("optim.name", "sgd"), ("optim.momentum", 0.9)]})(
        text, given
    )


def _pnp_embedding_rate(text: str, given: Given) -> Reading:
    rate = _float(text)
    return [] if rate < 0 else [("optim.head_lr_factor", _quotient(rate, _float(given["lr"])))]


def _recalls(text: str, given: Given) -> Reading:
    depths = sorted({int(one) for one in re.findall(r"(?:^|\s)[ec]_recall@(\d+)", text)})
    return [("eval.recall_at", depths)] if depths else []


def _storage(text: str, given: Given) -> Reading:
    found = re.search(r"(?:^|\s)[ec]_recall@(\d+)", text)
    return [("eval.metric", f"recall@{found[1]}")] if found else []


def _about_storage(text: str, given: Given) -> str:
    if re.search(r"(?:^|\s)[ec]_recall@\d+", text):
        return "it is the score on classes that are held out of training, where the original has the test's."
    return "without counterpart here: recall@1 chooses; eval.metric takes any name of summary.json, as map@r."


def _only_with(variant: str, key: str, read: Callable[[str], float]) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, read(text))] if given["variant"] == variant else []


def _of_variant(variant: str) -> Callable[[str, Given], str]:
    return lambda text, given: "" if given["variant"] == variant else f"without effect: it is of {variant} alone."


PNP: dict[str, Old] = {
    "dataset": Old(_pnp_dataset, "online_products"),
    "use_tv_split": Old(
        lacks="every run here holds a part of the training classes out: --val-fraction of `shelfmark prepare sop`.",
        takes="switch",
    ),
    "tv_split_by_samples": Old(
        lacks="`shelfmark prepare sop` holds whole classes out, and a hundredth of the other pictures.", takes="switch"
    ),
    "tv_split_perc": Old(lacks="`shelfmark prepare sop --val-fraction` is the other part, as 0.2 for 0.8."),
    "augmentation": Old(_pnp_augmentation, "base", says=_about_pnp_augmentation),
    "lr": Old(_number("optim.lr"), "1e-5"),
    "fc_lr": Old(_pnp_embedding_rate, "-1"),
    "decay": Old(_number("optim.weight_decay"), "4e-4"),
    "n_epochs": Old(_whole("train.num_epochs"), "150"),
    "kernels": Old(_whole("data.num_workers"), "6"),
    "bs": Old(_whole("train.batch_size"), "112"),
    "seed": Old(_whole("seed"), "1"),
    "scheduler": Old(_pnp_schedule, "step"),
    "gamma": Old(_number("optim.schedule.gamma"), "0.3"),
    "tau": Old(_whole_list("optim.schedule.milestones_epochs"), "120 220 250 280", takes="many"),
    "optim": Old(_pnp_optimizer, "adam"),
    "loss": Old(_choice({"PNP": []}), "margin"),
    "embed_dim": Old(_whole("model.embedding_dim"), "128"),
    "not_pretrained": Old(_always(("model.weights", "")), takes="switch"),
    "arch": Old(_pnp_arch, "resnet50_frozen_normalize", says=_about_pnp_arch),
    "no_train_metrics": Old(inert="parsed and never used.", takes="switch"),
    "evaluate_on_gpu": Old(
        says=lambda text, given: "not needed: the search runs on a GPU where there is one.", takes="switch"
    ),
    "evaluation_metrics": Old(
        _recalls,
        says=lambda text, given: (
            "Recall@K is taken over; `shelfmark evaluate` with --clusters and --legacy-metrics pnp has the others."
        ),
        takes="many",
    ),
    "storage_metrics": Old(_storage, says=_about_storage, takes="many"),
    "evaltypes": Old(inert="there is one, discriminative.", takes="many"),
    "gpu": Old(inert="it is ignored; here --gpu_ids chooses.", takes="many"),
    "savename": Old(lambda text, given: [] if text == "group_plus_seed" else _run_name(text)),
    "source_path": Old(_pnp_source),
    "save_path": Old(_text("output.log_root")),
    "multi-gpu": Old(options=lambda text, given: ["--num-gpus", "2"], takes="switch"),
    "resume": Old(options=_finetune, says=_about_checkpoints),
    "data_sampler": Old(
        _choice({"class_random": [("sampling.type", "pk")]}),
        "class_random",
        says=lambda text, given: (
            "the original draws classes and images with replacement; here those of a batch differ."
        ),
    ),
    "samples_per_class": Old(_whole("sampling.images_per_class"), "2"),
    **{f"data_{name}": _INERT_PNP for name in _INERT_PNP_DATA.split()},
    **{f"data_{name}": replace(_INERT_PNP, takes="switch") for name in _INERT_PNP_SWITCHES.split()},
    **{f"miner_{name}": _INERT_PNP for name in _INERT_PNP_MINERS.split()},
    "variant": Old(
        lambda text, given: [("losses.0.variant", _PNP_VARIANTS[_one_of(text, _PNP_VARIANTS)])], default="PNP-O"
    ),
    "alpha": Old(_only_with("PNP-D_q", "losses.0.alpha", _int), "1", says=_of_variant("PNP-D_q")),
    "b": Old(_only_with("PNP-I_b", "losses.0.b", _float), "2", says=_of_variant("PNP-I_b")),
    "anneal": Old(_number("losses.0.temperature"), "0.01"),
    "margin": Old(inert="parsed and never used."),
    "log_online": Old(lacks="a run writes metrics.jsonl and TensorBoard's files.", takes="switch"),
    "wandb_key": Old(lacks="a run writes metrics.jsonl and TensorBoard's files."),
    "project": Old(lacks="it names a page of Weights & Biases; name=... names the run folder here."),
    "group": Old(lacks="it names a page of Weights & Biases; name=... names the run folder here."),
}


def _translate_pnp(line: _Line) -> Translation:
    typed = _typed(line.words, PNP)
    _no_rest(typed)
    if "loss" not in typed.values:
        raise UserError("--loss is missing: the default of the original, margin, is not in its code; add --loss PNP.")
    overrides, options, notes = _apply(PNP, {**_defaults(PNP), **typed.values}, typed.shown)
    source = PurePosixPath(typed.values.get("source_path", "dataset"))
    folder = source / ("online_products" if "source_path" in typed.values else "Stanford_Online_Products")
    notes.append(_prepare("sop", folder))
    return Translation("pnp", "pnp_sop", overrides, options, (), _kept(line.environment), [], notes)


def _kept(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def _prepare(what: str, folder: PurePosixPath) -> str:
    return f"the data, once: shelfmark prepare {what} --source {shell_word(str(folder))}"


# Smooth_AP: main.py and evaluate_model.py.


class _SmoothAPSet(NamedTuple):
    """num_epochs, milestones: what the original sets whatever is typed, or None. recall_at: the same, always."""

    recipe: str
    prepare: str
    folder: str
    tests: tuple[str, ...]
    recall_at: tuple[int, ...]
    num_epochs: int | None = None
    milestones: tuple[int, ...] | None = None


_SMOOTHAP_SETS = {
    "vehicle_id": _SmoothAPSet(
        "smoothap_vehicleid", "vehicleid", "VehicleID", ("test_800", "test_1600", "test_2400"), (1, 5)
    ),
    "Inaturalist": _SmoothAPSet(
        "smoothap_inat", "inaturalist", "iNaturalist_2018", ("test",), (1, 4, 16, 32), 90, (40, 70)
    ),
}


def _smoothap_set(given: Given) -> _SmoothAPSet:
    return _SMOOTHAP_SETS[_one_of(given["dataset"], _SMOOTHAP_SETS)]


def _smoothap_dataset(text: str, given: Given) -> Reading:
    _smoothap_set(given)
    return []


def _smoothap_source(text: str, given: Given) -> Reading:
    return [("data.root", str(PurePosixPath(text) / given["dataset"]))]


def _about_smoothap_source(text: str, given: Given) -> str:
    return f"read as the folder that holds {given['dataset']}/; if it is that folder itself, set data.root to it."


def _smoothap_epochs(text: str, given: Given) -> Reading:
    return [("train.num_epochs", _smoothap_set(given).num_epochs or _int(text))]


def _smoothap_schedule(text: str, given: Given) -> Reading:
    if _one_of(text, ("step", "exp", "none")) == "none":
        return [("optim.schedule.name", "constant")]
    chosen = _smoothap_set(given)
    if text == "step":
        return [("optim.schedule.name", "multistep")]
    milestones = list(range(1, chosen.num_epochs or _int(given["n_epochs"])))
    return [("optim.schedule.name", "multistep"), ("optim.schedule.milestones_epochs", milestones)]


def _smoothap_milestones(text: str, given: Given) -> Reading:
    typed = [_int(part) for part in text.split()]
    if given["scheduler"] != "step":
        return []
    return [("optim.schedule.milestones_epochs", list(_smoothap_set(given).milestones or typed))]


def _forced(value: Callable[[_SmoothAPSet], object]) -> Callable[[str, Given], str]:
    def says(text: str, given: Given) -> str:
        fixed = value(_smoothap_set(given))
        shown = " ".join(map(str, fixed)) if isinstance(fixed, tuple) else fixed
        if fixed is None or str(shown) == text:
            return ""
        return f"without effect in the original: with --dataset {given['dataset']} it is {shown}."

    return says


def _infrequent(text: str, given: Given) -> Reading:
    return [("eval.every_epochs", 10 if _int(text) == 1 and given["dataset"] != "vehicle_id" else 1)]


_SMOOTHAP_OPTIMIZERS: dict[str, Reading] = {
    "adam": [("optim.name", "adam")],
    "sgd": [("optim.name", "sgd"), ("optim.momentum", 0)],
}
_DIAGNOSTIC = "a diagnostic of training; `shelfmark embed` writes the features to measure"

SMOOTH_AP: dict[str, Old] = {
    "dataset": Old(_smoothap_dataset, "vehicle_id"),
    "lr": Old(_number("optim.lr"), "1e-5"),
    "fc_lr_mul": Old(lambda text, given: [("optim.head_lr_factor", _float(text) or 1)], "5"),
    "n_epochs": Old(_smoothap_epochs, "400", says=_forced(lambda chosen: chosen.num_epochs)),
    "kernels": Old(_whole("data.num_workers"), "8"),
    "bs": Old(_whole("train.batch_size"), "112"),
    "samples_per_class": Old(_whole("sampling.images_per_class"), "4"),
    "seed": Old(_whole("seed"), "1"),
    "scheduler": Old(_smoothap_schedule, "step"),
    "gamma": Old(_number("optim.schedule.gamma"), "0.3"),
    "decay": Old(_number("optim.weight_decay"), "4e-4"),
    "tau": Old(_smoothap_milestones, "200 300", says=_forced(lambda chosen: chosen.milestones), takes="many"),
    "infrequent_eval": Old(
        _infrequent,
        "0",
        says=lambda text, given: (
            "without effect in the original with VehicleID." if text == "1" and given["dataset"] == "vehicle_id" else ""
        ),
    ),
    "opt": Old(_choice(_SMOOTHAP_OPTIMIZERS), "adam"),
    "loss": Old(_choice({"smoothap": []}), "smoothap"),
    "sigmoid_temperature": Old(_number("losses.0.temperature"), "0.01"),
    "k_vals": Old(
        lambda text, given: [("eval.recall_at", list(_smoothap_set(given).recall_at))],
        "1 2 4 8",
        says=_forced(lambda chosen: chosen.recall_at),
        takes="many",
    ),
    "resume": Old(options=_finetune, says=_about_checkpoints),
    "embed_dim": Old(_whole("model.embedding_dim"), "512"),
    "arch": Old(_choice({"resnet50": []}), "resnet50"),
    "grad_measure": Old(lacks=f"{_DIAGNOSTIC}.", takes="switch"),
    "dist_measure": Old(lacks=f"{_DIAGNOSTIC}.", takes="switch"),
    "not_pretrained": Old(_always(("model.weights", "")), takes="switch"),
    "gpu": Old(options=lambda text, given: ["--gpu_ids", text]),
    "savename": Old(lambda text, given: _run_name(text)),
    "source_path": Old(_smoothap_source, says=_about_smoothap_source),
    "save_path": Old(_text("output.log_root")),
}

_IN_CHECKPOINT = Old(says=lambda text, given: "not needed: the checkpoint knows.")

SMOOTH_AP_EVALUATION: dict[str, Old] = {
    **{name: SMOOTH_AP[name] for name in ("dataset", "source_path", "kernels", "k_vals")},
    **dict.fromkeys(("samples_per_class", "loss", "embed_dim", "arch"), _IN_CHECKPOINT),
    "not_pretrained": Old(says=_IN_CHECKPOINT.says, takes="switch"),
    "bs": Old(_whole("eval.batch_size")),
    "gpu": Old(says=lambda text, given: "given on as CUDA_VISIBLE_DEVICES."),
    "resume": Old(
        options=lambda text, given: ["--RESUME_MODEL", text or f"{RUN_FOLDER}/best_model"],
        default="",
        says=_about_checkpoints,
    ),
    "savename": Old(lacks="the scores go to evaluation/ in the run folder, or where --out says."),
    "save_path": Old(lacks="the scores go to evaluation/ in the run folder, or where --out says."),
}


def _translate_smoothap(line: _Line) -> Translation:
    evaluates = PurePosixPath(line.script).name == "evaluate_model.py"
    table = SMOOTH_AP_EVALUATION if evaluates else SMOOTH_AP
    typed = _typed(line.words, table)
    _no_rest(typed)
    overrides, options, notes = _apply(table, {**_defaults(table), **typed.values}, typed.shown)
    chosen = _smoothap_set({"dataset": "vehicle_id", **typed.values})
    environment = dict(line.environment)
    if "gpu" in typed.values and "CUDA_VISIBLE_DEVICES" in environment:
        notes.append("CUDA_VISIBLE_DEVICES: without effect in the original, which sets it to --gpu.")
        del environment["CUDA_VISIBLE_DEVICES"]
    if evaluates and "gpu" in typed.values:
        environment["CUDA_VISIBLE_DEVICES"] = typed.values["gpu"]
    if "source_path" in typed.values:
        folder = PurePosixPath(typed.values["source_path"]) / typed.values.get("dataset", "vehicle_id")
    else:
        folder = PurePosixPath("dataset") / chosen.folder
    notes.append(_prepare(chosen.prepare, folder))
    tests = tuple(f"dataset/{chosen.prepare}/{test}.json" for test in chosen.tests) if evaluates else ()
    return Translation("smoothap", chosen.recipe, overrides, options, tests, _kept(environment), [], notes)


# FastRetri: train_net.py, with a file of values and KEY VALUE behind the flags.


class _FastRetriSet(NamedTuple):
    prepare: str
    folder: str


_FASTRETRI_SETS = {
    "CUB": _FastRetriSet("cub", "CUB_200_2011"),
    "Cars196": _FastRetriSet("cars196", "Cars_196"),
    "SOP": _FastRetriSet("sop", "Stanford_Online_Products"),
    "InShop": _FastRetriSet("inshop", "InShop"),
}
_NO_JITTER = {"INPUT.CJ.ENABLED": "False"}
_BASE_VALUES = {"SOLVER.BASE_LR": "0.003", "SOLVER.ETA_MIN_LR": "3e-5", "TEST.RECALLS": "[1, 2, 4, 8, 16, 32]"}
# Of each file the values that others are read together with, and those that the recipe of the base lacks.
_FASTRETRI_FILES: dict[str, tuple[str, dict[str, str]]] = {
    "base-image_retri": ("fastretri_base", {**_BASE_VALUES, **_NO_JITTER}),
    "cub": (
        "fastretri_cub",
        {
            **_BASE_VALUES,
            "DATASETS.NAMES": "CUB",
            "SOLVER.BASE_LR": "0.02",
            "SOLVER.ETA_MIN_LR": "2e-5",
            "INPUT.CJ.ENABLED": "True",
            **dict.fromkeys(("INPUT.CJ.BRIGHTNESS", "INPUT.CJ.CONTRAST", "INPUT.CJ.SATURATION"), "0.25"),
            "INPUT.CJ.HUE": "0",
        },
    ),
    "cars": (
        "fastretri_cars",
        {
            **_BASE_VALUES,
            "DATASETS.NAMES": "Cars196",
            "SOLVER.BASE_LR": "0.05",
            "SOLVER.ETA_MIN_LR": "5e-4",
            "INPUT.CJ.ENABLED": "True",
            **dict.fromkeys(("INPUT.CJ.BRIGHTNESS", "INPUT.CJ.CONTRAST", "INPUT.CJ.SATURATION"), "0.3"),
            "INPUT.CJ.HUE": "0.1",
        },
    ),
    "sop": (
        "fastretri_sop",
        {**_BASE_VALUES, **_NO_JITTER, "DATASETS.NAMES": "SOP", "TEST.RECALLS": "[1, 10, 100, 1000]"},
    ),
    "inshop": (
        "fastretri_inshop",
        {**_BASE_VALUES, **_NO_JITTER, "DATASETS.NAMES": "InShop", "TEST.RECALLS": "[1, 10, 20, 30, 40, 50]"},
    ),
}


def _literal(text: str) -> Any:
    """A value as yacs reads it: a Python literal, else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _truth(text: str) -> bool:
    value = _literal(text)
    if not isinstance(value, bool):
        raise ValueError(f"{text!r} is neither True nor False.")
    return value


def _list_of(text: str, kind: Literal["whole", "number"]) -> list[Any]:
    value = _literal(text)
    entries = [value] if isinstance(value, int | float) else value
    kinds = (int,) if kind == "whole" else (int, float)
    if not isinstance(entries, list | tuple) or not all(type(one) in kinds for one in entries):
        raise ValueError(f"{text!r} is not a list of {kind} numbers, as [256].")
    return list(entries)


def _numbers(key: str, divisor: float = 1) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, [_quotient(one, divisor) for one in _list_of(text, "number")])]


def _either(yes: Reading, no: Reading) -> Callable[[str, Given], Reading]:
    return lambda text, given: yes if _truth(text) else no


def _size(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, [one for one in _list_of(text, "whole") if one > 0])]


def _crop_size(text: str, given: Given) -> Reading:
    sides = set(_list_of(text, "whole"))
    if len(sides) != 1:
        raise ValueError("the network sees a square here; give both sides the same.")
    return [("data.input_size_px", sides.pop())]


def _jitter(text: str, given: Given) -> Reading:
    if not _truth(given["INPUT.CJ.ENABLED"]):
        return [("augment.color_jitter", [0, 0, 0, 0])]
    keys = [f"INPUT.CJ.{name}" for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")]
    missing = [key for key in keys if key not in given]
    if missing:
        raise ValueError(f"give the strengths beside it: {' '.join(f'{key} 0.1' for key in missing)}.")
    return [("augment.color_jitter", [_float(given[key]) for key in keys])]


def _about_jitter(text: str, given: Given) -> str:
    return "" if _truth(given["INPUT.CJ.ENABLED"]) else "without effect: INPUT.CJ.ENABLED is False."


def _unless_off(text: str, given: Given) -> str:
    return "without counterpart here; augment.randaugment and augment.albumentations come near." if _truth(text) else ""


def _fastretri_rate(text: str, given: Given) -> Reading:
    rate = _float(given["SOLVER.BASE_LR"])
    if rate <= 0:
        raise ValueError(f"SOLVER.BASE_LR {rate:g} must be above 0.")
    factor = _quotient(_float(given["SOLVER.ETA_MIN_LR"]), rate)
    return [("optim.lr", rate), ("optim.schedule.final_factor", factor)]


def _fastretri_schedule(text: str, given: Given) -> Reading:
    if _one_of(text, ("CosineAnnealingLR", "MultiStepLR")) == "CosineAnnealingLR":
        return [("optim.schedule.name", "cosine")]
    milestones = _list_of(given.get("SOLVER.STEPS", "[30, 55]"), "whole")
    return [
        ("optim.schedule.name", "multistep"),
        ("optim.schedule.per_epoch", False),
        ("optim.schedule.milestones_epochs", milestones),
        ("optim.schedule.gamma", _float(given.get("SOLVER.GAMMA", "0.1"))),
    ]


def _fastretri_sampler(text: str, given: Given) -> Reading:
    kinds = {
        "TrainingSampler": "instance",
        "NaiveIdentitySampler": "pk",
        "BalancedIdentitySampler": "pk",
        "ImbalancedDatasetSampler": "class_balanced",
    }
    kind = kinds[_one_of(text, kinds)]
    size = _int(given.get("DATALOADER.NUM_INSTANCE", "4"))
    return [("sampling.type", kind), *([("sampling.images_per_class", size)] if kind == "pk" else [])]


def _classifier(text: str, given: Given) -> Reading:
    losses = {"Linear": "", "CosSoftmax": "cosface", "ArcSoftmax": "arcface", "CircleSoftmax": "circle_softmax"}
    loss = losses[_one_of(text, losses)]
    if not loss:
        return []
    scale, margin = _float(given.get("MODEL.HEADS.SCALE", "1")), _float(given.get("MODEL.HEADS.MARGIN", "0"))
    return [
        ("model.classifier", {"type": "cosine", "scale": scale}),
        ("losses", [{"name": loss, "head": "classifier", "margin": margin, "scale": scale}]),
    ]


def _has_linear(given: Given) -> bool:
    return given.get("MODEL.HEADS.CLS_LAYER", "Linear") == "Linear"


def _about_classifier(text: str, given: Given) -> str:
    return "" if _has_linear(given) else "losses of cosines have no label smoothing here, so it is left out."


def _smoothing(text: str, given: Given) -> Reading:
    amount = _float(text)
    return [("losses.0.label_smoothing", amount)] if amount >= 0 and _has_linear(given) else []


def _about_smoothing(text: str, given: Given) -> str:
    return "without counterpart here: smoothing that adapts to each image." if _float(text) < 0 else ""


def _of_cosines(text: str, given: Given) -> str:
    return "without effect here: it is of the classifiers of cosines." if _has_linear(given) else ""


def _fastretri_losses(text: str, given: Given) -> str:
    names = _literal(text)
    others = [name for name in ([names] if isinstance(names, str) else names) if name != "CrossEntropyLoss"]
    if not others:
        return ""
    add = "'model.heads={rank: {}}' 'losses.1={name: triplet, head: rank}'"
    return f"without counterpart here: {', '.join(others)} on vectors of any length; on those of length 1, add {add}."


def _pooling(text: str, given: Given) -> Reading:
    kinds: dict[str, Reading] = {
        "GeneralizedMeanPooling": [("model.pooling.name", "gem"), ("model.pooling.trainable", False)],
        "GeneralizedMeanPoolingP": [("model.pooling.name", "gem"), ("model.pooling.trainable", True)],
        **{pool: [("model.pooling.name", "avg")] for pool in ("GlobalAvgPool", "FastGlobalAvgPool")},
        "GlobalMaxPool": [("model.pooling.name", "max")],
    }
    return kinds[_one_of(text, kinds)]


def _depth(text: str, given: Given) -> Reading:
    if _one_of(text, ("18x", "34x", "50x", "101x", "152x")) == "50x":
        return [("model.backbone", "resnet50")]
    return [("model.backbone", f"resnet{text[:-1]}"), ("model.weights", "pretrained")]


def _norm(text: str, given: Given) -> Reading:
    frozen = _one_of(text, ("FrozenBN", "BN", "syncBN")) == "FrozenBN"
    return [("model.freeze_bn", frozen), ("model.freeze_bn_affine", frozen)]


def _about_norm(text: str, given: Given) -> str:
    return "without counterpart here: each process normalises by its own part of the batch." if text == "syncBN" else ""


def _only(*allowed: str) -> Callable[[str, Given], str]:
    """A remark on every other value than those that the recipe has."""
    return lambda text, given: "" if text in allowed else f"without counterpart here: the recipe has {allowed[0]}."


def _norm_decay(text: str, given: Given) -> Reading:
    return [("optim.decay_norm_and_bias", _float(text) > 0)]


def _test_batch(text: str, given: Given) -> Reading:
    # Ours is of each process, and `shelfmark evaluate` is one.
    processes = 1 if "eval-only" in given else max(1, _int(given["num-gpus"]))
    return [("eval.batch_size", max(1, _int(text) // processes))]


def _dataset_of(given: Given) -> _FastRetriSet:
    names = _literal(given["DATASETS.NAMES"])
    chosen = [names] if isinstance(names, str) else list(names)
    if len(chosen) != 1:
        raise ValueError("several data sets at once are without counterpart here: prepare and train one.")
    return _FASTRETRI_SETS[_one_of(chosen[0], _FASTRETRI_SETS)]


def _fastretri_data(text: str, given: Given) -> Reading:
    chosen = _dataset_of(given)
    folder = f"dataset/{chosen.prepare}"
    files = {"train": "train", "val": "val", "retrieval": "val_retrieval"}
    root = str(PurePosixPath(given.get("FASTREID_DATASETS", "dataset")) / chosen.folder)
    return [("data.root", root), *((f"data.{key}_json", f"{folder}/{name}.json") for key, name in files.items())]


def _output(text: str, given: Given) -> Reading:
    path = PurePosixPath(text)
    return [("output.log_root", str(path.parent)), *_run_name(path.name)]


def _weights(text: str, given: Given) -> list[str]:
    return ["--RESUME_MODEL", text] if "eval-only" in given else _finetune(text, given)


_LAUNCH = "the command that starts the processes has it"

FASTRETRI_FLAGS: dict[str, Old] = {
    "config-file": Old(),
    "resume": Old(
        options=lambda text, given: [] if "eval-only" in given else ["--RESUME_MODEL", f"{RUN_FOLDER}/last"],
        says=lambda text, given: "it goes on where there is a checkpoint; without one, leave --RESUME_MODEL out.",
        takes="switch",
    ),
    "eval-only": Old(takes="switch"),
    "num-gpus": Old(
        options=lambda text, given: (
            ["--num-gpus", text]
            if _int(text) > 1 and "eval-only" not in given and _int(given["num-machines"]) == 1
            else []
        ),
        default="1",
        says=lambda text, given: "`shelfmark evaluate` is one process." if "eval-only" in given else "",
    ),
    "num-machines": Old(
        default="1", says=lambda text, given: f"{_LAUNCH}; run it on each machine." if _int(text) > 1 else ""
    ),
    "machine-rank": Old(default="0"),
    "dist-url": Old(default="auto"),
}

FASTRETRI: dict[str, Old] = {
    "MODEL.META_ARCHITECTURE": Old(says=_only("Baseline")),
    "MODEL.DEVICE": Old(lambda text, given: [("train.device", _one_of(text.partition(":")[0], ("cuda", "cpu")))]),
    "MODEL.BACKBONE.NAME": Old(says=_only("build_resnet_backbone")),
    "MODEL.BACKBONE.DEPTH": Old(_depth),
    "MODEL.BACKBONE.NORM": Old(_norm, says=_about_norm),
    "MODEL.BACKBONE.LAST_STRIDE": Old(_whole("model.last_stride")),
    "MODEL.BACKBONE.FEAT_DIM": Old(lacks="the backbone knows its width."),
    "MODEL.BACKBONE.WITH_IBN": Old(says=_only("False")),
    "MODEL.BACKBONE.WITH_SE": Old(says=_only("False")),
    "MODEL.BACKBONE.WITH_NL": Old(says=_only("False")),
    "MODEL.BACKBONE.PRETRAIN": Old(_either([], [("model.weights", "")])),
    "MODEL.BACKBONE.PRETRAIN_PATH": Old(lambda text, given: [("model.weights", text)] if text else []),
    "MODEL.HEADS.NAME": Old(says=_only("EmbeddingHead")),
    "MODEL.HEADS.NUM_CLASSES": Old(_whole("data.num_classes")),
    "MODEL.HEADS.EMBEDDING_DIM": Old(_whole("model.embedding_dim")),
    "MODEL.HEADS.NORM": Old(says=_about_norm),
    "MODEL.HEADS.WITH_BNNECK": Old(_either([("model.neck", "bn")], [("model.neck", "none")])),
    "MODEL.HEADS.NECK_FEAT": Old(inert="it is of losses that compare vectors."),
    "MODEL.HEADS.POOL_LAYER": Old(_pooling),
    "MODEL.HEADS.CLS_LAYER": Old(_classifier, says=_about_classifier),
    "MODEL.HEADS.SCALE": Old(says=_of_cosines),
    "MODEL.HEADS.MARGIN": Old(says=_of_cosines),
    "MODEL.LOSSES.NAME": Old(says=_fastretri_losses),
    "MODEL.LOSSES.CE.EPSILON": Old(_smoothing, says=_about_smoothing),
    "MODEL.LOSSES.CE.ALPHA": Old(inert="it is of the smoothing that adapts, with EPSILON -1."),
    "MODEL.LOSSES.CE.SCALE": Old(_number("losses.0.weight")),
    "MODEL.WEIGHTS": Old(options=_weights, says=_about_checkpoints),
    "MODEL.PIXEL_MEAN": Old(_numbers("data.mean", 255)),
    "MODEL.PIXEL_STD": Old(_numbers("data.std", 255)),
    "MODEL.FREEZE_LAYERS": Old(lacks="train.stages freezes modules by the epoch, model.freeze for the whole run."),
    "DATASETS.NAMES": Old(_fastretri_data),
    "DATASETS.TESTS": Old(lacks="the training set's own test; data.retrieval_json names another."),
    "INPUT.SIZE_TRAIN": Old(_size("augment.resize_px")),
    "INPUT.SIZE_TEST": Old(_size("data.eval_resize_px")),
    "INPUT.CROP.ENABLED": Old(says=_only("True")),
    "INPUT.CROP.SIZE": Old(_crop_size),
    "INPUT.CROP.SCALE": Old(_numbers("augment.crop_scale")),
    "INPUT.CROP.RATIO": Old(_numbers("augment.crop_ratio")),
    "INPUT.FLIP.ENABLED": Old(_either([], [("augment.flip", 0)])),
    "INPUT.FLIP.PROB": Old(
        lambda text, given: [("augment.flip", _float(text) if given.get("INPUT.FLIP.ENABLED") != "False" else 0)]
    ),
    "INPUT.CJ.ENABLED": Old(_jitter),
    "INPUT.CJ.PROB": Old(_number("augment.color_jitter_probability"), says=_about_jitter),
    **{
        f"INPUT.CJ.{name}": Old(_jitter, says=_about_jitter) for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")
    },
    **{f"INPUT.{name}.ENABLED": Old(says=_unless_off) for name in ("AUTOAUG", "AUGMIX", "RPT", "PADDING", "AFFINE")},
    "INPUT.REA.ENABLED": Old(
        lambda text, given: [("augment.erasing", _float(given.get("INPUT.REA.PROB", "0.5")) if _truth(text) else 0)]
    ),
    # Where erasing is on, INPUT.REA.ENABLED reads it.
    "INPUT.REA.PROB": Old(
        says=lambda text, given: "" if "INPUT.REA.ENABLED" in given else "without effect: INPUT.REA.ENABLED is False."
    ),
    "DATALOADER.SAMPLER_TRAIN": Old(_fastretri_sampler),
    "DATALOADER.NUM_INSTANCE": Old(
        says=lambda text, given: (
            ""
            if "Identity" in given.get("DATALOADER.SAMPLER_TRAIN", "")
            else "without effect: it is of the samplers of identities."
        )
    ),
    "DATALOADER.NUM_WORKERS": Old(_whole("data.num_workers")),
    "SOLVER.MAX_EPOCH": Old(_whole("train.num_epochs")),
    "SOLVER.OPT": Old(
        _choice({old: [("optim.name", ours)] for old, ours in {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}.items()})
    ),
    "SOLVER.BASE_LR": Old(_fastretri_rate),
    "SOLVER.ETA_MIN_LR": Old(_fastretri_rate),
    "SOLVER.HEADS_LR_FACTOR": Old(_number("optim.head_lr_factor")),
    "SOLVER.BIAS_LR_FACTOR": Old(inert="no bias learns in this network."),
    "SOLVER.MOMENTUM": Old(_number("optim.momentum")),
    "SOLVER.NESTEROV": Old(_either([("optim.nesterov", True)], [("optim.nesterov", False)])),
    "SOLVER.WEIGHT_DECAY": Old(_number("optim.weight_decay")),
    "SOLVER.WEIGHT_DECAY_NORM": Old(
        _norm_decay, says=lambda text, given: "norms decay by SOLVER.WEIGHT_DECAY here, or, with 0, not at all."
    ),
    "SOLVER.WEIGHT_DECAY_BIAS": Old(inert="no bias learns in this network."),
    "SOLVER.SCHED": Old(
        _fastretri_schedule,
        says=lambda text, given: (
            "milestones count from the first epoch here, there from the end of the warm-up."
            if text == "MultiStepLR"
            else ""
        ),
    ),
    **{
        f"SOLVER.{name}": Old(
            says=lambda text, given: (
                ""
                if given.get("SOLVER.SCHED") == "MultiStepLR"
                else "without effect in the original: it is of MultiStepLR."
            )
        )
        for name in ("STEPS", "GAMMA")
    },
    "SOLVER.DELAY_EPOCHS": Old(says=_only("0")),
    "SOLVER.WARMUP_METHOD": Old(says=_only("linear")),
    "SOLVER.WARMUP_FACTOR": Old(_number("optim.schedule.warmup_factor")),
    "SOLVER.WARMUP_ITERS": Old(_whole("optim.schedule.warmup_steps")),
    "SOLVER.FREEZE_ITERS": Old(says=_only("0")),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Old(_either([], [("optim.clip_norm", 0)])),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Old(says=_only("norm")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Old(
        lambda text, given: (
            [] if given.get("SOLVER.CLIP_GRADIENTS.ENABLED") == "False" else [("optim.clip_norm", _float(text))]
        )
    ),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Old(says=_only("2.0", "2")),
    "SOLVER.AMP.ENABLED": Old(_either([("train.precision", "auto")], [("train.precision", "fp32")])),
    "SOLVER.IMS_PER_BATCH": Old(_whole("train.batch_size")),
    "SOLVER.CHECKPOINT_PERIOD": Old(_whole("train.checkpoint_every_epochs")),
    "TEST.EVAL_PERIOD": Old(_whole("eval.every_epochs")),
    "TEST.IMS_PER_BATCH": Old(_test_batch),
    "TEST.RECALLS": Old(lambda text, given: [("eval.recall_at", _list_of(text, "whole"))]),
    "TEST.METRIC": Old(inert="its evaluator has the cosine alone; here eval.retrieval_metric."),
    "TEST.AQE.ENABLED": Old(inert="its evaluator does not expand queries; `shelfmark evaluate --post alpha_qe` does."),
    "TEST.RERANK.ENABLED": Old(inert="its evaluator does not re-rank; `shelfmark evaluate --post k_reciprocal` does."),
    "TEST.ROC.ENABLED": Old(inert="its evaluator has none; `shelfmark evaluate --verification` has."),
    "TEST.FLIP.ENABLED": Old(lacks="a run scores pictures as they are; `shelfmark evaluate --post flip` flips."),
    "TEST.PRECISE_BN.ENABLED": Old(says=_only("False")),
    "CUDNN_BENCHMARK": Old(inert="it is for speed alone; sizes are fixed, and a GPU chooses by itself."),
    "OUTPUT_DIR": Old(_output),
}


def _translate_fastretri(line: _Line) -> Translation:
    typed = _typed(line.words, FASTRETRI_FLAGS)
    file = typed.values.get("config-file")
    if file is None:
        files = ", ".join(f"{name}.yml" for name in _FASTRETRI_FILES)
        raise UserError(f"--config-file is missing: one of FastRetri's, {files}.")
    recipe, values = _FASTRETRI_FILES[choose("--config-file", PurePosixPath(file).stem, _FASTRETRI_FILES)]
    keys = _keys(typed.rest)
    environment = dict(line.environment)
    root = environment.pop("FASTREID_DATASETS", None)
    given = {**_defaults(FASTRETRI_FLAGS), **values, **typed.values, **keys}
    given |= {"FASTREID_DATASETS": root} if root is not None else {}
    if "DATASETS.NAMES" not in given:
        choices = ", ".join(f"\"('{name}',)\"" for name in _FASTRETRI_SETS)
        raise UserError(f"{file} names no data; add DATASETS.NAMES with one of {choices}, or take another file.")
    _, options, notes = _apply(FASTRETRI_FLAGS, given, typed.shown)
    shown = {key: f"{key} {text}" for key, text in keys.items()}
    overrides, more_options, more_notes = _apply(FASTRETRI, given, shown, prefix="")
    evaluates = "eval-only" in given
    if evaluates and "MODEL.WEIGHTS" not in keys:
        more_options += ["--RESUME_MODEL", f"{RUN_FOLDER}/best_model"]
    chosen = _dataset_of(given)
    folder = PurePosixPath(root or "dataset") / chosen.folder
    return Translation(
        "fastretri",
        recipe,
        overrides,
        _last_checkpoint([*options, *more_options]),
        (f"dataset/{chosen.prepare}/test.json",) if evaluates else (),
        _kept(environment),
        [] if evaluates else _torchrun(given),
        [*notes, *more_notes, _prepare(chosen.prepare, folder)],
    )


def _keys(words: Sequence[str]) -> dict[str, str]:
    if len(words) % 2:
        raise UserError(f"{words[-1]!r} has no value: behind the flags stand KEY VALUE, as SOLVER.BASE_LR 0.01.")
    keys = dict(zip(words[::2], words[1::2]))
    for key in keys:
        if key not in FASTRETRI:
            hint = nearest(key, FASTRETRI)
            meant = f" Did you mean {hint}?" if hint else " docs/migrate.md lists those that are."
            raise UserError(f"{key} is not a key that is translated.{meant}")
    return keys


def _last_checkpoint(options: list[str]) -> list[str]:
    """Of two checkpoints the one that `--resume` names: it overwrites the weights that the original loads first."""
    if options.count("--RESUME_MODEL") < 2:
        return options
    place = options.index("--RESUME_MODEL", options.index("--RESUME_MODEL") + 1)
    return options[:place]


def _torchrun(given: Given) -> list[str]:
    """What starts the processes of several machines; nothing for one, where `--num-gpus` does."""
    num_machines = _int(given["num-machines"])
    if num_machines < 2:
        return []
    address = urlparse(given["dist-url"])
    if not address.hostname or not address.port:
        raise UserError(
            f"--dist-url {given['dist-url']}: {num_machines} machines need the first one's address, as tcp://HOST:PORT."
        )
    options = {
        "nnodes": num_machines,
        "node-rank": given["machine-rank"],
        "nproc-per-node": given["num-gpus"],
        "master-addr": address.hostname,
        "master-port": address.port,
    }
    return ["torchrun", *(f"--{name}={value}" for name, value in options.items()), "main.py"]


DIALECTS = {
    "pnp": _Dialect("PNPloss", "python main.py --loss PNP --variant PNP-D_q", _translate_pnp),
    "smoothap": _Dialect("Smooth_AP", "python main.py --dataset vehicle_id --fc_lr_mul 1", _translate_smoothap),
    "fastretri": _Dialect("FastRetri", "python3 projects/FastRetri/train_net.py --config-file F", _translate_fastretri),
}
