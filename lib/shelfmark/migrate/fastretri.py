"""FastRetri: train_net.py, with a file of values and KEY VALUE behind the flags."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import urlparse

from shelfmark.core.errors import UserError, choose, nearest
from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import Old, apply, defaults, typed_flags
from shelfmark.migrate.translation import RUN_FOLDER, Translation, environment_words, prepare_note
from shelfmark.migrate.values import (
    Given,
    Reading,
    about_checkpoints,
    choice,
    finetune,
    number,
    one_of,
    quotient,
    run_name,
    to_float,
    to_int,
    whole,
)


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
    return lambda text, given: [(key, [quotient(one, divisor) for one in _list_of(text, "number")])]


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
    return [("augment.color_jitter", [to_float(given[key]) for key in keys])]


def _about_jitter(text: str, given: Given) -> str:
    return "" if _truth(given["INPUT.CJ.ENABLED"]) else "without effect: INPUT.CJ.ENABLED is False."


def _unless_off(text: str, given: Given) -> str:
    return "without counterpart here; augment.randaugment and augment.albumentations come near." if _truth(text) else ""


def _fastretri_rate(text: str, given: Given) -> Reading:
    rate = to_float(given["SOLVER.BASE_LR"])
    if rate <= 0:
        raise ValueError(f"SOLVER.BASE_LR {rate:g} must be above 0.")
    factor = quotient(to_float(given["SOLVER.ETA_MIN_LR"]), rate)
    return [("optim.lr", rate), ("optim.schedule.final_factor", factor)]


def _fastretri_schedule(text: str, given: Given) -> Reading:
    if one_of(text, ("CosineAnnealingLR", "MultiStepLR")) == "CosineAnnealingLR":
        return [("optim.schedule.name", "cosine")]
    milestones = _list_of(given.get("SOLVER.STEPS", "[30, 55]"), "whole")
    return [
        ("optim.schedule.name", "multistep"),
        ("optim.schedule.per_epoch", False),
        ("optim.schedule.milestones_epochs", milestones),
        ("optim.schedule.gamma", to_float(given.get("SOLVER.GAMMA", "0.1"))),
    ]


def _fastretri_sampler(text: str, given: Given) -> Reading:
    kinds = {
        "TrainingSampler": "instance",
        "NaiveIdentitySampler": "pk",
        "BalancedIdentitySampler": "pk",
        "ImbalancedDatasetSampler": "class_balanced",
    }
    kind = kinds[one_of(text, kinds)]
    size = to_int(given.get("DATALOADER.NUM_INSTANCE", "4"))
    return [("sampling.type", kind), *([("sampling.images_per_class", size)] if kind == "pk" else [])]


def _classifier(text: str, given: Given) -> Reading:
    losses = {"Linear": "", "CosSoftmax": "cosface", "ArcSoftmax": "arcface", "CircleSoftmax": "circle_softmax"}
    loss = losses[one_of(text, losses)]
    if not loss:
        return []
    scale, margin = to_float(given.get("MODEL.HEADS.SCALE", "1")), to_float(given.get("MODEL.HEADS.MARGIN", "0"))
    return [
        ("model.classifier", {"type": "cosine", "scale": scale}),
        ("losses", [{"name": loss, "head": "classifier", "margin": margin, "scale": scale}]),
    ]


def _has_linear(given: Given) -> bool:
    return given.get("MODEL.HEADS.CLS_LAYER", "Linear") == "Linear"


def _about_classifier(text: str, given: Given) -> str:
    return "" if _has_linear(given) else "losses of cosines have no label smoothing here, so it is left out."


def _smoothing(text: str, given: Given) -> Reading:
    # Any negative amount adapts to each image.
    amount = to_float(text)
    return [("losses.0.label_smoothing", amount if amount >= 0 else -1.0)] if _has_linear(given) else []


def _adaptive_factor(text: str, given: Given) -> Reading:
    return [("losses.0.adaptive_factor", to_float(text))] if _adapts(given) and _has_linear(given) else []


def _about_adaptive_factor(text: str, given: Given) -> str:
    return "" if _adapts(given) else "it changed nothing: it is of the smoothing that adapts, with EPSILON -1."


def _adapts(given: Given) -> bool:
    return to_float(given.get("MODEL.LOSSES.CE.EPSILON", "0")) < 0


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
    return kinds[one_of(text, kinds)]


def _depth(text: str, given: Given) -> Reading:
    if one_of(text, ("18x", "34x", "50x", "101x", "152x")) == "50x":
        return [("model.backbone", "resnet50")]
    return [("model.backbone", f"resnet{text[:-1]}"), ("model.weights", "pretrained")]


def _norm(text: str, given: Given) -> Reading:
    frozen = one_of(text, ("FrozenBN", "BN", "syncBN")) == "FrozenBN"
    return [("model.freeze_bn", frozen), ("model.freeze_bn_affine", frozen)]


def _about_norm(text: str, given: Given) -> str:
    return "without counterpart here: each process normalises by its own part of the batch." if text == "syncBN" else ""


def _only(*allowed: str) -> Callable[[str, Given], str]:
    """A remark on every other value than those that the recipe has."""
    return lambda text, given: "" if text in allowed else f"without counterpart here: the recipe has {allowed[0]}."


def _norm_decay(text: str, given: Given) -> Reading:
    return [("optim.decay_norm_and_bias", to_float(text) > 0)]


def _test_batch(text: str, given: Given) -> Reading:
    # Ours is of each process, and `shelfmark evaluate` is one.
    processes = 1 if "eval-only" in given else max(1, to_int(given["num-gpus"]))
    return [("eval.batch_size", max(1, to_int(text) // processes))]


def _dataset_of(given: Given) -> _FastRetriSet:
    names = _literal(given["DATASETS.NAMES"])
    chosen = [names] if isinstance(names, str) else list(names)
    if len(chosen) != 1:
        raise ValueError("several data sets at once are without counterpart here: prepare and train one.")
    return _FASTRETRI_SETS[one_of(chosen[0], _FASTRETRI_SETS)]


def _fastretri_data(text: str, given: Given) -> Reading:
    chosen = _dataset_of(given)
    folder = f"dataset/{chosen.prepare}"
    files = {"train": "train", "retrieval": "val_retrieval"}
    root = str(PurePosixPath(given.get("FASTREID_DATASETS", "dataset")) / chosen.folder)
    return [("data.root", root), *((f"data.{key}_json", f"{folder}/{name}.json") for key, name in files.items())]


def _output(text: str, given: Given) -> Reading:
    path = PurePosixPath(text)
    return [("output.log_root", str(path.parent)), *run_name(path.name)]


def _weights(text: str, given: Given) -> list[str]:
    return ["--RESUME_MODEL", text] if "eval-only" in given else finetune(text, given)


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
            if to_int(text) > 1 and "eval-only" not in given and to_int(given["num-machines"]) == 1
            else []
        ),
        default="1",
        says=lambda text, given: "`shelfmark evaluate` is one process." if "eval-only" in given else "",
    ),
    "num-machines": Old(
        default="1", says=lambda text, given: f"{_LAUNCH}; run it on each machine." if to_int(text) > 1 else ""
    ),
    "machine-rank": Old(default="0"),
    "dist-url": Old(default="auto"),
}

FASTRETRI: dict[str, Old] = {
    "MODEL.META_ARCHITECTURE": Old(says=_only("Baseline")),
    "MODEL.DEVICE": Old(lambda text, given: [("train.device", one_of(text.partition(":")[0], ("cuda", "cpu")))]),
    "MODEL.BACKBONE.NAME": Old(says=_only("build_resnet_backbone")),
    "MODEL.BACKBONE.DEPTH": Old(_depth),
    "MODEL.BACKBONE.NORM": Old(_norm, says=_about_norm),
    "MODEL.BACKBONE.LAST_STRIDE": Old(whole("model.last_stride")),
    "MODEL.BACKBONE.FEAT_DIM": Old(lacks="the backbone knows its width."),
    "MODEL.BACKBONE.WITH_IBN": Old(says=_only("False")),
    "MODEL.BACKBONE.WITH_SE": Old(says=_only("False")),
    "MODEL.BACKBONE.WITH_NL": Old(says=_only("False")),
    "MODEL.BACKBONE.PRETRAIN": Old(_either([], [("model.weights", "")])),
    "MODEL.BACKBONE.PRETRAIN_PATH": Old(lambda text, given: [("model.weights", text)] if text else []),
    "MODEL.HEADS.NAME": Old(says=_only("EmbeddingHead")),
    "MODEL.HEADS.NUM_CLASSES": Old(whole("data.num_classes")),
    "MODEL.HEADS.EMBEDDING_DIM": Old(whole("model.embedding_dim")),
    "MODEL.HEADS.NORM": Old(says=_about_norm),
    "MODEL.HEADS.WITH_BNNECK": Old(_either([("model.neck", "bn")], [("model.neck", "none")])),
    "MODEL.HEADS.NECK_FEAT": Old(inert="it is of losses that compare vectors."),
    "MODEL.HEADS.POOL_LAYER": Old(_pooling),
    "MODEL.HEADS.CLS_LAYER": Old(_classifier, says=_about_classifier),
    "MODEL.HEADS.SCALE": Old(says=_of_cosines),
    "MODEL.HEADS.MARGIN": Old(says=_of_cosines),
    "MODEL.LOSSES.NAME": Old(says=_fastretri_losses),
    "MODEL.LOSSES.CE.EPSILON": Old(_smoothing),
    "MODEL.LOSSES.CE.ALPHA": Old(_adaptive_factor, says=_about_adaptive_factor),
    "MODEL.LOSSES.CE.SCALE": Old(number("losses.0.weight")),
    "MODEL.WEIGHTS": Old(options=_weights, says=about_checkpoints),
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
        lambda text, given: [("augment.flip", to_float(text) if given.get("INPUT.FLIP.ENABLED") != "False" else 0)]
    ),
    "INPUT.CJ.ENABLED": Old(_jitter),
    "INPUT.CJ.PROB": Old(number("augment.color_jitter_probability"), says=_about_jitter),
    **{
        f"INPUT.CJ.{name}": Old(_jitter, says=_about_jitter) for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")
    },
    **{f"INPUT.{name}.ENABLED": Old(says=_unless_off) for name in ("AUTOAUG", "AUGMIX", "RPT", "PADDING", "AFFINE")},
    "INPUT.REA.ENABLED": Old(
        lambda text, given: [("augment.erasing", to_float(given.get("INPUT.REA.PROB", "0.5")) if _truth(text) else 0)]
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
    "DATALOADER.NUM_WORKERS": Old(whole("data.num_workers")),
    "SOLVER.MAX_EPOCH": Old(whole("train.num_epochs")),
    "SOLVER.OPT": Old(
        choice({old: [("optim.name", ours)] for old, ours in {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}.items()})
    ),
    "SOLVER.BASE_LR": Old(_fastretri_rate),
    "SOLVER.ETA_MIN_LR": Old(_fastretri_rate),
    "SOLVER.HEADS_LR_FACTOR": Old(number("optim.head_lr_factor")),
    "SOLVER.BIAS_LR_FACTOR": Old(inert="no bias learns in this network."),
    "SOLVER.MOMENTUM": Old(number("optim.momentum")),
    "SOLVER.NESTEROV": Old(_either([("optim.nesterov", True)], [("optim.nesterov", False)])),
    "SOLVER.WEIGHT_DECAY": Old(number("optim.weight_decay")),
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
    "SOLVER.WARMUP_FACTOR": Old(number("optim.schedule.warmup_factor")),
    "SOLVER.WARMUP_ITERS": Old(whole("optim.schedule.warmup_steps")),
    "SOLVER.FREEZE_ITERS": Old(says=_only("0")),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Old(_either([], [("optim.clip_norm", 0)])),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Old(says=_only("norm")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Old(
        lambda text, given: (
            [] if given.get("SOLVER.CLIP_GRADIENTS.ENABLED") == "False" else [("optim.clip_norm", to_float(text))]
        )
    ),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Old(says=_only("2.0", "2")),
    "SOLVER.AMP.ENABLED": Old(_either([("train.precision", "auto")], [("train.precision", "fp32")])),
    "SOLVER.IMS_PER_BATCH": Old(whole("train.batch_size")),
    "SOLVER.CHECKPOINT_PERIOD": Old(whole("train.checkpoint_every_epochs")),
    "TEST.EVAL_PERIOD": Old(whole("eval.every_epochs")),
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


def translate_fastretri(line: Line) -> Translation:
    typed = typed_flags(line.words, FASTRETRI_FLAGS)
    file = typed.values.get("config-file")
    if file is None:
        files = ", ".join(f"{name}.yml" for name in _FASTRETRI_FILES)
        raise UserError(f"--config-file is missing: one of FastRetri's, {files}.")
    recipe, values = _FASTRETRI_FILES[choose("--config-file", PurePosixPath(file).stem, _FASTRETRI_FILES)]
    keys = _keys(typed.rest)
    environment = dict(line.environment)
    root = environment.pop("FASTREID_DATASETS", None)
    given = {**defaults(FASTRETRI_FLAGS), **values, **typed.values, **keys}
    given |= {"FASTREID_DATASETS": root} if root is not None else {}
    if "DATASETS.NAMES" not in given:
        choices = ", ".join(f"\"('{name}',)\"" for name in _FASTRETRI_SETS)
        raise UserError(f"{file} names no data; add DATASETS.NAMES with one of {choices}, or take another file.")
    _, options, notes = apply(FASTRETRI_FLAGS, given, typed.shown)
    shown = {key: f"{key} {text}" for key, text in keys.items()}
    overrides, more_options, more_notes = apply(FASTRETRI, given, shown, prefix="")
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
        environment_words(environment),
        [] if evaluates else _torchrun(given),
        [*notes, *more_notes, prepare_note(chosen.prepare, folder)],
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
    num_machines = to_int(given["num-machines"])
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
