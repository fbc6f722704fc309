"""Hi-LANDER node by node and edge by edge in plain Python, from the formulas. Imports nothing of ours.

A graph is, for each node, a list of (neighbour, similarity): the edges that are there, no others. Weights are nested
lists under the names of the published code's state dict, heads side by side as it lays them.
"""

from __future__ import annotations

import math

Vector = list[float]
Matrix = list[Vector]
Edges = list[list[tuple[int, float]]]


def unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length if length else 0.0 for value in vector]


def dot(left: Vector, right: Vector) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))


def times(matrix: Matrix, vector: Vector) -> Vector:
    return [dot(row, vector) for row in matrix]


def nearest(features: Matrix, k: int) -> Edges:
    """For each node its k - 1 nearest others by cosine, of equal ones the lower row, without those below 0."""
    units = [unit(vector) for vector in features]
    graph: Edges = []
    for node, own in enumerate(units):
        others = [(other, min(1.0, dot(own, vector))) for other, vector in enumerate(units) if other != node]
        others.sort(key=lambda pair: (-pair[1], pair[0]))
        graph.append([pair for pair in others[: k - 1] if pair[1] >= 0])
    return graph


def label_density(graph: Edges, labels: list[int], k: int) -> Vector:
    return [
        sum(similarity if labels[other] == labels[node] else -similarity for other, similarity in edges) / (k - 1)
        for node, edges in enumerate(graph)
    ]


def graph_convolution(graph: Edges, hidden: Matrix, weights: dict, layer: int) -> Matrix:
    matrix, bias = weights[f"conv.{layer}.gcn_layer.mlp.weight"], weights[f"conv.{layer}.gcn_layer.mlp.bias"]
    out = []
    for node, edges in enumerate(graph):
        total = sum(similarity for _, similarity in edges)
        mean = [0.0] * len(hidden[node])
        for other, similarity in edges:
            for place, value in enumerate(hidden[other]):
                mean[place] += similarity / total * value
        mixed = times(matrix, hidden[node] + mean)
        out.append([max(0.0, value + shift) for value, shift in zip(mixed, bias, strict=True)])
    return out


def graph_attention(graph: Edges, hidden: Matrix, weights: dict, layer: int) -> Matrix:
    name = f"conv.{layer}.gcn_layer"
    toward, own = weights[f"{name}.attn_l"][0], weights[f"{name}.attn_r"][0]
    heads, width = len(toward), len(toward[0])
    matrix, inner, bias = weights[f"{name}.fc.weight"], weights[f"{name}.bias"], weights[f"conv.{layer}.bias"]
    out = []
    for node, edges in enumerate(graph):
        mean = [0.0] * width
        for head in range(heads):
            rows = matrix[head * width : (head + 1) * width]
            of_node = dot(own[head], times(rows, hidden[node]))
            values, logits = [], []
            for other, _ in edges:
                values.append(times(rows, hidden[other]))
                logit = dot(toward[head], values[-1]) + of_node
                logits.append(logit if logit > 0 else 0.2 * logit)
            total = sum(math.exp(logit) for logit in logits)
            for place in range(width):
                summed = sum(
                    math.exp(logit) / total * value[place] for logit, value in zip(logits, values, strict=True)
                )
                mean[place] += (summed + inner[head * width + place] + bias[head][place]) / heads
        out.append([max(0.0, value) for value in mean])
    return out


def edge_logits(graph: Edges, hidden: Matrix, weights: dict) -> list[list[Vector]]:
    out = []
    for node, edges in enumerate(graph):
        mine = _plus(times(weights["dst_mlp.weight"], hidden[node]), weights["dst_mlp.bias"])
        found = []
        for other, _ in edges:
            theirs = _plus(times(weights["src_mlp.weight"], hidden[other]), weights["src_mlp.bias"])
            inner = _prelu(_plus(theirs, mine), weights["classifier_conn.0.weight"])
            inner = _plus(times(weights["classifier_conn.1.weight"], inner), weights["classifier_conn.1.bias"])
            inner = _prelu(inner, weights["classifier_conn.2.weight"])
            found.append(_plus(times(weights["classifier_conn.3.weight"], inner), weights["classifier_conn.3.bias"]))
        out.append(found)
    return out


def network(
    graph: Edges, features: Matrix, weights: dict, num_layers: int, means: Matrix | None = None
) -> tuple[list[list[Vector]], Vector]:
    """For each node: each edge's (p0, p1), and the predicted density."""
    hidden = [unit(vector) for vector in features]
    if means is not None:
        hidden = [own + mean for own, mean in zip(hidden, means, strict=True)]
    layer_of = graph_attention if "conv.0.gcn_layer.fc.weight" in weights else graph_convolution
    for layer in range(num_layers):
        hidden = layer_of(graph, hidden, weights, layer)
    probabilities = [[_softmax(pair) for pair in edges] for edges in edge_logits(graph, hidden, weights)]
    densities = [
        sum(similarity * (pair[1] - pair[0]) for (_, similarity), pair in zip(edges, pairs, strict=True)) / len(edges)
        if edges
        else 0.0
        for edges, pairs in zip(graph, probabilities, strict=True)
    ]
    return probabilities, densities


def loss(
    graph: Edges, probabilities: list[list[Vector]], densities: Vector, labels: list[int], k: int, gamma: float = 0.0
) -> tuple[float, float]:
    """(density part, link part)."""
    truth = label_density(graph, labels, k)
    squares = [(one - other) ** 2 for one, other in zip(densities, truth, strict=True)]
    penalties = []
    for node, edges in enumerate(graph):
        for place, (other, _) in enumerate(edges):
            if truth[other] > truth[node]:
                chance = probabilities[node][place][1 if labels[other] == labels[node] else 0]
                penalties.append(-((1 - chance) ** gamma) * math.log(chance))
    return sum(squares) / len(squares), sum(penalties) / len(penalties) if penalties else 0.0


def _plus(left: Vector, right: Vector) -> Vector:
    return [one + other for one, other in zip(left, right, strict=True)]


def _prelu(vector: Vector, slopes: Vector) -> Vector:
    return [value if value > 0 else slope * value for value, slope in zip(vector, slopes, strict=True)]


def _softmax(logits: Vector) -> Vector:
    largest = max(logits)
    raised = [math.exp(logit - largest) for logit in logits]
    return [value / sum(raised) for value in raised]
