"""Loss entries of a config: what they build, what they refuse."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, get_args

import pytest
import torch
from pydantic import Field, TypeAdapter, ValidationError

from shelfmark.losses import (
    PNP,
    CrossEntropy,
    CrossEntropyConfig,
    LossConfig,
    LossContext,
    LossUnion,
    PNPConfig,
    SmoothAP,
    SmoothAPConfig,
)

CONTEXT = LossContext(counts=torch.tensor([3, 2, 1]), device=torch.device("cpu"))
entry = TypeAdapter(Annotated[LossUnion, Field(discriminator="name")])


def test_an_entry_builds_the_loss_that_it_names():
    pnp = entry.validate_python({"name": "pnp", "head": "rank", "weight": 0.5, "variant": "PNP-I_b", "b": 3})
    assert pnp == PNPConfig(head="rank", weight=0.5, variant="PNP-I_b", b=3.0)
    assert pnp.build(CONTEXT) == PNP("I_b", b=3.0)
    smooth_ap = entry.validate_python({"name": "smooth_ap", "head": "rank", "temperature": 0.1, "include_self": True})
    assert smooth_ap.build(CONTEXT) == SmoothAP(0.1, include_self=True)
    loss = entry.validate_python({"name": "cross_entropy", "label_smoothing": 0.1, "smoothing_form": "others"})
    built = loss.build(CONTEXT)
    assert isinstance(built, CrossEntropy)
    assert (loss.head, built.label_smoothing, built.smoothing_form) == ("classifier", 0.1, "others")


def test_an_entry_s_defaults_are_the_loss_s_own():
    assert PNPConfig(head="rank").build(CONTEXT) == PNP()
    assert SmoothAPConfig(head="rank").build(CONTEXT) == SmoothAP()
    built = CrossEntropyConfig().build(CONTEXT)
    assert (built.label_smoothing, built.smoothing_form, built.weight) == (0.0, "uniform", None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "pnp"}, "head"),
        ({"name": "pnp", "head": "rank", "varian": "O"}, "varian"),
        ({"name": "pnp", "head": "rank", "variant": "D_z"}, "variant='D_z' is not one of: O, I_u, I_b, D_s, D_q"),
        ({"name": "pnp", "head": "rank", "alpha": 0}, "alpha=0.0 must be a finite number above 0"),
        ({"name": "smooth_ap", "head": "rank", "temperature": -1}, "temperature=-1.0"),
        ({"name": "cross_entropy", "label_smoothing": 1}, "label_smoothing=1.0"),
        ({"name": "cross_entropy", "smoothing_form": "other"}, "'uniform' or 'others'"),
        ({"name": "cross_entropy", "weight": -1}, "weight=-1.0 must be a finite number, 0 or above"),
        ({"name": "pnp", "head": "rank", "weight": float("nan")}, "weight=nan"),
        ({"name": "tripletloss", "head": "rank"}, "'sup_con', 'triplet'"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_reason(options, text):
    with pytest.raises(ValidationError) as error:
        entry.validate_python(options)
    assert text in str(error.value)


@pytest.mark.parametrize("config", get_args(LossUnion))
def test_every_option_is_described_in_the_schema_for_editors(config):
    options = TypeAdapter(config).json_schema()["properties"]
    assert {"head", "weight"} < set(options)
    assert [name for name, option in options.items() if name != "name" and "description" not in option] == []


def test_a_config_is_described_in_the_schema_for_editors():
    schema = entry.json_schema()["$defs"]["PNPConfig"]["properties"]
    assert "PNP-D_q" in schema["variant"]["description"]
    assert schema["temperature"]["default"] == 0.01


@pytest.mark.parametrize("config", get_args(LossUnion))
def test_every_loss_and_its_options_are_documented(config, checkout):
    text = (checkout / "docs" / "losses.md").read_text()
    section = text.split(f"### `{config.name}`: ")[1].split("\n### ")[0]
    own = {one.name for one in fields(config)} - {
        "name",
        "head",
        "weight",
        "from_epoch",
        "until_epoch",
        "memory_rows",
        "memory_from_step",
    }
    of_all_classifiers = {"class_weights", "beta", "power", "class_weights_from_epoch"}
    for option in own - (of_all_classifiers if config.takes == "logits" or config.name == "ldam" else set()):
        assert f"| `{option}` |" in section, option


def test_the_base_config_builds_nothing():
    with pytest.raises(NotImplementedError):
        LossConfig(head="rank").build(CONTEXT)
