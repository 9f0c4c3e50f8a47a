"""Reading and writing with a memory, and looking back at what was read: the course's first
translator (lecture 5; Sutskever et al. 2014, Bahdanau et al. 2015, Luong et al. 2015).

What was looked at goes into the next word's scores but not into the memory (Luong's way), so that
in training one call reads the whole target. Padding: see hlml.models.recurrent.
B batch, S and T tokens of source and target, D width of the memory, E of a word, V words.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from hlml.errors import UserError
from hlml.models.copying import Copying
from hlml.models.encoder_decoder import (
    Embedding,
    EncoderDecoder,
    Written,
    at_least_one,
    one_vocabulary,
)
from hlml.models.recurrent import Layer, backwards
from hlml.tokens import PAD


class Memory(NamedTuple):
    layers: Tensor  # (B, layers, D): the writer's memory
    read: Tensor  # (B, S, D): what the reader thought of each token
    keys: Tensor  # (B, S, D): what of it the looks are drawn by
    source: Tensor  # (B, S)


class RNNSeq2Seq(EncoderDecoder):
    """`width`: of the writer's memory, and of the reader's two directions together. `layers`: of
    each of them. `attention`: how a score comes from the memory h and what was read, e: h W e
    (dot), or v tanh(U h + W e) (additive), for which T x S x D numbers are kept at a time; none:
    the writer knows what the reader remembered at either end of the source, and no more.
    `tied`: words have the same vectors in what was written and in the scores. `copying`: the
    source's words can be copied (see Copying); it takes one vocabulary for both sides.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding: int = 128,
        width: int = 256,
        layers: int = 1,
        attention: Literal["none", "dot", "additive"] = "dot",
        tied: bool = True,
        copying: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % 2:
            raise UserError(f"model.width={width}: two directions share it; choose an even number")
        if copying and attention == "none":
            raise UserError(
                "model.copying=true: copies what it looks at, and with model.attention=none it "
                "looks nowhere; choose dot"
            )
        layers = at_least_one(layers)
        one_vocabulary(source_size, target_size, copying=copying)
        self.source_embedding = Embedding(source_size, embedding)
        self.target_embedding = Embedding(target_size, embedding)
        self.reader = nn.ModuleList(
            Layer(width if layer else embedding, width // 2, "gru", 2) for layer in range(layers)
        )
        between = dropout if layers > 1 else 0.0  # torch warns where there is no between
        self.writer = nn.GRU(embedding, width, layers, batch_first=True, dropout=between)
        self.attention = None if attention == "none" else Attention(width, attention == "additive")
        self.thought = nn.Linear(width if attention == "none" else 2 * width, embedding)
        self.output = nn.Linear(embedding, target_size)
        if tied:
            self.output.weight = self.target_embedding.vectors.weight
        self.copies = copying
        self.copying = Copying(embedding, target_size) if copying else None
        self.dropout = nn.Dropout(dropout)

    def read(self, source: Tensor) -> Memory:
        """source (B, S) -> what was read, and each layer's memory at the two ends of it"""
        mask = source != PAD
        order, last = backwards(mask), (mask.sum(1) - 1)[:, None]
        x, ends = self.dropout(self.source_embedding(source)), []
        for layer in self.reader:
            x = layer(x, order)
            there = x.take_along_dim(last[:, None], 1)[:, 0]
            half = x.shape[2] // 2
            ends.append(torch.cat([there[:, :half], x[:, 0, half:]], -1))
            x = self.dropout(x)
        keys = x if self.attention is None else self.attention.keys(x)
        return Memory(torch.stack(ends, 1), x, keys, source)

    def write(self, state: Memory, target: Tensor, looking: bool = False) -> Written:
        """As of every EncoderDecoder; looks are None with attention=none."""
        return self._write(state, target)[0]

    def step(self, token: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        written, layers = self._write(state, token[:, None])
        return written.scores[:, 0], state._replace(layers=layers)

    def _write(self, state: Memory, target: Tensor) -> tuple[Written, Tensor]:
        """What follows target (B, T), and the memory (B, layers, D) after it."""
        x = self.dropout(self.target_embedding(target))
        with torch.autocast(x.device.type, enabled=False):  # as in hlml.models.recurrent
            x = x.to(self.writer.weight_ih_l0.dtype)
            hidden, layers = self.writer(x, state.layers.transpose(0, 1).contiguous())
        hidden, looks = self.dropout(hidden), None
        if self.attention is not None:
            looks = self.attention(hidden, state.keys, state.source != PAD)
            hidden = torch.cat([looks @ state.read, hidden], -1)
        thought = self.dropout(self.thought(hidden).tanh())
        scores = self.output(thought)
        if self.copying is not None and looks is not None:
            scores = self.copying(thought, looks, scores, state.source)
        return Written(scores, looks), layers.transpose(0, 1)


class Attention(nn.Module):
    def __init__(self, width: int, additive: bool) -> None:
        super().__init__()
        self.keys = nn.Linear(width, width, bias=False)
        self.queries = nn.Linear(width, width) if additive else None
        self.score = nn.Linear(width, 1, bias=False) if additive else None

    def forward(self, hidden: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """hidden (B, T, D), keys (B, S, D), mask (B, S) -> looks (B, T, S), of a sum of 1"""
        if self.queries is None or self.score is None:
            scores = hidden @ keys.transpose(1, 2)
        else:
            both = self.queries(hidden)[:, :, None] + keys[:, None]
            scores = self.score(both.tanh())[..., 0]
        looks: Tensor = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
        return looks
