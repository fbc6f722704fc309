"""Smooth_AP: main.py and evaluate_model.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import Old, apply, defaults, require_no_rest, typed_flags
from shelfmark.migrate.translation import RUN_FOLDER, Translation, environment_words, prepare_note
from shelfmark.migrate.values import (
    Given,
    Reading,
    about_checkpoints,
    always,
    choice,
    finetune,
    number,
    one_of,
    run_name,
    text_of,
    to_float,
    to_int,
    whole,
)


class _SmoothAPSet(NamedTuple):
    """num_epochs, milestones: what the original sets whatever is typed, or None. recall_at: the same, always."""

    recipe: str
    prepare: str
    folder: str
    tests: tuple[str, ...]
    recall_at: tuple[int, ...]
    num_epochs: int | None = None
    milestones: tuple[int, ...] | None = None


SMOOTHAP_SETS = {
    "vehicle_id": _SmoothAPSet(
        "smoothap_vehicleid", "vehicleid", "VehicleID", ("test_800", "test_1600", "test_2400"), (1, 5)
    ),
    "Inaturalist": _SmoothAPSet(
        "smoothap_inat", "inaturalist", "iNaturalist_2018", ("test",), (1, 4, 16, 32), 90, (40, 70)
    ),
}


def _smoothap_set(given: Given) -> _SmoothAPSet:
    return SMOOTHAP_SETS[one_of(given["dataset"], SMOOTHAP_SETS)]


def _smoothap_dataset(text: str, given: Given) -> Reading:
    _smoothap_set(given)
    return []


def _smoothap_source(text: str, given: Given) -> Reading:
    return [("data.root", str(PurePosixPath(text) / given["dataset"]))]


def _about_smoothap_source(text: str, given: Given) -> str:
    return f"read as the folder that holds {given['dataset']}/; if it is that folder itself, set data.root to it."


def _smoothap_epochs(text: str, given: Given) -> Reading:
    return [("train.num_epochs", _smoothap_set(given).num_epochs or to_int(text))]


def _smoothap_schedule(text: str, given: Given) -> Reading:
    if one_of(text, ("step", "exp", "none")) == "none":
        return [("optim.schedule.name", "constant")]
    chosen = _smoothap_set(given)
    if text == "step":
        return [("optim.schedule.name", "multistep")]
    milestones = list(range(1, chosen.num_epochs or to_int(given["n_epochs"])))
    return [("optim.schedule.name", "multistep"), ("optim.schedule.milestones_epochs", milestones)]


def _smoothap_milestones(text: str, given: Given) -> Reading:
    typed = [to_int(part) for part in text.split()]
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
    return [("eval.every_epochs", 10 if to_int(text) == 1 and given["dataset"] != "vehicle_id" else 1)]


_SMOOTHAP_OPTIMIZERS: dict[str, Reading] = {
    "adam": [("optim.name", "adam")],
    "sgd": [("optim.name", "sgd"), ("optim.momentum", 0)],
}
_DIAGNOSTIC = "a diagnostic of training; `shelfmark embed` writes the features to measure"

SMOOTH_AP: dict[str, Old] = {
    "dataset": Old(_smoothap_dataset, "vehicle_id"),
    "lr": Old(number("optim.lr"), "1e-5"),
    "fc_lr_mul": Old(lambda text, given: [("optim.head_lr_factor", to_float(text) or 1)], "5"),
    "n_epochs": Old(_smoothap_epochs, "400", says=_forced(lambda chosen: chosen.num_epochs)),
    "kernels": Old(whole("data.num_workers"), "8"),
    "bs": Old(whole("train.batch_size"), "112"),
    "samples_per_class": Old(whole("sampling.images_per_class"), "4"),
    "seed": Old(whole("seed"), "1"),
    "scheduler": Old(_smoothap_schedule, "step"),
    "gamma": Old(number("optim.schedule.gamma"), "0.3"),
    "decay": Old(number("optim.weight_decay"), "4e-4"),
    "tau": Old(_smoothap_milestones, "200 300", says=_forced(lambda chosen: chosen.milestones), takes="many"),
    "infrequent_eval": Old(
        _infrequent,
        "0",
        says=lambda text, given: (
            "without effect in the original with VehicleID." if text == "1" and given["dataset"] == "vehicle_id" else ""
        ),
    ),
    "opt": Old(choice(_SMOOTHAP_OPTIMIZERS), "adam"),
    "loss": Old(choice({"smoothap": []}), "smoothap"),
    "sigmoid_temperature": Old(number("losses.0.temperature"), "0.01"),
    "k_vals": Old(
        lambda text, given: [("eval.recall_at", list(_smoothap_set(given).recall_at))],
        "1 2 4 8",
        says=_forced(lambda chosen: chosen.recall_at),
        takes="many",
    ),
    "resume": Old(options=finetune, says=about_checkpoints),
    "embed_dim": Old(whole("model.embedding_dim"), "512"),
    "arch": Old(choice({"resnet50": []}), "resnet50"),
    "grad_measure": Old(lacks=f"{_DIAGNOSTIC}.", takes="switch"),
    "dist_measure": Old(lacks=f"{_DIAGNOSTIC}.", takes="switch"),
    "not_pretrained": Old(always(("model.weights", "")), takes="switch"),
    "gpu": Old(options=lambda text, given: ["--gpu_ids", text]),
    "savename": Old(lambda text, given: run_name(text)),
    "source_path": Old(_smoothap_source, says=_about_smoothap_source),
    "save_path": Old(text_of("output.log_root")),
}

_IN_CHECKPOINT = Old(says=lambda text, given: "not needed: the checkpoint knows.")

SMOOTH_AP_EVALUATION: dict[str, Old] = {
    **{name: SMOOTH_AP[name] for name in ("dataset", "source_path", "kernels", "k_vals")},
    **dict.fromkeys(("samples_per_class", "loss", "embed_dim", "arch"), _IN_CHECKPOINT),
    "not_pretrained": Old(says=_IN_CHECKPOINT.says, takes="switch"),
    "bs": Old(whole("eval.batch_size")),
    "gpu": Old(says=lambda text, given: "given on as CUDA_VISIBLE_DEVICES."),
    "resume": Old(
        options=lambda text, given: ["--RESUME_MODEL", text or f"{RUN_FOLDER}/best_model"],
        default="",
        says=about_checkpoints,
    ),
    "savename": Old(lacks="the scores go to evaluation/ in the run folder, or where --out says."),
    "save_path": Old(lacks="the scores go to evaluation/ in the run folder, or where --out says."),
}


def translate_smoothap(line: Line) -> Translation:
    evaluates = PurePosixPath(line.script).name == "evaluate_model.py"
    table = SMOOTH_AP_EVALUATION if evaluates else SMOOTH_AP
    typed = typed_flags(line.words, table)
    require_no_rest(typed)
    overrides, options, notes = apply(table, {**defaults(table), **typed.values}, typed.shown)
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
    notes.append(prepare_note(chosen.prepare, folder))
    tests = tuple(f"dataset/{chosen.prepare}/{test}.json" for test in chosen.tests) if evaluates else ()
    return Translation("smoothap", chosen.recipe, overrides, options, tests, environment_words(environment), [], notes)
