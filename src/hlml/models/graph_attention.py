"""Self-attention on a graph: a node looks at itself and at what it has an edge to (lecture 4).

Which vectors belong together need not be learnt where it is known, so the graph is the mask
(Veličković et al. 2018, "Graph attention networks"). N nodes, F numbers a node, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.attention import SelfAttention


class GraphAttention(nn.Module):
    """What a node has to say travels one edge further with each of the `layers`."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        width: int = 16,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(SelfAttention(width, heads) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """nodes (N, F), edges (N, N), True = from row to column -> scores (N, K)"""
        itself = torch.eye(len(edges), dtype=torch.bool, device=edges.device)
        x, pairs = self.embedding(nodes)[None], (edges | itself)[None, None]
        for layer in self.layers:
            x = self.dropout(F.elu(layer(x, pairs)))
        scores: Tensor = self.head(x[0])
        return scores
