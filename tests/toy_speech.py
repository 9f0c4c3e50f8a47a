"""Tiny utterances that train in a second: each frame's vector says its phone, or all say who
speaks, and noise hides it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hlml.data import generator
from hlml.data.sequences import UNKNOWN, Corpus, SequenceData

PHONES, FEATURES = 4, 5


class Utterances(SequenceData):
    """24 utterances to train, 9 to validate, 5 to test, of 3 to 20 frames; a phone lasts for 1 to
    4. `one_label`: who speaks is the sum of what is said. `unknown`: that share of the labels."""

    def __init__(
        self,
        batch_size: int = 6,
        seed: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 0,
        one_label: bool = False,
        unknown: float = 0.0,
        audible: bool = False,
        noise: float = 1.0,
        valid: int = 9,
    ) -> None:
        super().__init__(batch_size, seed, 0, unit, context)
        draw = generator(11)
        counts = [24, valid, 5]
        lengths = torch.randint(3, 21, (sum(counts),), generator=draw)
        runs = torch.randint(1, 5, (int(lengths.sum()),), generator=draw)
        phones = torch.randint(PHONES, (len(runs),), generator=draw)
        labels = phones.repeat_interleave(runs)[: int(lengths.sum())]
        means = 3 * torch.randn(PHONES, FEATURES, generator=draw) + 7
        frames = means[labels] + noise * torch.randn(len(labels), FEATURES, generator=draw)
        if one_label:
            labels = torch.randint(PHONES, (len(lengths),), generator=draw)
            frames = frames + labels.repeat_interleave(lengths)[:, None]
        labels[torch.rand(len(labels), generator=draw) < unknown] = UNKNOWN
        corpus = Corpus(frames, lengths.cumsum(0) - lengths, lengths, labels)
        self.class_names = ["sil", "aa", "sh", "m"]
        self.audible = audible
        self.fill(corpus, *torch.arange(len(lengths)).split(counts))

    def sound(self, row: int) -> tuple[Tensor, int] | None:
        samples = 80 * int(self.splits["valid"].lengths[row])
        return (torch.randn(samples).clamp(-1, 1), 8000) if self.audible else None


class Attentive(nn.Module):
    """One head of self-attention, its maps to be seen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries = nn.Linear(width, width)

    def attention_maps(self, frames: Tensor, mask: Tensor) -> list[Tensor]:
        scores = self.queries(frames) @ frames.transpose(1, 2)
        return [scores.masked_fill(~mask[:, None], -torch.inf).softmax(2)[:, None]]

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        mixed: Tensor = self.attention_maps(frames, mask)[0][:, 0] @ frames
        return mixed


class Small(nn.Module):
    """Neighbours see each other, or attention sees all; dropout where asked for."""

    def __init__(
        self, one_label: bool = False, inputs: int = FEATURES, attention: bool = False,
        dropout: float = 0.0, cosine: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.one_label = one_label
        self.scale = 12.0 if cosine else None
        self.encoder = Attentive(inputs) if attention else None
        self.first = nn.Linear(inputs, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, PHONES)

    def hidden(self, frames: Tensor, mask: Tensor) -> Tensor:
        if self.encoder is not None:
            frames = frames + self.encoder(frames, mask)
        return self.dropout(self.first(frames).relu())

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        hidden = self.hidden(frames, mask)
        if self.one_label:
            hidden = pooled(hidden, mask)
        if self.scale:
            units = nn.functional.normalize(hidden, dim=1)
            return self.scale * units @ nn.functional.normalize(self.head.weight, dim=1).T
        scores: Tensor = self.head(hidden)
        return scores


class Known(Small):
    """Its vectors are its own."""

    def vectors(self, frames: Tensor, mask: Tensor) -> Tensor:
        return pooled(self.hidden(frames, mask), mask)


def pooled(frames: Tensor, mask: Tensor) -> Tensor:
    """(B, T, F) -> (B, F): the mean over real frames."""
    return (frames * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
