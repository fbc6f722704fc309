"""A checkpoint is whole, checked, or refused with the reason."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.manifests import write_manifest
from shelfmark.engine.checkpoint import (
    checkpoint_folder,
    copy_checkpoint,
    load_checkpoint,
    newest_whole,
    previous_of,
    save_checkpoint,
    whole_checkpoint,
)

MODEL = {"classifier.weight": torch.arange(6.0).reshape(2, 3), "backbone.bn.num_batches_tracked": torch.tensor(7)}
STATE = {"progress": {"epoch": 3, "sums": {}}, "optimizer": {"lr": 0.1, "buffers": [torch.ones(2)]}}
FACTS = {"step": 12, "epoch": 3, "num_classes": 2, "counts": [1, 2], "class_names": None, "config": {"name": "tiny"}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "run" / "last", MODEL, STATE, FACTS)
    return tmp_path / "run" / "last"


def test_what_was_saved_comes_back(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert all(torch.equal(loaded.read_model()[name], tensor) for name, tensor in MODEL.items())
    assert loaded.read_state()["progress"] == STATE["progress"]
    assert torch.equal(loaded.read_state()["optimizer"]["buffers"][0], torch.ones(2))
    assert {name: loaded.manifest[name] for name in FACTS} == FACTS


def test_the_manifest_names_format_sizes_and_hashes(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["format_version"] == 3
    for name in ("model.safetensors", "state.pt"):
        assert manifest["files"][name]["size_bytes"] == (saved / name).stat().st_size
        assert len(manifest["files"][name]["sha256"]) == 64


def test_a_2020_path_with_pth_means_the_folder(saved: Path) -> None:
    assert checkpoint_folder(saved.with_name("last.pth")) == saved


def test_a_run_folder_is_answered_with_its_checkpoints(saved: Path) -> None:
    with pytest.raises(UserError, match="is a run folder; name one of its checkpoints: .*last"):
        load_checkpoint(saved.parent)


def test_a_missing_checkpoint_is_answered_with_those_nearby(saved: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint at .*best_modle.*Nearby: .*last"):
        load_checkpoint(saved.with_name("best_modle"))


def test_a_plain_pth_file_is_explained(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "epoch_5.pth")
    with pytest.raises(UserError, match=r"is a file.*model\.weights=FILE"):
        load_checkpoint(tmp_path / "epoch_5.pth")


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt"])
def test_one_changed_byte_is_found(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} does not match the SHA-256"):
        load_checkpoint(saved).require_whole()


def test_a_cut_off_file_is_found(saved: Path) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[:-1])
    with pytest.raises(UserError, match="cut off or replaced"):
        load_checkpoint(saved).read_model()


def test_a_missing_file_is_found(saved: Path) -> None:
    (saved / "state.pt").unlink()
    with pytest.raises(UserError, match=r"state\.pt is missing"):
        load_checkpoint(saved).read_state()


def test_another_format_version_is_refused(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    write_manifest(saved / "manifest.json", manifest | {"format_version": 99})
    with pytest.raises(UserError, match="checkpoint format 99; this Shelfmark reads formats 1 to 3"):
        load_checkpoint(saved)


def test_a_state_that_runs_code_when_unpickled_is_refused(saved: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.system, ("true",))

    save_checkpoint(saved, MODEL, {"evil": Evil()}, FACTS)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(saved).read_state()


def test_saving_again_replaces_the_whole_folder_and_leaves_nothing_beside_it(saved: Path) -> None:
    (saved / "stray").write_text("from before")
    save_checkpoint(saved, MODEL, STATE, FACTS | {"step": 13})
    assert load_checkpoint(saved).manifest["step"] == 13
    assert sorted(path.name for path in saved.iterdir()) == ["manifest.json", "model.safetensors", "state.pt"]
    assert [path.name for path in saved.parent.iterdir()] == ["last"]


def test_a_failed_save_keeps_the_former_checkpoint(saved: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(saved, MODEL, STATE, {"step": object()})
    assert load_checkpoint(saved).manifest["step"] == 12
    assert [path.name for path in saved.parent.iterdir()] == ["last"]


def test_what_a_kill_of_an_earlier_version_left_is_named_and_not_renamed(saved: Path) -> None:
    saved.rename(saved.with_name("last.old"))
    with pytest.raises(UserError, match=r"there is no checkpoint at .*last\.old may be .*rename it to last\."):
        load_checkpoint(saved)
    assert saved.with_name("last.old").is_dir()


def test_the_generation_before_is_kept_where_it_is_asked_for(saved: Path) -> None:
    for step in (13, 14):
        save_checkpoint(saved, MODEL, STATE, FACTS | {"step": step}, previous_of(saved))
    assert load_checkpoint(saved).manifest["step"] == 14
    assert load_checkpoint(previous_of(saved)).manifest["step"] == 13
    assert sorted(path.name for path in saved.parent.iterdir()) == [".last.previous", "last"]


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "manifest.json"])
def test_of_a_damaged_checkpoint_the_one_before_it_is_used_and_the_damage_named(
    saved: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(saved, MODEL, STATE, FACTS | {"step": 13}, previous_of(saved))
    _damage(saved / name)
    assert whole_checkpoint(saved).manifest["step"] == 12
    assert str(saved / name) in caplog.text
    _damage(previous_of(saved) / name)
    with pytest.raises(UserError, match="The one before it cannot be read either"):
        whole_checkpoint(saved)


def test_no_file_is_shared_between_generations_or_copies(saved: Path) -> None:
    copy_checkpoint(saved, saved.with_name("best_model"))
    save_checkpoint(saved, MODEL, STATE, FACTS | {"step": 13}, previous_of(saved))
    assert {file.stat().st_nlink for file in saved.parent.rglob("*") if file.is_file()} == {1}


def test_the_newest_is_the_whole_one_with_the_most_steps_whatever_its_date(saved: Path) -> None:
    run = saved.parent
    assert newest_whole(run / "no such run") is None
    save_checkpoint(run / "best_model", MODEL, STATE, FACTS | {"step": 20})
    save_checkpoint(saved, MODEL, STATE, FACTS | {"step": 13}, previous_of(saved))
    os.utime(saved / "manifest.json", (2**31, 2**31))
    assert (newest_whole(run) or pytest.fail("there is one")).folder == run / "best_model"
    _damage(run / "best_model" / "state.pt")
    assert (newest_whole(run) or pytest.fail("there is one")).manifest["step"] == 13
    _damage(saved / "manifest.json")
    assert (newest_whole(run) or pytest.fail("there is one")).manifest["step"] == 12


def test_opening_a_checkpoint_reads_no_tensor(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    assert load_checkpoint(saved).manifest["step"] == 12


def test_a_mistyped_path_is_looked_for_in_the_folder_of_runs_alone(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = saved.parents[1] / "log"
    log.mkdir()
    saved.parent.rename(log / "run")
    monkeypatch.chdir(log.parent)
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("the disk was searched"))
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("the disk was searched"))
    for path in ("nope/model", "/nope/model", "model"):
        with pytest.raises(UserError, match="Train one with"):
            load_checkpoint(Path(path))
    with pytest.raises(UserError, match=r"Nearby: log/run/last"):
        load_checkpoint(Path("log/rnu/last"))


def test_a_run_without_a_checkpoint_yet_is_told_how_to_begin(tmp_path: Path) -> None:
    (tmp_path / "run" / ".last.0123456789abcdef.part").mkdir(parents=True)
    # Another run is no answer to that.
    save_checkpoint(tmp_path / "other" / "last", MODEL, STATE, FACTS)
    with pytest.raises(UserError, match=r"has written no checkpoint yet; start it anew") as told:
        load_checkpoint(tmp_path / "run" / "last")
    assert ".part" not in str(told.value)


def test_a_copy_is_a_checkpoint_of_its_own(saved: Path) -> None:
    copy_checkpoint(saved, saved.with_name("best_model"))
    save_checkpoint(saved, MODEL, STATE, FACTS | {"step": 13})
    assert load_checkpoint(saved.with_name("best_model")).manifest["step"] == 12
    assert load_checkpoint(saved).manifest["step"] == 13


def test_no_value_in_a_manifest_without_digest_is_believed(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[1] / "version_0_1_0" / "run" / "last", tmp_path / "last")
    whole = json.loads((folder / "manifest.json").read_text())
    load_checkpoint(folder).require_whole()
    for name in ("files", "config", "num_classes", "class_names", "counts", "step", "epoch"):
        wrongs = [-1, 1e300, True, "x", [], ["x"], {"x": None}, {"x": {"size_bytes": "1", "sha256": "x"}}]
        for wrong in wrongs if name != "config" else wrongs[:-2]:
            (folder / "manifest.json").write_text(json.dumps({**whole, name: wrong}))
            with pytest.raises(UserError, match=rf"manifest\.json is damaged: {name} (is|has) "):
                load_checkpoint(folder)
        (folder / "manifest.json").write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        with pytest.raises(UserError, match=f"says no {name}"):
            load_checkpoint(folder)
