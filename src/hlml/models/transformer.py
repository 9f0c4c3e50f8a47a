"""The Transformer: one sequence is read at once, another written token by token (lecture 5;
Vaswani et al. 2017, "Attention is all you need").

With norms before what they prepare for (Xiong et al. 2020) it trains without warm-up; after it, as
in the paper, it needs one. What was written once keeps its keys and values, so that each new token
costs one step and not all of them again. Padding behind a target needs no mask: nobody looks ahead.
B batch, S and T tokens of source and target, D width, H heads, V words. Masks: True = a token.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.attention import Cache
from hlml.models.copying import Copying
from hlml.models.decoder_layer import DecoderLayer
from hlml.models.encoder_decoder import (
    Embedding,
    EncoderDecoder,
    Written,
    at_least_one,
    one_vocabulary,
)
from hlml.models.positions import Positions
from hlml.models.self_attention import Layer
from hlml.tokens import PAD

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Memory(NamedTuple):
    source: Tensor  # (B, S)
    mask: Tensor  # (B, 1, 1, S)
    read: list[Cache]  # of each decoder layer: keys and values of what was read
    past: list[Cache | None]  # the same of what was written
    place: int  # tokens written so far


class Transformer(EncoderDecoder):
    """`layers`: of the encoder, and of the decoder where `decoder_layers` is 0. `inner`: neurons of
    each layer's thought (0: 4 width). `longest`: see Positions. `tied`: words have the same vectors
    in what was written and in the scores; `joint`: in the source, too, which takes one vocabulary
    for both sides. `copying`: the source's words can be copied (see Copying); it takes one, too.
    """

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
        longest: int = 1000,
        activation: Literal["relu", "gelu"] = "relu",
        tied: bool = True,
        joint: bool = False,
        copying: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        decoder_layers = at_least_one(decoder_layers or layers)
        one_vocabulary(source_size, target_size, joint=joint, copying=copying)
        inner, pre, kind = inner or 4 * width, norm == "pre", ACTIVATIONS[activation]
        self.target_embedding = Embedding(target_size, width)
        self.source_embedding = None if joint else Embedding(source_size, width)
        self.source_positions, self.target_positions = (
            Positions(positions, width, heads, longest) for _ in range(2)
        )
        self.encoder = nn.ModuleList(
            Layer(width, heads, inner, 0, pre, dropout, kind) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(width, heads, inner, pre, dropout, kind) for _ in range(decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = (
            nn.LayerNorm(width) if pre else nn.Identity() for _ in range(2)
        )
        self.output = None if tied else nn.Linear(width, target_size, bias=False)
        self.copies = copying
        self.copying = Copying(width, target_size) if copying else None
        self.dropout = nn.Dropout(dropout)

    def read(self, source: Tensor) -> Memory:
        """source (B, S) -> what was read, and nothing written yet"""
        embedding = self.source_embedding or self.target_embedding
        mask = source != PAD
        x, angles = self.source_positions(embedding(source))
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, mask, angles)
        x = self.encoder_norm(x)
        read = []
        for layer in self.decoder:
            assert isinstance(layer, DecoderLayer)
            read.append(layer.across.remember(x))
        return Memory(source, mask[:, None, None], read, [None] * len(self.decoder), 0)

    def write(self, state: Memory, target: Tensor, looking: bool = False) -> Written:
        """As of every EncoderDecoder; looks are the last layer's, the mean over its heads."""
        return self._write(state, target, looking)[0]

    def step(self, token: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        written, past = self._write(state, token[:, None])
        return written.scores[:, 0], state._replace(past=past, place=state.place + 1)

    def _write(
        self, state: Memory, target: Tensor, looking: bool = False
    ) -> tuple[Written, list[Cache | None]]:
        """What follows target (B, T), and each layer's keys and values after it."""
        x, angles = self.target_positions(self.target_embedding(target), state.place)
        x, looks = self.dropout(x), None
        past: list[Cache | None] = []
        for layer, read, before in zip(self.decoder, state.read, state.past, strict=True):
            last = layer is self.decoder[-1]
            seen = last and (looking or self.copies)
            x, cache, looks = layer(x, read, state.mask, angles, before, seen)
            past.append(cache)
        x = self.decoder_norm(x)
        vectors = self.output or self.target_embedding.vectors
        scores = F.linear(x, vectors.weight)
        if self.copying is not None and looks is not None:
            scores = self.copying(x, looks, scores, state.source)
        return Written(scores, looks), past
