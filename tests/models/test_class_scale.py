"""Class factors of a classifier, and batch norms that go on learning in what is frozen."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import small_network as network
from torch import Tensor, nn
from torch.nn import functional as F

from shelfmark.core.errors import UserError
from shelfmark.engine.grad_cache import CachedNetwork
from shelfmark.engine.precision import Precision
from shelfmark.models.heads import LinearClassifier
from shelfmark.models.network import Network
from shelfmark.models.options import ModelOptions
from shelfmark.models.weights import load_matching


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def scaled(bias: bool = True, dtype: torch.dtype = torch.float32) -> LinearClassifier:
    classifier = LinearClassifier(2, 3, bias).to(dtype)
    classifier.add_class_factors()
    assert classifier.class_scale is not None
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        if classifier.bias is not None:
            classifier.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
        classifier.class_scale.copy_(torch.tensor([2.0, 0.5, -1.0]))
    return classifier


def random_scale(model: Network) -> None:
    model.add_class_factors()
    scale = model.classifier.class_scale
    assert scale is not None
    with torch.no_grad():
        scale.copy_(torch.rand(len(scale), generator=torch.Generator().manual_seed(1)) + 0.5)


@pytest.mark.parametrize(("bias", "expected"), [(True, [7.0, 4.0, -6.0]), (False, [6.0, 4.0, -7.0])])
def test_a_factor_multiplies_its_class_logit_bias_and_all(bias: bool, expected: list[float]) -> None:
    assert scaled(bias)(torch.tensor([[3.0, 4.0]])).tolist() == [expected]


def test_factors_begin_at_one_and_a_second_beginning_keeps_them() -> None:
    classifier = LinearClassifier(4, 3)
    embedding = torch.randn(2, 4)
    before = classifier(embedding)
    classifier.add_class_factors()
    assert torch.equal(classifier(embedding), before)
    again = scaled()
    again.add_class_factors()
    assert again.class_scale is not None
    assert again.class_scale.tolist() == [2.0, 0.5, -1.0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_values_and_gradients_are_those_of_scaled_logits(dtype: torch.dtype, tolerance: float) -> None:
    classifier = scaled(dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(5, 2, generator=generator, dtype=dtype).requires_grad_()
    upstream = torch.randn(5, 3, generator=generator, dtype=dtype)
    scale = torch.tensor([2.0, 0.5, -1.0], dtype=dtype, requires_grad=True)
    logits, plain = classifier(embedding), scale * F.linear(embedding, classifier.weight, classifier.bias)
    wanted = torch.autograd.grad(plain, [embedding, scale], upstream)
    found = torch.autograd.grad(logits, [embedding, classifier.class_scale], upstream)
    torch.testing.assert_close(logits, plain, rtol=tolerance, atol=tolerance)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("autocast", [False, True])
def test_folded_factors_score_the_same_to_the_last_digit(autocast: bool) -> None:
    model = network()
    random_scale(model)
    embedding = torch.randn(6, model.classifier.weight.shape[1], generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        before = model.logits(embedding)
        model.fold_class_factors()
        after = model.logits(embedding)
    assert torch.equal(before, after)
    assert not [name for name in model.state_dict() if "class_scale" in name]


def test_beside_factors_weight_and_bias_stay_and_learn_again_once_they_are_folded() -> None:
    model = network()
    model.add_class_factors()
    model.freeze(["backbone"])
    assert [name for name, value in model.named_parameters() if value.requires_grad] == ["classifier.class_scale"]
    model.fold_class_factors()
    model.freeze(["backbone"])
    learning = [name for name, value in model.named_parameters() if value.requires_grad]
    assert learning == ["classifier.weight", "classifier.bias"]


def test_a_state_with_factors_makes_them_and_one_without_removes_them() -> None:
    plain, other = network(), network(seed=1)
    random_scale(other)
    first, with_factors = copy.deepcopy(plain.state_dict()), copy.deepcopy(other.state_dict())
    plain.load_state_dict(with_factors)
    assert torch.equal(plain.eval()(images()).logits, other.eval()(images()).logits)
    plain.load_state_dict(first)
    assert plain.classifier.class_scale is None


def test_a_classifier_that_begins_anew_has_no_factors() -> None:
    model = network()
    random_scale(model)
    model.restart_classifier(0, "stage")
    assert model.classifier.class_scale is None


def test_finetuning_takes_factors_along_and_leaves_those_of_other_classes() -> None:
    trained = network()
    random_scale(trained)
    same, fewer = network(seed=1), network(num_classes=3)
    before = fewer.classifier.weight.clone()
    assert load_matching(same, trained.state_dict()) == []
    same.fold_class_factors()
    assert torch.equal(same.eval()(images()).logits, trained.eval()(images()).logits)
    fresh = load_matching(fewer, trained.state_dict())
    assert sorted(fresh) == ["classifier.bias", "classifier.class_scale", "classifier.weight"]
    fewer.fold_class_factors()
    assert torch.equal(fewer.classifier.weight, before)


def test_experts_share_the_factors_of_their_classifier() -> None:
    model = network(experts=2).eval()
    random_scale(model)
    heads = model(images()).heads
    torch.testing.assert_close(heads["experts"].mean(1), heads["classifier"])
    scale = model.classifier.class_scale
    model.classifier.class_scale = None
    torch.testing.assert_close(heads["expert_2"], scale * model(images()).heads["expert_2"])


def test_a_cosine_classifier_has_no_factors() -> None:
    with pytest.raises(UserError, match="linear classifier"):
        network(classifier={"type": "cosine"}).add_class_factors()


def _state(module: nn.Module, statistics: bool) -> dict[str, Tensor]:
    chosen = {name: value for name, value in module.state_dict().items() if ("running" in name) is statistics}
    return {name: value.clone() for name, value in chosen.items() if not name.endswith("num_batches_tracked")}


def test_batch_norms_of_a_frozen_backbone_learn_where_that_is_asked() -> None:
    model = network(freeze=["backbone"])
    model.freeze(["backbone"], adapt_frozen_bn_statistics=True)
    weights, statistics = (_state(model.backbone, of) for of in (False, True))
    assert model.learns_statistics
    model(images()).logits.sum().backward()
    assert all(torch.equal(value, weights[name]) for name, value in _state(model.backbone, False).items())
    assert not any(torch.equal(value, statistics[name]) for name, value in _state(model.backbone, True).items())
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    learned = _state(model.backbone, True)
    model.eval()(images())
    model.freeze(["backbone"])
    model.train()(images())
    assert all(torch.equal(value, learned[name]) for name, value in _state(model.backbone, True).items())


def test_the_dropout_of_what_is_frozen_stays_off_while_its_batch_norms_learn() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout())
    model = Network(backbone, nn.Identity(), LinearClassifier(12, 3), {}, ModelOptions(freeze=["backbone"]))
    model.freeze(["backbone"], adapt_frozen_bn_statistics=True)
    assert [module.training for module in backbone] == [False, True, False]


def test_parts_of_a_frozen_backbones_batch_teach_its_batch_norms_one_after_another() -> None:
    model = network()
    model.freeze(["backbone"], adapt_frozen_bn_statistics=True)
    twin = copy.deepcopy(model)
    cached = CachedNetwork(model, 4, Precision.resolve("fp32", torch.device("cpu")))
    outputs = cached(images(8))
    with torch.no_grad():
        wanted = torch.cat([twin.embed(part) for part in images(8).split(4)])
    assert torch.equal(outputs.embedding, wanted)
    outputs.logits.sum().backward()
    twins = twin.state_dict()
    assert all(torch.equal(value, twins[name]) for name, value in model.state_dict().items())
    assert model.classifier.weight.grad is not None
