from __future__ import annotations

import re
from pathlib import Path

import pytest

from shelfmark.cli.flag_hints import hint
from shelfmark.cli.flags_2020 import FLAGS, flags_2020, translate_2020
from shelfmark.config.load import load
from shelfmark.core.errors import UserError
from shelfmark.recipe.tree import Recipe

# Every flag with a value that 2020 accepted, and what it comes to in the tree.
EXAMPLES = {
    "DATASET": ("AiProducts", {}),
    "DATASET_ROOT": ("./dataset", {"data.root": "./dataset"}),
    "DATASET_TRAIN_JSON": ("./a b/train.json", {"data.train_json": "./a b/train.json"}),
    "DATASET_VALID_JSON": ("val.json", {"data.val_json": "val.json"}),
    "DATASET_TEST_JSON": ("test.json", {"data.test_json": "test.json"}),
    "num_classes": ("50030", {"data.num_classes": 50030}),
    "INPUT_SIZE": ("112", {"data.input_size_px": 112}),
    "COLOR_SPACE": ("RGB", {}),
    "NUM_WORKERS": ("16", {"data.num_workers": 16}),
    "SAMPLER_TYPE": ("class_balance", {"sampling.type": "class_balanced"}),
    "CHANGE_SAMPLER_EPOCH": ("40", {"sampling.stages": [{"from_epoch": 40, "type": "class_balanced"}]}),
    "BACKBONE": ("resnest50", {"model.backbone": "resnest50"}),
    "PRETRAINED_BACKBONE": ("resnet50-19c8e357.pth", {"model.weights": "resnet50-19c8e357.pth"}),
    "BACKBONE_FREEZE": (None, {"model.freeze": ["backbone"]}),
    "CLASSIFIER": ("FCNorm", {"model.classifier.type": "cosine"}),
    "LOSS_TYPE": ("CrossEntropy", {"losses": [{"name": "cross_entropy"}]}),
    "OPTIMIZER": ("ADAM", {"optim.name": "adam"}),
    "BASE_LR": ("0.5", {"optim.lr": 0.5}),
    "WEIGHT_DECAY": ("1e-4", {"optim.weight_decay": 1e-4}),
    "DECAY_STEP": (
        "10,20,30",
        {
            "optim.schedule.name": "multistep",
            "optim.schedule.milestones_epochs": [10, 20, 30],
            "optim.schedule.gamma": 0.1,
        },
    ),
    "LR_SCHEDULER": ("cosine", {"optim.schedule.name": "cosine"}),
    "BATCH_SIZE": ("512", {"train.batch_size": 512}),
    "MAX_EPOCH": ("120", {"train.num_epochs": 120}),
    "SHOW_STEP": ("500", {"train.log_every_steps": 500}),
    "SAVE_STEP": ("5", {"train.checkpoint_every_epochs": 5}),
    "p": ("0", {}),
}


def words(name: str, value: str | None) -> list[str]:
    return [f"--{name}"] if value is None else [f"--{name}", value]


def meaning(*argv: str) -> dict[str, object]:
    return {override.key: override.value for override in translate_2020(argv).overrides}


def error_of(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        translate_2020(argv)
    return str(caught.value)


def test_every_flag_has_an_example_here():
    assert EXAMPLES.keys() == FLAGS.keys()


def test_each_flag_means_its_overrides_with_a_space_or_an_equals_sign():
    wrong = []
    for name, (value, expected) in EXAMPLES.items():
        typed = words(name, value)
        for argv in (typed, ["=".join(typed)]):
            found = translate_2020(argv)
            means = {override.key: override.value for override in found.overrides}
            if means != expected or found.rest or {one.origin for one in found.overrides} - {" ".join(typed)}:
                wrong.append((argv, found))
    assert wrong == []


def test_the_page_names_every_flag_with_the_key_that_it_sets():
    page = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `--(\w+)` \| (\S*) \|", page, flags=re.MULTILINE))
    assert table.keys() - {"RESUME_MODEL", "gpu_ids"} == FLAGS.keys()
    for name, (_, expected) in EXAMPLES.items():
        assert table[name].strip("`") in (expected or {"-": None})


def test_the_real_tree_takes_all_of_them_at_once():
    argv = [word for name, (value, _) in EXAMPLES.items() for word in words(name, value)]
    config = load(Recipe, None, translate_2020(argv).overrides).config
    assert (config.optim.lr, config.optim.schedule.name) == (0.5, "cosine")
    assert config.optim.schedule.milestones_epochs == (10.0, 20.0, 30.0)
    assert config.data.train_json == Path("a b/train.json")
    assert config.sampling.stages[0].from_epoch == 40


@pytest.mark.parametrize("text", ["10,20,30", "[10,20,30]", "[10, 20, 30]", "10 20 30", " 10,20,30, "])
def test_decay_steps_are_read_in_every_form(text):
    assert meaning("--DECAY_STEP", text)["optim.schedule.milestones_epochs"] == [10.0, 20.0, 30.0]


def test_no_decay_steps_are_an_empty_list():
    assert meaning("--DECAY_STEP=[]")["optim.schedule.milestones_epochs"] == []


@pytest.mark.parametrize("order", [1, -1])
def test_the_scheduler_has_the_last_word_wherever_it_stands(order):
    pairs = [["--DECAY_STEP", "1,2"], ["--LR_SCHEDULER", "cosine"]][::order]
    assert meaning(*pairs[0], *pairs[1])["optim.schedule.name"] == "cosine"


def test_the_last_of_two_equal_flags_rules():
    assert meaning("--BASE_LR", "1", "--BASE_LR=2") == {"optim.lr": 2.0}


def test_everything_else_stays_in_its_order():
    argv = ["optim.lr=1", "--RESUME_MODEL", "x.pth", "--BASE_LR", "3", "--gpu_ids=0,1", "--base_lr", "4", "-h"]
    assert translate_2020(argv).rest == [
        "optim.lr=1",
        "--RESUME_MODEL",
        "x.pth",
        "--gpu_ids=0,1",
        "--base_lr",
        "4",
        "-h",
    ]


def test_a_negative_number_is_a_value():
    assert meaning("--BASE_LR", "-1") == {"optim.lr": -1.0}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--COLOR_SPACE", "BGR"], "--COLOR_SPACE BGR: images are always RGB"),
        (["--DATASET", "AiProducts"], "--DATASET AiProducts: the data is what data.train_json"),
        (["--p", "0.5"], "--p 0.5: it never had an effect."),
        (["--CLASSIFIER", "FCNorm"], "--CLASSIFIER FCNorm: its cosines had no factor in 2020"),
    ],
)
def test_what_a_user_should_know_is_noted(argv, said):
    [note] = translate_2020(argv).notes
    assert note.startswith(said)


@pytest.mark.parametrize("argv", [["--COLOR_SPACE", "RGB"], ["--CLASSIFIER", "FC"], ["--BASE_LR", "1"]])
def test_nothing_is_noted_without_need(argv):
    assert translate_2020(argv).notes == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--BASE_LR", "fast"], "--BASE_LR fast: 'fast' is not a number."),
        (["--BATCH_SIZE", "1.5"], "--BATCH_SIZE 1.5: '1.5' is not a whole number."),
        (["--OPTIMIZER", "sgd"], "--OPTIMIZER sgd: 'sgd' is not one of: SGD, ADAM. Did you mean 'SGD'?"),
        (["--LOSS_TYPE", "LDAM"], "--LOSS_TYPE LDAM: 'LDAM' is not one of: CrossEntropy."),
        (["--SAMPLER_TYPE", "instance"], "is not one of: instance_balance, class_balance, reverse. Did you mean"),
        (["--DECAY_STEP", "1,b"], "--DECAY_STEP 1,b: 'b' is not a number. Give epochs as 10,20,30."),
        (["--DATASET", "IMBALANCECIFAR100"], "`shelfmark prepare cifar100_lt`"),
        (["--DATASET", "ImageNet"], "--DATASET ImageNet: 'ImageNet' is not one of: AiProducts."),
        (["--BASE_LR"], "--BASE_LR needs a value, as --BASE_LR VALUE."),
        (["--BASE_LR", "--BATCH_SIZE", "3"], "--BASE_LR needs a value"),
        (["--BACKBONE_FREEZE=True"], "--BACKBONE_FREEZE is a switch: it takes no value, not even 'True'."),
        (["--CHANGE_SAMPLER_EPOCH", "x"], "--CHANGE_SAMPLER_EPOCH x: 'x' is not a whole number."),
    ],
)
def test_a_bad_value_names_the_flag_and_the_choices(argv, said):
    assert said in error_of(*argv)


def test_a_value_out_of_range_is_found_by_the_loader_under_the_flags_name():
    with pytest.raises(UserError, match=r"^--BATCH_SIZE 0: train\.batch_size=0 must be a whole number above 0\.$"):
        load(Recipe, None, translate_2020(["--BATCH_SIZE", "0"]).overrides)


@pytest.mark.parametrize(
    ("typed", "following", "meant"),
    [
        ("--base_lr", "0.1", "--BASE_LR"),
        ("--BASELR=0.1", "", "--BASE_LR"),
        ("--resume-model", "x", "--RESUME_MODEL"),
        ("--confg", "x", "--config"),
        ("--zzz", "", ""),
        ("epochs", "3", ""),
        # Words of other programs, as for keys.
        ("--epochs", "3", "train.num_epochs=3"),
        ("--lr=0.1", "", "optim.lr=0.1"),
        ("--lr", "--config", "optim.lr=..."),
        ("-b", "64", "train.batch_size=64"),
        ("--img-size", "224", "data.input_size_px=224"),
        ("--loss", "arcface", "losses=[{name: arcface}]"),
        ("--resume", "log/a/last", "--RESUME_MODEL"),
        ("--gpus", "1", "--gpu_ids"),
    ],
)
def test_a_flag_that_is_none_is_told_the_flag_or_the_option(typed, following, meant):
    assert hint(typed, following, ["--config", "--RESUME_MODEL", "--gpu_ids", *flags_2020()]) == meant
