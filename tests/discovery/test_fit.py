"""A network that learns to cluster: it learns, the same again, and goes on after a stop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_json
from shelfmark.discovery import fit as fitting
from shelfmark.discovery.fit import fit
from shelfmark.discovery.lander import Lander, build_graph
from shelfmark.discovery.lander_loss import Targets
from shelfmark.discovery.options import LanderOptions

SMALL = {"ks": (6, 4), "levels": (2, 2), "hidden": 16, "epochs": 4, "batch_size": 64}


def shop(seed: int, num_classes: int = 20, size: int = 8, dim: int = 12, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Images of always the same classes; the seed draws the images."""
    labels = torch.arange(num_classes).repeat_interleave(size)
    centres = torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(0))
    around = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(seed + 1))
    return centres[labels] + noise * around, labels


def fitted(images: tuple[Tensor, Tensor] | None = None, changes: dict[str, Any] | None = None, **named: Any) -> Lander:
    """SMALL with changes, on the shop of seed 0."""
    return fit(*(images or shop(0)), LanderOptions(**SMALL | (changes or {})), **named)


def equal(left: Lander, right: Lander) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left.parameters(), right.parameters(), strict=True))


@pytest.fixture(scope="module")
def small() -> Lander:
    """SMALL, of seed 0, that nothing stopped."""
    return fitted()


@pytest.mark.parametrize("options", [{}, {"layer": "gcn", "focal": True}])
def test_a_fitted_network_tells_classes_apart_on_images_that_it_has_never_seen(options: dict[str, Any]) -> None:
    # 30 classes of 6 images: of an image's 7 neighbours at least 2 are of other classes.
    shape = {"num_classes": 30, "size": 6, "dim": 8, "noise": 0.35}
    training = {"ks": (8,), "levels": (1,), "hidden": 32, "epochs": 150, "lr": 1e-2, "batch_size": 4096}
    model = fitted(shop(0, **shape), training | options)  # type: ignore[arg-type]
    features, labels = shop(1, **shape)  # type: ignore[arg-type]
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
def test_the_reported_losses_fall(optimizer: str, lr: float) -> None:
    seen: list[dict[str, float]] = []

    def record(epoch: int, epochs: int, means: dict[str, float]) -> None:
        assert (epoch, epochs) == (len(seen) + 1, 20)
        seen.append(means)

    changes = {"epochs": 20, "batch_size": 128, "optimizer": optimizer, "lr": lr}
    fitted(changes=changes, progress=record)
    assert len(seen) == 20
    assert seen[-1]["loss"] < 0.9 * seen[0]["loss"]
    assert seen[0]["loss"] == pytest.approx(seen[0]["density"] + seen[0]["link"])


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(small: Lander) -> None:
    assert equal(small, fitted())
    assert not equal(small, fitted(seed=1))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_fit_that_is_killed_and_goes_on_ends_with_the_same_weights(
    tmp_path: Any, optimizer: str, small: Lander
) -> None:
    options = {"optimizer": optimizer}
    state_file, done = tmp_path / "fit.pt", []

    def killed(epoch: int, epochs: int, means: dict[str, float]) -> None:
        done.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(changes=options, progress=killed, state_file=state_file, state_every_s=0)
    resumed = fitted(changes=options, progress=killed, state_file=state_file, state_every_s=0)
    assert done == [1, 2, 3, 4]
    assert equal(resumed, small if optimizer == "adamw" else fitted(changes=options))


def test_a_finished_state_is_taken_as_it_is_and_one_of_other_options_or_data_is_not(
    tmp_path: Any, small: Lander
) -> None:
    state_file, done = tmp_path / "fit.pt", []

    def count(epoch: int, epochs: int, means: dict[str, float]) -> None:
        done.append(epoch)

    fitted(state_file=state_file)
    assert equal(small, fitted(state_file=state_file, progress=count))
    # How levels are built is no part of the training.
    assert equal(small, fitted(changes={"tau": 0.3, "early_stop": False}, state_file=state_file, progress=count))
    assert done == []
    assert not equal(small, fitted(changes={"epochs": 5}, state_file=state_file, progress=count))
    assert len(done) == 5
    fitted(shop(2), {"epochs": 1}, state_file=state_file, progress=count)
    assert len(done) == 6


def test_a_state_is_known_by_the_names_that_version_0_1_0_gave_the_options(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(fitting, "data_hash", lambda *_: "data")
    monkeypatch.setattr(fitting, "sha256_json", lambda value: told.append(value) or sha256_json(value))
    fitted(changes={"epochs": 1}, seed=3)
    # Of the first options that were kept, with the defaults of a recipe.
    assert sha256_json(told[0]) == sha256_json(
        {
            "data": "data",
            "options": {
                "ks": [6, 4],
                "levels": [2, 2],
                "hidden": 16,
                "layer": "gat",
                "num_layers": 1,
                "heads": 1,
                "cluster_features": False,
                "balance": True,
                "focal": False,
                "epochs": 1,
                "batch_size": 64,
                "optimizer": "adamw",
                "lr": 0.003,
                "momentum": 0.9,
                "weight_decay": 1e-5,
                "seed": 3,
            },
        }
    )


def test_cluster_features_and_heads_are_trained_too() -> None:
    model = fitted(changes={"cluster_features": True, "heads": 2, "num_layers": 2, "epochs": 1})
    fresh = Lander(12, 16, num_layers=2, heads=2, cluster_features=True)
    assert model.options == fresh.options
    assert not any(torch.equal(one, other) for one, other in zip(model.parameters(), fresh.parameters()))


def test_a_loss_that_is_not_finite_stops_the_fit() -> None:
    with pytest.raises(UserError, match=r"not finite in epoch .* Lower its lr, which is 1e\+12"):
        fitted(changes={"epochs": 20, "batch_size": 128, "optimizer": "sgd", "lr": 1e12})
