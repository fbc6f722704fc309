"""Connected parts, beside scipy's."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components as oracle

from shelfmark.ops.connected import connected_components, roots


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(1, 0), (5, 0), (40, 12), (300, 150), (300, 299), (300, 2000)])
def test_parts_are_those_of_scipy_named_by_their_lowest_node(num_nodes: int, num_edges: int) -> None:
    draws = torch.Generator().manual_seed(num_nodes + num_edges)
    source, target = torch.randint(num_nodes, (2, num_edges), generator=draws)
    found = connected_components(source, target, num_nodes)
    number, parts = oracle(
        coo_matrix((torch.ones(num_edges), (source, target)), (num_nodes, num_nodes)), directed=False
    )
    lowest = torch.full((number,), num_nodes).scatter_reduce_(
        0, torch.from_numpy(parts).long(), torch.arange(num_nodes), "amin"
    )
    assert torch.equal(found, lowest[torch.from_numpy(parts).long()])


def test_a_long_chain_in_any_order_is_one_part() -> None:
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))
    assert connected_components(order[1:], order[:-1], 10_000).eq(0).all()


def test_a_node_ends_at_the_root_of_its_parents() -> None:
    assert roots(torch.tensor([0, 0, 1, 2, 4, 4])).tolist() == [0, 0, 0, 0, 4, 4]
