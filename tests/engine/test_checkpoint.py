"""A checkpoint is whole, checked, or refused with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.engine.checkpoint import checkpoint_folder, copy_checkpoint, load_checkpoint, save_checkpoint

MODEL = {"classifier.weight": torch.arange(6.0).reshape(2, 3), "backbone.bn.num_batches_tracked": torch.tensor(7)}
STATE = {"progress": {"epoch": 3, "sums": {}}, "optimizer": {"lr": 0.1, "buffers": [torch.ones(2)]}}
FACTS = {"step": 12, "num_classes": 2, "counts": [1, 2], "class_names": None, "config": {"name": "tiny"}}


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
    assert manifest["format_version"] == 1
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
        load_checkpoint(saved)


def test_a_cut_off_file_is_found(saved: Path) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[:-1])
    with pytest.raises(UserError, match="cut off or replaced"):
        load_checkpoint(saved)


def test_a_missing_file_is_found(saved: Path) -> None:
    (saved / "state.pt").unlink()
    with pytest.raises(UserError, match=r"state\.pt is missing"):
        load_checkpoint(saved)


def test_another_format_version_is_refused(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(UserError, match="checkpoint format 99; this Shelfmark reads format 1"):
        load_checkpoint(saved)


def test_a_state_that_runs_code_when_unpickled_is_refused(saved: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.system, ("true",))

    save_checkpoint(saved, MODEL, {"evil": Evil()}, FACTS)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(saved)


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


def test_a_copy_is_a_checkpoint_of_its_own(saved: Path) -> None:
    copy_checkpoint(saved, saved.with_name("best_model"))
    save_checkpoint(saved, MODEL, STATE, FACTS | {"step": 13})
    assert load_checkpoint(saved.with_name("best_model")).manifest["step"] == 12
    assert load_checkpoint(saved).manifest["step"] == 13
