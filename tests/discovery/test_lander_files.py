"""A network and the state of its fit on disk: no damage passes in silence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import flipped_bits

from shelfmark.core.errors import UserError
from shelfmark.core.manifests import write_manifest
from shelfmark.discovery.lander import Lander
from shelfmark.discovery.lander_files import load_lander, read_state, save_lander, write_state


def optimizer_of(model: Lander) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a fit of Lander(5, 8) after three epochs."""
    model = Lander(5, 8)
    write_state(tmp_path / "fit.pt", "data", 3, model, optimizer_of(model))
    return tmp_path / "fit.pt"


def read(file: Path) -> int:
    model = Lander(5, 8)
    return read_state(file, "data", model, optimizer_of(model))


def require_refused(file: Path) -> None:
    with pytest.raises(UserError, match=r"fit\.pt cannot be read: .*Delete it"):
        read(file)


def test_a_state_that_is_cut_off_or_of_which_any_bit_changed_is_refused(state: Path) -> None:
    assert read(state) == 3
    whole = state.read_bytes()
    for keep in (0.001, 0.1, 0.5, 0.9, 0.999):
        state.write_bytes(whole[: int(keep * len(whole))])
        require_refused(state)
    for damaged in flipped_bits(whole, 60):
        state.write_bytes(damaged)
        require_refused(state)


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": None},
        {"epoch": -1},
        {"epoch": True},
        {"key": b"data"},
        {"model": {}},
        {"model": [1]},
        {"model": {"node_side.weight": torch.zeros(2)}},
        {"optimizer": {}},
        {"optimizer": {"state": {}, "param_groups": [{"params": [0]}]}},
        {"optimizer": 7},
    ],
    ids=str,
)
def test_a_state_with_damaged_content_is_refused(state: Path, changed: dict[str, Any]) -> None:
    content = state.read_bytes().partition(b"\n")[2]
    # As version 0.1.0 wrote it, without a digest.
    torch.save(torch.load(io.BytesIO(content)) | changed, state)
    require_refused(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_network_comes_back_the_same_and_leaves_other_files_of_its_folder(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    (tmp_path / "thresholds.json").write_text("{}")
    model = Lander(5, 8, layer="gcn", num_layers=2, cluster_features=True, seed=3).to(dtype)
    save_lander(tmp_path, model, {"epochs": 4})
    loaded = load_lander(tmp_path)
    assert loaded.options == model.options
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert not loaded.training
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lander.json", "lander.safetensors", "thresholds.json"]
    assert json.loads((tmp_path / "lander.json").read_text())["facts"] == {"epochs": 4}


def test_damage_to_a_saved_network_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lander\.json does not exist"):
        load_lander(tmp_path)
    save_lander(tmp_path, Lander(5, 8))
    file = tmp_path / "lander.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="does not match the SHA-256"):
        load_lander(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=r"lander\.safetensors is missing"):
        load_lander(tmp_path)
    (tmp_path / "lander.json").write_text("[]")
    with pytest.raises(UserError, match=r"lander\.json is not a manifest"):
        load_lander(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden": 10**7}, "hidden=10000000 in lander.json"),
        ({"dim": 4}, "size mismatch"),
        ({"dim": "5"}, "'<' not supported"),
        ({"layer": "gap"}, "layer='gap'"),
        ({"width": 3}, "width"),
    ],
)
def test_damaged_options_of_a_saved_network_are_told_before_it_is_built(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    save_lander(tmp_path, Lander(5, 8))
    told = json.loads((tmp_path / "lander.json").read_text())
    write_manifest(tmp_path / "lander.json", told | {"options": told["options"] | changed})
    with pytest.raises(UserError, match="does not fit together") as raised:
        load_lander(tmp_path)
    assert said in str(raised.value)
    assert "Fit the clusterer again" in str(raised.value)
