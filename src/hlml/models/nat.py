"""Writing all words at once: the non-autoregressive decoder (lecture 6).

Ghazvininejad et al. 2019, "Mask-Predict". The length is guessed from what was read; the decoder is
given a target in which words are masked, and says what stands at each place. It may look at all of
them, so that words once written can mend each other: see hlml.mask_predict.
B batch, S and T tokens of source and target, D width, H heads, V words, L lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.attention import Cache, SelfAttention
from hlml.models.decoder_layer import CrossAttention
from hlml.models.encoder_decoder import Embedding, at_least_one, one_vocabulary
from hlml.models.positions import Positions
from hlml.models.self_attention import Layer
from hlml.models.transformer import ACTIVATIONS
from hlml.tokens import PAD

MASK = -1  # in a target: a word that is to be found


class Memory(NamedTuple):
    mask: Tensor  # (B, 1, 1, S)
    read: list[Cache]  # of each decoder layer: keys and values of what was read
    mean: Tensor  # (B, D), over the source
    tokens: Tensor  # (B,): how many the source has, END counted


class NAT(nn.Module):
    """`difference`: the score of a target's length is that of what it has more than the source, as
    far as that; what is beyond shares the last. `longest`: of all lengths, and see Positions.
    Everything else as in the Transformer."""

    def __init__(
        self,
        source_size: int,
        target_size: int,
        width: int = 128,
        layers: int = 2,
        decoder_layers: int = 0,
        heads: int = 4,
        inner: int = 0,
        norm: Literal["pre", "post"] = "pre",
        positions: Literal["none", "sinusoidal", "learned", "rotary"] = "sinusoidal",
        longest: int = 200,
        difference: int = 50,
        activation: Literal["relu", "gelu"] = "relu",
        tied: bool = True,
        joint: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        decoder_layers = at_least_one(decoder_layers or layers)
        one_vocabulary(source_size, target_size, joint=joint)
        inner, pre = inner or 4 * width, norm == "pre"
        rest = (pre, dropout, ACTIVATIONS[activation])
        self.target_embedding = Embedding(target_size, width)
        self.source_embedding = None if joint else Embedding(source_size, width)
        self.masked = nn.Parameter(torch.randn(width))
        self.source_positions, self.target_positions = (
            Positions(positions, width, heads, longest) for _ in range(2)
        )
        self.encoder = nn.ModuleList(Layer(width, heads, inner, 0, *rest) for _ in range(layers))
        self.decoder = nn.ModuleList(
            FillingLayer(width, heads, inner, *rest) for _ in range(decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = (
            nn.LayerNorm(width) if pre else nn.Identity() for _ in range(2)
        )
        self.length = nn.Linear(width, 2 * difference + 1)
        self.longest, self.difference = longest, difference
        self.output = None if tied else nn.Linear(width, target_size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """source (B, S), target (B, T) -> scores as of `fill` and of `lengths`"""
        state = self.read(source)
        return self.fill(state, target), self.lengths(state)

    def read(self, source: Tensor) -> Memory:
        """source (B, S) -> what was read"""
        embedding, mask = self.source_embedding or self.target_embedding, source != PAD
        x, angles = self.source_positions(embedding(source))
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, mask, angles)
        x = self.encoder_norm(x)
        read, tokens = [], mask.sum(1)
        for layer in self.decoder:
            assert isinstance(layer, FillingLayer)
            read.append(layer.across.remember(x))
        mean = (x * mask[..., None]).sum(1) / tokens[:, None]
        return Memory(mask[:, None, None], read, mean, tokens)

    def lengths(self, state: Memory) -> Tensor:
        """The scores (B, L) of targets of 1, 2, ... tokens, without BEGIN and END."""
        lengths = torch.arange(1, self.longest + 1, device=state.mean.device)
        more = (lengths - state.tokens[:, None]).clamp(-self.difference, self.difference)
        out: Tensor = self.length(state.mean).gather(1, more + self.difference)
        return out

    def fill(self, state: Memory, target: Tensor) -> Tensor:
        """target (B, T), some of it MASK, PAD behind its end -> the scores (B, T, V) of what stands
        at each place, masked or not"""
        words = self.target_embedding(target.clamp(min=PAD))
        hidden = (target == MASK)[..., None]
        x, angles = self.target_positions(torch.where(hidden, self.masked, words))
        x = self.dropout(x)
        for layer, read in zip(self.decoder, state.read, strict=True):
            x = layer(x, target != PAD, read, state.mask, angles)
        vectors = self.output or self.target_embedding.vectors
        return F.linear(self.decoder_norm(x), vectors.weight)


class FillingLayer(nn.Module):
    """The Transformer's decoder layer, in which places look ahead as well as back."""

    def __init__(
        self, width: int, heads: int, inner: int, pre: bool, dropout: float, kind: type[nn.Module]
    ) -> None:
        super().__init__()
        self.pre = pre
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention, self.across = SelfAttention(width, heads), CrossAttention(width, heads)
        self.thought = nn.Sequential(nn.Linear(width, inner), kind(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor, read: Cache, source_mask: Tensor, angles: Tensor | None
    ) -> Tensor:
        """x (B, T, D), mask (B, T), source_mask (B, 1, 1, S) -> (B, T, D)"""
        x = self._add(0, x, lambda x: self.attention(x, mask, angles))
        x = self._add(1, x, lambda x: self.across(x, read, source_mask)[0])
        return self._add(2, x, self.thought)

    def _add(self, part: int, x: Tensor, more: Callable[[Tensor], Tensor]) -> Tensor:
        norm = self.norms[part]
        out: Tensor
        out = x + self.dropout(more(norm(x))) if self.pre else norm(x + self.dropout(more(x)))
        return out
