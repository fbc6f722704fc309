"""Smooth_AP: main.py and evaluate_model.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import OldFlag, meaning_of
from shelfmark.migrate.notes import DIAGNOSTIC, IN_CHECKPOINT, INERT, LACKS, Note, about_checkpoints, prepare_note
from shelfmark.migrate.readers import adam_or_sgd, always, any_of, finetune, number, run_name, whole, words
from shelfmark.migrate.translation import RUN_FOLDER, Translation
from shelfmark.migrate.values import Reading, Values, one_of, to_float, to_int


class Fixed(NamedTuple):
    """What the original sets for one data set, whatever is typed; None: what is typed.

    recall_at: K of Recall@K. infrequent: epochs between two evaluations with --infrequent_eval 1.
    """

    recall_at: tuple[int, ...]
    infrequent: int = 1
    num_epochs: int | None = None
    milestones: tuple[int, ...] | None = None


class DataSet(NamedTuple):
    """recipe: of ours. prepare: the name for `shelfmark prepare`. folder: as downloaded. tests: files of ours."""

    recipe: str
    prepare: str
    folder: str
    tests: tuple[str, ...]
    fixed: Fixed


DATA_SETS = {
    "vehicle_id": DataSet(
        "smoothap_vehicleid", "vehicleid", "VehicleID", ("test_800", "test_1600", "test_2400"), Fixed((1, 5))
    ),
    "Inaturalist": DataSet(
        "smoothap_inat", "inaturalist", "iNaturalist_2018", ("test",), Fixed((1, 4, 16, 32), 10, 90, (40, 70))
    ),
}


def _data_set(values: Values) -> DataSet:
    return DATA_SETS[one_of(values["dataset"], DATA_SETS)]


@dataclass(frozen=True)
class _Readers:
    """Of the flags whose values the original replaces for some data sets."""

    fixed_for: Callable[[Values], Fixed]

    def epochs(self, text: str, values: Values) -> Reading:
        return [("train.num_epochs", self.fixed_for(values).num_epochs or to_int(text))]

    def schedule(self, text: str, values: Values) -> Reading:
        if one_of(text, ("step", "exp", "none")) == "none":
            return [("optim.schedule.name", "constant")]
        if text == "step":
            return [("optim.schedule.name", "multistep")]
        milestones = list(range(1, self.fixed_for(values).num_epochs or to_int(values["n_epochs"])))
        return [("optim.schedule.name", "multistep"), ("optim.schedule.milestones_epochs", milestones)]

    def milestones(self, text: str, values: Values) -> Reading:
        typed = [to_int(part) for part in text.split()]
        if values["scheduler"] != "step":
            return []
        return [("optim.schedule.milestones_epochs", list(self.fixed_for(values).milestones or typed))]

    def infrequent(self, text: str, values: Values) -> Reading:
        return [("eval.every_epochs", self.fixed_for(values).infrequent if to_int(text) == 1 else 1)]

    def about_infrequent(self, text: str, values: Values) -> str:
        if text != "1" or self.fixed_for(values).infrequent > 1:
            return ""
        return f"{INERT} with --dataset {values['dataset']}."

    def recalls(self, text: str, values: Values) -> Reading:
        return [("eval.recall_at", list(self.fixed_for(values).recall_at))]

    def unless_fixed(self, value: Callable[[Fixed], object]) -> Note:
        def note(text: str, values: Values) -> str:
            fixed = value(self.fixed_for(values))
            shown = " ".join(map(str, fixed)) if isinstance(fixed, tuple) else str(fixed)
            if fixed is None or shown == text:
                return ""
            return f"{INERT}: with --dataset {values['dataset']} the value is always {shown}."

        return note


def embedder_flags(fixed_for: Callable[[Values], Fixed]) -> dict[str, OldFlag]:
    """The flags of main.py, which PSS has too. fixed_for: what that code sets, whatever is typed."""
    of = _Readers(fixed_for)
    return {
        "dataset": OldFlag(any_of(*DATA_SETS), "vehicle_id"),
        "lr": OldFlag(number("optim.lr"), "1e-5"),
        "fc_lr_mul": OldFlag(lambda text, values: [("optim.non_backbone_lr_factor", to_float(text) or 1)], "5"),
        "n_epochs": OldFlag(of.epochs, "400", note=of.unless_fixed(lambda fixed: fixed.num_epochs)),
        "kernels": OldFlag(whole("data.num_workers"), "8"),
        "bs": OldFlag(whole("train.batch_size"), "112"),
        "samples_per_class": OldFlag(whole("sampling.images_per_class"), "4"),
        "seed": OldFlag(whole("seed"), "1"),
        "scheduler": OldFlag(of.schedule, "step"),
        "gamma": OldFlag(number("optim.schedule.gamma"), "0.3"),
        "decay": OldFlag(number("optim.weight_decay"), "4e-4"),
        "tau": OldFlag(of.milestones, "200 300", note=of.unless_fixed(lambda fixed: fixed.milestones), takes="many"),
        "infrequent_eval": OldFlag(of.infrequent, "0", note=of.about_infrequent),
        "opt": OldFlag(adam_or_sgd(0), "adam"),
        "loss": OldFlag(any_of("smoothap"), "smoothap"),
        "sigmoid_temperature": OldFlag(number("losses.0.temperature"), "0.01"),
        "k_vals": OldFlag(of.recalls, "1 2 4 8", note=of.unless_fixed(lambda fixed: fixed.recall_at), takes="many"),
        "resume": OldFlag(options=finetune, note=about_checkpoints),
        "embed_dim": OldFlag(whole("model.embedding_dim"), "512"),
        "arch": OldFlag(any_of("resnet50"), "resnet50"),
        "grad_measure": OldFlag(note=DIAGNOSTIC, takes="switch"),
        "dist_measure": OldFlag(note=DIAGNOSTIC, takes="switch"),
        "not_pretrained": OldFlag(always("model.weights", ""), takes="switch"),
        "gpu": OldFlag(options=lambda text, values: ["--gpu_ids", text]),
        "savename": OldFlag(lambda text, values: run_name(text)),
        "source_path": OldFlag(
            lambda text, values: [("data.root", str(PurePosixPath(text) / values["dataset"]))],
            note=lambda text, values: (
                f"this is taken for the folder that holds {values['dataset']}/; if it is {values['dataset']}/ itself,"
                " set data.root to it."
            ),
        ),
        "save_path": OldFlag(words("output.log_root")),
    }


def checkpoint_flag(newest: Callable[[Values], str]) -> OldFlag:
    """--resume of a script that only reads a checkpoint. newest: the one to read where none is named."""
    return OldFlag(
        options=lambda text, values: ["--RESUME_MODEL", text or newest(values)], default="", note=about_checkpoints
    )


_OUT = OldFlag(note=f"{LACKS}: the scores go to evaluation/ in the run folder, or to the folder of --out.")

SMOOTH_AP = embedder_flags(lambda values: _data_set(values).fixed)
SMOOTH_AP_EVALUATION: dict[str, OldFlag] = {
    **{name: SMOOTH_AP[name] for name in ("dataset", "source_path", "kernels", "k_vals")},
    **dict.fromkeys(("samples_per_class", "loss", "embed_dim", "arch"), OldFlag(note=IN_CHECKPOINT)),
    "not_pretrained": OldFlag(note=IN_CHECKPOINT, takes="switch"),
    "bs": OldFlag(whole("eval.batch_size")),
    "gpu": OldFlag(note="the command sets CUDA_VISIBLE_DEVICES to it."),
    "resume": checkpoint_flag(lambda values: f"{RUN_FOLDER}/best_model"),
    "savename": _OUT,
    "save_path": _OUT,
}


def translate_smoothap(line: Line) -> Translation:
    evaluates = PurePosixPath(line.script).name == "evaluate_model.py"
    found = meaning_of(line.words, SMOOTH_AP_EVALUATION if evaluates else SMOOTH_AP)
    chosen = _data_set(found.values)
    notes = list(found.notes)
    environment = dict(line.environment)
    gpu = found.typed.get("gpu")
    if gpu is not None and environment.pop("CUDA_VISIBLE_DEVICES", None) is not None:
        notes.append(f"CUDA_VISIBLE_DEVICES: {INERT}, which sets it to --gpu.")
    if gpu is not None and evaluates:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    source = found.typed.get("source_path")
    parts = ("dataset", chosen.folder) if source is None else (source, found.values["dataset"])
    notes.append(prepare_note(chosen.prepare, PurePosixPath(*parts)))
    return Translation(
        "smoothap",
        f"retrieval/{chosen.recipe}",
        found.overrides,
        found.options,
        notes,
        environment,
        command=("evaluate",) if evaluates else ("train",),
        tests=tuple(f"dataset/{chosen.prepare}/{test}.json" for test in chosen.tests) if evaluates else (),
    )
