"""Attention along edges: the karate club, and how far what a node says can travel."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hlml.models.graph_attention import GraphAttention


def edges_of(graph: nx.Graph) -> Tensor:
    return torch.from_numpy(nx.to_numpy_array(graph, weight=None)) > 0


@pytest.mark.parametrize("layers", [1, 2])
def test_the_karate_club_splits_around_its_two_leaders(layers: int) -> None:
    """Zachary 1977: two labels, and 30 of 34 members are found (measured: 33, seeds 0 to 7)."""
    torch.manual_seed(0)
    club = nx.karate_club_graph()
    labels = torch.tensor([int(club.nodes[node]["club"] == "Officer") for node in club])
    nodes, edges, leaders = torch.eye(len(club)), edges_of(club), [0, 33]
    model = GraphAttention(len(club), 2, layers=layers)
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=5e-4)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(model(nodes, edges)[leaders], labels[leaders]).backward()
        optimizer.step()
    right = model(nodes, edges).argmax(1) == labels
    assert int(right.sum()) >= 30


def test_another_order_of_nodes_is_another_order_of_answers() -> None:
    torch.manual_seed(0)
    edges, nodes, order = edges_of(nx.karate_club_graph()), torch.randn(34, 5), torch.randperm(34)
    model = GraphAttention(5, 3)
    moved = model(nodes[order], edges[order][:, order])
    torch.testing.assert_close(moved, model(nodes, edges)[order])


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_node_hears_of_those_within_as_many_edges_as_layers(layers: int) -> None:
    """Along edges' directions, and of no others: gradients against networkx's shortest paths."""
    torch.manual_seed(0)
    graph = nx.gnp_random_graph(15, 0.12, seed=1, directed=True)
    model = GraphAttention(4, 2, layers=layers)
    nodes = torch.randn(15, 4, requires_grad=True)
    scores = model(nodes, edges_of(graph))
    for node in graph:
        (gradient,) = torch.autograd.grad(scores[node].sum(), nodes, retain_graph=True)
        heard = set(nx.single_source_shortest_path_length(graph, node, cutoff=layers))
        assert set(gradient.any(1).nonzero().flatten().tolist()) == heard


def test_a_node_without_edges_looks_at_itself() -> None:
    torch.manual_seed(0)
    model, nodes = GraphAttention(4, 2), torch.randn(3, 4)
    alone = torch.cat([model(node[None], torch.zeros(1, 1, dtype=torch.bool)) for node in nodes])
    torch.testing.assert_close(model(nodes, torch.zeros(3, 3, dtype=torch.bool)), alone)
