"""Self-attention: every vector looks at all the others (lecture 4; Vaswani et al. 2017).

B batch, T vectors of a sequence, D width, H heads.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError


class SelfAttention(nn.Module):
    """`heads` questions at once, each with its own D / heads numbers of query, key and value."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"model.heads: {heads} heads cannot share out model.width={width}")
        self.heads, self.dropout = heads, dropout
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)"""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, D / H)
            for part in self.queries_keys_values(x).chunk(3, -1)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out
