"""What reads one sequence and writes another of unknown length, token by token (lecture 5).

B batch, S and T tokens of source and target, D width, V words of the target's vocabulary.
Numbers are those of hlml.data.pairs: PAD pads, and from V on they are words nobody knows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hlml.errors import UserError
from hlml.tokens import PAD, UNKNOWN

State = Any  # what writing needs to know: tensors, rows first, in tuples, lists or dicts


class Written(NamedTuple):
    scores: Tensor  # (B, T, V); with a copy mechanism log-probabilities (B, T, V + S)
    looks: Tensor | None  # (B, T, S): how much of each source token went into each, a sum of 1


class EncoderDecoder(nn.Module, ABC):
    """`copies`: whether answer V + s means "the word at place s of the source"."""

    copies = False

    @abstractmethod
    def read(self, source: Tensor) -> State:
        """source (B, S) -> all that writing needs, before the first token"""

    @abstractmethod
    def write(self, state: State, target: Tensor, looking: bool = False) -> Written:
        """The scores of what follows each token of target (B, T), BEGIN first: all at once, with
        the true tokens before each (teacher forcing). `looking`: say where it looked, too."""

    @abstractmethod
    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """token (B,), state -> the scores of the next (B, V) or (B, V + S), and the state then"""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """source (B, S), target (B, T) -> scores as in Written"""
        return self.write(self.read(source), target).scores


class WithoutState(EncoderDecoder):
    """Makes one of any model(source (B, S), target (B, T)) -> scores (B, T, V): for each token it
    writes, it reads all that came before again."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def read(self, source: Tensor) -> State:
        return source, source.new_empty(len(source), 0)

    def write(self, state: State, target: Tensor, looking: bool = False) -> Written:
        return Written(self.model(state[0], target), None)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        source, before = state
        words = torch.cat([before, token[:, None]], 1)
        return self.model(source, words)[:, -1], (source, words)


class Embedding(nn.Module):
    """A vector for each word, times sqrt(D) as in Vaswani et al. 2017; words that nobody knows
    share one."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.vectors = nn.Embedding(size, width, padding_idx=PAD)
        nn.init.normal_(self.vectors.weight, std=width**-0.5)
        with torch.no_grad():
            self.vectors.weight[PAD] = 0

    def forward(self, words: Tensor) -> Tensor:
        """words (...) -> (..., D)"""
        known = words.masked_fill(words >= self.size, UNKNOWN)
        out: Tensor = self.vectors(known) * self.vectors.embedding_dim**0.5
        return out


def one_vocabulary(source_size: int, target_size: int, **wanted: bool) -> None:
    """Refuse the model's options that take one vocabulary for both sides where there are two."""
    for option, asked in wanted.items():
        if asked and source_size != target_size:
            raise UserError(
                f"model.{option}=true: takes one vocabulary for both sides, and the source has "
                f"{source_size} words, the target {target_size}; choose data with one, or false"
            )


def at_least_one(layers: int) -> int:
    if not layers:
        raise UserError("model.layers=0: what writes has to look at what was read; 1 at least")
    return layers


def on_tensors(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """The same structure with every tensor changed: rows chosen, for example."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, dict):
        return {key: on_tensors(part, change) for key, part in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):  # a NamedTuple
        return type(state)(*(on_tensors(part, change) for part in state))
    if isinstance(state, list | tuple):
        return type(state)(on_tensors(part, change) for part in state)
    return state
