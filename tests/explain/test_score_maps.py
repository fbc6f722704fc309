"""What each position adds: sums, contrasts, and a network whose answer one planted square decides."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_network
from timm.layers import AttentionPool2d
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.explain import score_maps
from shelfmark.explain.contrast import Contrast
from shelfmark.explain.grad_cam import grad_cam
from shelfmark.explain.last_map import last_map
from shelfmark.explain.regions import named_regions
from shelfmark.models.network import Network

COSINE = {"type": "cosine", "scale": 16.0}
LABELS, OTHERS = torch.tensor([2, 5, 0]), torch.tensor([4, 1, 6])


def images(number: int = 3, side: int = 64) -> Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(0))


def evaluated(**options: object) -> Network:
    """A network whose batch norms have statistics and a scale of their own."""
    network = small_network(**options)
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(images(8))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    return network.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classifier": {"bias": False}},
        {"pooling": {"name": "avg"}},
        {"embedding_dim": 24},
        {"neck": "bn"},
        {"embedding_dim": 24, "neck": "bn"},
        {"classifier": COSINE},
        {"classifier": COSINE, "embedding_dim": 24, "neck": "bn"},
        {"backbone": "resnet32_cifar"},
        {"backbone": "test_efficientnet"},
        {"backbone": "resnet10t", "experts": 2, "expert_stages": 1, "backbone_options": {"channels": [8, 8, 8, 16]}},
    ],
    ids=str,
)
def test_the_positions_and_the_constant_sum_to_the_logit(options: dict[str, object]) -> None:
    network = evaluated(**options)
    with torch.no_grad():
        logits = network(images()).heads["classifier"]
    rows = torch.arange(3)
    for contrast, expected in (
        (Contrast(LABELS), logits[rows, LABELS]),
        (Contrast(LABELS, OTHERS), logits[rows, LABELS] - logits[rows, OTHERS]),
    ):
        found = score_maps(network, images(), contrast)
        assert found.method == "exact"
        assert found.values.shape[1] > 1
        torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.values.sum((1, 2)) + found.constants, expected, rtol=1e-3, atol=1e-4)


def test_a_contrast_is_the_difference_of_two_maps_position_by_position() -> None:
    network = evaluated(embedding_dim=24, neck="bn")
    own, other, both = (
        score_maps(network, images(), one) for one in (Contrast(LABELS), Contrast(OTHERS), Contrast(LABELS, OTHERS))
    )
    torch.testing.assert_close(both.values, own.values - other.values, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(both.constants, own.constants - other.constants, rtol=1e-4, atol=1e-6)


def test_the_map_of_a_bare_linear_head_is_each_positions_features_times_the_weight() -> None:
    network = evaluated()
    with torch.no_grad():
        maps = last_map(network, images()).maps
        expected = torch.einsum("nchw,nc->nhw", maps, network.classifier.weight[LABELS]) / maps[0, 0].numel()
    found = score_maps(network, images(), Contrast(LABELS))
    torch.testing.assert_close(found.values, expected)
    torch.testing.assert_close(found.constants, network.classifier.bias[LABELS].detach())


def test_a_cosine_head_is_linear_at_the_pictures_own_length_alone() -> None:
    network = evaluated(classifier=COSINE)
    with torch.no_grad():
        embedding = network.embed(images())
        direction, constant = Contrast(LABELS).direction(network.classifier, embedding)
        twice = (direction * 2 * embedding).sum(1) + constant
        logits = network.logits(2 * embedding)[torch.arange(3), LABELS]
    torch.testing.assert_close((direction * embedding).sum(1), logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(twice, logits, rtol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": {"name": "gem"}},
        {"pooling": {"name": "max"}},
        {"backbone": "test_convnext"},
        {
            "backbone": "resnet10t",
            "experts": 2,
            "expert_stages": 1,
            "pooling": {"name": "gem"},
            "backbone_options": {"channels": [8, 8, 8, 16]},
        },
    ],
    ids=str,
)
def test_without_averaged_features_and_a_linear_rest_it_is_grad_cam_and_says_so(options: dict[str, object]) -> None:
    found = score_maps(evaluated(**options), images(), Contrast(LABELS, OTHERS))
    assert found.method == "grad_cam"
    assert found.values.shape[1] > 1
    assert bool(found.values.abs().amax((1, 2)).min() > 0)


def test_grad_cam_is_the_exact_map_for_averaged_features_so_it_is_no_baseline_there() -> None:
    network = evaluated()
    exact = score_maps(network, images(), Contrast(LABELS, OTHERS))
    approximate = score_maps(network, images(), Contrast(LABELS, OTHERS), "grad_cam")
    torch.testing.assert_close(approximate.values, exact.values, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="exact does not explain this network"):
        score_maps(evaluated(pooling={"name": "gem"}), images(), Contrast(LABELS), "exact")


def test_grad_cam_of_a_hand_worked_map() -> None:
    # Two channels of 1 x 2 positions; the score is 3 * (first channel, left) - 2 * (second channel, right).
    maps = torch.tensor([[[[1.0, 2.0]], [[4.0, 5.0]]]], requires_grad=True)
    scores = (3 * maps[:, 0, 0, 0] - 2 * maps[:, 1, 0, 1])[:1]
    # Mean gradients: 1.5 and -1.
    torch.testing.assert_close(grad_cam([maps], scores), torch.tensor([[[1.5 * 1 - 4, 1.5 * 2 - 5]]]))


def test_frozen_networks_and_recomputed_activations_are_explained_too() -> None:
    network = evaluated(pooling={"name": "gem"}, grad_checkpointing=True)
    expected = score_maps(evaluated(pooling={"name": "gem"}), images(), Contrast(LABELS)).values
    network.requires_grad_(False)
    torch.testing.assert_close(score_maps(network, images(), Contrast(LABELS)).values, expected)
    assert network.backbone.grad_checkpointing


class _Tokens(nn.Module):
    """Patches of a picture that mix as tokens, and an attention over them that looks like a map."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mixed, self.attention = nn.Conv2d(3, 64, 16, 16), nn.Linear(64, 64), nn.Softmax(dim=3)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.mixed(self.patches(pictures).flatten(2).transpose(1, 2))
        weights = self.attention(tokens[:, None, :1] @ tokens[:, None].transpose(2, 3))
        return self.mixed((weights @ tokens[:, None])[:, 0])[:, 0]


class _Attended(nn.Module):
    """A map whose positions are pooled by attention, as in the ResNets of CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 64, 16, 16), AttentionPool2d(64, feat_size=4, num_heads=4)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.patches(pictures))


def test_attention_over_tokens_is_no_map_of_the_picture_and_a_map_that_attention_pools_is() -> None:
    network = evaluated()
    width = network.classifier.weight.shape[1]
    network.embedding = nn.Linear(64, width)
    network.backbone = _Tokens()
    with pytest.raises(UserError, match="_Tokens has no map of positions"):
        score_maps(network, images(), Contrast(LABELS))
    network.backbone = _Attended()
    found = score_maps(network, images(), Contrast(LABELS, OTHERS))
    assert found.method == "grad_cam"
    torch.testing.assert_close(found.last.maps, network.backbone.patches(images()))


class _Brightness(nn.Module):
    """Averaged features of a map of 8 x 8 positions: the brightness of each, and its opposite."""

    def forward(self, pictures: Tensor) -> Tensor:
        bright = self.pooled(pictures.mean(dim=1, keepdim=True))
        return self.global_pool(torch.cat([bright, -bright], dim=1))

    def __init__(self, pooling: nn.Module) -> None:
        super().__init__()
        self.pooled, self.global_pool = nn.AvgPool2d(8), pooling


@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_a_bright_square_that_alone_decides_is_the_named_region(pooling: str) -> None:
    network = evaluated(pooling={"name": pooling})
    network.backbone = _Brightness(network.backbone.global_pool)
    network.classifier = nn.Linear(2, 2, bias=False)
    network.classifier.scoring_tensors = lambda: (network.classifier.weight, None)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.eye(2))
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, :, 8:24, 40:56] = 1.0
    found = score_maps(network, picture, Contrast(torch.tensor([0]), torch.tensor([1])))
    (region,) = named_regions(found.values[0].detach().numpy())
    assert found.method == {"avg": "exact", "gem": "grad_cam"}[pooling]
    assert region.box == (40 / 64, 8 / 64, 56 / 64, 24 / 64)
    assert region.share == pytest.approx(1)
