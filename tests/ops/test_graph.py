from __future__ import annotations

import pytest
import torch

from shelfmark.ops.graph import Graph, density_from_labels, same_class


def worked_graph() -> Graph:
    """Three nodes: 0 has both others, 1 has node 0, 2 has none."""
    return Graph(
        torch.tensor([[1, 2], [0, 0], [0, 0]]),
        torch.tensor([[0.75, 0.5], [0.75, 0.0], [0.0, 0.0]]),
        torch.tensor([[True, True], [True, False], [False, False]]),
    )


def test_density_from_labels_is_worked_out_by_hand():
    density = density_from_labels(worked_graph(), torch.tensor([4, 4, 9]))
    assert density.tolist() == [(0.75 - 0.5) / 2, 0.75 / 2, 0.0]


def test_a_place_without_neighbour_counts_in_the_divisor_and_adds_nothing_whatever_it_holds():
    graph = worked_graph()
    dirty = Graph(graph.neighbours, torch.where(graph.valid, graph.similarities, 7.0), graph.valid)
    labels = torch.tensor([4, 4, 4])
    assert torch.equal(density_from_labels(dirty, labels), density_from_labels(graph, labels))


def test_neighbours_of_the_own_class_are_those_that_are_there_and_have_the_label():
    assert same_class(worked_graph(), torch.tensor([4, 4, 9])).tolist() == [
        [True, False],
        [True, False],
        [False, False],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_density_has_the_dtype_of_the_similarities(dtype):
    graph = worked_graph()
    graph = Graph(graph.neighbours, graph.similarities.to(dtype), graph.valid)
    assert density_from_labels(graph, torch.tensor([0, 1, 2])).dtype == dtype


def test_tensors_of_different_shapes_are_no_graph():
    with pytest.raises(ValueError, match="alike"):
        Graph(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.bool))


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="one a node"):
        density_from_labels(worked_graph(), torch.tensor([0, 1]))
