from __future__ import annotations

import itertools

import oracles_discovery_network as oracle
import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.lander import Graph, Lander, build_graph, loss
from shelfmark.discovery.lander_loss import Targets, parts

DIM, HIDDEN, K = 4, 6, 7
VARIANTS = [
    {"layer": "gat"},
    {"layer": "gcn"},
    {"layer": "gat", "heads": 2, "num_layers": 2},
    {"layer": "gcn", "num_layers": 2, "cluster_features": True},
    {"layer": "gat", "heads": 3, "num_layers": 3, "cluster_features": True},
    {"layer": "gcn", "num_layers": 4},
    {"layer": "gat", "num_layers": 4},
]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def original_state(
    layer: str, num_layers: int = 1, heads: int = 1, cluster_features: bool = False
) -> dict[str, Tensor]:
    """Random weights under the names, and in the shapes, of the published code."""
    half = HIDDEN // 2
    widths = (DIM * (1 + cluster_features), HIDDEN, HIDDEN, half, half)[: num_layers + 1]
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (wide, out) in enumerate(itertools.pairwise(widths)):
        name = f"conv.{number}"
        if layer == "gat":
            shapes[f"{name}.bias"] = (heads, out)
            shapes[f"{name}.gcn_layer.fc.weight"] = (heads * out, wide)
            shapes[f"{name}.gcn_layer.attn_l"] = shapes[f"{name}.gcn_layer.attn_r"] = (1, heads, out)
            shapes[f"{name}.gcn_layer.bias"] = (heads * out,)
        else:
            shapes |= {f"{name}.gcn_layer.mlp.weight": (out, 2 * wide), f"{name}.gcn_layer.mlp.bias": (out,)}
    for side in ("src_mlp", "dst_mlp"):
        shapes |= {f"{side}.weight": (half, widths[-1]), f"{side}.bias": (half,)}
    shapes |= {
        "classifier_conn.0.weight": (half,),
        "classifier_conn.1.weight": (half, half),
        "classifier_conn.1.bias": (half,),
        "classifier_conn.2.weight": (half,),
        "classifier_conn.3.weight": (2, half),
        "classifier_conn.3.bias": (2,),
    }
    return {name: drawn(*shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}


def plain(state: dict[str, Tensor]) -> dict:
    return {name: weights.tolist() for name, weights in state.items()}


def case(options: dict, num_nodes: int = 11) -> tuple[Lander, dict[str, Tensor], Tensor, Graph, Tensor | None]:
    state = original_state(**options)
    features = drawn(num_nodes, DIM, seed=99)
    means = drawn(num_nodes, DIM, seed=98) if options.get("cluster_features") else None
    model = Lander.from_original(state, cluster_features=means is not None)
    return model, state, features, build_graph(features, K), means


@pytest.mark.parametrize("options", VARIANTS)
def test_the_network_equals_a_loop_over_edges(options):
    model, state, features, graph, means = case(options)
    edges = oracle.nearest(features.tolist(), K)
    assert not graph.valid.all()
    expected, densities = oracle.network(
        edges, features.tolist(), plain(state), options.get("num_layers", 1), None if means is None else means.tolist()
    )
    probability, density = model(features, graph, means)
    assert probability.shape == (11, K - 1, 2)
    for node, pairs in enumerate(expected):
        assert torch.allclose(probability[node, : len(pairs)], torch.tensor(pairs).view(-1, 2).double(), atol=1e-7)
    assert torch.allclose(density, torch.tensor(densities).double(), atol=1e-7)


@pytest.mark.parametrize("options", VARIANTS)
def test_float32_is_within_the_rounding_of_float64(options):
    model, _, features, graph, means = case(options)
    exact = model(features, graph, means)
    rough = model.float()(features.float(), graph, means)
    assert rough[0].dtype == rough[1].dtype == torch.float32
    for one, other in zip(exact, rough):
        assert torch.allclose(one, other.double(), atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS)
def test_the_size_of_a_chunk_changes_nothing(options):
    model, _, features, graph, means = case(options)
    whole = model(features, graph, means)
    for chunk_nodes in (1, 4, 11, 50):
        with torch.no_grad():
            chunked = model(features, graph, means, chunk_nodes=chunk_nodes)
        for one, other in zip(whole, chunked):
            assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS)
def test_the_order_of_the_nodes_orders_the_outputs_and_nothing_else(options):
    model, _, features, graph, means = case(options)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    moved = Graph(place[graph.neighbours[order]], graph.similarities[order], graph.valid[order])
    # An invalid place may hold any neighbour.
    expected = model(features, graph, means)
    found = model(features[order], moved, None if means is None else means[order])
    for one, other in zip(expected, found):
        assert torch.allclose(one[order], other, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS)
def test_seeds_alone_get_what_the_whole_graph_gives_them(options):
    model, _, features, graph, means = case(options, num_nodes=60)
    probability, density = model(features, graph, means)
    for seeds in (torch.tensor([7]), torch.tensor([59, 0, 13, 2]), torch.arange(60)):
        logits, seen = model.seed_logits(features, graph, seeds, means)
        is_edge = graph.valid[seeds]
        assert torch.allclose(logits.softmax(dim=2)[is_edge], probability[seeds][is_edge], atol=1e-12)
        assert torch.allclose(seen, density[seeds], atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS)
def test_the_gradient_of_the_loss_is_that_of_finite_differences_and_the_same_from_seeds(options):
    model, _, features, graph, means = case(options)
    labels = torch.arange(11) % 3
    targets, nodes = Targets.of(graph, labels), torch.arange(11)

    def whole(*weights: Tensor) -> Tensor:
        given = dict(zip(dict(model.named_parameters()), weights))
        return loss(*torch.func.functional_call(model, given, (features, graph, means)), graph, labels)[0]

    assert torch.autograd.gradcheck(whole, tuple(model.parameters()), atol=1e-6, fast_mode=True)
    expected = torch.autograd.grad(whole(*model.parameters()), list(model.parameters()))
    logits, density = model.seed_logits(features, graph, nodes, means)
    found = torch.autograd.grad(parts(logits.log_softmax(dim=2), density, targets, nodes)[0], list(model.parameters()))
    for one, other in zip(expected, found):
        assert torch.allclose(one, other, atol=1e-10)


def test_a_worked_network_of_one_hidden_channel():
    # D = 1, H = 2: c = ReLU(h_j) in both channels for the one neighbour; u = c_0, v = 2 c_0; logits (0, u_j + v_i).
    model = Lander(1, 2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.convolutions[0].weight.fill_(1)
        model.neighbour_side.weight.copy_(torch.tensor([[1.0, 0.0]]))
        model.node_side.weight.copy_(torch.tensor([[2.0, 0.0]]))
        model.edges.inner_weight.fill_(1)
        model.edges.outer_weight.copy_(torch.tensor([[0.0], [1.0]]))
    graph = Graph(
        torch.tensor([[1], [0], [0]]), torch.tensor([[0.5], [0.5], [0.0]]), torch.tensor([[True], [True], [False]])
    )
    probability, density = model(torch.tensor([[2.0], [5.0], [1.0]]).double(), graph)
    same = torch.tensor(3.0).double().sigmoid()
    assert torch.allclose(probability[:2, 0, 1], same.expand(2))
    assert torch.allclose(probability[:2, 0, 0], (1 - same).expand(2))
    assert torch.allclose(density[:2], (0.5 * (2 * same - 1)).expand(2))
    assert probability[2].tolist() == [[1, 0]]
    assert density[2] == 0


@pytest.mark.parametrize("options", VARIANTS)
def test_nodes_without_neighbours_and_graphs_without_nodes_have_finite_outputs_and_gradients(options):
    model, _, features, graph, means = case(options)
    alone = Graph(graph.neighbours * 0, graph.similarities * 0, graph.valid & False)
    probability, density = model(features, alone, means)
    assert probability.isfinite().all()
    assert density.tolist() == [0.0] * 11
    sum(loss(probability, density, alone, torch.arange(11))).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    nobody = Graph(graph.neighbours[:0], graph.similarities[:0], graph.valid[:0])
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            probability, density = model(features[:0], nobody, None if means is None else means[:0])
        assert probability.shape == (0, K - 1, 2)
        assert density.shape == (0,)


def test_what_an_invalid_place_holds_changes_nothing():
    model, _, features, graph, _ = case({"layer": "gcn", "num_layers": 2})
    dirty = Graph(
        torch.where(graph.valid, graph.neighbours, 5), torch.where(graph.valid, graph.similarities, 9.0), graph.valid
    )
    for one, other in zip(model(features, graph), model(features, dirty)):
        assert torch.equal(one, other)


def test_features_are_brought_to_length_one_and_cluster_means_stay_as_they_are():
    model, _, features, graph, means = case({"layer": "gcn", "cluster_features": True})
    expected = model(features, graph, means)[0]
    scaled = features * torch.arange(1, 12).double()[:, None]
    assert torch.allclose(model(scaled, graph, means)[0], expected, atol=1e-12)
    assert not torch.allclose(model(features, graph, 2 * means)[0], expected, atol=1e-3)
    unit = torch.nn.functional.normalize(features, dim=1)
    assert torch.allclose(model(features, graph)[0], model(features, graph, unit)[0], atol=1e-12)


def test_a_confident_network_keeps_the_order_of_tiny_probabilities():
    model, _, features, graph, _ = case({"layer": "gat"}, num_nodes=60)
    with torch.no_grad():
        logits, _ = model.seed_logits(features, graph, torch.arange(60))
        sharper = 60 / (logits[:, :, 1] - logits[:, :, 0]).abs().max()
        model.edges.outer_weight *= sharper
        model.edges.outer_bias *= sharper
    exact = model(features, graph)[0][:, :, 0][graph.valid]
    found = model.float()(features.float(), graph)[0][:, :, 0][graph.valid]
    is_tiny = exact < 1e-8
    assert is_tiny.sum() > 5
    assert torch.allclose(found[is_tiny].double().log(), exact[is_tiny].log(), atol=1e-3)


def test_bfloat16_edges_are_near_float32():
    model, _, features, graph, _ = case({"layer": "gat"}, num_nodes=60)
    model, features = model.float(), features.float()
    exact, rough = model(features, graph)[0], model(features, graph, precision="bf16")[0]
    assert 0 < (exact - rough).abs().max() < 0.1
    assert rough.dtype == torch.float32


def test_first_weights_follow_from_the_seed_alone():
    first, second, other = Lander(4, 6, seed=1), Lander(4, 6, seed=1), Lander(4, 6, seed=2)
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters()))
    assert not torch.equal(first.node_side.weight, other.node_side.weight)
    before = torch.random.get_rng_state()
    Lander(4, 6, layer="gcn")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("options", VARIANTS)
def test_an_original_state_dict_tells_the_options_and_loads_into_a_network_that_has_them(options):
    state = original_state(**options)
    model = Lander.from_original(state, cluster_features=options.get("cluster_features", False))
    assert model.options == {
        "dim": DIM,
        "hidden": HIDDEN,
        "num_layers": 1,
        "heads": 1,
        "cluster_features": False,
        **options,
    }
    loaded = Lander(**model.options).double()
    loaded.load_state_dict(state)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), loaded.parameters()))


# Names and shapes as they stand in the specification of the published code, not made by the code above.
PUBLISHED_GAT = {
    "conv.0.bias": (2, 6),
    "conv.0.gcn_layer.attn_l": (1, 2, 6),
    "conv.0.gcn_layer.attn_r": (1, 2, 6),
    "conv.0.gcn_layer.bias": (12,),
    "conv.0.gcn_layer.fc.weight": (12, 4),
}
PUBLISHED_GCN = {"conv.0.gcn_layer.mlp.weight": (6, 8), "conv.0.gcn_layer.mlp.bias": (6,)}
PUBLISHED_AROUND = {
    "src_mlp.weight": (3, 6),
    "src_mlp.bias": (3,),
    "dst_mlp.weight": (3, 6),
    "dst_mlp.bias": (3,),
    "classifier_conn.0.weight": (3,),
    "classifier_conn.1.weight": (3, 3),
    "classifier_conn.1.bias": (3,),
    "classifier_conn.2.weight": (3,),
    "classifier_conn.3.weight": (2, 3),
    "classifier_conn.3.bias": (2,),
}


@pytest.mark.parametrize(("layer", "heads", "of_layer"), [("gat", 2, PUBLISHED_GAT), ("gcn", 1, PUBLISHED_GCN)])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_a_published_state_dict_loads_with_or_without_a_wrapper_s_prefix(layer, heads, of_layer, prefix):
    state = {name: drawn(*shape, seed=at) for at, (name, shape) in enumerate((of_layer | PUBLISHED_AROUND).items())}
    model = Lander.from_original({prefix + name: weights for name, weights in state.items()})
    assert (model.options["layer"], model.options["heads"], model.options["dim"]) == (layer, heads, 4)
    loaded = Lander(**model.options).double()
    loaded.load_state_dict({prefix + name: weights for name, weights in state.items()})
    for one, other in zip(model.parameters(), loaded.parameters()):
        assert torch.equal(one, other)
    layer_bias = model.convolutions[0].bias
    if layer == "gcn":
        assert torch.equal(layer_bias, state["conv.0.gcn_layer.mlp.bias"])
    else:
        assert torch.allclose(layer_bias, (state["conv.0.bias"][0] + state["conv.0.bias"][1]) / 2)
    assert torch.equal(model.edges.outer_bias, state["classifier_conn.3.bias"])


def test_a_state_dict_of_something_else_is_refused_with_the_names():
    state = original_state("gat")
    del state["conv.0.gcn_layer.attn_l"]
    with pytest.raises(UserError, match=r"lacks conv\.0\.gcn_layer\.attn_l"):
        Lander.from_original(state)
    with pytest.raises(UserError, match=r"has fc\.weight besides"):
        Lander.from_original(original_state("gcn") | {"fc.weight": torch.zeros(2)})
    with pytest.raises(UserError, match="lacks classifier_conn"):
        Lander.from_original({"weight": torch.zeros(2)})
    with pytest.raises(UserError, match="not of an original network with these layers"):
        Lander.from_original(original_state("gcn") | {"src_mlp.weight": torch.zeros(3, 9)})
    with pytest.raises(UserError, match="not of an original network with these layers"):
        Lander.from_original(original_state("gat") | {"conv.0.gcn_layer.attn_l": torch.zeros(6)})
    with pytest.raises(UserError, match="not of an original network with these layers"):
        Lander.from_original(original_state("gat", heads=2) | {"conv.0.bias": torch.zeros(5)})
    misnamed = original_state("gcn")
    with pytest.raises(UserError, match=r"lacks classifier_conn\.0\.weight and has classifier_conv\.0\.weight besides"):
        Lander.from_original(misnamed | {"classifier_conv.0.weight": misnamed.pop("classifier_conn.0.weight")})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "gin"}, "layer='gin'"),
        ({"num_layers": 5}, "num_layers=5"),
        ({"hidden": 7}, "hidden=7"),
        ({"layer": "gcn", "heads": 2}, "heads=2 with layer=gcn"),
    ],
)
def test_options_without_a_network_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        Lander(**{"dim": 4, "hidden": 6} | options)


def test_features_that_do_not_fit_the_network_are_refused():
    model, _, features, graph, _ = case({"layer": "gat"})
    with pytest.raises(UserError, match="dim=4"):
        model(features[:, :3], graph)
    with pytest.raises(UserError, match="cluster_features=True"):
        model(features, graph, features)
    with pytest.raises(ValueError, match="10 features for a graph of 11 nodes"):
        model(features[:10], graph)
    with pytest.raises(UserError, match="precision='fp8'"):
        model(features, graph, precision="fp8")


@pytest.mark.gpu
@pytest.mark.parametrize("options", VARIANTS)
def test_a_gpu_gives_what_the_cpu_gives_to_all_nodes_and_to_seeds(options):
    model, _, features, graph, means = case(options, num_nodes=60)
    probability, density = model(features, graph, means)
    seeds = torch.tensor([59, 0, 13])
    moved = [None if part is None else part.cuda() for part in (features, seeds, means)]
    found = model.cuda()(moved[0], graph.to("cuda"), moved[2])
    logits, _ = model.seed_logits(moved[0], graph.to("cuda"), moved[1], moved[2])
    assert torch.allclose(found[0].cpu(), probability, atol=1e-10)
    assert torch.allclose(found[1].cpu(), density, atol=1e-10)
    is_edge = graph.valid[seeds]
    assert torch.allclose(logits.softmax(dim=2).cpu()[is_edge], probability[seeds][is_edge], atol=1e-10)
