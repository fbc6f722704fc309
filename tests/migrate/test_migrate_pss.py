"""The command lines of PSS and Hi-LANDER. The tables of the other dialects are tested in test_migrate.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shelfmark.config.load import load
from shelfmark.core.errors import UserError
from shelfmark.migrate import HILANDER, HILANDER_TEST, PSS, PSS_CHECKPOINT, PSS_LATER, translate
from shelfmark.recipe.tree import Recipe

RECIPES = Path(__file__).parents[2] / "configs" / "discovery"
INERT, LACKS, NOT_NEEDED = "without effect in the original", "without counterpart here", "not needed"
NETWORK = "discovery.clusterer.lander"
SETS = "--trainset lin_train_set1.txt --testset Inaturalist_test_set1.txt --linsize 29011 --uinsize 18403"
EMBEDDER = f"--dataset Inaturalist --lr 1e-5 --fc_lr_mul 1 --bs 384 --embed_dim 128 --class_num 948 {SETS}"
GRAPH = "--hidden 512 --num_conv 1 --gat --balance --faiss_gpu"


class Means(NamedTuple):
    """What a flag with this value (None: a switch) comes to. overrides: the keys that it decides, at least."""

    value: str | None
    overrides: dict[str, Any] = {}  # noqa: RUF012
    note: str = ""


SWITCHES = {"grad_measure": Means(None, note=LACKS), "dist_measure": Means(None, note=LACKS)}
VIT = "vit_base --patch_size 16"
EXAMPLES = {
    "dataset": Means("Inaturalist"),
    "lr": Means("1e-4", {"optim.lr": 1e-4}),
    "fc_lr_mul": Means("0", {"optim.head_lr_factor": 1}),
    "n_epochs": Means("7", {"train.num_epochs": 7}),
    "kernels": Means("2", {"data.num_workers": 2}),
    "bs": Means("64", {"train.batch_size": 64}),
    "samples_per_class": Means("2", {"sampling.images_per_class": 2}),
    "seed": Means("5", {"seed": 5}),
    "scheduler": Means("none", {"optim.schedule.name": "constant"}),
    "gamma": Means("0.5", {"optim.schedule.gamma": 0.5}),
    "decay": Means("1e-2", {"optim.weight_decay": 1e-2}),
    "tau": Means("10 20", note=INERT),
    "infrequent_eval": Means("1", {"eval.every_epochs": 5}),
    "opt": Means("sgd", {"optim.name": "sgd", "optim.momentum": 0}),
    "loss": Means(
        "ams", {"losses": [{"name": "cosface", "head": "classifier", "margin": 0.3, "scale": 30}]}, "ends with an error"
    ),
    "sigmoid_temperature": Means("0.1", {"losses.0.temperature": 0.1}),
    "k_vals": Means("1 2", {"eval.recall_at": [1, 4, 16, 32]}, INERT),
    "resume": Means("x", note=LACKS),
    "embed_dim": Means("64", {"model.embedding_dim": 64}),
    "arch": Means("vit_small", {"model.backbone": "vit_small_patch16_224", "model.freeze": []}, "of the first commit"),
    "patch_size": Means("8", note="of the ViT"),
    "pretrained_weights": Means("x.pth", note="of the ViT"),
    "checkpoint_key": Means("teacher", note="of the ViT"),
    "drop_path_rate": Means("0.2", note="of the ViT"),
    "use_bn_in_head": Means("False", note=INERT),
    "norm_last_layer": Means("True", note=INERT),
    **SWITCHES,
    "not_pretrained": Means(None, {"model.weights": ""}),
    "gpu": Means("1", note=INERT),
    "savename": Means("a", note=INERT),
    "source_path": Means("/data", {"data.root": "/data/Inaturalist"}),
    "save_path": Means("out", {"output.log_root": "out"}),
    "trainset": Means("mine.txt", note="`shelfmark prepare pss` reads lin_train_set1.txt"),
    "testset": Means("Inaturalist_test_set1.txt", note=NOT_NEEDED),
    "all_trainset": Means("train_set1.txt", note=NOT_NEEDED),
    "cluster_path": Means("c.pkl", note="prepare pss_clusters --source c.pkl"),
    "finetune": Means("true", note=NOT_NEEDED),
    "get_features": Means("false", note=NOT_NEEDED),
    "class_num": Means("948", note=NOT_NEEDED),
    "onehead": Means(None, note="numbered together"),
    "linsize": Means("29011", note=NOT_NEEDED),
    "uinsize": Means("18403", note=NOT_NEEDED),
    "iter": Means("3", {"discovery.rounds": 4}),
}
LATER_EXAMPLES = {
    **EXAMPLES,
    "decay": Means("1e-2", {"discovery.later_weight_decay": 1e-2}),
    "infrequent_eval": Means("1", note="the one of round 0"),
}
OF_TRAINING = ["lr", "fc_lr_mul", "n_epochs", "samples_per_class", "seed", "gamma", "decay", "sigmoid_temperature"]
OF_THE_CHECKPOINT = ["loss", "embed_dim", "arch", "pretrained_weights", "checkpoint_key", "patch_size"]
CHECKPOINT_EXAMPLES = {
    **EXAMPLES,
    **{name: Means(EXAMPLES[name].value, note=INERT) for name in OF_TRAINING},
    **{name: Means(EXAMPLES[name].value, note="the checkpoint knows") for name in OF_THE_CHECKPOINT},
    "scheduler": Means("step", note=INERT),
    "infrequent_eval": Means("1", note=INERT),
    "opt": Means("sgd", note=INERT),
    "cluster_path": Means("c.pkl", note=INERT),
    "not_pretrained": Means(None, note="the checkpoint knows"),
    "drop_path_rate": Means("0.2", note="the checkpoint knows"),
    "bs": Means("64", {"eval.batch_size": 64}),
    "resume": Means("x", note="--RESUME_MODEL reads"),
    "save_path": Means("out", note=LACKS),
    "iter": Means("1"),
}
HILANDER_EXAMPLES = {
    "data_path": Means("b.pkl"),
    "levels": Means("2,3,4 --knn_k 10,5,3", {f"{NETWORK}.levels": [2, 3, 4], f"{NETWORK}.ks": [10, 5, 3]}),
    "faiss_gpu": Means(None, note=INERT),
    "model_filename": Means("m.pth"),
    "knn_k": Means("7", {f"{NETWORK}.ks": [7]}),
    "num_workers": Means("4", note=INERT),
    "hidden": Means("64", {f"{NETWORK}.hidden": 64}),
    "num_conv": Means("2", {f"{NETWORK}.num_layers": 2}),
    "dropout": Means("0.5", note=LACKS),
    "gat": Means(None, {f"{NETWORK}.layer": "gat"}),
    "gat_k": Means("3", {f"{NETWORK}.heads": 3}),
    "balance": Means(None, {f"{NETWORK}.balance": True}),
    "use_cluster_feat": Means(None, {f"{NETWORK}.cluster_features": True}),
    "use_focal_loss": Means(None, {f"{NETWORK}.focal": True}),
    "epochs": Means("5", {f"{NETWORK}.epochs": 5}),
    "batch_size": Means("64", {f"{NETWORK}.batch_size": 64}),
    "lr": Means("0.01", {f"{NETWORK}.lr": 0.01}),
    "momentum": Means("0.5", note=LACKS),
    "weight_decay": Means("1e-4", {f"{NETWORK}.weight_decay": 1e-4}),
}
HILANDER_TEST_EXAMPLES = {
    "data_path": Means("b.pkl"),
    "model_filename": Means("m.pth"),
    "faiss_gpu": Means(None, note=INERT),
    "num_workers": Means("4", note=INERT),
    "output_filename": Means("data/out.pkl"),
    "knn_k": Means("20", {"discovery.clusterer.k": 20}),
    "levels": Means("10", {f"{NETWORK}.max_levels": 10}),
    "tau": Means("0.9", {f"{NETWORK}.tau": 0.9}),
    "threshold": Means("sim", note=LACKS),
    "metrics": Means("nmi", note=NOT_NEEDED),
    "early_stop": Means(None, {f"{NETWORK}.early_stop": True}),
    **{name: Means("1", note=NOT_NEEDED) for name in ("hidden", "num_conv", "dropout", "gat_k")},
    **{name: Means(None, note=NOT_NEEDED) for name in ("gat", "balance", "use_cluster_feat", "use_focal_loss")},
    "use_gt": Means(None, note=LACKS),
    "batch_size": Means("64", note=INERT),
    "mode": Means("recluster", note=LACKS),
    "midpoint": Means("false", note=INERT),
    "linsize": Means("29011", note=NOT_NEEDED),
    "uinsize": Means("18403", note=NOT_NEEDED),
    "inclasses": Means("948", note=INERT),
    "thresh": Means("0.8 --mode selectbydensity", {"discovery.selection.density_threshold": 0.8}),
    "draw": Means("true", note=LACKS),
}
TABLES = {
    "python main.py --dataset Inaturalist --iter 0": (PSS, EXAMPLES),
    "python finetune_1head.py": (PSS_LATER, LATER_EXAMPLES),
    "python get_features.py": (PSS_CHECKPOINT, CHECKPOINT_EXAMPLES),
    "python evaluate_model.py --dataset Inaturalist --iter 0": (PSS_CHECKPOINT, CHECKPOINT_EXAMPLES),
    "python train_subg_inat.py --data_path a.pkl": (HILANDER, HILANDER_EXAMPLES),
    "python test_subg_inat.py --data_path a.pkl": (HILANDER_TEST, HILANDER_TEST_EXAMPLES),
}
FLAGS = [(line, flag, one) for line, (_, examples) in TABLES.items() for flag, one in examples.items()]


def values(command: str) -> dict[str, Any]:
    return {one.key: one.value for one in translate(command).overrides}


def resolved(command: str) -> Recipe:
    found = translate(command)
    return load(Recipe, RECIPES.parent / found.folder / f"{found.recipe}.yaml", found.overrides).config


@pytest.mark.parametrize("line", TABLES)
def test_every_flag_of_every_table_has_an_example_here(line: str) -> None:
    table, examples = TABLES[line]
    assert examples.keys() == table.keys()


@pytest.mark.parametrize(("line", "flag", "means"), FLAGS)
def test_a_flag_means_what_its_example_says(line: str, flag: str, means: Means) -> None:
    typed = f"--{flag}" if means.value is None else f"--{flag} {means.value}"
    found = translate(f"{line} {typed}")
    assert found.dialect == "pss"
    assert {one.key: one.value for one in found.overrides}.items() >= means.overrides.items()
    about = [note for note in found.notes if note.startswith(f"--{flag}")]
    assert bool(about) == bool(means.note), about
    assert means.note in "".join(about)
    if not means.overrides:
        assert {one.key: one.value for one in found.overrides} == values(line)


@pytest.mark.parametrize(("line", "flag", "means"), [one for one in FLAGS if one[2].overrides and "main" in one[0]])
def test_our_tree_takes_what_a_flag_becomes(line: str, flag: str, means: Means) -> None:
    recipe = resolved(f"{line} --{flag} {means.value or ''}").model_dump(mode="json")
    for key, value in means.overrides.items():
        found = recipe
        for part in key.split("."):
            found = found[int(part) if isinstance(found, list) else part]
        if key != "losses":
            assert found == value


def test_the_published_commands_are_the_recipe_s_own_rounds() -> None:
    recipe = load(Recipe, RECIPES / "pss_inat.yaml").config
    last = f"python finetune_1head.py {EMBEDDER} --cluster_path c.pkl --iter 4"
    assert resolved(last).model_dump() == recipe.model_dump()
    first = resolved(f"python main.py {EMBEDDER} --infrequent_eval 1 --iter 0")
    assert first.discovery.rounds == 1
    again = first.discovery.model_copy(update={"rounds": 5})
    assert first.model_copy(update={"discovery": again}).model_dump() == recipe.model_dump()
    assert translate(last).command == ("discover",)


def test_the_published_commands_of_hi_lander_are_the_recipe_s_own_network() -> None:
    recipe = load(Recipe, RECIPES / "pss_inat.yaml").config
    training = "--knn_k 10,5,3 --levels 2,3,4 --epochs 1000 --lr 0.01 --batch_size 4096"
    fit = f"python train_subg_inat.py --data_path data/t.pkl --model_filename data/l.pth {training} {GRAPH}"
    assert resolved(fit) == recipe
    assert translate(fit).command == ("cluster", "fit")
    assert translate(fit).options == ["--embeddings", "data/t", "--out", "data/l"]
    clustering = "--knn_k 10 --level 10 --tau 0.9 --threshold prob --early_stop --mode selectbydensity --thresh 0.8"
    run = f"python test_subg_inat.py --data_path data/a.pkl --model_filename data/l.pth {clustering} {GRAPH}"
    assert resolved(run) == recipe
    assert translate(run).command == ("cluster", "run")
    # Only those without a label are clustered in this mode, and all of them in the plain one.
    assert translate(run).options == [
        "--embeddings",
        "data/a/unlabelled",
        "--clusterer",
        "data/l",
        "--out",
        "data/features",
    ]
    plain = "python test_subg.py --data_path a.pkl --output_filename o.pkl"
    assert translate(plain).options == ["--embeddings", "a", "--clusterer", "lander", "--out", "o"]


def test_what_is_not_typed_has_the_original_s_default_and_not_the_recipe_s() -> None:
    embedder = resolved("python main.py --dataset Inaturalist --iter 0")
    assert (embedder.train.batch_size, embedder.model.embedding_dim, embedder.optim.head_lr_factor) == (112, 512, 5)
    assert embedder.eval.every_epochs == 1
    network = resolved("python train_subg.py --data_path a.pkl").discovery.clusterer.lander
    assert (network.ks, network.levels, network.layer, network.balance) == ((10,), (1,), "gcn", False)
    assert (network.epochs, network.batch_size, network.lr) == (100, 1024, 0.1)
    clusterer = resolved("python test_subg.py --data_path a.pkl").discovery.clusterer
    found = clusterer.lander
    assert (clusterer.k, found.max_levels, found.tau, found.early_stop) == (10, 1, 0.5, False)


def test_the_vit_of_the_first_commit_is_its_own_recipe() -> None:
    line = f"python main.py --dataset Inaturalist --arch {VIT} --fc_lr_mul 0 --embed_dim 768 --bs 384 --iter 4"
    line += " --pretrained_weights dino_vitbase16_pretrain.pth --infrequent_eval 1"
    assert translate(line).recipe == "pss_inat_vit"
    assert resolved(line) == load(Recipe, RECIPES / "pss_inat_vit.yaml").config
    changed = resolved(f"{line} --drop_path_rate 0 --pretrained_weights mine.pth")
    assert (changed.model.weights, changed.model.backbone_options) == ("mine.pth", {"drop_path_rate": 0})
    tiny = resolved(line.replace("vit_base", "vit_tiny"))
    assert (tiny.model.backbone, tiny.model.freeze) == ("vit_tiny_patch16_224", ())


@pytest.mark.parametrize(("loss", "ours"), [("ce", "cross_entropy"), ("ams", "cosface"), ("smoothap", "smooth_ap")])
def test_each_loss_becomes_one_that_trains(loss: str, ours: str) -> None:
    recipe = resolved(f"python main.py --dataset Inaturalist --loss {loss} --iter 0")
    assert [one.name for one in recipe.losses] == [ours]


def test_features_and_scores_come_from_the_checkpoint_of_their_round() -> None:
    features = translate("python get_features.py --bs 384 --iter 2")
    assert (features.command, features.reads) == (("embed",), "checkpoint")
    assert features.options == [
        *["--RESUME_MODEL", "{run}/round_2/train/best_model"],
        *["--annotations", "dataset/pss/discovery.json", "--out", "{run}/features_2"],
    ]
    scores = translate("python evaluate_model.py --dataset Inaturalist --class_num 948 --resume x")
    assert (scores.tests, scores.options) == (("dataset/pss/test.json",), ["--RESUME_MODEL", "x"])


@pytest.mark.parametrize(
    ("command", "dialect"),
    [
        ("python main.py --dataset Inaturalist", "smoothap"),
        ("python main.py --dataset Inaturalist --class_num 948", "pss"),
        ("python main.py --dataset Inaturalist --loss ce", "pss"),
        ("python main.py --dataset Inaturalist --cluster_p x.pkl", "pss"),
        ("python evaluate_model.py", "smoothap"),
        ("python train.py --data_path a.pkl --knn_k 10", "pss"),
        ("python PSS/test_subg_inat.py --data_path a.pkl", "pss"),
    ],
)
def test_a_line_that_only_pss_has_is_told_from_one_of_smooth_ap(command: str, dialect: str) -> None:
    assert translate(command).dialect == dialect


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python main.py --class_num 948", "only Inaturalist works"),
        ("python main.py --dataset Inaturalist --iter 0 --loss triplet", "'triplet' is not one of: smoothap, ce, ams"),
        ("python train_subg.py --knn_k 10", "--data_path is missing"),
        ("python train_subg.py --data_path a.pkl --knn_k ten", "--knn_k ten: 'ten' is not a whole number"),
        ("python test_subg.py --data_path a.pkl --mode all", "'all' is not one of: selectbydensity"),
        ("python test_subg.py --data_path a.pkl --threshold cos", "'cos' is not one of: prob, sim"),
        ("python train_subg.py --data_path a.pkl --epoch_s 3", "Did you mean --epochs?"),
    ],
)
def test_what_the_original_would_refuse_is_refused(command: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        translate(command)
