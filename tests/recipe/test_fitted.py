from __future__ import annotations

import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.recipe import Recipe
from shelfmark.recipe.fitted import shortened_warmup, stages_within, tell_of_others_files

BASE = "train: {num_epochs: 40}\noptim: {schedule: {name: cosine, warmup_epochs: 2}}\n"


def loaded(tmp_path, *typed: str, text: str = ""):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "a.yaml").write_text(f"_base_: base.yaml\n{text}")
    return load(Recipe, tmp_path / "a.yaml", [parse_override(one) for one in typed])


@pytest.mark.parametrize(
    ("typed", "text", "warmup"),
    [
        (("train.num_epochs=1",), "", 0.1),
        (("train.num_epochs=2",), "", 0.2),
        ((), "train: {num_epochs: 2}\n", 0.2),  # a file over the base's warm-up
        (("train.num_epochs=3",), "", None),  # it ends within three epochs
        ((), "", None),
        # The user's own warm-up stays, for the schedule to refuse.
        (("train.num_epochs=1", "optim.schedule.warmup_epochs=1"), "", None),
        (("train.num_epochs=1", "optim.schedule={name: cosine, warmup_epochs: 1}"), "", None),
        ((), "train: {num_epochs: 1}\noptim: {schedule: {warmup_epochs: 1}}\n", None),
        # The first stage's end is the end of the schedule.
        (("train.stages=[{from_epoch: 2}]",), "", 0.2),
    ],
)
def test_a_warm_up_of_the_base_shortens_itself_and_says_so(tmp_path, capsys, typed, text, warmup):
    found = shortened_warmup(loaded(tmp_path, *typed, text=text))
    told = capsys.readouterr().err
    if warmup is None:
        assert (found, told) == ([], "")
    else:
        assert [(one.key, one.value) for one in found] == [("optim.schedule.warmup_epochs", pytest.approx(warmup))]
        assert "base.yaml:2) does not end within" in told
        assert f"it is {warmup:g} in this run" in told


DATA = "data: {train_json: base/train.json, val_json: base/val.json, retrieval_json: base/gallery.json}\n"


def there(tmp_path, monkeypatch, *names: str):
    monkeypatch.chdir(tmp_path)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()


def test_files_of_the_recipe_beside_typed_annotations_are_told(tmp_path, monkeypatch, capsys):
    there(tmp_path, monkeypatch, "base/val.json", "base/gallery.json")
    tell_of_others_files(loaded(tmp_path, "data.train_json=mine.json", text=DATA))
    told = capsys.readouterr().err
    assert "data.train_json was typed, and data.val_json, data.retrieval_json of the recipe are used with it." in told
    assert "leave out what does not belong to it: data.val_json=null, data.retrieval_json=null." in told


def test_a_file_of_the_recipe_that_is_not_there_is_refused_with_the_way_out(tmp_path, monkeypatch):
    there(tmp_path, monkeypatch, "base/val.json")
    with pytest.raises(UserError) as caught:
        tell_of_others_files(loaded(tmp_path, "data.train_json=mine.json", text=DATA))
    assert "a.yaml:2: data.retrieval_json=base/gallery.json does not exist." in str(caught.value)
    assert str(caught.value).endswith("leave it out by data.retrieval_json=null.")


@pytest.mark.parametrize(
    "typed",
    [
        (),
        ("data.root=elsewhere",),  # the same data, moved
        ("data.train_json=a.json", "data.val_json=b.json", "data.retrieval_json=null"),
    ],
)
def test_nothing_is_told_where_nothing_is_mixed(tmp_path, capsys, typed):
    tell_of_others_files(loaded(tmp_path, *typed, text=DATA))
    assert capsys.readouterr().err == ""


STAGES = "train: {num_epochs: 20, stages: [{from_epoch: 4}, {from_epoch: 12}]}\n"


@pytest.mark.parametrize(
    ("typed", "text", "kept", "told"),
    [
        (("train.num_epochs=3",), "", 0, "train.stages.0 (from epoch 4), train.stages.1 (from epoch 12) of "),
        (("train.num_epochs=4",), "", 0, "begin; they are left out of this run."),
        (("train.num_epochs=12",), "", 1, "train.num_epochs=12 ends before train.stages.1 (from epoch 12) of "),
        ((), "train: {num_epochs: 5}\n", 1, "base.yaml:1 begins; it is left out of this run."),  # a file over its base
        (("train.num_epochs=13",), "", None, ""),
        ((), "", None, ""),
    ],
)
def test_stages_of_the_base_that_typed_epochs_never_reach_are_left_out_and_told(
    tmp_path, capsys, typed, text, kept, told
):
    (tmp_path / "base.yaml").write_text(STAGES)
    (tmp_path / "a.yaml").write_text(f"_base_: base.yaml\n{text}")
    overrides = [parse_override(one) for one in typed]
    found = stages_within(tmp_path / "a.yaml", overrides)
    recipe = load(Recipe, tmp_path / "a.yaml", [*found, *overrides]).config
    assert [stage.from_epoch for stage in recipe.train.stages] == [4, 12][: 2 if kept is None else kept]
    printed = capsys.readouterr().err
    assert told in printed
    assert bool(found) is bool(printed) is (kept is not None)


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (("train.num_epochs=4", "train.stages=[{from_epoch: 12}]"), ""),
        (("train.num_epochs=4", "train.stages.1.lr=0.1"), ""),
        (("train.num_epochs=four",), ""),
        (("train.num_epochs=0",), ""),
        (("train=4",), ""),
        ((), "train: {num_epochs: 4, stages: [{from_epoch: 12}]}\n"),
    ],
)
def test_stages_that_the_user_set_are_his_own_and_refused(tmp_path, capsys, typed, text):
    (tmp_path / "a.yaml").write_text(text or STAGES)
    overrides = [parse_override(one) for one in typed]
    assert (stages_within(tmp_path / "a.yaml", overrides), capsys.readouterr().err) == ([], "")
    with pytest.raises(UserError):
        load(Recipe, tmp_path / "a.yaml", overrides)
