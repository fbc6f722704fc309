"""Gradient checkpointing: less is kept, and nothing else is different."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_network
from steps import step_of

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy
from shelfmark.models.backbones.checkpointing import recomputes
from shelfmark.models.network import Network


def trained(num_parts: int = 1, **options: object) -> tuple[Network, list[float]]:
    """A network after three steps, and their losses and norms."""
    network = small_network(num_classes=3, **options)
    terms = [LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy())]
    step = step_of(network, terms, torch.optim.SGD(network.parameters(), lr=0.1), num_parts=num_parts)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(3)
    results = []
    for number in range(3):
        images = torch.randn(6, 3, 32, 32, generator=generator)
        batch = Batch(images, torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6))
        assert step.is_sound(batch)
        results.append(step(batch, 0.1, number, measure_gradients=True))
    return network, [float(value) for one in results for value in (one.losses["loss"], one.gradient_norm)]


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "test_resnet"},
        {"backbone": "test_efficientnet", "backbone_options": {"drop_path_rate": 0.3}},
        {"backbone": "test_vit", "backbone_options": {"drop_path_rate": 0.3}},
        {"backbone": "test_resnet", "freeze": ["backbone.conv1", "backbone.layer1"]},
        {"backbone": "test_resnet", "num_parts": 2},
    ],
    ids=lambda options: f"{options['backbone']} {sorted(options)[-1]}",
)
def test_a_step_has_the_same_digits_and_batch_norm_counts_a_batch_once(options: dict[str, object]) -> None:
    checkpointed, ours = trained(**options, grad_checkpointing=True)
    plain, theirs = trained(**options)
    assert ours == theirs
    assert recomputes(checkpointed)
    assert not recomputes(plain)
    # Weights, running statistics and the number of batches.
    assert [n for n, value in checkpointed.state_dict().items() if not torch.equal(value, plain.state_dict()[n])] == []


def test_blocks_are_passed_again_in_the_backward_pass_alone() -> None:
    passes = []
    network = small_network(grad_checkpointing=True)
    network.backbone.layer1.register_forward_pre_hook(lambda *_: passes.append("layer1"))
    network.backbone.layer1[0].register_forward_pre_hook(lambda *_: passes.append("block"))
    loss = network(torch.randn(2, 3, 32, 32)).logits.sum()
    before = passes.count("block")
    loss.backward()
    assert (before, passes.count("block")) == (1, 2)
    network.eval()
    with torch.inference_mode():
        network(torch.randn(2, 3, 32, 32))
    assert passes.count("block") == 3


@pytest.mark.parametrize("backbone", ["resnet32_cifar", "dla46_c"])
def test_a_backbone_that_cannot_is_refused(backbone: str) -> None:
    with pytest.raises(UserError, match=r"model\.grad_checkpointing=true: .* does not support it"):
        small_network(backbone=backbone, grad_checkpointing=True)


def test_experts_are_refused() -> None:
    with pytest.raises(UserError, match=r"not those of experts; set model\.experts=1"):
        small_network(grad_checkpointing=True, experts=3)
