"""PSS: main.py and finetune_1head.py of its Smooth_AP, get_features.py and evaluate_model.py.

The first two train the embedder of one iteration; here one command does all rounds, and skips what is done.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import OldFlag, meaning_of
from shelfmark.migrate.notes import IN_CHECKPOINT, INERT, LACKS, NEEDLESS, UNUSED, prepare_note, unless
from shelfmark.migrate.readers import choice, folder_in, number, whole
from shelfmark.migrate.smoothap import Fixed, checkpoint_flag, embedder_flags
from shelfmark.migrate.translation import RUN_FOLDER, Translation
from shelfmark.migrate.values import Reading, Values, to_float, to_int

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
_ROLES_SAY = f"{NEEDLESS}: the annotations say the role of each image."


def is_vit(values: Values) -> bool:
    return values["arch"] != "resnet50"


def _round(values: Values) -> int:
    return to_int(values["iter"])


def _any_round(text: str, values: Values) -> Reading:
    """Sets nothing, and refuses what is no round."""
    _round(values)
    return []


def _dataset(text: str, values: Values) -> Reading:
    if text != "Inaturalist":
        raise ValueError("only Inaturalist works in that code; add --dataset Inaturalist.")
    return []


def _backbone(text: str, values: Values) -> Reading:
    """What another network changes in the recipe with DINO's ViT-B/16."""
    patch = values["patch_size"]
    if text == "resnet50" or (text, patch) == ("vit_base", "16"):
        return []
    name = f"{_VITS[text]}{patch}_224" if text in _VITS else text
    return [("model.backbone", name), ("model.weights", "pretrained"), ("model.freeze", [])]


def _about_backbone(text: str, values: Values) -> str:
    if text == "resnet50":
        return ""
    said = "the first commit has this network, later ones have resnet50 alone. Crops have 224 pixels here, 227 there"
    return f"{said}." if text in _VITS else f"{said}; the command takes timm's network of that name."


def _embedding(text: str, values: Values) -> Reading:
    return [] if is_vit(values) else [("model.embedding_dim", to_int(text))]


def _vit_weights(text: str, values: Values) -> Reading:
    return [("model.weights", text)] if is_vit(values) and text and "not_pretrained" not in values else []


def _drop_path(text: str, values: Values) -> Reading:
    return [("model.backbone_options", {"drop_path_rate": to_float(text)})] if values["arch"] in _VITS else []


_of_vit = unless(is_vit, f"{INERT}: it is for the ViT of the first commit.")


def _temperature(text: str, values: Values) -> Reading:
    return [("losses.0.temperature", to_float(text))] if values["loss"] == "smoothap" else []


def _about_loss(text: str, values: Values) -> str:
    if text == "smoothap":
        return ""
    crash = "after the first commit, the original ends with an error with this loss"
    return f"{crash}." if text == "ce" else f"{crash}. Class weights have length 1 here, any length there."


def _clusters(text: str, values: Values) -> str:
    if not text:
        return ""
    return (
        f"{NEEDLESS}: round {_round(values)} trains on what the round before selected. To make training annotations of"
        f" a pickle of the original: `shelfmark prepare pss_clusters --source {text} --out DIR`."
    )


def _list(role: str, published: str) -> OldFlag:
    def note(text: str, values: Values) -> str:
        if text == published:
            return _ROLES_SAY
        return f"{LACKS}: the annotations say which images are {role}; `shelfmark prepare pss` reads {published}."

    return OldFlag(note=note)


_ROLE = OldFlag(note=_ROLES_SAY)
_SWITCH = OldFlag(note=f"{NEEDLESS}: the command says what is done.")
_NO_HEAD = OldFlag(note=f"{INERT}: no head reads it.")

PSS: dict[str, OldFlag] = {
    **embedder_flags(lambda values: Fixed((1, 4, 16, 32), infrequent=5, milestones=(40, 70))),
    "dataset": OldFlag(_dataset, "vehicle_id"),
    "loss": OldFlag(choice(_LOSSES), "smoothap", note=_about_loss),
    "sigmoid_temperature": OldFlag(_temperature, "0.01"),
    "resume": OldFlag(
        note=f"{LACKS}: a round begins with model.weights or, with discovery.warm_start, where the round before ended."
    ),
    "embed_dim": OldFlag(
        _embedding,
        "512",
        note=unless(lambda values: not is_vit(values), f"{INERT}: the vector of a ViT is its class token's."),
    ),
    "arch": OldFlag(_backbone, "resnet50", note=_about_backbone),
    "gpu": OldFlag(note=UNUSED),
    "savename": OldFlag(note=UNUSED),
    "source_path": OldFlag(folder_in("Inaturalist")),
    "patch_size": OldFlag(default="16", note=_of_vit),
    "pretrained_weights": OldFlag(_vit_weights, note=_of_vit),
    "checkpoint_key": OldFlag(
        note=lambda text, values: _of_vit(text, values) or f"{NEEDLESS}: the command finds the weights in the file."
    ),
    "drop_path_rate": OldFlag(_drop_path, "0.1", note=_of_vit),
    "use_bn_in_head": _NO_HEAD,
    "norm_last_layer": _NO_HEAD,
    "trainset": _list("labelled", "lin_train_set1.txt"),
    "testset": _list("the test", "Inaturalist_test_set1.txt"),
    "all_trainset": _list("unlabelled", "train_set1.txt"),
    "cluster_path": OldFlag(note=_clusters),
    "finetune": _SWITCH,
    "get_features": _SWITCH,
    "class_num": OldFlag(note=f"{NEEDLESS}: the command counts the labelled classes."),
    "onehead": OldFlag(note="always so here: one numbering holds known and new classes.", takes="one or none"),
    "linsize": _ROLE,
    "uinsize": _ROLE,
    "iter": OldFlag(lambda text, values: [("discovery.rounds", to_int(text) + 1)], "0"),
}
PSS_LATER: dict[str, OldFlag] = {
    **PSS,
    "dataset": OldFlag(_dataset, "Inaturalist"),
    "decay": OldFlag(number("discovery.later_weight_decay"), "1e-3"),
    "infrequent_eval": OldFlag(note=f"{LACKS}: one value holds for all rounds, that of round 0."),
    "iter": OldFlag(PSS["iter"].sets, "1"),
}
"""finetune_1head.py. Where its defaults differ from those of main.py, a run of ours has those of round 0."""

_OF_TRAINING = (
    *("lr", "fc_lr_mul", "n_epochs", "samples_per_class", "seed", "scheduler", "gamma", "decay", "tau"),
    *("infrequent_eval", "opt", "sigmoid_temperature", "cluster_path"),
)
_OF_CHECKPOINT = ("loss", "embed_dim", "pretrained_weights", "checkpoint_key", "drop_path_rate", "not_pretrained")
PSS_CHECKPOINT: dict[str, OldFlag] = {
    "iter": OldFlag(_any_round, "0"),
    **{name: old for name, old in PSS.items() if name != "iter"},
    **{name: OldFlag(note=f"{INERT}: it trains nothing.", takes=PSS[name].takes) for name in _OF_TRAINING},
    **{name: OldFlag(note=IN_CHECKPOINT, takes=PSS[name].takes) for name in _OF_CHECKPOINT},
    "arch": OldFlag(default="resnet50", note=IN_CHECKPOINT),
    "patch_size": OldFlag(default="16", note=IN_CHECKPOINT),
    "dataset": OldFlag(_dataset, "Inaturalist"),
    "bs": OldFlag(whole("eval.batch_size")),
    "resume": checkpoint_flag(lambda values: f"{RUN_FOLDER}/round_{_round(values)}/train/best_model"),
    "save_path": OldFlag(note=f"{LACKS}: features and scores go to the run folder, or to the folder of --out."),
}
"""get_features.py and evaluate_model.py."""


def translate_pss_embedder(line: Line) -> Translation:
    """A script that trains becomes the rounds up to its own; the others, what they do with a checkpoint."""
    script = PurePosixPath(line.script).name
    table = {"main.py": PSS, "finetune_1head.py": PSS_LATER}.get(script, PSS_CHECKPOINT)
    found = meaning_of(line.words, table)
    options = list(found.options)
    source = PurePosixPath(found.typed.get("source_path", "dataset/iNaturalist_2018"))
    notes = [*found.notes, prepare_note("pss", source)]
    trains = table is not PSS_CHECKPOINT
    evaluates = script == "evaluate_model.py"
    if trains:
        notes.append("one command trains, clusters and selects in every round, and skips what is done.")
    elif not evaluates:
        options += ["--annotations", ANNOTATIONS, "--out", f"{RUN_FOLDER}/features_{_round(found.values)}"]
    return Translation(
        "pss",
        f"discovery/{'pss_inat_vit' if is_vit(found.values) else 'pss_inat'}",
        found.overrides,
        options,
        notes,
        line.environment,
        command=("discover",) if trains else ("evaluate",) if evaluates else ("embed",),
        tests=(TEST,) if evaluates else (),
        reads="recipe" if trains else "checkpoint",
    )
