"""PNPloss: main.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from shelfmark.core.errors import UserError
from shelfmark.migrate.command import Line
from shelfmark.migrate.flags import Old, apply, defaults, require_no_rest, typed_flags
from shelfmark.migrate.translation import Translation, environment_words, prepare_note
from shelfmark.migrate.values import (
    Given,
    Reading,
    about_checkpoints,
    always,
    choice,
    finetune,
    number,
    one_of,
    quotient,
    run_name,
    text_of,
    to_float,
    to_int,
    whole,
    whole_list,
)

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
    return choice({"base": [], "adv": adv, "big": big, "red": []})(text, given)


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
    return choice({"adam": [("optim.name", "adam")], "sgd": [("optim.name", "sgd"), ("optim.momentum", 0.9)]})(
        text, given
    )


def _pnp_embedding_rate(text: str, given: Given) -> Reading:
    rate = to_float(text)
    return [] if rate < 0 else [("optim.head_lr_factor", quotient(rate, to_float(given["lr"])))]


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
    "lr": Old(number("optim.lr"), "1e-5"),
    "fc_lr": Old(_pnp_embedding_rate, "-1"),
    "decay": Old(number("optim.weight_decay"), "4e-4"),
    "n_epochs": Old(whole("train.num_epochs"), "150"),
    "kernels": Old(whole("data.num_workers"), "6"),
    "bs": Old(whole("train.batch_size"), "112"),
    "seed": Old(whole("seed"), "1"),
    "scheduler": Old(_pnp_schedule, "step"),
    "gamma": Old(number("optim.schedule.gamma"), "0.3"),
    "tau": Old(whole_list("optim.schedule.milestones_epochs"), "120 220 250 280", takes="many"),
    "optim": Old(_pnp_optimizer, "adam"),
    "loss": Old(choice({"PNP": []}), "margin"),
    "embed_dim": Old(whole("model.embedding_dim"), "128"),
    "not_pretrained": Old(always(("model.weights", "")), takes="switch"),
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
    "savename": Old(lambda text, given: [] if text == "group_plus_seed" else run_name(text)),
    "source_path": Old(_pnp_source),
    "save_path": Old(text_of("output.log_root")),
    "multi-gpu": Old(options=lambda text, given: ["--num-gpus", "2"], takes="switch"),
    "resume": Old(options=finetune, says=about_checkpoints),
    "data_sampler": Old(
        choice({"class_random": [("sampling.type", "pk")]}),
        "class_random",
        says=lambda text, given: (
            "the original draws classes and images with replacement; here those of a batch differ."
        ),
    ),
    "samples_per_class": Old(whole("sampling.images_per_class"), "2"),
    **{f"data_{name}": _INERT_PNP for name in _INERT_PNP_DATA.split()},
    **{f"data_{name}": replace(_INERT_PNP, takes="switch") for name in _INERT_PNP_SWITCHES.split()},
    **{f"miner_{name}": _INERT_PNP for name in _INERT_PNP_MINERS.split()},
    "variant": Old(
        lambda text, given: [("losses.0.variant", _PNP_VARIANTS[one_of(text, _PNP_VARIANTS)])], default="PNP-O"
    ),
    "alpha": Old(_only_with("PNP-D_q", "losses.0.alpha", to_int), "1", says=_of_variant("PNP-D_q")),
    "b": Old(_only_with("PNP-I_b", "losses.0.b", to_float), "2", says=_of_variant("PNP-I_b")),
    "anneal": Old(number("losses.0.temperature"), "0.01"),
    "margin": Old(inert="parsed and never used."),
    "log_online": Old(lacks="a run writes metrics.jsonl and TensorBoard's files.", takes="switch"),
    "wandb_key": Old(lacks="a run writes metrics.jsonl and TensorBoard's files."),
    "project": Old(lacks="it names a page of Weights & Biases; name=... names the run folder here."),
    "group": Old(lacks="it names a page of Weights & Biases; name=... names the run folder here."),
}


def translate_pnp(line: Line) -> Translation:
    typed = typed_flags(line.words, PNP)
    require_no_rest(typed)
    if "loss" not in typed.values:
        raise UserError("--loss is missing: the default of the original, margin, is not in its code; add --loss PNP.")
    overrides, options, notes = apply(PNP, {**defaults(PNP), **typed.values}, typed.shown)
    source = PurePosixPath(typed.values.get("source_path", "dataset"))
    folder = source / ("online_products" if "source_path" in typed.values else "Stanford_Online_Products")
    notes.append(prepare_note("sop", folder))
    return Translation("pnp", "pnp_sop", overrides, options, (), environment_words(line.environment), [], notes)
