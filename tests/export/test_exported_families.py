"""Every family of backbones of the shipped recipes gives as ONNX what it gives in torch, for any number of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_networks import proxies, small_network

from shelfmark.core.errors import UserError
from shelfmark.export import onnx_files
from shelfmark.export.network import ExportedNetwork
from shelfmark.models.options import AdapterOptions, ModelOptions

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NARROW = {"embed_dim": 48, "num_heads": 3, "depth": 2}
FAMILIES: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet": (48, {"backbone": "resnet18", "backbone_options": {"channels": [8, 16, 16, 24]}}),
    "resnest": (48, {"backbone": "resnest14d", "backbone_options": {"channels": [8, 16, 16, 24]}}),
    "resnet of reid": (
        48,
        {
            "last_stride": 1,
            "pooling": {"name": "gem", "trainable": True},
            "embedding_dim": 12,
            "neck": "bn",
            "classifier": {"type": "cosine"},
        },
    ),
    "resnet of cifar": (32, {"backbone": "resnet32_cifar", "backbone_options": {"blocks_per_stage": 1}}),
    "experts": (48, {"experts": 3}),
    "efficientnet-lite": (
        48,
        {"backbone": "tf_efficientnet_lite0"},
    ),
    "convnext": (64, {"backbone": "test_convnext"}),
    "vit": (48, {"backbone": "vit_base_patch16_224", "backbone_options": NARROW}),
    "siglip": (48, {"backbone": "vit_base_patch16_siglip_224", "backbone_options": NARROW, "channels_last": True}),
    "clip with adapters": (
        48,
        {"backbone": "vit_base_patch16_clip_224", "backbone_options": NARROW, "adapters": {"rank": 2}},
    ),
}
HEADS = 48, {"heads": {"rank": {"dim": 4, "hidden_dim": 6}, "points": proxies()}}


def exported(size: int, options: dict[str, Any], heads: tuple[str, ...] = ()) -> tuple[ExportedNetwork, Any]:
    """A network whose batch norms and adapters do something, and what is exported of it."""
    network = small_network(**options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand(tensor.shape, generator=generator))
    adapters = ModelOptions(**{"backbone": "test_resnet", **options}).adapters
    return ExportedNetwork(network.eval(), adapters, MEAN, STD, size, heads), network


def pixels_of(number: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (number, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def require_same(file: Path, network: Any, names: tuple[str, ...], size: int) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == list(names)
    for number in (1, 3):
        pixels = pixels_of(number, size)
        found = dict(zip(names, session.run(None, {"pixels": pixels.numpy()})))
        images = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        with torch.inference_mode():
            outputs = network(images)
        torch.testing.assert_close(torch.from_numpy(found["embedding"]), outputs.embedding, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(torch.from_numpy(found["logits"]), outputs.logits, rtol=1e-3, atol=1e-4)
    return found


@pytest.mark.parametrize(("size", "options"), FAMILIES.values(), ids=FAMILIES)
def test_a_family_gives_as_onnx_what_it_gives_in_torch(tmp_path: Path, size: int, options: dict[str, Any]) -> None:
    network, own = exported(size, options)
    onnx_files.export(network, (size, size), tmp_path / "a.onnx", onnx_files.by_torchscript)
    require_same(tmp_path / "a.onnx", own, network.output_names, size)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "options"), FAMILIES.values(), ids=FAMILIES)
def test_the_other_exporter_can_stand_in(tmp_path: Path, size: int, options: dict[str, Any]) -> None:
    network, own = exported(size, options)
    onnx_files.export(network, (size, size), tmp_path / "a.onnx", onnx_files.by_dynamo)
    require_same(tmp_path / "a.onnx", own, network.output_names, size)


def test_heads_on_request_are_those_of_the_network(tmp_path: Path) -> None:
    network, own = exported(*HEADS, ("points", "rank"))
    onnx_files.export(network, (48, 48), tmp_path / "a.onnx", onnx_files.by_torchscript)
    found = require_same(tmp_path / "a.onnx", own, ("embedding", "logits", "head.points", "head.rank"), 48)
    with torch.inference_mode():
        heads = own.outputs(torch.from_numpy(found["embedding"])).heads
    np.testing.assert_allclose(found["head.rank"], heads["rank"], atol=1e-5)
    np.testing.assert_allclose(found["head.points"], heads["points"].embeddings, atol=1e-5)


def test_what_is_exported_is_a_copy_and_unknown_heads_are_named() -> None:
    network, own = exported(*FAMILIES["clip with adapters"])
    assert any("lora" in name for name in own.state_dict())
    assert not any("lora" in name for name in network.state_dict())
    with pytest.raises(UserError, match=r"--heads rnk: .* it has: rank, points. Did you mean rank\?"):
        exported(*HEADS, ("rnk",))
    with pytest.raises(UserError, match="none besides the classifier"):
        ExportedNetwork(small_network(), AdapterOptions(), MEAN, STD, 48, ("rank",))
