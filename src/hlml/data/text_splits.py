"""Pairs for training, validation and test, so that no text to be read is in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from hlml.data.module import Split
from hlml.data.picture_source import say
from hlml.errors import UserError

Texts = tuple[list[str], list[str]]

SPLIT_SEED = 0  # the split is part of the data set: another seed trains on the same pairs


class Joined:
    """Pairs from several places, one after the other."""

    def __init__(self) -> None:
        self.texts: Texts = [], []

    def add(self, texts: Texts) -> Tensor:
        """The rows that they have from now on."""
        start = len(self.texts[0])
        for all_, more in zip(self.texts, texts, strict=True):
            all_ += more
        return torch.arange(start, len(self.texts[0]))


def without_empty(texts: Texts, which: str) -> Texts:
    """The pairs of which neither side is empty; says how many are left out."""
    kept = [row for row, pair in enumerate(zip(*texts, strict=True)) if all(map(str.strip, pair))]
    if dropped := len(texts[0]) - len(kept):
        say(f"{dropped:,} of {len(texts[0]):,} pairs {which} have an empty side and are left out")
    return [texts[0][row] for row in kept], [texts[1][row] for row in kept]


def check_count(option: str, value: int, least: int, most: int | None = None) -> None:
    """UserError: the value of data.`option` is out of range."""
    if value < least or (most is not None and value > most):
        end = "or more" if most is None else f"to {most:,}"
        raise UserError(f"data.{option}={value}: is out of range, it must be {least:,} {end}")


def split_texts(texts: Sequence[str], valid: int, test: int) -> dict[Split, Tensor]:
    """Rows of each split in their order, `valid` and `test` of them held out; texts that differ
    in no more than case and blanks stay together. UserError: nothing would be left to train on."""
    check_count("valid", valid, 0)
    check_count("test", test, 0)
    if valid + test >= len(texts):
        raise UserError(
            f"data.valid={valid} data.test={test}: there are {len(texts):,} pairs, and some "
            "must be left to train on: hold out fewer"
        )
    groups: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        groups[" ".join(text.split()).casefold()].append(row)
    order = list(groups.values())
    Random(SPLIT_SEED).shuffle(order)
    wanted: dict[Split, int] = {"valid": valid, "test": test, "train": len(texts)}
    rows: dict[Split, list[int]] = {"train": [], "valid": [], "test": []}
    for group in order:
        split = next(name for name, most in wanted.items() if len(rows[name]) + len(group) <= most)
        rows[split] += group
    if len(rows["valid"]) < min(1, valid) or len(rows["test"]) < min(1, test):
        raise UserError(
            f"data.valid={valid} data.test={test}: {len(texts):,} pairs of {len(groups):,} "
            "different texts cannot be split so that no text is on both sides: hold out more"
        )
    return {name: torch.tensor(sorted(part), dtype=torch.int64) for name, part in rows.items()}
