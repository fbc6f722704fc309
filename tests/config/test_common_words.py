from __future__ import annotations

import pytest
from small_tree import Tree

from shelfmark.cli.commands import COMMANDS
from shelfmark.config.common_words import WORDS, options_meant
from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.options import find
from shelfmark.config.overrides import parse_override
from shelfmark.config.shape import Shape
from shelfmark.core.errors import UserError
from shelfmark.recipe import Recipe

TARGETS = sorted({target for targets in WORDS.values() for target in targets})


def told(*texts: str, tree=Recipe) -> str:
    with pytest.raises(UserError) as caught:
        load(tree, None, [parse_override(text) for text in texts])
    return str(caught.value)


@pytest.mark.parametrize("target", TARGETS)
def test_every_word_leads_to_an_option_or_a_flag_that_is_there(target):
    if target.startswith("--"):
        assert any(flag.flag == target for command in COMMANDS.values() for flag in command.options)
    elif target.startswith("losses.0."):
        leaf = target.rpartition(".")[2]
        losses = [f"losses.{name}.{leaf}" for name in Shape.of(Recipe).child("losses").entry.choices]
        assert any(_is_there(key) for key in losses)
    else:
        assert _is_there(target)


def _is_there(key: str) -> bool:
    try:
        find(Shape.of(Recipe), key)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("epochs=3", "train.num_epochs"),
        ("train.epochs=3", "train.num_epochs"),
        ("data.epochs=3", "train.num_epochs"),
        ("Num-Epochs=3", "train.num_epochs"),
        ("lr=1", "optim.lr"),
        ("batch_size=8", "train.batch_size or eval.batch_size"),
        ("eval.bs=8", "eval.batch_size"),
        ("workers=2", "data.num_workers"),
        ("img-size=96", "data.input_size_px"),
        ("wd=0.1", "optim.weight_decay"),
        ("arch=resnet50", "model.backbone"),
        ("model.arch=resnet50", "model.backbone"),
        ("optim.sched=cosine", "optim.schedule.name"),
        ("optim.schedule.warmup=3", "optim.schedule.warmup_epochs"),
        ("loss=arcface", "losses.0.name"),
        ("label_smoothing=0.1", "losses.0.label_smoothing"),
        ("losses.0.weights=2", "losses.0.weight"),
        ("sampler=x", "sampling.type"),
        ("gpu=0", "train.device or --gpu_ids"),
        ("resume=log/a/last", "--RESUME_MODEL"),
        ("save_dir=x", "output.log_root"),
        # The group that holds the key is meant, whatever the word means elsewhere.
        ("discovery.clusterer.lander.learning_rate=1", "discovery.clusterer.lander.lr"),
        ("discovery.clusterer.lander.num_epochs=1", "discovery.clusterer.lander.epochs"),
        ("output.root=x", "output.log_root or output.tau_root"),
        ("output.tau=x", "output.tau_root"),
        ("train.size=2", "train.batch_size"),
        # The option is a part of what was typed.
        ("optim.lr_rate=3", "optim.lr"),
        ("train.gpu_batch_size=2", "train.batch_size"),
        # It is the beginning of the option.
        (
            "optim.schedule.warm=3",
            "optim.schedule.warmup_epochs or optim.schedule.warmup_steps or optim.schedule.warmup_factor",
        ),
        # A whole group, with one value.
        ("model=resnet50", "model.backbone=resnet50"),
        ("optim=adamw", "optim.name=adamw"),
        ("output=here", "output.log_root=here"),
        ("optim.schedule=cosine", "optim.schedule.name=cosine"),
        ("model.classifier=cosine", "model.classifier.type=cosine"),
    ],
)
def test_a_word_of_other_programs_is_told_the_option(typed, meant):
    assert f" Did you mean {meant}?" in told(typed)


def test_a_word_leads_only_to_options_that_the_tree_has():
    assert options_meant("workers", ["data.root"]) == []
    assert "Did you mean" not in told("workers=3", tree=Tree)


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("losses=cross_entropy", "Write [{name: cross_entropy}]."),
        ("losses=[cross_entropy]", "Write {name: cross_entropy}."),
        ("losses={name: cross_entropy, weight: 2}", "Write [{name: cross_entropy, weight: 2}]."),
        ("losses=[{name:cross_entropy}]", "YAML wants a blank behind the colon: write `name: cross_entropy`."),
        ("optim={lr:0.1}", "YAML wants a blank behind the colon: write `lr: 0.1`."),
        ("losses=[{name:", "A shell takes an argument apart at blanks: put all of it in quotes."),
        ("optim.lr:0.1", "on the command line an option is given as optim.lr=0.1."),
    ],
)
def test_a_value_in_the_wrong_form_is_shown_in_the_right_one(typed, written):
    assert told(typed).endswith(written)


@pytest.mark.parametrize(
    ("text", "line", "written"),
    [
        ("optim:\n  lr:0.1\n  name: sgd\n", 3, "lr: 0.1"),
        ("optim:\n  name: sgd\n  lr:0.1\n", 4, "lr: 0.1"),
        ("optim:\n  lr:0.1\n", 1, "lr: 0.1"),
        ("losses:\n- name:cross_entropy\n", 2, "name: cross_entropy"),
        ("losses: [{name:cross_entropy}]\n", 1, "name: cross_entropy"),
    ],
)
def test_a_file_whose_colon_lacks_a_blank_is_told_so(tmp_path, monkeypatch, text, line, written):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load(Recipe, tmp_path / "a.yaml")
    assert str(caught.value).startswith(f"a.yaml:{line}")
    assert f"YAML wants a blank behind the colon: write `{written}`." in str(caught.value)


@pytest.mark.parametrize("root", ["c:/shop", "s3://shop", "https://shop", "12:30", "a: b"])
def test_a_colon_within_a_value_is_left_alone(root):
    assert str(load(Recipe, None, [parse_override(f"data.root={root}")]).config.data.root) == root.replace("//", "/")
