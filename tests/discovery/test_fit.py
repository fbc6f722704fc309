from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.fit import fit
from shelfmark.discovery.lander import Lander, build_graph
from shelfmark.discovery.lander_files import load_lander, read_state, save_lander, write_state
from shelfmark.discovery.lander_loss import Targets

SMALL = {"ks": (6, 4), "levels": (2, 2), "hidden": 16, "epochs": 4, "batch_size": 64}


def shop(seed: int, num_classes: int = 20, size: int = 8, dim: int = 12, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Images of always the same classes; the seed draws the images."""
    labels = torch.arange(num_classes).repeat_interleave(size)
    centres = torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(0))
    around = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(seed + 1))
    return centres[labels] + noise * around, labels


def weights(model: Lander) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def equal(left: Lander, right: Lander) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left.parameters(), right.parameters(), strict=True))


@pytest.mark.parametrize("options", [{}, {"layer": "gcn", "focal": True}])
def test_a_fitted_network_tells_classes_apart_on_images_that_it_has_never_seen(options):
    # 30 classes of 6 images: of an image's 7 neighbours at least 2 are of other classes.
    shape = {"num_classes": 30, "size": 6, "dim": 8, "noise": 0.35}
    model = fit(*shop(0, **shape), ks=(8,), levels=(1,), hidden=32, epochs=150, lr=1e-2, **options)
    features, labels = shop(1, **shape)
    graph = build_graph(features, 8)
    with torch.no_grad():
        probability, density = model(features, graph)
    targets = Targets.of(graph, labels)
    same = probability[:, :, 1]
    # The chance that an edge within a class is ranked above one between classes, of the edges that decoding looks at.
    within, between = same[targets.mask & targets.is_same], same[targets.mask & ~targets.is_same]
    assert (within[:, None] > between).float().mean() > 0.65
    assert torch.corrcoef(torch.stack([density, targets.density]))[0, 1] > 0.2
    assert not model.training


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 1e-2), ("sgd", 0.2)])
def test_the_reported_losses_fall(optimizer, lr):
    seen: list[dict[str, float]] = []

    def record(epoch: int, epochs: int, means: dict[str, float]) -> None:
        assert (epoch, epochs) == (len(seen) + 1, 20)
        seen.append(means)

    fit(*shop(0), **SMALL | {"epochs": 20, "batch_size": 128}, optimizer=optimizer, lr=lr, progress=record)
    assert len(seen) == 20
    assert seen[-1]["loss"] < 0.9 * seen[0]["loss"]
    assert seen[0]["loss"] == pytest.approx(seen[0]["density"] + seen[0]["link"])


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    first, second = fit(*shop(0), **SMALL), fit(*shop(0), **SMALL)
    assert equal(first, second)
    assert not equal(first, fit(*shop(0), **SMALL, seed=1))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_fit_that_is_killed_and_goes_on_ends_with_the_same_weights(tmp_path, optimizer):
    options = SMALL | {"optimizer": optimizer}
    whole = fit(*shop(0), **options)
    state_file, done = tmp_path / "fit.pt", []

    def killed(epoch: int, epochs: int, means: dict[str, float]) -> None:
        done.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(*shop(0), **options, progress=killed, state_file=state_file, state_every_s=0)
    resumed = fit(*shop(0), **options, progress=killed, state_file=state_file, state_every_s=0)
    assert done == [1, 2, 3, 4]
    assert equal(whole, resumed)


def test_a_finished_state_is_taken_as_it_is_and_one_of_other_options_or_data_is_not(tmp_path):
    state_file, done = tmp_path / "fit.pt", []

    def count(epoch: int, epochs: int, means: dict[str, float]) -> None:
        done.append(epoch)

    first = fit(*shop(0), **SMALL, state_file=state_file)
    assert equal(first, fit(*shop(0), **SMALL, state_file=state_file, progress=count))
    assert done == []
    other = fit(*shop(0), **SMALL | {"epochs": 5}, state_file=state_file, progress=count)
    assert len(done) == 5
    assert not equal(first, other)
    fit(*shop(2), **SMALL | {"epochs": 5}, state_file=state_file, progress=count)
    assert len(done) == 10


def test_a_state_that_cannot_be_read_is_said(tmp_path):
    state_file = tmp_path / "fit.pt"
    state_file.write_bytes(b"cut off")
    with pytest.raises(UserError, match="Delete it"):
        fit(*shop(0), **SMALL, state_file=state_file)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_state_cut_off_anywhere_is_said(tmp_path, keep):
    state_file = tmp_path / "fit.pt"
    model = Lander(5, 8)
    write_state(state_file, "data", 3, model, torch.optim.AdamW(model.parameters()))
    whole = state_file.read_bytes()
    state_file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match=r"fit\.pt cannot be read: .*Delete it"):
        read_state(state_file, "data", model, torch.optim.AdamW(model.parameters()))


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
def test_a_state_with_damaged_content_is_said(tmp_path, changed):
    state_file = tmp_path / "fit.pt"
    model = Lander(5, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    write_state(state_file, "data", 3, model, optimizer)
    assert read_state(state_file, "data", model, optimizer) == 3
    torch.save(torch.load(state_file) | changed, state_file)
    with pytest.raises(UserError, match=r"fit\.pt cannot be read: .*Delete it"):
        read_state(state_file, "data", model, optimizer)


def test_cluster_features_and_heads_are_trained_too():
    features, labels = shop(0)
    options = SMALL | {"cluster_features": True, "heads": 2, "num_layers": 2, "epochs": 1}
    model = fit(features, labels, **options)
    fresh = Lander(12, 16, num_layers=2, heads=2, cluster_features=True)
    assert model.options == fresh.options
    assert not any(torch.equal(one, other) for one, other in zip(weights(model), weights(fresh)))


def test_a_loss_that_is_not_finite_stops_the_fit():
    with pytest.raises(UserError, match="not finite in epoch"):
        fit(*shop(0), **SMALL | {"epochs": 20, "batch_size": 128}, optimizer="sgd", lr=1e12)


@pytest.mark.parametrize(
    ("options", "said"), [({"optimizer": "adam"}, "adamw"), ({"epochs": 0}, "epochs=0"), ({"lr": -1.0}, "lr=-1")]
)
def test_options_without_a_fit_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        fit(*shop(0), **SMALL | options)


def test_an_option_that_does_not_exist_is_our_own_mistake():
    with pytest.raises(TypeError, match="dropout"):
        fit(*shop(0), **SMALL, dropout=0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_network_comes_back_the_same_and_leaves_other_files_of_its_folder(tmp_path, dtype):
    (tmp_path / "thresholds.json").write_text("{}")
    model = Lander(5, 8, layer="gcn", num_layers=2, cluster_features=True, seed=3).to(dtype)
    save_lander(tmp_path, model, {"epochs": 4})
    loaded = load_lander(tmp_path)
    assert loaded.options == model.options
    assert equal(loaded, model)
    assert not loaded.training
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lander.json", "lander.safetensors", "thresholds.json"]
    assert json.loads((tmp_path / "lander.json").read_text())["facts"] == {"epochs": 4}


def test_damage_to_a_saved_network_is_found(tmp_path):
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
    with pytest.raises(UserError, match="not of a Hi-LANDER network"):
        load_lander(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden": 10**7}, "hidden=10000000 in lander.json"),
        ({"hidden": 1e400}, "hidden=inf in lander.json"),
        ({"dim": 4}, "size mismatch"),
        ({"dim": "5"}, "'<' not supported"),
        ({"layer": "gap"}, "layer='gap'"),
        ({"width": 3}, "width"),
    ],
)
def test_damaged_options_of_a_saved_network_are_told_before_it_is_built(tmp_path, changed, said):
    save_lander(tmp_path, Lander(5, 8))
    told = json.loads((tmp_path / "lander.json").read_text())
    (tmp_path / "lander.json").write_text(json.dumps(told | {"options": told["options"] | changed}))
    with pytest.raises(UserError, match="does not fit together") as raised:
        load_lander(tmp_path)
    assert said in str(raised.value)
    assert "Fit the clusterer again" in str(raised.value)
