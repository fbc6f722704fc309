"""PSS: main.py and finetune_1head.py of its Smooth_AP, get_features.py and evaluate_model.py.

The first two train the embedder of one iteration; here one command does all rounds, and skips what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import Old, apply, defaults, require_no_rest, typed_flags
from shelfmark.migrate.translation import RUN_FOLDER, Translation, environment_words, prepare_note
from shelfmark.migrate.values import (
    Given,
    Reading,
    about_checkpoints,
    always,
    choice,
    number,
    one_of,
    text_of,
    to_float,
    to_int,
    whole,
)

ANNOTATIONS, TEST = "dataset/pss/discovery.json", "dataset/pss/test.json"
_LOSSES: dict[str, Reading] = {
    "smoothap": [],
    "ce": [("model.classifier", {"type": "linear"}), ("losses", [{"name": "cross_entropy", "head": "classifier"}])],
    "ams": [
        ("model.classifier", {"type": "cosine", "scale": 30}),
        ("losses", [{"name": "cosface", "head": "classifier", "margin": 0.3, "scale": 30}]),
    ],
}
_VITS = {f"{kind}_{size}": f"{kind}_{size}_patch" for kind in ("vit", "deit") for size in ("tiny", "small", "base")}


def is_vit(given: Given) -> bool:
    return given["arch"] != "resnet50"


def _round(given: Given) -> int:
    return to_int(given["iter"])


def _dataset(text: str, given: Given) -> Reading:
    if text != "Inaturalist":
        raise ValueError("only Inaturalist works in that code; add --dataset Inaturalist.")
    return []


def _source(text: str, given: Given) -> Reading:
    return [("data.root", str(PurePosixPath(text) / "Inaturalist"))]


def _backbone(text: str, given: Given) -> Reading:
    """What of the recipe with DINO's ViT-B/16 another network changes."""
    patch = given["patch_size"]
    if text == "resnet50" or (text, patch) == ("vit_base", "16"):
        return []
    name = f"{_VITS[text]}{patch}_224" if text in _VITS else text
    return [("model.backbone", name), ("model.weights", "pretrained"), ("model.freeze", [])]


def _about_backbone(text: str, given: Given) -> str:
    if text == "resnet50":
        return ""
    said = "it is of the first commit; a later one takes resnet50 alone. Crops are 224 pixels here, there 227"
    if text not in _VITS:
        said += "; the network is timm's of that name"
    return f"{said}."


def _embedding(text: str, given: Given) -> Reading:
    return [] if is_vit(given) else [("model.embedding_dim", to_int(text))]


def _about_embedding(text: str, given: Given) -> str:
    return "without effect in the original: a ViT's vector is its class token's." if is_vit(given) else ""


def _vit_weights(text: str, given: Given) -> Reading:
    return [("model.weights", text)] if is_vit(given) and text else []


def _drop_path(text: str, given: Given) -> Reading:
    return [("model.backbone_options", {"drop_path_rate": to_float(text)})] if given["arch"] in _VITS else []


def _of_vit(text: str, given: Given) -> str:
    return "" if is_vit(given) else "without effect in the original: it is of the ViT of the first commit."


def _forced(fixed: str) -> Callable[[str, Given], str]:
    return lambda text, given: "" if text == fixed else f"without effect in the original: it is {fixed} there."


def _every_epochs(text: str, given: Given) -> Reading:
    return [("eval.every_epochs", 5 if to_int(text) == 1 else 1)]


def _schedule(text: str, given: Given) -> Reading:
    if one_of(text, ("step", "exp", "none")) == "none":
        return [("optim.schedule.name", "constant")]
    milestones = [40, 70] if text == "step" else list(range(1, to_int(given["n_epochs"])))
    return [("optim.schedule.name", "multistep"), ("optim.schedule.milestones_epochs", milestones)]


def _list(what: str, published: str) -> Old:
    def says(text: str, given: Given) -> str:
        if text == published:
            return "not needed: the annotations have a role for each picture."
        return f"without counterpart here: the annotations tell {what}; `shelfmark prepare pss` reads {published}."

    return Old(says=says)


def _about_loss(text: str, given: Given) -> str:
    if text == "smoothap":
        return ""
    crash = "in the original it ends with an error after the first commit"
    return f"{crash}." if text == "ce" else f"{crash}; class weights have length 1 here, there any."


def _clusters(text: str, given: Given) -> str:
    if not text:
        return ""
    return (
        f"not needed: round {_round(given)} trains on what the round before selected. A pickle of the original becomes"
        f" training annotations by `shelfmark prepare pss_clusters --source {text} --out DIR`."
    )


_OF_SETS = Old(says=lambda text, given: "not needed: a role tells each picture's set, and not its place.")
_SWITCHES = Old(says=lambda text, given: "not needed: the command itself says what is done.")
_DIAGNOSTIC = Old(lacks="a diagnostic of training; `shelfmark embed` writes the features to measure.", takes="switch")
_UNUSED = Old(inert="parsed and never used.")

PSS: dict[str, Old] = {
    "dataset": Old(_dataset, "vehicle_id"),
    "lr": Old(number("optim.lr"), "1e-5"),
    "fc_lr_mul": Old(lambda text, given: [("optim.head_lr_factor", to_float(text) or 1)], "5"),
    "n_epochs": Old(whole("train.num_epochs"), "400"),
    "kernels": Old(whole("data.num_workers"), "8"),
    "bs": Old(whole("train.batch_size"), "112"),
    "samples_per_class": Old(whole("sampling.images_per_class"), "4"),
    "seed": Old(whole("seed"), "1"),
    "scheduler": Old(_schedule, "step"),
    "gamma": Old(number("optim.schedule.gamma"), "0.3"),
    "decay": Old(number("optim.weight_decay"), "4e-4"),
    "tau": Old(says=_forced("40 70"), takes="many"),
    "infrequent_eval": Old(_every_epochs, "0"),
    "opt": Old(
        choice({"adam": [("optim.name", "adam")], "sgd": [("optim.name", "sgd"), ("optim.momentum", 0)]}), "adam"
    ),
    "loss": Old(choice(_LOSSES), "smoothap", says=_about_loss),
    "sigmoid_temperature": Old(
        lambda text, given: [("losses.0.temperature", to_float(text))] if given["loss"] == "smoothap" else [],
        "0.01",
    ),
    "k_vals": Old(always(("eval.recall_at", [1, 4, 16, 32])), "1 4 16 32", says=_forced("1 4 16 32"), takes="many"),
    "resume": Old(lacks="a round begins with model.weights, or with discovery.warm_start where the one before ended."),
    "embed_dim": Old(_embedding, "512", says=_about_embedding),
    "arch": Old(_backbone, "resnet50", says=_about_backbone),
    "patch_size": Old(default="16", says=_of_vit),
    "pretrained_weights": Old(_vit_weights, says=_of_vit),
    "checkpoint_key": Old(
        says=lambda text, given: _of_vit(text, given) or "not needed: the file's own weights are found."
    ),
    "drop_path_rate": Old(_drop_path, "0.1", says=_of_vit),
    "use_bn_in_head": Old(inert="no head reads it."),
    "norm_last_layer": Old(inert="no head reads it."),
    "grad_measure": _DIAGNOSTIC,
    "dist_measure": _DIAGNOSTIC,
    "not_pretrained": Old(always(("model.weights", "")), takes="switch"),
    "gpu": _UNUSED,
    "savename": _UNUSED,
    "source_path": Old(_source),
    "save_path": Old(text_of("output.log_root")),
    "trainset": _list("which are labelled", "lin_train_set1.txt"),
    "testset": _list("which are the test", "Inaturalist_test_set1.txt"),
    "all_trainset": _list("which are unlabelled", "train_set1.txt"),
    "cluster_path": Old(says=_clusters),
    "finetune": _SWITCHES,
    "get_features": _SWITCHES,
    "class_num": Old(says=lambda text, given: "not needed: the labelled classes are counted."),
    "onehead": Old(
        says=lambda text, given: "as always here: known and new classes are numbered together.", takes="one or none"
    ),
    "linsize": _OF_SETS,
    "uinsize": _OF_SETS,
    "iter": Old(lambda text, given: [("discovery.rounds", to_int(text) + 1)], "0"),
}
_AS_ROUND_0 = "without counterpart here: one value holds for all rounds, the one of round 0."
PSS_LATER: dict[str, Old] = {
    **PSS,
    "dataset": Old(_dataset, "Inaturalist"),
    "decay": Old(number("discovery.later_weight_decay"), "1e-3"),
    "infrequent_eval": Old(says=lambda text, given: _AS_ROUND_0),
    "iter": Old(PSS["iter"].sets, "1"),
}
"""finetune_1head.py. What it has otherwise than main.py by default, a run of ours has by round 0."""

_IN_CHECKPOINT = Old(says=lambda text, given: "not needed: the checkpoint knows.")
_OF_TRAINING = Old(inert="nothing is trained.")
PSS_CHECKPOINT: dict[str, Old] = {
    **PSS,
    **{
        name: Old(says=_OF_TRAINING.says, inert=_OF_TRAINING.inert, takes=PSS[name].takes)
        for name in (
            *(
                "lr",
                "fc_lr_mul",
                "n_epochs",
                "samples_per_class",
                "seed",
                "scheduler",
                "gamma",
                "decay",
                "infrequent_eval",
            ),
            *("opt", "sigmoid_temperature", "tau", "cluster_path"),
        )
    },
    **dict.fromkeys(("loss", "embed_dim", "pretrained_weights", "checkpoint_key", "drop_path_rate"), _IN_CHECKPOINT),
    "arch": Old(default="resnet50", says=_IN_CHECKPOINT.says),
    "not_pretrained": Old(says=_IN_CHECKPOINT.says, takes="switch"),
    "patch_size": Old(default="16", says=_IN_CHECKPOINT.says),
    "dataset": Old(_dataset, "Inaturalist"),
    "bs": Old(whole("eval.batch_size")),
    "iter": Old(default="0"),
    "resume": Old(
        options=lambda text, given: ["--RESUME_MODEL", text or f"{RUN_FOLDER}/round_{_round(given)}/train/best_model"],
        default="",
        says=about_checkpoints,
    ),
    "save_path": Old(lacks="features and scores go to the run folder, or where --out says."),
}
"""get_features.py and evaluate_model.py."""


def translate_pss_embedder(line: Line) -> Translation:
    """Of main.py and finetune_1head.py the rounds up to theirs, of the others what they do with a checkpoint."""
    script = PurePosixPath(line.script).name
    table = {"main.py": PSS, "finetune_1head.py": PSS_LATER}.get(script, PSS_CHECKPOINT)
    typed = typed_flags(line.words, table)
    require_no_rest(typed)
    given = {**defaults(table), **typed.values}
    overrides, options, notes = apply(table, given, typed.shown)
    source = PurePosixPath(typed.values.get("source_path", "dataset/iNaturalist_2018"))
    notes.append(prepare_note("pss", source))
    trains = table is not PSS_CHECKPOINT
    if script == "get_features.py":
        options += ["--annotations", ANNOTATIONS, "--out", f"{RUN_FOLDER}/features_{_round(given)}"]
    if trains:
        notes.append("one command does a round's training, features, clusters and selection, and skips what is done.")
    return Translation(
        "pss",
        "pss_inat_vit" if is_vit(given) else "pss_inat",
        overrides,
        options,
        (TEST,) if script == "evaluate_model.py" else (),
        environment_words(line.environment),
        [],
        notes,
        folder="discovery",
        command=("discover",) if trains else ("embed",),
        reads="recipe" if trains else "checkpoint",
    )
