"""What holds for the command lines of all dialects."""

from __future__ import annotations

import contextlib
import re
import shlex

import published_commands as published
import pytest
from example_lines import CONFIGS, choices_refused, meaning

from shelfmark.config.load import load
from shelfmark.config.overrides import Override, parse_override
from shelfmark.core.errors import UserError
from shelfmark.migrate.command import override_text, shell_word
from shelfmark.migrate.dialects import translate
from shelfmark.migrate.fastretri.flags import FASTRETRI_FLAGS
from shelfmark.migrate.fastretri.keys import FASTRETRI
from shelfmark.migrate.flags import Table
from shelfmark.migrate.flow import OF_EVALUATION, require_options
from shelfmark.migrate.hilander import HILANDER, HILANDER_TEST
from shelfmark.migrate.pnp import PNP
from shelfmark.migrate.pss import PSS, PSS_CHECKPOINT, PSS_LATER
from shelfmark.migrate.smoothap import SMOOTH_AP, SMOOTH_AP_EVALUATION
from shelfmark.recipe import Recipe

PNP_LINE = "python main.py --loss PNP"
SMOOTH_AP_LINE = "python main.py --dataset vehicle_id"
CUB_LINE = "train_net.py --config-file cub.yml"
TABLES: dict[str, Table] = {
    PNP_LINE: PNP,
    SMOOTH_AP_LINE: SMOOTH_AP,
    "python evaluate_model.py --dataset vehicle_id": SMOOTH_AP_EVALUATION,
    f"{CUB_LINE} DATASETS.NAMES CUB": FASTRETRI_FLAGS,
    f"{CUB_LINE} INPUT.CJ.PROB 1": FASTRETRI,
    "python main.py --dataset Inaturalist --iter 0": PSS,
    "python finetune_1head.py": PSS_LATER,
    "python get_features.py": PSS_CHECKPOINT,
    "python train_subg.py --data_path a.pkl": HILANDER,
    "python test_subg.py --data_path a.pkl": HILANDER_TEST,
}


def error_of(command: str, dialect: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        translate(command, dialect)
    return str(caught.value)


def test_our_recipe_takes_every_choice_of_every_flag() -> None:
    found = [choices_refused(line, table, "" if table is FASTRETRI else "--") for line, table in TABLES.items()]
    assert [one for _, refused in found for one in refused] == []
    assert sum(count for count, _ in found) > 80


def test_no_text_ends_in_a_traceback_and_every_option_that_a_note_names_exists() -> None:
    texts = ("nonsense", "-1", "2.5", "True", "'[1, 2]'", "a/b")
    lines = [
        f"{line} {'' if table is FASTRETRI else '--'}{name} {text}"
        for line, table in TABLES.items()
        for name, flag in table.items()
        for text in ([""] if flag.takes == "switch" else texts)
    ]
    told = set()
    for line in lines:
        with contextlib.suppress(UserError):
            told |= {*translate(line).notes}
    sections = "|".join(Recipe.model_fields)
    named = {key for note in told for key in re.findall(rf"\b((?:{sections})\.\w+(?:\.\w+)*)(?![\w(/])", note)}

    assert len(named) > 8
    require_options(named)


def test_an_option_that_no_recipe_has_is_our_own_fault() -> None:
    require_options([*OF_EVALUATION, "losses.0.alpha", "model.heads.rank.dim", "train.stages.1.lr"])
    for key in ("optim.rate", "losses.0.angle", "data.root.folder", "optimizer"):
        with pytest.raises(KeyError, match=f"{key} is no option of a recipe"):
            require_options([key])


@pytest.mark.parametrize(("command", "recipe"), published.TRAINING.items())
def test_a_published_line_is_its_recipe_but_for_the_place_of_the_data(command: str, recipe: str) -> None:
    found = translate(command)
    assert (found.recipe, found.tests) == (f"retrieval/{recipe}", ())
    assert found.options == (["--num-gpus", "4"] if recipe.startswith("fastretri") else [])
    overrides = [one for one in found.overrides if one.value != "$dir/online_products"]
    assert len(found.overrides) - len(overrides) == (recipe == "pnp_sop")
    file = CONFIGS / "retrieval" / f"{recipe}.yaml"
    assert load(Recipe, file, overrides).config == load(Recipe, file).config


@pytest.mark.parametrize(
    "command",
    [
        "$ CUDA_VISIBLE_DEVICES=1 python3 -u main.py --loss PNP \\\n    --bs 64",
        "CUDA_VISIBLE_DEVICES=1 nohup /usr/bin/python3.7 ./main.py --loss=PNP --bs=64",
        "CUDA_VISIBLE_DEVICES=1 main.py --loss PNP --bs 64 \\\r\n",
    ],
)
def test_python_prompts_and_continued_lines_are_taken_away_and_the_environment_stays(command: str) -> None:
    assert meaning(command)["train.batch_size"] == 64
    assert translate(command).environment == {"CUDA_VISIBLE_DEVICES": "1"}


def test_words_mean_what_the_whole_line_means() -> None:
    assert translate(shlex.split(published.PNP)) == translate(published.PNP)


@pytest.mark.parametrize(
    ("typed", "root"), [("~/data", "$HOME/data"), *((one, one) for one in ("<path>", "$dir", "${dir}", "a b"))]
)
def test_the_placeholders_of_a_readme_pass_and_a_home_folder_is_left_to_the_shell(typed: str, root: str) -> None:
    assert meaning([*PNP_LINE.split(), "--source", typed])["data.root"] == f"{root}/online_products"


@pytest.mark.parametrize(
    ("command", "dialect"),
    [
        (f"{PNP_LINE} --dataset online_products", "pnp"),
        ("python main.py --loss PNP --variant PNP-O", "pnp"),
        ("python main.py --k_vals 1 --bs 4", "smoothap"),
        ("python main.py --loss smoothap", "smoothap"),
        ("python main.py --dataset Inaturalist", "smoothap"),
        ("python evaluate_model.py", "smoothap"),
        ("python other.py --config-file cub.yml", "fastretri"),
        ("python tools/train_net.py --config-file=cars.yml", "fastretri"),
        ("python main.py --dataset Inaturalist --class_num 948", "pss"),
        ("python main.py --dataset Inaturalist --loss ce", "pss"),
        ("python main.py --dataset Inaturalist --cluster_p x.pkl", "pss"),
        ("python train.py --data_path a.pkl --knn_k 10", "pss"),
        ("python PSS/test_subg_inat.py --data_path a.pkl", "pss"),
    ],
)
def test_a_command_line_tells_whose_it_is(command: str, dialect: str) -> None:
    assert translate(command).dialect == dialect


def test_where_it_cannot_be_told_the_dialects_are_listed_and_one_can_be_named() -> None:
    text = error_of("python main.py --bs 384")
    assert "name the dialect with --dialect" in text
    assert all(name in text for name in ("PNPloss", "Smooth_AP", "FastRetri"))
    assert translate("python main.py --bs 384", "smoothap").recipe == "retrieval/smoothap_vehicleid"
    assert "parts of several" in error_of("python main.py --loss PNP --dataset vehicle_id")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python main.py --variant PNP-O", "this loss is not in the code; add --loss PNP"),
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
        (f"{PNP_LINE} --seed {'9' * 50}", "has at most 19 digits"),
        (f"{PNP_LINE} --not_pretrained=1", "is a switch"),
        (f"{PNP_LINE} --variant D_q", "Did you mean 'PNP-D_q'?"),
        (f"{PNP_LINE} --arch googlenet", "trains resnet50 and bninception alone"),
        (f"{PNP_LINE} --alpha 1.5 --variant PNP-D_q", "'1.5' is not a whole number"),
        (f"{PNP_LINE} loose", "'loose' belongs to no flag"),
        (f"{PNP_LINE} > log.txt", "'>' belongs to the shell"),
        (f"cd PNPloss && {PNP_LINE}", "'&&' belongs to the shell"),
        (f"{PNP_LINE} 'open", "cannot be read: No closing quotation."),
        ("", "There is no command"),
        ("bash train.sh", "'bash' is no Python script"),
        ("train_net.py --num-gpus 4", "--config-file is missing"),
        ("train_net.py --config-file market.yml", "--config-file='market' is not one of"),
        ("train_net.py --config-file base-image_retri.yml", "add DATASETS.NAMES with one of"),
        (f"{CUB_LINE} --num-machines 2", "need the address of the first"),
        (f'{CUB_LINE} INPUT.CROP.SIZE "[224, 112]"', "give both sides the same length"),
        (f"{CUB_LINE} SOLVER.AMP.ENABLED yes", "'yes' is neither True nor False."),
        (f"{CUB_LINE} SOLVER.BASE_LR 0", "SOLVER.BASE_LR 0 must be above 0."),
        (f"{CUB_LINE} DATASETS.NAMES \"('CUB', 'SOP')\"", "on one data set at a time"),
        (f"{CUB_LINE} INPUT.AUTOAUG.ENABLED yes", "INPUT.AUTOAUG.ENABLED yes: 'yes' is neither True nor False."),
        ("train_net.py --config-file sop.yml INPUT.CJ.ENABLED True", "give the strengths too"),
        ("python main.py --class_num 948", "only Inaturalist works"),
        ("python main.py --dataset Inaturalist --iter 0 --loss triplet", "'triplet' is not one of: smoothap, ce, ams"),
        ("python get_features.py --iter two", "--iter two: 'two' is not a whole number"),
        ("python train_subg.py --knn_k 10", "--data_path is missing"),
        ("python train_subg.py --data_path a.pkl --knn_k ten", "--knn_k ten: 'ten' is not a whole number"),
        ("python test_subg.py --data_path a.pkl --mode all", "'all' is not one of: selectbydensity"),
        ("python test_subg.py --data_path a.pkl --threshold cos", "'cos' is not one of: prob, sim"),
        ("python train_subg.py --data_path a.pkl --epoch_s 3", "Did you mean --epochs?"),
    ],
)
def test_what_the_original_would_refuse_is_refused_with_the_flag_and_the_choices(command: str, said: str) -> None:
    assert said in error_of(command)


@pytest.mark.parametrize("value", [1, 0.5, 1e-5, 4.0, True, "", "a/b", [], [1, 10], [0.08, 1], {"type": "cosine"}])
def test_an_override_is_read_as_it_was_written(value: object) -> None:
    read = parse_override(override_text(Override("a.b", value, "")))
    assert (read.key, read.value) == ("a.b", value)


@pytest.mark.parametrize(
    ("word", "quoted"), [("a=b", "a=b"), ("a=[1, 2]", "'a=[1, 2]'"), ("a=$dir/b", '"a=$dir/b"'), ("a b$c", "'a b$c'")]
)
def test_a_word_is_quoted_so_that_a_shell_gives_it_back_and_fills_in_names(word: str, quoted: str) -> None:
    assert shell_word(word) == quoted
