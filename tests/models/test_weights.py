"""Weights from files, from timm's cache, and from a checkpoint of other classes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import small_networks
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save_file
from small_networks import METRIC_8, proxies
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import build_backbone
from shelfmark.models.network import Network
from shelfmark.models.weights import load_backbone_weights, load_matching

State = dict[str, Tensor]
HUB_FOLDER = "models--timm--resnet18.a1_in1k"


@pytest.fixture(scope="module")
def published() -> torchvision.models.ResNet:
    """A ResNet-18 as torchvision publishes it, with statistics that differ from fresh ones."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        model = torchvision.models.resnet18()
        model(torch.rand(4, 3, 64, 64))
    return model.eval()


@pytest.fixture
def backbone() -> nn.Module:
    return build_backbone("resnet18", seed=0)[0]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache, whose folder it gives."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def is_filled(backbone: nn.Module, published: nn.Module) -> bool:
    own, given = backbone.state_dict(), published.state_dict()
    return all(torch.equal(own[key], given[key]) for key in own)


def test_torchvision_weights_give_torchvisions_features(
    backbone: nn.Module, published: nn.Module, tmp_path: Path
) -> None:
    file = tmp_path / "resnet18-f37072fd.pth"
    torch.save(published.state_dict(), file)
    load_backbone_weights(backbone, "resnet18", "pretrained", folder=tmp_path)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    scores = published.fc(backbone.eval()(images))
    assert torch.allclose(scores, published(images), atol=1e-5)


def test_a_file_as_old_as_resnet50_19c8e357_loads(backbone: nn.Module, published: nn.Module, tmp_path: Path) -> None:
    old = {key: value for key, value in published.state_dict().items() if "num_batches_tracked" not in key}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    load_backbone_weights(backbone, "resnet18", str(tmp_path / "old.pth"))
    assert torch.equal(backbone.bn1.running_mean, published.bn1.running_mean)


def test_the_usual_wrappings_are_taken_off(backbone: nn.Module, published: nn.Module, tmp_path: Path) -> None:
    state = published.state_dict()
    ours = {"embedding.weight": torch.zeros(8, 512), "heads.metric.projection.weight": torch.zeros(8, 8)}
    wrapped: list[dict[str, object]] = [
        {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3},
        {"model": state},
        {f"module.backbone.{key}": value for key, value in state.items()}
        | {"module.classifier.weight": torch.zeros(2)},
        {f"backbone.{key}": value for key, value in state.items()} | ours,
        {key.replace("fc.", "head."): value for key, value in state.items()},
    ]
    for wrapping in wrapped:
        with torch.no_grad():
            for value in backbone.state_dict().values():
                value.zero_()
        torch.save(wrapping, tmp_path / "w.pth")
        load_backbone_weights(backbone, "resnet18", str(tmp_path / "w.pth"))
        assert is_filled(backbone, published), [*wrapping][:2]


def test_safetensors_checkpoint_folders_and_bare_names_are_found(published: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "best_model").mkdir()
    for file in (tmp_path / "mine.safetensors", tmp_path / "best_model" / "model.safetensors"):
        save_file(published.state_dict(), file)
    for weights in (str(tmp_path / "mine.safetensors"), str(tmp_path / "best_model"), "mine.safetensors"):
        backbone = build_backbone("resnet18", seed=0)[0]
        load_backbone_weights(backbone, "resnet18", weights, folder=tmp_path)
        assert is_filled(backbone, published), weights


def test_no_weights_leave_the_seeds(backbone: nn.Module) -> None:
    load_backbone_weights(backbone, "resnet18", "")
    assert torch.equal(backbone.conv1.weight, build_backbone("resnet18", seed=0)[0].conv1.weight)


def test_a_head_that_is_part_of_the_features_is_kept(tmp_path: Path) -> None:
    backbone, num_features = build_backbone("convnext_atto", seed=0)
    assert "head.norm.weight" in backbone.state_dict()
    state = {key: torch.full_like(value, 0.5) for key, value in backbone.state_dict().items()}
    torch.save({**state, "head.fc.weight": torch.zeros(1)}, tmp_path / "w.pth")
    load_backbone_weights(backbone, "convnext_atto", str(tmp_path / "w.pth"))
    assert torch.equal(backbone.head.norm.weight, torch.full((num_features,), 0.5))


def test_a_file_of_another_backbone_is_refused_and_changes_nothing(
    backbone: nn.Module, published: nn.Module, tmp_path: Path
) -> None:
    state = published.state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    state["layer9.weight"] = torch.zeros(1)
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "other.pth")
    before = backbone.bn1.running_mean.clone()
    with pytest.raises(UserError) as caught:
        load_backbone_weights(backbone, "resnet18", str(tmp_path / "other.pth"))
    text = str(caught.value)
    assert "does not fit model.backbone=resnet18, which has 120 tensors" in text
    assert "1 missing (layer1.0.conv1.weight)" in text
    assert "1 unexpected (layer9.weight)" in text
    assert "conv1.weight [64, 1, 7, 7] where the model has [64, 3, 7, 7]" in text
    assert torch.equal(backbone.bn1.running_mean, before)


def test_only_the_first_of_many_missing_names_are_listed(backbone: nn.Module, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"100 missing \(conv1\.weight, bn1\.weight, bn1\.bias, \.\.\.\)"):
        load_backbone_weights(backbone, "resnet18", str(tmp_path / "a.pth"))


def test_files_that_are_no_weights_say_so(backbone: nn.Module, tmp_path: Path) -> None:
    contents = {
        "objects.pth": ({"state_dict": {}, "args": argparse.Namespace(lr=1)}, "holds more than tensors"),
        "number.pth": ({"epoch": 3}, "holds no state_dict"),
        "tensor.pth": (torch.zeros(3), "holds no state_dict"),
    }
    for name, (content, message) in contents.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match=message):
            load_backbone_weights(backbone, "resnet18", str(tmp_path / name))
    texts = {"page.pth": ("<html>404</html>", r"is damaged"), "note.pth": ("hello", r"or of another kind\.$")}
    for name, (text, message) in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=message):
            load_backbone_weights(backbone, "resnet18", str(tmp_path / name))


def test_a_file_that_is_cut_short_is_refused(backbone: nn.Module, published: nn.Module, tmp_path: Path) -> None:
    torch.save(published.state_dict(), tmp_path / "whole.pth")
    save_file(published.state_dict(), tmp_path / "whole.safetensors")
    for suffix in (".pth", ".safetensors"):
        for num_bytes in (0, 100_000):
            cut = tmp_path / f"cut{suffix}"
            cut.write_bytes((tmp_path / f"whole{suffix}").read_bytes()[:num_bytes])
            with pytest.raises(UserError, match=r"cut.*cannot be read as weights"):
                load_backbone_weights(backbone, "resnet18", str(cut))


def test_a_file_that_is_not_there_is_named(backbone: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.weights='nowhere\.pth'.*'pretrained'"):
        load_backbone_weights(backbone, "resnet18", "nowhere.pth", folder=tmp_path)


def test_timms_cache_is_read_without_asking_the_network(
    backbone: nn.Module, published: nn.Module, monkeypatch: pytest.MonkeyPatch, offline: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: pytest.fail("the network was asked"))
    snapshot = offline / HUB_FOLDER / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (offline / HUB_FOLDER / "refs").mkdir()
    (offline / HUB_FOLDER / "refs" / "main").write_text("abc")
    save_file(published.state_dict(), snapshot / "model.safetensors")
    before = torch.get_rng_state()
    load_backbone_weights(backbone, "resnet18", "pretrained", folder=tmp_path)
    assert is_filled(backbone, published)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("res50", r"resnet50-19c8e357\.pth,"),
        ("resnest50", r"resnest50-528c19ca\.pth,"),
        ("mobilenetv3_small_050", r"mobilenetv3_small_050\.safetensors \(the file model\.safetensors of timm"),
    ],
)
def test_offline_and_missing_the_error_says_which_file_goes_where(
    name: str, file: str, backbone: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"HF_HUB_OFFLINE.*Put one at .*{file}.*model\.weights=FILE"):
        load_backbone_weights(backbone, name, "pretrained", folder=tmp_path)


def test_an_unreachable_hub_ends_at_once_with_the_same_advice(
    backbone: nn.Module, monkeypatch: pytest.MonkeyPatch, offline: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be reached.*Put one at .*resnet18-f37072fd\.pth"):
        load_backbone_weights(backbone, "resnet18", "pretrained", folder=tmp_path)
    assert not offline.exists()


@pytest.mark.usefixtures("offline")
def test_a_model_that_nobody_trained_is_said_to_have_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hub has no weights of resnet200"):
        load_backbone_weights(torch.nn.Identity(), "resnet200", "pretrained", folder=tmp_path)


def small_network(**options: Any) -> Network:
    return small_networks.small_network(**{"num_classes": 5, "heads": {"metric": {"dim": 4}}, **options})


def test_a_checkpoint_of_the_same_classes_is_loaded_whole() -> None:
    network, other = small_network(seed=1), small_network(seed=2)
    assert load_matching(network, other.state_dict()) == []
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


def test_with_other_classes_only_the_classifier_stays_fresh() -> None:
    network, other = small_network(num_classes=9, seed=1), small_network(seed=2)
    assert load_matching(network, other.state_dict()) == ["classifier.weight", "classifier.bias"]
    fresh = small_network(num_classes=9, seed=1).classifier
    assert torch.equal(network.classifier.weight, fresh.weight)
    assert torch.equal(network.backbone.conv1[0].weight, other.backbone.conv1[0].weight)
    assert torch.equal(network.heads["metric"].projection.weight, other.heads["metric"].projection.weight)


def test_proxies_of_other_classes_stay_fresh_and_their_projection_is_loaded() -> None:
    heads = {"proxies": proxies(4, 2)}
    network, other = small_network(num_classes=9, seed=1, heads=heads), small_network(seed=2, heads=heads)
    fresh = load_matching(network, other.state_dict())
    assert fresh == ["classifier.weight", "classifier.bias", "heads.proxies.weight"]
    own = small_network(num_classes=9, seed=1, heads=heads)
    assert torch.equal(network.heads["proxies"].weight, own.heads["proxies"].weight)
    assert torch.equal(network.heads["proxies"].projection.weight, other.heads["proxies"].projection.weight)
    same = small_network(seed=1, heads=heads)
    assert load_matching(same, other.state_dict()) == []
    assert torch.equal(same.heads["proxies"].weight, other.heads["proxies"].weight)


def test_proxies_of_another_number_a_class_are_refused() -> None:
    network = small_network(num_classes=9, heads={"proxies": proxies(4, 3)})
    state = small_network(heads={"proxies": proxies(4, 2)}).state_dict()
    with pytest.raises(UserError, match=r"heads\.proxies\.weight \[5, 2, 4\] where the model has \[9, 3, 4\]"):
        load_matching(network, state)


def test_half_a_classifier_is_not_taken() -> None:
    network, other = small_network(seed=1), small_network(seed=2, classifier={"bias": False})
    assert load_matching(network, other.state_dict()) == ["classifier.weight", "classifier.bias"]
    assert torch.equal(network.classifier.weight, small_network(seed=1).classifier.weight)


@pytest.mark.parametrize("options", [{"heads": {"metric": METRIC_8}}, {"heads": {}}, {"embedding_dim": 8}])
def test_any_other_difference_is_refused(options: dict[str, Any]) -> None:
    network = small_network(seed=1)
    with pytest.raises(UserError, match=r"another network than model\.\* describes.*heads\.metric|embedding"):
        load_matching(network, small_network(seed=2, **options).state_dict())
    assert torch.equal(network.backbone.conv1[0].weight, small_network(seed=1).backbone.conv1[0].weight)
