"""PNPloss: main.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import OldFlag, meaning_of
from shelfmark.migrate.notes import INERT, LACKS, NEEDLESS, UNUSED, about_checkpoints, prepare_note, unless
from shelfmark.migrate.readers import (
    adam_or_sgd,
    always,
    choice,
    finetune,
    folder_in,
    number,
    renamed,
    run_name,
    whole,
    wholes,
    words,
)
from shelfmark.migrate.translation import Translation
from shelfmark.migrate.values import Reading, Values, quotient, to_float, to_int

_INERT_DATA = (
    "batchmatch_bigbs batchmatch_ncomps d2_coreset_lambda gc_coreset_lim sampler_lowproj_dim sim_measure mb_mom mb_lr"
)
_INERT_SWITCHES = "storage_no_update gc_softened idx_full_prec"
_INERT_MINERS = (
    "distance_lower_cutoff distance_upper_cutoff rho_distance_lower_cutoff rho_distance_upper_cutoff rho_distance_cp"
)
_NO_READER = f"{INERT}: none of its samplers and miners reads the flag."
_LOGS = f"{LACKS}: a run writes metrics.jsonl and files for TensorBoard."
_OF_WANDB = f"{LACKS}: it is for Weights & Biases; name=... names the run folder."
_RECALL = re.compile(r"(?:^|\s)[ec]_recall@(\d+)")


def _dataset(text: str, values: Values) -> Reading:
    if "online_products" not in text:
        raise ValueError("the code has online_products alone.")
    return []


def _loss(text: str, values: Values) -> Reading:
    if text == "margin":
        raise ValueError("this loss is not in the code; add --loss PNP.")
    return choice({"PNP": []})(text, values)


def _arch(text: str, values: Values) -> Reading:
    if "resnet50" not in text and "bninception" not in text:
        raise ValueError("the code trains resnet50 and bninception alone, as in resnet50_frozen_normalize.")
    return [("model.freeze_bn", "frozen" in text)]


def _about_arch(text: str, values: Values) -> str:
    said = []
    if "bninception" in text:
        said.append("timm has no BN-Inception, so the command has ResNet-50; model.backbone names another timm model.")
    if "normalize" not in text:
        said.append("vectors of a metric head have length 1 here, and any length in the original.")
    return f"{LACKS}: {' '.join(said)}" if said else ""


def _about_augmentation(text: str, values: Values) -> str:
    file = "a pipeline that albumentations.save() wrote, given as augment.albumentations, has both"
    return {
        "adv": f"{LACKS}: the random greyscale of probability 0.2; {file}.",
        "red": f"{LACKS}: the plain random crop, so the command has the crop of `base`; {file}.",
    }.get(text, "")


def _embedding_rate(text: str, values: Values) -> Reading:
    rate = to_float(text)
    return [] if rate < 0 else [("optim.non_backbone_lr_factor", quotient(rate, to_float(values["lr"])))]


def _recalls(text: str, values: Values) -> Reading:
    depths = sorted({int(one) for one in _RECALL.findall(text)})
    return [("eval.recall_at", depths)] if depths else []


def _storage(text: str, values: Values) -> Reading:
    found = _RECALL.search(text)
    return [("eval.metric", f"recall@{found[1]}")] if found else []


def _about_storage(text: str, values: Values) -> str:
    if _RECALL.search(text):
        return "the score is of classes that are held out of training; in the original it is of the test."
    return f"{LACKS}: recall@1 chooses the best checkpoint; eval.metric takes any name of summary.json, as map@r."


def _of_variant(variant: str, read: Callable[[str], float], key: str, default: str) -> OldFlag:
    def sets(text: str, values: Values) -> Reading:
        return [(key, read(text))] if values["variant"] == variant else []

    return OldFlag(
        sets,
        default,
        note=unless(lambda values: values["variant"] == variant, f"no effect: it is for {variant} alone."),
    )


_AUGMENTATIONS: dict[str, Reading] = {
    "base": [],
    "adv": [("augment.color_jitter", [0.2, 0.2, 0.2, 0.2])],
    "big": [("data.input_size_px", 256), ("data.eval_crop", 1)],
    "red": [],
}
_VARIANTS = {f"PNP-{name}": name for name in ("O", "I_u", "I_b", "D_s", "D_q")}


PNP: dict[str, OldFlag] = {
    "dataset": OldFlag(_dataset, "online_products"),
    "use_tv_split": OldFlag(
        note=f"{LACKS}: every run holds training classes out; `shelfmark prepare sop --val-fraction` says how many.",
        takes="switch",
    ),
    "tv_split_by_samples": OldFlag(
        note=f"{LACKS}: `shelfmark prepare sop` holds whole classes out, and a hundredth of the other images.",
        takes="switch",
    ),
    "tv_split_perc": OldFlag(
        note=f"{LACKS}: `shelfmark prepare sop --val-fraction` is the part held out, as 0.2 for 0.8."
    ),
    "augmentation": OldFlag(choice(_AUGMENTATIONS), "base", note=_about_augmentation),
    "lr": OldFlag(number("optim.lr"), "1e-5"),
    "fc_lr": OldFlag(_embedding_rate, "-1"),
    "decay": OldFlag(number("optim.weight_decay"), "4e-4"),
    "n_epochs": OldFlag(whole("train.num_epochs"), "150"),
    "kernels": OldFlag(whole("data.num_workers"), "6"),
    "bs": OldFlag(whole("train.batch_size"), "112"),
    "seed": OldFlag(whole("seed"), "1"),
    # The original takes any other word for its steps.
    "scheduler": OldFlag(
        lambda text, values: [("optim.schedule.name", "constant" if text == "none" else "multistep")], "step"
    ),
    "gamma": OldFlag(number("optim.schedule.gamma"), "0.3"),
    "tau": OldFlag(wholes("optim.schedule.milestones_epochs"), "120 220 250 280", takes="many"),
    "optim": OldFlag(adam_or_sgd(0.9), "adam"),
    "loss": OldFlag(_loss, "margin"),
    "embed_dim": OldFlag(whole("model.embedding_dim"), "128"),
    "not_pretrained": OldFlag(always("model.weights", ""), takes="switch"),
    "arch": OldFlag(_arch, "resnet50_frozen_normalize", note=_about_arch),
    "no_train_metrics": OldFlag(note=UNUSED, takes="switch"),
    "evaluate_on_gpu": OldFlag(note=f"{NEEDLESS}: the search runs on a GPU where there is one.", takes="switch"),
    "evaluation_metrics": OldFlag(
        _recalls,
        note="the command has Recall@K; `shelfmark evaluate --clusters --legacy-metrics pnp` has the other metrics.",
        takes="many",
    ),
    "storage_metrics": OldFlag(_storage, note=_about_storage, takes="many"),
    "evaltypes": OldFlag(note=f"{INERT}: it has one type, discriminative.", takes="many"),
    "gpu": OldFlag(note=f"{INERT}: it ignores the flag; here --gpu_ids chooses GPUs.", takes="many"),
    "savename": OldFlag(lambda text, values: [] if text == "group_plus_seed" else run_name(text)),
    "source_path": OldFlag(folder_in("online_products")),
    "save_path": OldFlag(words("output.log_root")),
    "multi-gpu": OldFlag(options=lambda text, values: ["--num-gpus", "2"], takes="switch"),
    "resume": OldFlag(options=finetune, note=about_checkpoints),
    "data_sampler": OldFlag(
        choice({"class_random": [("sampling.type", "pk")]}),
        "class_random",
        note="the original may draw a class or an image twice for a batch; here the classes and images of a batch"
        " differ.",
    ),
    "samples_per_class": OldFlag(whole("sampling.images_per_class"), "2"),
    **{f"data_{name}": OldFlag(note=_NO_READER) for name in _INERT_DATA.split()},
    **{f"data_{name}": OldFlag(note=_NO_READER, takes="switch") for name in _INERT_SWITCHES.split()},
    **{f"miner_{name}": OldFlag(note=_NO_READER) for name in _INERT_MINERS.split()},
    "variant": OldFlag(renamed("losses.0.variant", _VARIANTS), "PNP-O"),
    "alpha": _of_variant("PNP-D_q", to_int, "losses.0.alpha", "1"),
    "b": _of_variant("PNP-I_b", to_float, "losses.0.b", "2"),
    "anneal": OldFlag(number("losses.0.temperature"), "0.01"),
    "margin": OldFlag(note=UNUSED),
    "log_online": OldFlag(note=_LOGS, takes="switch"),
    "wandb_key": OldFlag(note=_LOGS),
    "project": OldFlag(note=_OF_WANDB),
    "group": OldFlag(note=_OF_WANDB),
}


def translate_pnp(line: Line) -> Translation:
    found = meaning_of(line.words, PNP)
    typed = found.typed.get("source_path")
    folder = PurePosixPath("dataset/Stanford_Online_Products" if typed is None else f"{typed}/online_products")
    notes = [*found.notes, prepare_note("sop", folder)]
    return Translation("pnp", "retrieval/pnp_sop", found.overrides, found.options, notes, line.environment)
