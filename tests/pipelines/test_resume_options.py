"""A resume says what it does: what may change, what follows the checkpoint, what is refused, what stays untouched."""

from __future__ import annotations

import hashlib
import json
import shutil
from math import cos, pi
from pathlib import Path

import pytest
import yaml

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.manifests import write_manifest
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.engine.resume import RESUME_RULES, rule_of
from shelfmark.recipe import Recipe

OLD = Path(__file__).parents[1] / "version_0_1_0"
RUN = Path("log/run")
RESUME = ["train", "--RESUME_MODEL", "log/run/last"]


@pytest.fixture
def stopped(workplace: Path) -> Path:
    """A run that stopped at step 15 of 20, in its second epoch; its best model is of the first."""
    shutil.copytree(OLD / "run", RUN)
    for name in ("val_small.json", "retrieval_small.json"):
        shutil.copy(OLD / name, name)
    return workplace


def _content(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_option_has_a_rule() -> None:
    recipe = Recipe().model_dump(mode="json")
    for section, options in recipe.items():
        for option in [section, *(f"{section}.{name}" for name in options)] if isinstance(options, dict) else [section]:
            assert rule_of(option).why
    names = [rule.options for rule in RESUME_RULES]
    assert len(set(names)) == len(names)
    for name in names:
        section = recipe
        for part in name.split("."):
            section = section[part]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["seed=1"], "seed=1, where the checkpoint's run had 0"),
        (["optim.name=sgd"], "optim.name='sgd', where the checkpoint's run had 'adamw'"),
        (["model.last_stride=1", "model.pooling.name=max"], "model.pooling.name='max'"),
        (["data.num_classes=120"], "data.num_classes=120"),
        (["eval.metric=top3"], "eval.metric='top3' is no score"),
        (["eval.metric=few", "eval.few=1"], "eval.metric='few' has no value on this validation set"),
        (["model.freeze=[backbone]"], "--mode finetune"),
        (["train.stages=[{from_epoch: 1, classifier: restart}]"], "stages that have begun stay as they are"),
    ],
)
def test_what_cannot_change_is_refused_before_anything_is_written(
    stopped: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    before = _content(stopped / "log")
    assert main([*RESUME, *options]) == 2
    assert said in capsys.readouterr().err
    assert _content(stopped / "log") == before


def test_a_mistyped_metric_of_a_fresh_run_is_found_before_its_first_step(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", "log/run/config.yaml", "name=typo", "eval.metric=mean_class_acuracy"]) == 2
    assert "Did you mean 'mean_class_accuracy'?" in capsys.readouterr().err
    assert not Path("log/typo").exists()


@pytest.mark.parametrize("flag", ["--dry-run", "--smoke"])
def test_small_runs_leave_the_run_that_they_begin_from_as_it_is(
    stopped: Path, flag: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = _content(RUN)
    assert main([*RESUME, flag]) == 0
    auto = ["train", "--config", "log/run/config.yaml", "name=run", "--RESUME_MODEL", "auto"]
    caplog.clear()
    assert main([*auto, flag]) == 0
    assert "a small run with the weights of log/run/last" in caplog.text
    assert main([*auto, flag, "optim.name=sgd"]) == 2
    assert _content(RUN) == before


def test_a_changed_rate_holds_and_what_follows_the_checkpoint_does_not_claim_otherwise(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["optim.weight_decay=0.5", "optim.non_backbone_lr_factor=7", "model.weights=other.pth", "data.pipeline=2"]
    assert main([*RESUME, *options, "train.num_epochs=3", "eval.metric=top5", "eval.every_epochs=1"]) == 0
    for line in (
        "resume: optim.weight_decay: 0.05 -> 0.5 from here on",
        "resume: model.weights='other.pth' is not used: the checkpoint holds the weights",
        "resume: data.pipeline=2 is not used: the run goes on seeing images as it did",
        "resume: the best score so far is of mean_class_accuracy, so the next top5 counts as the best",
    ):
        assert line in caplog.text
    written = yaml.safe_load(max(RUN.glob("config*.yaml"), key=lambda file: file.stat().st_mtime_ns).read_text())
    assert (written["optim"]["weight_decay"], written["model"].get("weights", "")) == (0.5, "")
    manifest = load_checkpoint(RUN / "last").manifest
    val = {one["epoch"]: one["top5"] for one in read_metrics(RUN / "metrics.jsonl") if one["kind"] == "val"}
    # The best is one of the epochs that were scored by it, whatever the other score was before.
    assert manifest["best_score"] == max(val[1], val[2])
    assert load_checkpoint(RUN / "best_model").manifest["metric"] == "top5"


def test_with_other_steps_an_epoch_the_schedule_goes_on_by_epoch(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Step 5 of 10 was done: of epochs of 4 steps, 2 are.
    late = "losses.1.from_epoch=2"
    assert main([*RESUME, "train.batch_size=64", "train.steps_per_epoch=4", "train.num_epochs=3", late]) == 0
    assert "an epoch has 4 steps now and had 10" in caplog.text
    records = read_metrics(RUN / "metrics.jsonl")
    steps = [one for one in records if one["kind"] == "train"][15:]
    assert [(one["step"], one["epoch"]) for one in steps] == [(16, 1), (17, 1), (18, 2), (19, 2), (20, 2), (21, 2)]
    # A cosine over 12 steps, the last of which has its end, from its step 6 (from 0) on.
    assert [one["lr"] for one in steps] == pytest.approx([0.025 * (1 + cos(pi * at / 11)) for at in range(6, 12)])
    # The second loss counts from the third epoch on, whatever the run's own count of steps is.
    counts = [abs(one["loss"] - one["cross_entropy"]) > 1e-6 for one in steps]
    assert counts == [False, False, True, True, True, True]
    assert all("skipped_steps" not in one for one in records)


def test_auto_begins_a_run_goes_on_with_it_and_knows_when_it_is_complete(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["train", "--config", "log/run/config.yaml", "--RESUME_MODEL", "auto", "name=auto"]
    assert main([*options, "train.num_epochs=1"]) == 0
    assert "the run starts there" in caplog.text
    # `last` is gone, and what came before it is older than the best model.
    shutil.rmtree("log/auto/last")
    assert main([*options, "train.num_epochs=2"]) == 0
    assert "resuming log/auto/best_model at step 10" in caplog.text
    assert main([*options, "train.num_epochs=2"]) == 0
    assert "has all its 2 epochs" in caplog.text
    assert sorted(path.name for path in Path("log").glob("[!.]*")) == ["auto", "run"]


def test_a_damaged_last_is_named_and_the_one_before_it_goes_on(stopped: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(RUN / "best_model", RUN / ".last.previous")
    content = bytearray((RUN / "last" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (RUN / "last" / "model.safetensors").write_bytes(content)
    assert main(RESUME) == 0
    assert "log/run/last/model.safetensors does not match" in caplog.text
    assert "resuming log/run/.last.previous at step 10" in caplog.text
    assert load_checkpoint(RUN / "last").manifest["step"] == 20
    # The damaged one is no generation: the good one that was gone on from, or one after it, is kept.
    load_checkpoint(RUN / ".last.previous").require_whole()


def test_a_damaged_best_model_is_told_at_resume_and_replaced_by_the_next_best(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (RUN / "best_model" / "state.pt").write_bytes(b"broken")
    assert main(RESUME) == 0
    assert "log/run/best_model/state.pt has 6 bytes" in caplog.text
    assert load_checkpoint(RUN / "best_model").manifest["step"] == 20


def test_a_best_model_of_a_history_that_was_given_up_is_replaced(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = json.loads((RUN / "best_model" / "manifest.json").read_text())
    (RUN / "best_model" / "manifest.json").write_text(json.dumps({**manifest, "best_epoch": 1, "best_score": 1.0}))
    assert main(RESUME) == 0
    assert "is from step 10, and is not the best model up to step 15" in caplog.text
    assert load_checkpoint(RUN / "best_model").manifest["best_score"] < 1.0


def test_auto_begins_no_run_over_checkpoints_that_it_cannot_use(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = ["train", "--config", "log/run/config.yaml", "name=run", "--RESUME_MODEL", "auto"]
    manifest = json.loads((RUN / "last" / "manifest.json").read_text())
    write_manifest(RUN / "last" / "manifest.json", {**manifest, "format_version": 99})
    before = _content(RUN)
    assert main(auto) == 2
    assert "A newer one needs a newer Shelfmark" in capsys.readouterr().err
    for name in ("last", "best_model"):
        (RUN / name / "model.safetensors").write_bytes(b"broken")
        (RUN / name / "manifest.json").write_text(json.dumps(manifest))
    broken = _content(RUN)
    assert main(auto) == 2
    assert "none of them can be used" in capsys.readouterr().err
    assert (_content(RUN), broken != before) == (broken, True)


def test_what_stands_in_the_way_of_a_run_is_found_before_it_trains(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (RUN / ".last.previous").mkdir()
    (RUN / ".last.previous" / "notes.txt").write_text("a user's")
    before = _content(RUN)
    assert main(RESUME) == 2
    assert (
        "the run will write a checkpoint to log/run/.last.previous, which is not a checkpoint"
        in capsys.readouterr().err
    )
    assert _content(RUN) == before


def test_a_damaged_record_of_metrics_is_named_with_its_line(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = RUN / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    for broken in (
        b"\xff\xfe{}\n",
        b'{"kind": "train"}\n',
        lines[3][:20] + b"\n",
        b"[1]\n",
        b'{"kind": 1, "step": "a"}\n',
    ):
        file.write_bytes(b"".join([*lines[:3], broken, *lines[4:]]))
        assert main(RESUME) == 2
        assert "metrics.jsonl is damaged in line 4" in capsys.readouterr().err
    # A record that a kill cut off.
    file.write_bytes(b"".join(lines) + lines[-1][:20])
    assert main(RESUME) == 0
    assert [one["step"] for one in read_metrics(file) if one["kind"] == "train"] == list(range(1, 21))


def test_an_exploding_update_is_never_saved(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _content(RUN / "last")
    options = ["optim.lr=1e30", "train.checkpoint_every_steps=1", "optim.schedule.name=constant"]
    assert main([*RESUME, *options]) == 2
    assert "log/run/last" in capsys.readouterr().err
    assert _content(RUN / "last") == before
    assert main(RESUME) == 0


def test_a_run_of_version_0_1_0_goes_on_from_its_own_optimizer_and_keeps_as_many_generations_as_asked(
    stopped: Path,
) -> None:
    shutil.copytree(RUN / "best_model", RUN / ".last.previous")
    assert load_checkpoint(RUN / "last").read_state()["progress"]["position"] == 15
    assert main([*RESUME, "train.keep_last=1"]) == 0
    last = load_checkpoint(RUN / "last")
    assert {int(entry["step"]) for entry in last.read_state()["optimizer"]["parameters"].values()} == {20}
    assert last.manifest["step"] == 20
    assert json.loads((RUN / "summary.json").read_text())["num_images"] == 60
    assert not (RUN / ".last.previous").exists()


def test_features_and_an_index_of_version_0_1_0_open(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(OLD / "index", "index")
    Path("log/version_0_1_0").symlink_to(Path("log/run").absolute())
    photo = next(Path("dataset/shop/val").rglob("*.jpg"))
    assert main(["index", "info", "--index", "index"]) == 0
    assert main(["search", "--index", "index", "--RESUME_MODEL", "log/run/best_model", str(photo)]) == 0
    shutil.copytree(OLD / "features", "features")
    assert len(read_embeddings(Path("features"))) == 60
