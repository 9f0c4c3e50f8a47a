"""Pairs of sequences: what is read, and what is to be written.

All tokens of a data set lie one after the other in one tensor, and a sequence is a stretch of it.
Padding costs as much as words do, so a batch holds pairs that are about equally long.
B batch, S and T tokens of the longest source and target in it, V words of a vocabulary, P pairs.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hlml import distributed
from hlml.data.module import DataModule, Split, generator
from hlml.data.vocabulary import BEGIN, END, PAD, Vocabulary

POOLS = 16  # batches of about the same length among which pairs change places each epoch


class Pairs(NamedTuple):
    """A batch. Numbers from V on are words outside the vocabulary: see Vocabulary."""

    source: Tensor  # (B, S) int64: tokens and END, then PAD
    target: Tensor  # (B, T) int64: BEGIN, tokens and END, then PAD
    rows: Tensor  # (B,) int64: their numbers within the split


@dataclass
class Packed:
    """Sequences of numbers: `tokens` (N,) int32, of sequence p tokens[starts[p] :][:lengths[p]]."""

    tokens: Tensor
    starts: Tensor
    lengths: Tensor

    @staticmethod
    def of(sequences: Sequence[Sequence[int]]) -> Packed:
        lengths = torch.tensor([len(one) for one in sequences], dtype=torch.int64)
        tokens = torch.tensor(list(chain.from_iterable(sequences)), dtype=torch.int32)
        return Packed(tokens, lengths.cumsum(0) - lengths, lengths)

    def to(self, device: torch.device) -> Packed:
        return Packed(self.tokens.to(device), self.starts.to(device), self.lengths.to(device))

    def bytes(self) -> int:
        return self.tokens.numel() * self.tokens.element_size()

    def read(self, index: Tensor) -> Tensor:
        """index (B,) -> (B, longest) int64, PAD after the end."""
        lengths = self.lengths[index]
        ticks = torch.arange(int(lengths.max()), device=index.device)
        places = self.starts[index][:, None] + torch.minimum(ticks, lengths[:, None] - 1)
        return self.tokens[places].long().masked_fill(ticks >= lengths[:, None], PAD)


class PairRows:
    """One split, a pair a row."""

    def __init__(self, source: Packed, target: Packed, index: Tensor) -> None:
        self.source, self.target, self.index = source, target, index

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, rows: Tensor, epoch: int) -> Pairs:
        index = self.index.index_select(0, rows)
        return Pairs(self.source.read(index), self.target.read(index), rows)

    def bytes(self) -> int:
        return self.source.bytes() + self.target.bytes()

    def to(self, device: torch.device) -> PairRows:
        return PairRows(self.source.to(device), self.target.to(device), self.index.to(device))

    def lengths(self) -> tuple[Tensor, Tensor]:
        """Tokens of each row's source and target, (P,) each."""
        return self.source.lengths[self.index], self.target.lengths[self.index]


class PairData(DataModule, ABC):
    """A set of pairs.

    Args beside those of every data set: `budget` tokens a batch, padding included, of the longer
    side, of pairs that are about as long as each other (0: batch_size pairs of any length).
    """

    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary  # the same object where there is one for both
    splits: dict[Split, PairRows]
    scoring: Literal["bleu", "errors"] = "bleu"  # errors: of phonemes and of words
    target_language = "en"  # BLEU divides text of "zh" into characters
    answers_name = "prediction.txt"

    def __init__(self, batch_size: int, seed: int = 0, workers: int = 0, budget: int = 0) -> None:
        super().__init__(batch_size, seed, workers)
        self.budget = budget

    def fill(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        splits: dict[Split, Tensor],
    ) -> None:
        """Set the splits from every pair's tokens, without BEGIN and END, and the pairs of each."""
        source = Packed.of([[*one, END] for one in sources])
        target = Packed.of([[BEGIN, *one, END] for one in targets])
        self.splits = {name: PairRows(source, target, index) for name, index in splits.items()}

    def rows(self, split: Split) -> PairRows:
        return self.splits[split]

    def sizes(self) -> dict[str, int]:
        return {
            "source_size": len(self.source_vocabulary),
            "target_size": len(self.target_vocabulary),
        }

    def source_text(self, split: Split, row: int) -> str:
        """What is read in a row, as it stood in the file."""
        raise NotImplementedError

    def references(self, split: Split, row: int) -> list[str]:
        """The answers that count as right, one at least."""
        raise NotImplementedError

    def plan(self, epoch: int) -> list[Tensor]:
        """Rows shuffled; with a budget, only among pairs of about the same length."""
        if not self.budget:
            return super().plan(epoch)
        draw = generator(self.seed, epoch)
        batches: list[Tensor] = []
        for pool, size in self._pools():
            batches += pool[torch.randperm(len(pool), generator=draw)].split(size)
        return [batches[place] for place in torch.randperm(len(batches), generator=draw)]

    def reading(self, split: Split) -> list[Tensor]:
        """A split's rows from the shortest source to the longest: whoever wants them in order puts
        them back (evaluation.predict does)."""
        source = self.rows(split).lengths()[0]
        order = source.argsort(stable=True)
        batches, start = [], 0
        for place in range(1, len(order) + 1):
            longest = int(source[order[min(place, len(order) - 1)]])
            full = (
                (place + 1 - start) * longest > self.budget
                if self.budget
                else (place - start == self.batch_size)
            )
            if full or place == len(order):
                batches.append(order[start:place])
                start = place
        return batches

    def _pools(self) -> list[tuple[Tensor, int]]:
        """Rows from the longest to the shortest, in pools; and how many of each make a batch.

        The pools are the same in each epoch, and so is the number of batches.
        """
        source, target = self.splits["train"].lengths()
        longer = torch.maximum(source, target)
        order = (longer * (int(source.max()) + 1) + source).argsort(descending=True, stable=True)
        pools, start = [], 0
        while start < len(order):
            # a batch of fewer pairs than processes would be left out
            size = max(distributed.world(), self.budget // int(longer[order[start]]))
            pools.append((order[start : start + POOLS * size], size))
            start += POOLS * size
        return pools
