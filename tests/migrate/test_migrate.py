from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import published_commands as published
import pytest

from shelfmark.config.load import Override, load, parse_override
from shelfmark.core.errors import UserError
from shelfmark.migrate import (
    FASTRETRI,
    FASTRETRI_FLAGS,
    PNP,
    SMOOTH_AP,
    SMOOTH_AP_EVALUATION,
    override_text,
    shell_word,
    translate,
)
from shelfmark.recipe.tree import Recipe

RECIPES = Path(__file__).parents[2] / "configs" / "retrieval"
INERT, LACKS = "without effect in the original", "without counterpart here"


class Means(NamedTuple):
    """What a flag with this value (None: a switch) comes to. overrides: the keys that it decides, at least."""

    value: str | None
    overrides: dict[str, Any] = {}  # noqa: RUF012
    note: str = ""
    options: list[str] = []  # noqa: RUF012


FINETUNE = ["--RESUME_MODEL", "x", "--mode", "finetune"]
PNP_LINE = "python main.py --loss PNP"
PNP_EXAMPLES = {
    "dataset": Means("online_products"),
    "use_tv_split": Means(None, note=LACKS),
    "tv_split_by_samples": Means(None, note=LACKS),
    "tv_split_perc": Means("0.8", note=LACKS),
    "augmentation": Means("big", {"data.input_size_px": 256, "data.eval_crop": 1}),
    "lr": Means("1e-4", {"optim.lr": 1e-4}),
    "fc_lr": Means("1e-4", {"optim.head_lr_factor": 10}),
    "decay": Means("1e-3", {"optim.weight_decay": 1e-3}),
    "n_epochs": Means("7", {"train.num_epochs": 7}),
    "kernels": Means("2", {"data.num_workers": 2}),
    "bs": Means("64", {"train.batch_size": 64}),
    "seed": Means("5", {"seed": 5}),
    "scheduler": Means("none", {"optim.schedule.name": "constant"}),
    "gamma": Means("0.5", {"optim.schedule.gamma": 0.5}),
    "tau": Means("10 20", {"optim.schedule.milestones_epochs": [10, 20]}),
    "optim": Means("sgd", {"optim.name": "sgd", "optim.momentum": 0.9}),
    "loss": Means("PNP"),
    "embed_dim": Means("64", {"model.embedding_dim": 64}),
    "not_pretrained": Means(None, {"model.weights": ""}),
    "arch": Means("resnet50_normalize", {"model.freeze_bn": False}),
    "no_train_metrics": Means(None, note=INERT),
    "evaluate_on_gpu": Means(None, note="not needed"),
    "evaluation_metrics": Means("e_recall@10 e_recall@1 nmi", {"eval.recall_at": [1, 10]}, "--legacy-metrics pnp"),
    "storage_metrics": Means("e_recall@10", {"eval.metric": "recall@10"}, "held out"),
    "evaltypes": Means("discriminative", note=INERT),
    "gpu": Means("0 1", note=INERT),
    "savename": Means("my run", {"name": "my-run"}),
    "source_path": Means("/data", {"data.root": "/data/online_products"}),
    "save_path": Means("out", {"output.log_root": "out"}),
    "multi-gpu": Means(None, options=["--num-gpus", "2"]),
    "resume": Means("x", note="--RESUME_MODEL reads", options=FINETUNE),
    "data_sampler": Means("class_random", {"sampling.type": "pk"}, "with replacement"),
    "samples_per_class": Means("3", {"sampling.images_per_class": 3}),
    "variant": Means("PNP-I_u", {"losses.0.variant": "I_u"}),
    "alpha": Means("3", note="of PNP-D_q alone"),
    "b": Means("3", note="of PNP-I_b alone"),
    "anneal": Means("0.1", {"losses.0.temperature": 0.1}),
    "margin": Means("0.5", note=INERT),
    "log_online": Means(None, note=LACKS),
    "wandb_key": Means("k", note=LACKS),
    "project": Means("p", note=LACKS),
    "group": Means("g", note=LACKS),
    **{
        name: Means(None if old.takes == "switch" else "1", note=INERT)
        for name, old in PNP.items()
        if name.startswith(("data_", "miner_")) and name != "data_sampler"
    },
}
SMOOTH_AP_LINE = "python main.py --dataset vehicle_id"
SMOOTH_AP_EXAMPLES = {
    "dataset": Means("vehicle_id", {"train.num_epochs": 400, "eval.recall_at": [1, 5]}),
    "lr": Means("1e-4", {"optim.lr": 1e-4}),
    "fc_lr_mul": Means("0", {"optim.head_lr_factor": 1}),
    "n_epochs": Means("7", {"train.num_epochs": 7}),
    "kernels": Means("2", {"data.num_workers": 2}),
    "bs": Means("64", {"train.batch_size": 64}),
    "samples_per_class": Means("2", {"sampling.images_per_class": 2}),
    "seed": Means("5", {"seed": 5}),
    "scheduler": Means("exp", {"optim.schedule.milestones_epochs": list(range(1, 400))}),
    "gamma": Means("0.5", {"optim.schedule.gamma": 0.5}),
    "decay": Means("1e-3", {"optim.weight_decay": 1e-3}),
    "tau": Means("10 20", {"optim.schedule.milestones_epochs": [10, 20]}),
    "infrequent_eval": Means("1", {"eval.every_epochs": 1}, INERT),
    "opt": Means("sgd", {"optim.name": "sgd", "optim.momentum": 0}),
    "loss": Means("smoothap"),
    "sigmoid_temperature": Means("0.1", {"losses.0.temperature": 0.1}),
    "k_vals": Means("1 2", {"eval.recall_at": [1, 5]}, INERT),
    "resume": Means("x", note="--RESUME_MODEL reads", options=FINETUNE),
    "embed_dim": Means("64", {"model.embedding_dim": 64}),
    "arch": Means("resnet50"),
    "grad_measure": Means(None, note=LACKS),
    "dist_measure": Means(None, note=LACKS),
    "not_pretrained": Means(None, {"model.weights": ""}),
    "gpu": Means("1", options=["--gpu_ids", "1"]),
    "savename": Means("a", {"name": "a"}),
    "source_path": Means("/data", {"data.root": "/data/vehicle_id"}, "the folder that holds vehicle_id/"),
    "save_path": Means("out", {"output.log_root": "out"}),
}
EVALUATION_LINE = "python evaluate_model.py --dataset vehicle_id"
FRESH = ["--RESUME_MODEL", "{run}/best_model"]
EVALUATION_EXAMPLES = {
    "dataset": Means("vehicle_id", options=FRESH),
    "source_path": Means("/data", {"data.root": "/data/vehicle_id"}, "the folder that holds vehicle_id/", FRESH),
    "kernels": Means("2", {"data.num_workers": 2}, options=FRESH),
    "k_vals": Means("1 2", {"eval.recall_at": [1, 5]}, INERT, FRESH),
    **{
        name: Means(value, note="the checkpoint knows", options=FRESH)
        for name, value in [("samples_per_class", "4"), ("loss", "smoothap"), ("embed_dim", "512")]
    },
    "arch": Means("resnet50", note="the checkpoint knows", options=FRESH),
    "not_pretrained": Means(None, note="the checkpoint knows", options=FRESH),
    "bs": Means("64", {"eval.batch_size": 64}, options=FRESH),
    "gpu": Means("1", note="CUDA_VISIBLE_DEVICES", options=FRESH),
    "resume": Means("x", note="--RESUME_MODEL reads", options=["--RESUME_MODEL", "x"]),
    "savename": Means("a", note=LACKS, options=FRESH),
    "save_path": Means("out", note=LACKS, options=FRESH),
}
CUB_LINE = "train_net.py --config-file cub.yml"
JITTER = "augment.color_jitter"
FASTRETRI_EXAMPLES = {
    "MODEL.META_ARCHITECTURE": Means("Distiller", note=LACKS),
    "MODEL.DEVICE": Means("cuda:0", {"train.device": "cuda"}),
    "MODEL.BACKBONE.NAME": Means("build_osnet_backbone", note=LACKS),
    "MODEL.BACKBONE.DEPTH": Means("101x", {"model.backbone": "resnet101", "model.weights": "pretrained"}),
    "MODEL.BACKBONE.NORM": Means("BN", {"model.freeze_bn": False, "model.freeze_bn_affine": False}),
    "MODEL.BACKBONE.LAST_STRIDE": Means("2", {"model.last_stride": 2}),
    "MODEL.BACKBONE.FEAT_DIM": Means("2048", note=LACKS),
    "MODEL.BACKBONE.WITH_IBN": Means("True", note=LACKS),
    "MODEL.BACKBONE.WITH_SE": Means("True", note=LACKS),
    "MODEL.BACKBONE.WITH_NL": Means("True", note=LACKS),
    "MODEL.BACKBONE.PRETRAIN": Means("False", {"model.weights": ""}),
    "MODEL.BACKBONE.PRETRAIN_PATH": Means("r50.pth", {"model.weights": "r50.pth"}),
    "MODEL.HEADS.NAME": Means("ClasHead", note=LACKS),
    "MODEL.HEADS.NUM_CLASSES": Means("100", {"data.num_classes": 100}),
    "MODEL.HEADS.EMBEDDING_DIM": Means("512", {"model.embedding_dim": 512}),
    "MODEL.HEADS.NORM": Means("syncBN", note="its own part of the batch"),
    "MODEL.HEADS.WITH_BNNECK": Means("False", {"model.neck": "none"}),
    "MODEL.HEADS.NECK_FEAT": Means("before", note=INERT),
    "MODEL.HEADS.POOL_LAYER": Means("GeneralizedMeanPoolingP", {"model.pooling.trainable": True}),
    "MODEL.HEADS.CLS_LAYER": Means(
        "ArcSoftmax MODEL.HEADS.SCALE 32 MODEL.HEADS.MARGIN 0.5",
        {"losses": [{"name": "arcface", "head": "classifier", "margin": 0.5, "scale": 32}]},
        "no label smoothing",
    ),
    "MODEL.HEADS.SCALE": Means("32", note="of the classifiers of cosines"),
    "MODEL.HEADS.MARGIN": Means("0.2", note="of the classifiers of cosines"),
    "MODEL.LOSSES.NAME": Means("\"('CrossEntropyLoss', 'TripletLoss')\"", note="TripletLoss"),
    "MODEL.LOSSES.CE.EPSILON": Means("0.2", {"losses.0.label_smoothing": 0.2}),
    "MODEL.LOSSES.CE.ALPHA": Means(
        "0.3 MODEL.LOSSES.CE.EPSILON -1", {"losses.0.label_smoothing": -1, "losses.0.adaptive_factor": 0.3}
    ),
    "MODEL.LOSSES.CE.SCALE": Means("2.0", {"losses.0.weight": 2}),
    "MODEL.WEIGHTS": Means("x", note="--RESUME_MODEL reads", options=FINETUNE),
    "MODEL.PIXEL_MEAN": Means('"[127.5, 127.5, 127.5]"', {"data.mean": [0.5, 0.5, 0.5]}),
    "MODEL.PIXEL_STD": Means('"[51, 51, 51]"', {"data.std": [0.2, 0.2, 0.2]}),
    "MODEL.FREEZE_LAYERS": Means("\"['backbone']\"", note=LACKS),
    "DATASETS.NAMES": Means(
        "\"('SOP',)\"",
        {"data.root": "dataset/Stanford_Online_Products", "data.train_json": "dataset/sop/train.json"},
    ),
    "DATASETS.TESTS": Means("\"('SOP',)\"", note=LACKS),
    "INPUT.SIZE_TRAIN": Means('"[256, 256]"', {"augment.resize_px": [256, 256]}),
    "INPUT.SIZE_TEST": Means("[0]", {"data.eval_resize_px": []}),
    "INPUT.CROP.ENABLED": Means("False", note=LACKS),
    "INPUT.CROP.SIZE": Means('"[256, 256]"', {"data.input_size_px": 256}),
    "INPUT.CROP.SCALE": Means('"[0.08, 1]"', {"augment.crop_scale": [0.08, 1]}),
    "INPUT.CROP.RATIO": Means('"(1, 1)"', {"augment.crop_ratio": [1, 1]}),
    "INPUT.FLIP.ENABLED": Means("False", {"augment.flip": 0}),
    "INPUT.FLIP.PROB": Means("0.3", {"augment.flip": 0.3}),
    "INPUT.CJ.ENABLED": Means("False", {JITTER: [0, 0, 0, 0]}),
    "INPUT.CJ.PROB": Means("0.8", {"augment.color_jitter_probability": 0.8}),
    "INPUT.CJ.BRIGHTNESS": Means("0.1", {JITTER: [0.1, 0.25, 0.25, 0]}),
    "INPUT.CJ.CONTRAST": Means("0.1", {JITTER: [0.25, 0.1, 0.25, 0]}),
    "INPUT.CJ.SATURATION": Means("0.1", {JITTER: [0.25, 0.25, 0.1, 0]}),
    "INPUT.CJ.HUE": Means("0.1", {JITTER: [0.25, 0.25, 0.25, 0.1]}),
    "INPUT.AUTOAUG.ENABLED": Means("True", note=LACKS),
    "INPUT.AUGMIX.ENABLED": Means("True", note=LACKS),
    "INPUT.RPT.ENABLED": Means("True", note=LACKS),
    "INPUT.PADDING.ENABLED": Means("True", note=LACKS),
    "INPUT.AFFINE.ENABLED": Means("True", note=LACKS),
    "INPUT.REA.ENABLED": Means("True", {"augment.erasing": 0.5}),
    "INPUT.REA.PROB": Means("0.3", note="INPUT.REA.ENABLED is False"),
    "DATALOADER.SAMPLER_TRAIN": Means(
        "NaiveIdentitySampler DATALOADER.NUM_INSTANCE 8", {"sampling.type": "pk", "sampling.images_per_class": 8}
    ),
    "DATALOADER.NUM_INSTANCE": Means("8", note="of the samplers of identities"),
    "DATALOADER.NUM_WORKERS": Means("2", {"data.num_workers": 2}),
    "SOLVER.MAX_EPOCH": Means("7", {"train.num_epochs": 7}),
    "SOLVER.OPT": Means("Adam", {"optim.name": "adam"}),
    "SOLVER.BASE_LR": Means("0.01", {"optim.lr": 0.01, "optim.schedule.final_factor": 0.002}),
    "SOLVER.ETA_MIN_LR": Means("1e-4", {"optim.lr": 0.02, "optim.schedule.final_factor": 0.005}),
    "SOLVER.HEADS_LR_FACTOR": Means("10", {"optim.head_lr_factor": 10}),
    "SOLVER.BIAS_LR_FACTOR": Means("2", note=INERT),
    "SOLVER.MOMENTUM": Means("0.9", {"optim.momentum": 0.9}),
    "SOLVER.NESTEROV": Means("True", {"optim.nesterov": True}),
    "SOLVER.WEIGHT_DECAY": Means("1e-4", {"optim.weight_decay": 1e-4}),
    "SOLVER.WEIGHT_DECAY_NORM": Means("0", {"optim.decay_norm_and_bias": False}, "or, with 0, not at all"),
    "SOLVER.WEIGHT_DECAY_BIAS": Means("0", note=INERT),
    "SOLVER.SCHED": Means(
        'MultiStepLR SOLVER.STEPS "[10, 20]" SOLVER.GAMMA 0.2',
        {
            "optim.schedule.name": "multistep",
            "optim.schedule.per_epoch": False,
            "optim.schedule.milestones_epochs": [10, 20],
            "optim.schedule.gamma": 0.2,
        },
        "from the end of the warm-up",
    ),
    "SOLVER.STEPS": Means("[10]", note=INERT),
    "SOLVER.GAMMA": Means("0.2", note=INERT),
    "SOLVER.DELAY_EPOCHS": Means("5", note=LACKS),
    "SOLVER.WARMUP_METHOD": Means("constant", note=LACKS),
    "SOLVER.WARMUP_FACTOR": Means("0.5", {"optim.schedule.warmup_factor": 0.5}),
    "SOLVER.WARMUP_ITERS": Means("100", {"optim.schedule.warmup_steps": 100}),
    "SOLVER.FREEZE_ITERS": Means("100", note=LACKS),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Means("False", {"optim.clip_norm": 0}),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Means("value", note=LACKS),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Means("1.0", {"optim.clip_norm": 1}),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Means("1.0", note=LACKS),
    "SOLVER.AMP.ENABLED": Means("False", {"train.precision": "fp32"}),
    "SOLVER.IMS_PER_BATCH": Means("64", {"train.batch_size": 64}),
    "SOLVER.CHECKPOINT_PERIOD": Means("5", {"train.checkpoint_every_epochs": 5}),
    "TEST.EVAL_PERIOD": Means("5", {"eval.every_epochs": 5}),
    "TEST.IMS_PER_BATCH": Means("64", {"eval.batch_size": 64}),
    "TEST.RECALLS": Means('"[1, 2]"', {"eval.recall_at": [1, 2]}),
    "TEST.METRIC": Means("euclidean", note=INERT),
    "TEST.AQE.ENABLED": Means("True", note=INERT),
    "TEST.RERANK.ENABLED": Means("True", note=INERT),
    "TEST.ROC.ENABLED": Means("True", note=INERT),
    "TEST.FLIP.ENABLED": Means("True", note=LACKS),
    "TEST.PRECISE_BN.ENABLED": Means("True", note=LACKS),
    "CUDNN_BENCHMARK": Means("False", note=INERT),
    "OUTPUT_DIR": Means("logs/cub/r50", {"output.log_root": "logs/cub", "name": "r50"}),
}
FLAG_EXAMPLES = [
    *[(PNP_LINE, f"--{flag}", one) for flag, one in PNP_EXAMPLES.items()],
    *[(SMOOTH_AP_LINE, f"--{flag}", one) for flag, one in SMOOTH_AP_EXAMPLES.items()],
    *[(EVALUATION_LINE, f"--{flag}", one) for flag, one in EVALUATION_EXAMPLES.items()],
    *[(CUB_LINE, key, one) for key, one in FASTRETRI_EXAMPLES.items()],
]


def meaning(command: str | list[str]) -> dict[str, Any]:
    return {one.key: one.value for one in translate(command).overrides}


def resolved(command: str) -> Recipe:
    found = translate(command)
    return load(Recipe, RECIPES / f"{found.recipe}.yaml", found.overrides).config


def error_of(command: str, dialect: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        translate(command, dialect)
    return str(caught.value)


def test_every_flag_and_key_of_every_table_has_an_example_here() -> None:
    assert PNP_EXAMPLES.keys() == PNP.keys()
    assert SMOOTH_AP_EXAMPLES.keys() == SMOOTH_AP.keys()
    assert EVALUATION_EXAMPLES.keys() == SMOOTH_AP_EVALUATION.keys()
    assert FASTRETRI_EXAMPLES.keys() == FASTRETRI.keys()


@pytest.mark.parametrize(("line", "flag", "means"), FLAG_EXAMPLES)
def test_a_flag_means_what_its_example_says(line: str, flag: str, means: Means) -> None:
    typed = flag if means.value is None else f"{flag} {means.value}"
    # A name with a space goes in quotes, a list of values does not.
    typed = typed.replace("my run", "'my run'")
    plain, found = translate(line), translate(f"{line} {typed}")
    values = {one.key: one.value for one in found.overrides}
    assert {key: values.get(key) for key in means.overrides} == means.overrides
    assert found.options == means.options
    told = " ".join(shlex.split(typed)[:2])
    about = [note for note in found.notes if note.startswith(told.split("=")[0])]
    assert bool(about) == bool(means.note), about
    assert means.note in "".join(about)
    if not means.overrides:
        assert values == {one.key: one.value for one in plain.overrides}
        return
    # Whatever the original takes, our tree takes what it became.
    load(Recipe, RECIPES / f"{found.recipe}.yaml", found.overrides)


@pytest.mark.parametrize(("command", "recipe"), published.TRAINING.items())
def test_a_published_line_is_its_recipe_but_for_the_place_of_the_data(command: str, recipe: str) -> None:
    found = translate(command)
    assert (found.recipe, found.tests) == (recipe, ())
    overrides = [one for one in found.overrides if one.value != "$dir/online_products"]
    assert len(found.overrides) - len(overrides) == (recipe == "pnp_sop")
    file = RECIPES / f"{recipe}.yaml"
    assert load(Recipe, file, overrides).config == load(Recipe, file).config


def test_pnp_s_published_line_has_thirteen_flags_and_each_is_known() -> None:
    flags = [word.removeprefix("--") for word in published.PNP.split() if word.startswith("--")]
    assert len(flags) == 13
    assert set(flags) - PNP.keys() == {"source"}


@pytest.mark.parametrize("recipe", ["fastretri_cub", "fastretri_cars", "fastretri_sop", "fastretri_inshop"])
def test_fastretri_s_published_line_starts_four_processes(recipe: str) -> None:
    [command] = [line for line, name in published.TRAINING.items() if name == recipe]
    assert translate(command).options == ["--num-gpus", "4"]


@pytest.mark.parametrize(("command", "tests"), published.EVALUATION.items())
def test_an_evaluation_is_one_command_for_each_published_test(command: str, tests: list[str]) -> None:
    found = translate(command)
    assert list(found.tests) == tests
    assert found.options == ["--RESUME_MODEL", shlex.split(command)[-1]]


def test_what_is_not_typed_has_the_original_s_default_and_not_the_recipe_s() -> None:
    bare = resolved("python main.py --loss PNP")
    assert (bare.seed, bare.train.batch_size, bare.train.num_epochs, bare.model.embedding_dim) == (1, 112, 150, 128)
    assert (bare.losses[0].variant, bare.sampling.images_per_class) == ("O", 2)  # type: ignore[union-attr]
    species = resolved("python main.py --dataset Inaturalist")
    assert (species.train.batch_size, species.optim.head_lr_factor) == (112, 5)


@pytest.mark.parametrize(
    ("variant", "typed", "expected"),
    [
        ("PNP-D_q", "--alpha 3", {"losses.0.variant": "D_q", "losses.0.alpha": 3}),
        ("PNP-D_q", "", {"losses.0.variant": "D_q", "losses.0.alpha": 1}),
        ("PNP-I_b", "--b 0.5", {"losses.0.variant": "I_b", "losses.0.b": 0.5}),
        ("PNP-D_s", "", {"losses.0.variant": "D_s"}),
    ],
)
def test_a_variant_takes_its_own_parameter_alone(variant: str, typed: str, expected: dict[str, Any]) -> None:
    found = meaning(f"{PNP_LINE} --variant {variant} {typed}")
    assert {key: value for key, value in found.items() if key in PNP_LOSS_KEYS} == expected


PNP_LOSS_KEYS = ("losses.0.variant", "losses.0.alpha", "losses.0.b")


def test_on_species_the_original_s_own_values_hold_whatever_is_typed() -> None:
    typed = "--n_epochs 100 --tau 1 2 --k_vals 1 2 --infrequent_eval 1"
    found = translate(f"python main.py --dataset Inaturalist {typed}")
    values = {one.key: one.value for one in found.overrides}
    assert values["train.num_epochs"] == 90
    assert values["optim.schedule.milestones_epochs"] == [40, 70]
    assert values["eval.recall_at"] == [1, 4, 16, 32]
    assert values["eval.every_epochs"] == 10
    assert [note.split(":")[0] for note in found.notes if INERT in note] == [
        "--n_epochs 100",
        "--tau 1 2",
        "--k_vals 1 2",
    ]


@pytest.mark.parametrize(("scheduler", "milestones"), [("none", None), ("step", [3, 5]), ("exp", [1, 2, 3, 4, 5, 6])])
def test_smooth_ap_s_milestones_are_of_its_steps_alone(scheduler: str, milestones: list[int] | None) -> None:
    found = meaning(f"{SMOOTH_AP_LINE} --tau 3 5 --n_epochs 7 --scheduler {scheduler}")
    assert found.get("optim.schedule.milestones_epochs") == milestones


@pytest.mark.parametrize("written", ["--source /d", "--source=/d", "--so /d", "--source_path /d", "--source_p=/d"])
def test_a_flag_may_be_cut_short_where_it_stays_the_only_one(written: str) -> None:
    assert meaning(f"{PNP_LINE} {written}")["data.root"] == "/d/online_products"


def test_a_whole_name_is_itself_though_it_begins_another() -> None:
    assert "optim.lr" in meaning(f"{PNP_LINE} --b 3 --lr 1")


@pytest.mark.parametrize(
    "command",
    [
        "$ CUDA_VISIBLE_DEVICES=1 python3 -u main.py --loss PNP \\\n    --bs 64",
        "CUDA_VISIBLE_DEVICES=1 nohup /usr/bin/python3.7 ./main.py --loss=PNP --bs=64",
        "CUDA_VISIBLE_DEVICES=1 main.py --loss PNP --bs 64 \\\r\n",
    ],
)
def test_python_prompts_and_continued_lines_are_taken_away_and_the_environment_stays(command: str) -> None:
    found = translate(command)
    assert {one.key: one.value for one in found.overrides}["train.batch_size"] == 64
    assert found.environment == ["CUDA_VISIBLE_DEVICES=1"]


def test_words_mean_what_the_whole_line_means() -> None:
    assert translate(shlex.split(published.PNP)) == translate(published.PNP)


def test_a_home_folder_is_expanded_by_the_shell_that_runs_the_result() -> None:
    assert meaning(f"{PNP_LINE} --source ~/data")["data.root"] == "$HOME/data/online_products"


def test_the_place_of_fastretri_s_data_comes_from_its_environment() -> None:
    found = translate(f"FASTREID_DATASETS=/data python3 {CUB_LINE}")
    assert {one.key: one.value for one in found.overrides}["data.root"] == "/data/CUB_200_2011"
    assert found.environment == []
    assert found.notes == ["the data, once: shelfmark prepare cub --source /data/CUB_200_2011"]


def test_the_base_of_fastretri_takes_the_data_that_is_named() -> None:
    command = "train_net.py --config-file base-image_retri.yml"
    assert "add DATASETS.NAMES with one of" in error_of(command)
    named = resolved(f"{command} DATASETS.NAMES \"('InShop',)\"")
    inshop = load(Recipe, RECIPES / "fastretri_inshop.yaml").config
    assert (named.data.train_json, named.optim) == (inshop.data.train_json, inshop.optim)
    assert named.eval.recall_at == (1, 2, 4, 8, 16, 32)


def test_several_machines_are_torchrun_s() -> None:
    line = f"{CUB_LINE} --num-gpus 4 --num-machines 2 --machine-rank 1"
    found = translate(f"{line} --dist-url tcp://first:29500")
    assert found.launcher == [
        *["torchrun", "--nnodes=2", "--node-rank=1", "--nproc-per-node=4"],
        *["--master-addr=first", "--master-port=29500", "main.py"],
    ]
    assert found.options == []
    assert "need the first one's address" in error_of(line)


def test_fastretri_s_resume_goes_on_in_its_own_folder_and_rules_over_weights() -> None:
    found = translate(f"{CUB_LINE} --resume MODEL.WEIGHTS x OUTPUT_DIR logs/c")
    assert found.options == ["--RESUME_MODEL", "{run}/last"]


def test_the_test_s_batch_is_shared_by_the_processes_that_train_and_whole_where_one_evaluates() -> None:
    assert meaning(f"{CUB_LINE} --num-gpus 4 TEST.IMS_PER_BATCH 256")["eval.batch_size"] == 64
    assert meaning(f"{CUB_LINE} --num-gpus 4 --eval-only TEST.IMS_PER_BATCH 256")["eval.batch_size"] == 256


def test_smooth_ap_s_gpu_rules_over_the_environment() -> None:
    found = translate("CUDA_VISIBLE_DEVICES=3 python main.py --dataset vehicle_id --gpu 1")
    assert (found.environment, found.options) == ([], ["--gpu_ids", "1"])
    assert any(note.startswith("CUDA_VISIBLE_DEVICES: without effect") for note in found.notes)
    assert translate(f"{EVALUATION_LINE} --gpu 1").environment == ["CUDA_VISIBLE_DEVICES=1"]


@pytest.mark.parametrize(
    ("command", "dialect"),
    [
        ("python main.py --variant PNP-O", "pnp"),
        ("python main.py --dataset online_products --loss PNP", "pnp"),
        ("python main.py --k_vals 1 --bs 4", "smoothap"),
        ("python main.py --loss smoothap", "smoothap"),
        ("python evaluate_model.py", "smoothap"),
        ("python other.py --config-file cub.yml", "fastretri"),
        ("python tools/train_net.py --config-file=cars.yml", "fastretri"),
    ],
)
def test_a_command_line_tells_whose_it_is(command: str, dialect: str) -> None:
    if "--loss PNP" in command or dialect != "pnp":
        assert translate(command).dialect == dialect
    else:
        assert "--loss is missing" in error_of(command)


def test_where_it_cannot_be_told_the_known_ones_are_listed_and_it_can_be_said() -> None:
    text = error_of("python main.py --bs 384")
    assert "say whose it is with --dialect" in text
    assert all(name in text for name in ("PNPloss", "Smooth_AP", "FastRetri"))
    assert translate("python main.py --bs 384", "smoothap").recipe == "smoothap_vehicleid"
    assert "more than one" in error_of("python main.py --loss PNP --dataset vehicle_id")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"{PNP_LINE} --bacth 3", "--bacth is not a flag of the original."),
        (f"{PNP_LINE} --varient PNP-O", "Did you mean --variant?"),
        (f"{SMOOTH_AP_LINE} --sigmoid_temp2 1", "Did you mean --sigmoid_temperature?"),
        (f"{CUB_LINE} --num-gpu-s 4", "Did you mean --num-gpus?"),
        (f"{CUB_LINE} SOLVER.BASELR 1", "SOLVER.BASELR is not a key that is translated. Did you mean SOLVER.BASE_LR?"),
        (f"{CUB_LINE} SOLVER.BASE_LR", "'SOLVER.BASE_LR' has no value"),
        (f"{PNP_LINE} --s 3", "--s could be --seed or --scheduler or"),
        (f"{PNP_LINE} --bs", "--bs needs a value."),
        (f"{PNP_LINE} --bs x", "--bs x: 'x' is not a whole number."),
        (f"{PNP_LINE} --lr fast", "--lr fast: 'fast' is not a number."),
        (f"{PNP_LINE} --not_pretrained=1", "is a switch"),
        (f"{PNP_LINE} --variant D_q", "Did you mean 'PNP-D_q'?"),
        (f"{PNP_LINE} --arch googlenet", "trains resnet50 and bninception alone"),
        (f"{PNP_LINE} --alpha 1.5 --variant PNP-D_q", "'1.5' is not a whole number"),
        (f"{PNP_LINE} loose", "'loose' stands behind no flag"),
        (f"{PNP_LINE} > log.txt", "'>' belongs to the shell"),
        (f"cd PNPloss && {PNP_LINE}", "'&&' belongs to the shell"),
        (f"{PNP_LINE} 'open", "cannot be read: No closing quotation."),
        ("", "There is no command"),
        ("bash train.sh", "'bash' is no Python script"),
        ("train_net.py --num-gpus 4", "--config-file is missing"),
        ("train_net.py --config-file market.yml", "--config-file='market' is not one of"),
        (f'{CUB_LINE} INPUT.CROP.SIZE "[224, 112]"', "give both sides the same"),
        (f"{CUB_LINE} SOLVER.AMP.ENABLED yes", "'yes' is neither True nor False."),
        (f"{CUB_LINE} DATASETS.NAMES \"('CUB', 'SOP')\"", "several data sets"),
        ("train_net.py --config-file sop.yml INPUT.CJ.ENABLED True", "give the strengths beside it"),
    ],
)
def test_what_the_original_would_refuse_is_refused_with_the_flag_and_the_choices(command: str, said: str) -> None:
    assert said in error_of(command)


@pytest.mark.parametrize("placeholder", ["<path>", "$dir", "${dir}", "a b"])
def test_the_placeholders_of_a_readme_pass(placeholder: str) -> None:
    assert meaning([*PNP_LINE.split(), "--source", placeholder])["data.root"] == f"{placeholder}/online_products"


@pytest.mark.parametrize("value", [1, 0.5, 1e-5, 4.0, True, "", "a/b", [], [1, 10], [0.08, 1], {"type": "cosine"}])
def test_an_override_is_read_as_it_was_written(value: object) -> None:
    written = override_text(Override("a.b", value, ""))
    read = parse_override(written)
    assert (read.key, read.value) == ("a.b", value)


@pytest.mark.parametrize(
    ("word", "quoted"), [("a=b", "a=b"), ("a=[1, 2]", "'a=[1, 2]'"), ("a=$dir/b", '"a=$dir/b"'), ("a b$c", "'a b$c'")]
)
def test_a_word_is_quoted_so_that_a_shell_gives_it_back_and_fills_in_names(word: str, quoted: str) -> None:
    assert shell_word(word) == quoted


def test_fastretri_s_flags_are_those_of_its_command_line() -> None:
    assert set(FASTRETRI_FLAGS) == {
        *["config-file", "resume", "eval-only", "num-gpus", "num-machines", "machine-rank", "dist-url"]
    }
