"""The keys of FastRetri's configuration, as KEY VALUE on its command line."""

from __future__ import annotations

from pathlib import PurePosixPath

from shelfmark.migrate.fastretri.files import data_set_of
from shelfmark.migrate.fastretri.values import either, list_of, literal, numbers, size, truth
from shelfmark.migrate.flags import OldFlag
from shelfmark.migrate.notes import INERT, LACKS, NEEDLESS, OF_SPEED, about_checkpoints, unless, unless_typed
from shelfmark.migrate.readers import choice, finetune, number, renamed, run_name, whole
from shelfmark.migrate.values import Reading, Values, one_of, quotient, to_float, to_int


def _only(usual: str, *same: str) -> OldFlag:
    """A note on every other value than that of the recipe. same: other spellings of the value."""
    return OldFlag(note=unless_typed((usual, *same), f"{LACKS}: in the recipe it is {usual}."))


_DEPTHS: dict[str, Reading] = {
    "50x": [("model.backbone", "resnet50")],
    **{
        f"{depth}x": [("model.backbone", f"resnet{depth}"), ("model.weights", "pretrained")]
        for depth in (18, 34, 101, 152)
    },
}
_NORMS: dict[str, Reading] = {
    name: [("model.freeze_bn", frozen), ("model.freeze_bn_affine", frozen)]
    for name, frozen in {"FrozenBN": True, "BN": False, "syncBN": False}.items()
}
_POOLINGS: dict[str, Reading] = {
    "GeneralizedMeanPooling": [("model.pooling.name", "gem"), ("model.pooling.trainable", False)],
    "GeneralizedMeanPoolingP": [("model.pooling.name", "gem"), ("model.pooling.trainable", True)],
    **{pool: [("model.pooling.name", "avg")] for pool in ("GlobalAvgPool", "FastGlobalAvgPool")},
    "GlobalMaxPool": [("model.pooling.name", "max")],
}
_LOSSES = {"Linear": "", "CosSoftmax": "cosface", "ArcSoftmax": "arcface", "CircleSoftmax": "circle_softmax"}
_SAMPLERS = {
    "TrainingSampler": "instance",
    "NaiveIdentitySampler": "pk",
    "BalancedIdentitySampler": "pk",
    "ImbalancedDatasetSampler": "class_balanced",
}
_OPTIMIZERS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}
_STRENGTHS = [f"INPUT.CJ.{name}" for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")]


def _is_on(name: str, values: Values) -> bool:
    return truth(values.get(f"{name}.ENABLED", "False"))


def _classifier(text: str, values: Values) -> Reading:
    loss = _LOSSES[one_of(text, _LOSSES)]
    if not loss:
        return []
    scale, margin = to_float(values.get("MODEL.HEADS.SCALE", "1")), to_float(values.get("MODEL.HEADS.MARGIN", "0"))
    return [
        ("model.classifier", {"type": "cosine", "scale": scale}),
        ("losses", [{"name": loss, "head": "classifier", "margin": margin, "scale": scale}]),
    ]


def _is_linear(values: Values) -> bool:
    return values.get("MODEL.HEADS.CLS_LAYER", "Linear") == "Linear"


def _smoothing(text: str, values: Values) -> Reading:
    # Any negative amount adapts to each image.
    amount = to_float(text)
    return [("losses.0.label_smoothing", amount if amount >= 0 else -1.0)] if _is_linear(values) else []


def _adapts(values: Values) -> bool:
    return to_float(values.get("MODEL.LOSSES.CE.EPSILON", "0")) < 0


def _adaptive_factor(text: str, values: Values) -> Reading:
    return [("losses.0.adaptive_factor", to_float(text))] if _adapts(values) and _is_linear(values) else []


def _about_losses(text: str, values: Values) -> str:
    names = literal(text)
    chosen = names if isinstance(names, list | tuple) else [names]
    others = [str(name) for name in chosen if name != "CrossEntropyLoss"]
    if not others:
        return ""
    add = "'model.heads={rank: {}}' 'losses.1={name: triplet, head: rank}'"
    return f"{LACKS}: {', '.join(others)} on vectors of any length; for one on vectors of length 1, add {add}."


def _data(text: str, values: Values) -> Reading:
    data_set = data_set_of(values)
    files = {"train": "train", "retrieval": "val_retrieval"}
    return [
        ("data.root", str(data_set.folder)),
        *((f"data.{key}_json", f"dataset/{data_set.prepare}/{name}.json") for key, name in files.items()),
    ]


def _crop_size(text: str, values: Values) -> Reading:
    sides = set(list_of(text, "whole"))
    if len(sides) != 1:
        raise ValueError("here the network sees a square; give both sides the same length.")
    return [("data.input_size_px", sides.pop())]


def _flip(text: str, values: Values) -> Reading:
    return [("augment.flip", to_float(text) if values.get("INPUT.FLIP.ENABLED") != "False" else 0)]


def _jitter(text: str, values: Values) -> Reading:
    if not _is_on("INPUT.CJ", values):
        return [("augment.color_jitter", [0, 0, 0, 0])]
    missing = [key for key in _STRENGTHS if key not in values]
    if missing:
        raise ValueError(f"give the strengths too: {' '.join(f'{key} 0.1' for key in missing)}.")
    return [("augment.color_jitter", [to_float(values[key]) for key in _STRENGTHS])]


_about_jitter = unless(lambda values: _is_on("INPUT.CJ", values), "no effect: INPUT.CJ.ENABLED is False.")


def _erasing(text: str, values: Values) -> Reading:
    return [("augment.erasing", to_float(values.get("INPUT.REA.PROB", "0.5")) if truth(text) else 0)]


def _about_other_augmentation(text: str, values: Values) -> str:
    return f"{LACKS}; augment.randaugment and augment.albumentations come near." if truth(text) else ""


def _sampler(text: str, values: Values) -> Reading:
    kind = _SAMPLERS[one_of(text, _SAMPLERS)]
    size_of_class = to_int(values.get("DATALOADER.NUM_INSTANCE", "4"))
    return [("sampling.type", kind), *([("sampling.images_per_class", size_of_class)] if kind == "pk" else [])]


def _rates(text: str, values: Values) -> Reading:
    rate = to_float(values["SOLVER.BASE_LR"])
    if rate <= 0:
        raise ValueError(f"SOLVER.BASE_LR {rate:g} must be above 0.")
    factor = quotient(to_float(values["SOLVER.ETA_MIN_LR"]), rate)
    return [("optim.lr", rate), ("optim.schedule.final_factor", factor)]


def _schedule(text: str, values: Values) -> Reading:
    if one_of(text, ("CosineAnnealingLR", "MultiStepLR")) == "CosineAnnealingLR":
        return [("optim.schedule.name", "cosine")]
    return [
        ("optim.schedule.name", "multistep"),
        ("optim.schedule.per_epoch", False),
        ("optim.schedule.milestones_epochs", list_of(values.get("SOLVER.STEPS", "[30, 55]"), "whole")),
        ("optim.schedule.gamma", to_float(values.get("SOLVER.GAMMA", "0.1"))),
    ]


def _clip_norm(text: str, values: Values) -> Reading:
    return [] if values.get("SOLVER.CLIP_GRADIENTS.ENABLED") == "False" else [("optim.clip_norm", to_float(text))]


def _test_batch(text: str, values: Values) -> Reading:
    # Ours is of each process, and `shelfmark evaluate` is one.
    processes = 1 if "eval-only" in values else max(1, to_int(values["num-gpus"]))
    return [("eval.batch_size", max(1, to_int(text) // processes))]


def _output(text: str, values: Values) -> Reading:
    path = PurePosixPath(text)
    return [("output.log_root", str(path.parent)), *run_name(path.name)]


def _weights(text: str, values: Values) -> list[str]:
    return ["--RESUME_MODEL", text] if "eval-only" in values else finetune(text, values)


def _about_norm(text: str, values: Values) -> str:
    return f"{LACKS}: the batch norm of each process sees its own part of the batch alone." if text == "syncBN" else ""


_OF_COSINES = OldFlag(note=unless(lambda values: not _is_linear(values), "no effect: it is for cosine classifiers."))
_OF_MULTISTEP = OldFlag(
    note=unless(lambda values: values.get("SOLVER.SCHED") == "MultiStepLR", f"{INERT}: it is for MultiStepLR.")
)
_OF_IDENTITIES = OldFlag(
    note=unless(
        lambda values: "Identity" in values.get("DATALOADER.SAMPLER_TRAIN", ""),
        "no effect: it is for the samplers of identities.",
    )
)
_NO_BIAS = OldFlag(note=f"{INERT}: no bias learns in this network.")

FASTRETRI: dict[str, OldFlag] = {
    "MODEL.META_ARCHITECTURE": _only("Baseline"),
    "MODEL.DEVICE": OldFlag(lambda text, values: [("train.device", one_of(text.partition(":")[0], ("cuda", "cpu")))]),
    "MODEL.BACKBONE.NAME": _only("build_resnet_backbone"),
    "MODEL.BACKBONE.DEPTH": OldFlag(choice(_DEPTHS)),
    "MODEL.BACKBONE.NORM": OldFlag(choice(_NORMS), note=_about_norm),
    "MODEL.BACKBONE.LAST_STRIDE": OldFlag(whole("model.last_stride")),
    "MODEL.BACKBONE.FEAT_DIM": OldFlag(note=f"{NEEDLESS}: the backbone says its width."),
    "MODEL.BACKBONE.WITH_IBN": _only("False"),
    "MODEL.BACKBONE.WITH_SE": _only("False"),
    "MODEL.BACKBONE.WITH_NL": _only("False"),
    "MODEL.BACKBONE.PRETRAIN": OldFlag(either("model.weights", None, "")),
    "MODEL.BACKBONE.PRETRAIN_PATH": OldFlag(lambda text, values: [("model.weights", text)] if text else []),
    "MODEL.HEADS.NAME": _only("EmbeddingHead"),
    "MODEL.HEADS.NUM_CLASSES": OldFlag(whole("data.num_classes")),
    "MODEL.HEADS.EMBEDDING_DIM": OldFlag(whole("model.embedding_dim")),
    "MODEL.HEADS.NORM": OldFlag(note=_about_norm),
    "MODEL.HEADS.WITH_BNNECK": OldFlag(either("model.neck", "bn", "none")),
    "MODEL.HEADS.NECK_FEAT": OldFlag(note=f"{INERT}: it is for losses that compare vectors."),
    "MODEL.HEADS.POOL_LAYER": OldFlag(choice(_POOLINGS)),
    "MODEL.HEADS.CLS_LAYER": OldFlag(
        _classifier, note=unless(_is_linear, "the losses of cosine classifiers have no label smoothing here.")
    ),
    "MODEL.HEADS.SCALE": _OF_COSINES,
    "MODEL.HEADS.MARGIN": _OF_COSINES,
    "MODEL.LOSSES.NAME": OldFlag(note=_about_losses),
    "MODEL.LOSSES.CE.EPSILON": OldFlag(_smoothing),
    "MODEL.LOSSES.CE.ALPHA": OldFlag(
        _adaptive_factor, note=unless(_adapts, "no effect: it is for the smoothing that adapts, with EPSILON -1.")
    ),
    "MODEL.LOSSES.CE.SCALE": OldFlag(number("losses.0.weight")),
    "MODEL.WEIGHTS": OldFlag(options=_weights, note=about_checkpoints),
    "MODEL.PIXEL_MEAN": OldFlag(numbers("data.mean", 255)),
    "MODEL.PIXEL_STD": OldFlag(numbers("data.std", 255)),
    "MODEL.FREEZE_LAYERS": OldFlag(
        note=f"{LACKS}: train.stages freezes modules for some epochs, model.freeze for the whole run."
    ),
    "DATASETS.NAMES": OldFlag(_data),
    "DATASETS.TESTS": OldFlag(
        note=f"{LACKS}: the test is that of the training set; data.retrieval_json names another."
    ),
    "INPUT.SIZE_TRAIN": OldFlag(size("augment.resize_px")),
    "INPUT.SIZE_TEST": OldFlag(size("data.eval_resize_px")),
    "INPUT.CROP.ENABLED": _only("True"),
    "INPUT.CROP.SIZE": OldFlag(_crop_size),
    "INPUT.CROP.SCALE": OldFlag(numbers("augment.crop_scale")),
    "INPUT.CROP.RATIO": OldFlag(numbers("augment.crop_ratio")),
    "INPUT.FLIP.ENABLED": OldFlag(either("augment.flip", None, 0)),
    "INPUT.FLIP.PROB": OldFlag(_flip),
    "INPUT.CJ.ENABLED": OldFlag(_jitter),
    "INPUT.CJ.PROB": OldFlag(number("augment.color_jitter_probability"), note=_about_jitter),
    **dict.fromkeys(_STRENGTHS, OldFlag(_jitter, note=_about_jitter)),
    **{
        f"INPUT.{name}.ENABLED": OldFlag(note=_about_other_augmentation)
        for name in ("AUTOAUG", "AUGMIX", "RPT", "PADDING", "AFFINE")
    },
    "INPUT.REA.ENABLED": OldFlag(_erasing),
    # Where erasing is on, INPUT.REA.ENABLED reads it.
    "INPUT.REA.PROB": OldFlag(
        note=unless(lambda values: "INPUT.REA.ENABLED" in values, "no effect: INPUT.REA.ENABLED is False.")
    ),
    "DATALOADER.SAMPLER_TRAIN": OldFlag(_sampler),
    "DATALOADER.NUM_INSTANCE": _OF_IDENTITIES,
    "DATALOADER.NUM_WORKERS": OldFlag(whole("data.num_workers")),
    "SOLVER.MAX_EPOCH": OldFlag(whole("train.num_epochs")),
    "SOLVER.OPT": OldFlag(renamed("optim.name", _OPTIMIZERS)),
    "SOLVER.BASE_LR": OldFlag(_rates),
    "SOLVER.ETA_MIN_LR": OldFlag(_rates),
    "SOLVER.HEADS_LR_FACTOR": OldFlag(number("optim.non_backbone_lr_factor")),
    "SOLVER.BIAS_LR_FACTOR": _NO_BIAS,
    "SOLVER.MOMENTUM": OldFlag(number("optim.momentum")),
    "SOLVER.NESTEROV": OldFlag(either("optim.nesterov", True, False)),
    "SOLVER.WEIGHT_DECAY": OldFlag(number("optim.weight_decay")),
    "SOLVER.WEIGHT_DECAY_NORM": OldFlag(
        lambda text, values: [("optim.decay_norm_and_bias", to_float(text) > 0)],
        note="here SOLVER.WEIGHT_DECAY reaches norm layers too or, with 0, not at all.",
    ),
    "SOLVER.WEIGHT_DECAY_BIAS": _NO_BIAS,
    "SOLVER.SCHED": OldFlag(
        _schedule,
        note=unless_typed(
            "CosineAnnealingLR",
            "milestones count from the first epoch here, in the original from the end of the warm-up.",
        ),
    ),
    "SOLVER.STEPS": _OF_MULTISTEP,
    "SOLVER.GAMMA": _OF_MULTISTEP,
    "SOLVER.DELAY_EPOCHS": _only("0"),
    "SOLVER.WARMUP_METHOD": _only("linear"),
    "SOLVER.WARMUP_FACTOR": OldFlag(number("optim.schedule.warmup_factor")),
    "SOLVER.WARMUP_ITERS": OldFlag(whole("optim.schedule.warmup_steps")),
    "SOLVER.FREEZE_ITERS": _only("0"),
    "SOLVER.CLIP_GRADIENTS.ENABLED": OldFlag(either("optim.clip_norm", None, 0)),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _only("norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": OldFlag(_clip_norm),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": _only("2.0", "2"),
    "SOLVER.AMP.ENABLED": OldFlag(either("train.precision", "auto", "fp32")),
    "SOLVER.IMS_PER_BATCH": OldFlag(whole("train.batch_size")),
    "SOLVER.CHECKPOINT_PERIOD": OldFlag(whole("train.checkpoint_every_epochs")),
    "TEST.EVAL_PERIOD": OldFlag(whole("eval.every_epochs")),
    "TEST.IMS_PER_BATCH": OldFlag(_test_batch),
    "TEST.RECALLS": OldFlag(lambda text, values: [("eval.recall_at", list_of(text, "whole"))]),
    "TEST.METRIC": OldFlag(note=f"{INERT}: it knows the cosine alone; eval.retrieval_metric chooses here."),
    "TEST.AQE.ENABLED": OldFlag(
        note=f"{INERT}: it does not expand queries; `shelfmark evaluate --post alpha_qe` does."
    ),
    "TEST.RERANK.ENABLED": OldFlag(
        note=f"{INERT}: it does not re-rank; `shelfmark evaluate --post k_reciprocal` does."
    ),
    "TEST.ROC.ENABLED": OldFlag(note=f"{INERT}: it has no ROC curve; `shelfmark evaluate --verification` has one."),
    "TEST.FLIP.ENABLED": OldFlag(
        note=f"{LACKS}: a run scores images as they are; `shelfmark evaluate --post flip` flips them too."
    ),
    "TEST.PRECISE_BN.ENABLED": _only("False"),
    "CUDNN_BENCHMARK": OldFlag(note=OF_SPEED),
    "OUTPUT_DIR": OldFlag(_output),
}
