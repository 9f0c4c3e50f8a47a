"""Pairs of sequences: what is read, and what is to be written.

All tokens of a data set lie one after the other in one tensor, and a sequence is a stretch of it.
Padding costs as much as words do, so a batch holds pairs that are about equally long.
B batch, S and T tokens of the longest source and target in it, V words of a vocabulary, P pairs.
"""

from __future__ import annotations

from abc import ABC
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hlml.data.line_files import write_lines
from hlml.data.module import DataModule, Split
from hlml.data.of_one_length import pools, shuffled, within_budget
from hlml.data.vocabulary import Vocabulary
from hlml.data.vocabulary_choice import VocabularyChoice
from hlml.errors import UserError
from hlml.tokens import BEGIN, END, PAD

AT_ONCE = 10_000  # texts
POOLS = 16  # batches of about the same length among which pairs change places each epoch


class Pairs(NamedTuple):
    """A batch. Numbers from V on are words outside the vocabulary: see Vocabulary."""

    source: Tensor  # (B, S) int64: tokens and END, then PAD
    target: Tensor  # (B, T) int64: BEGIN, tokens and END, then PAD
    rows: Tensor  # (B,) int64: their numbers within the split
    split: Split


@dataclass
class Packed:
    """Sequences of numbers: `tokens` (N,) int32, of sequence p tokens[starts[p] :][:lengths[p]]."""

    tokens: Tensor
    starts: Tensor
    lengths: Tensor

    @staticmethod
    def of(sequences: Iterable[Sequence[int]]) -> Packed:
        numbers, counts = array("i"), array("q")  # lists of millions would take ten times as much
        for one in sequences:
            numbers.extend(one)
            counts.append(len(one))
        lengths = torch.from_numpy(np.array(counts))
        tokens = torch.from_numpy(np.array(numbers))
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

    def __init__(self, source: Packed, target: Packed, index: Tensor, split: Split) -> None:
        self.source, self.target, self.index, self.split = source, target, index, split

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, rows: Tensor, epoch: int) -> Pairs:
        index = self.index.index_select(0, rows)
        return Pairs(self.source.read(index), self.target.read(index), rows, self.split)

    def bytes(self) -> int:
        return self.source.bytes() + self.target.bytes()

    def to(self, device: torch.device) -> PairRows:
        parts = self.source.to(device), self.target.to(device), self.index.to(device)
        return PairRows(*parts, self.split)

    def lengths(self) -> tuple[Tensor, Tensor]:
        """Tokens of each row's source and target, (P,) each."""
        return self.source.lengths[self.index], self.target.lengths[self.index]


class PairData(DataModule, ABC):
    """A set of pairs.

    Args beside those of every data set: `budget` tokens a batch, padding included, of the longer
    side, of pairs that are about as long as each other (0: batch_size pairs of any length);
    `reverse`: what is read and what is written change places.
    """

    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary  # the same object where there is one for both
    splits: dict[Split, PairRows]
    texts: tuple[Sequence[str], Sequence[str]]  # every pair's: what is read, what is written
    scoring: Literal["bleu", "errors"] = "bleu"  # errors: of phonemes and of words
    target_language = "en"  # BLEU divides text of "zh" into characters
    answers_name = "prediction.txt"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        budget: int = 0,
        reverse: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        if budget < 0:
            raise UserError(f"data.budget={budget}: tokens a batch, or 0 for batch_size pairs")
        self.budget, self.reverse = budget, reverse

    def fill(
        self,
        sources: Iterable[Sequence[int]],
        targets: Iterable[Sequence[int]],
        splits: dict[Split, Tensor],
    ) -> None:
        """Set the splits from every pair's tokens, without BEGIN and END, and the pairs of each."""
        source = Packed.of([*one, END] for one in sources)
        target = Packed.of([BEGIN, *one, END] for one in targets)
        self.splits = {name: PairRows(source, target, rows, name) for name, rows in splits.items()}

    def fill_texts(
        self,
        texts: tuple[Sequence[str], Sequence[str]],
        splits: dict[Split, Tensor],
        choice: VocabularyChoice,
        learned: Tensor | None = None,
    ) -> None:
        """Set the vocabularies and the splits from every pair's two texts and the pairs of each.

        `learned`: of which pairs the vocabularies are made; those to train on, where not given.
        With `reverse` the second text is read and the first one written. UserError: a split is
        empty.
        """
        if empty := [name for name, part in splits.items() if not len(part)]:
            raise UserError(f"data.{empty[0]}: there are no pairs for it; give some")
        rows = (splits["train"] if learned is None else learned).tolist()
        first, second = ([side[row] for row in rows] for side in texts)
        vocabularies = choice.vocabularies(first, second, self.reverse)
        self.texts = texts[::-1] if self.reverse else texts
        self.source_vocabulary, self.target_vocabulary = vocabularies
        sources, targets = map(_encoded, vocabularies, self.texts)
        self.fill(sources, targets, splits)

    def rows(self, split: Split) -> PairRows:
        return self.splits[split]

    def sizes(self) -> dict[str, int]:
        return {
            "source_size": len(self.source_vocabulary),
            "target_size": len(self.target_vocabulary),
        }

    def source_text(self, split: Split, row: int) -> str:
        """What is read in a row, as it stood in the file."""
        return self.texts[0][int(self.splits[split].index[row])]

    def references(self, split: Split, row: int) -> list[str]:
        """The answers that count as right, one at least: as the vocabulary would spell them, for
        no model can write in capitals what its vocabulary has in small letters only."""
        text = self.texts[1][int(self.splits[split].index[row])]
        return [self.target_vocabulary.normalised(text)]

    def write_answers(self, answers: list[str], path: Path) -> None:
        """A line a row of the test split, in order."""
        write_lines(answers, path)

    def plan(self, epoch: int) -> list[Tensor]:
        """Rows shuffled; with a budget, only among pairs of about the same length."""
        if not self.budget:
            return super().plan(epoch)
        source, target = self.splits["train"].lengths()
        longer = torch.maximum(source, target)
        order = (longer * (int(source.max()) + 1) + source).argsort(descending=True, stable=True)
        return shuffled(pools(longer, order, self.budget, POOLS), self.seed, epoch)

    def reading(self, split: Split) -> list[Tensor]:
        """A split's rows from the shortest source to the longest: whoever wants them in order puts
        them back (evaluation.predict does)."""
        return self.in_order_of_length(self.rows(split))

    def in_order_of_length(self, rows: PairRows) -> list[Tensor]:
        """Batches of rows, the shortest sources first."""
        source, target = rows.lengths()
        order = source.argsort(stable=True)
        if not len(order):
            return []
        if not self.budget:
            return list(order.split(self.batch_size))
        return within_budget(torch.maximum(source, target), order, self.budget)

    def rows_of_texts(self, texts: Sequence[str]) -> PairRows:
        """Texts of one's own, to be answered."""
        tokens = self.source_vocabulary.encode([self.cleaned(text) for text in texts])
        source = Packed.of([*one, END] for one in tokens)
        nothing = Packed.of([[BEGIN, END]] * len(texts))
        return PairRows(source, nothing, torch.arange(len(texts)), "test")

    def cleaned(self, text: str) -> str:
        """A text to be read, as the data set would clean it."""
        return text

    def keep(self, folder: Path) -> None:
        self.source_vocabulary.save(folder / "vocabulary.model")
        if self.target_vocabulary is not self.source_vocabulary:
            self.target_vocabulary.save(folder / "target_vocabulary.model")


def _encoded(vocabulary: Vocabulary, texts: Sequence[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), AT_ONCE):
        yield from vocabulary.encode(texts[start : start + AT_ONCE])
