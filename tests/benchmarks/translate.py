"""Homework 5: pairs in batches, and how answers are written.

Words are as long as English words and their phonemes are; phrases are one word to thirty of them,
four in the middle, letter by letter; sentences are as long as the words are, of 8000 subwords.
A contender returns seconds: of a thousand real tokens, read and written, or of the answers to a
batch. Those are written by one model, which has learned for some seconds to count down from a
number, so that they are as long as their sources.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from joeynmt_loop import installed, joey_beam, joey_tokens
from speech import per_frame as per_token
from torch import Tensor
from torch.nn import functional as F

from hlml.data.pairs import PairData, Pairs
from hlml.data.vocabulary import Vocabulary
from hlml.decoding import beam_search, greedy
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.models.encoder_decoder import on_tensors
from hlml.models.transformer import Transformer
from hlml.phase import Phase
from hlml.tasks.sequence_to_sequence import SequenceToSequence
from hlml.tokens import BEGIN, END, PAD
from hlml.trainer import Trainer

LETTERS, SPREAD, LONGEST_WORD = 8, 2.5, 24
WORDS, WORD_SPREAD, MOST_WORDS = 4, 0.8, 30  # in a phrase
PAIRS, FEW_PAIRS = 120_000, 12_000  # words, as in the dictionary; phrases, and sentences
TOGETHER, PHRASES = 128, 64  # in a random batch, of words and of phrases
SIGNS, SUBWORDS, SMOOTHING = 45, 8000, 0.1
BATCH, BEAM, LESSONS = 128, 5, 150  # of decoding, and the steps in which counting is learned
Contender = Callable[[], float]

draw = torch.Generator().manual_seed(0)


def words(count: int) -> Tensor:
    """(count, 2): how long they are, in letters and phonemes."""
    letters = LETTERS + SPREAD * torch.randn(count, generator=draw)
    sounds = letters - 1 + torch.randn(count, generator=draw)
    return torch.stack([letters, sounds], 1).round().long().clamp(2, LONGEST_WORD)


def phrases(count: int) -> Tensor:
    many = WORDS * torch.exp(WORD_SPREAD * torch.randn(count, generator=draw))
    many = many.round().long().clamp(1, MOST_WORDS)
    parts = words(int(many.sum())).split(many.tolist())
    return torch.stack([part.sum(0) for part in parts])


class Clocked(PairData):
    """Random tokens and a clock: the trainer asks for a window once a step. Random batches are of
    `together` pairs, batches by length of as many on average; `most` of them an epoch."""

    scoring = "errors"

    def __init__(
        self, lengths: Tensor, together: int, by_length: bool, most: int, size: int = SIGNS
    ) -> None:
        budget = together * int(lengths.amax(1).float().mean() + 2)  # BEGIN and END count
        super().__init__(together, budget=budget if by_length else 0)
        signs = [chr(0x4E00 + number) for number in range(size - 4)]
        vocabulary = Vocabulary.learn(signs, "characters", size, normalise=False)
        self.source_vocabulary = self.target_vocabulary = vocabulary
        read, written = (
            torch.randint(4, size, (int(side.sum()),), generator=draw).split(side.tolist())
            for side in lengths.T
        )
        rows = torch.arange(len(lengths))
        splits = {"train": rows, "valid": rows[:2], "test": rows[:2]}
        self.fill((x.tolist() for x in read), (x.tolist() for x in written), splits)
        few = ([vocabulary.decode(x.tolist()) for x in side[:2]] for side in (read, written))
        self.texts = next(few), next(few)
        self.most = most
        self.clock: list[float] = []
        self.real: list[int] = []

    def plan(self, epoch: int) -> list[Tensor]:
        return super().plan(epoch)[: self.most]

    def windows(self, step: int, accumulate: int) -> Iterator[list[Pairs]]:
        for window in super().windows(step, accumulate):
            self.clock.append(time.perf_counter())
            self.real.append(sum(map(real_tokens, window)))
            yield window


def real_tokens(batch: Pairs) -> int:
    return int((batch.source != PAD).sum() + (batch.target[:, 1:] != PAD).sum())


def network(size: int, dropout: float = 0.1) -> Transformer:
    """The default one, with one vocabulary."""
    return Transformer(size, size, joint=True, dropout=dropout)


def hlml_tokens(data: Clocked, label_smoothing: float = 0.0) -> float:
    """Seconds a thousand real tokens."""
    data.clock.clear()
    data.real.clear()
    trainer = Trainer({"main": Phase(partial(torch.optim.Adam, lr=1e-3))}, epochs=1, threads=1)
    task = SequenceToSequence(network(len(data.target_vocabulary)), data, label_smoothing)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        book = Logbook(Path(folder), columns(trainer.phases, task))
        trainer.fit(task, data, book)
        book.close()
    return per_token(data.clock, data.real)


def joeys_tokens(data: Clocked, label_smoothing: float = 0.0) -> float:
    batches = [data.rows("train").batch(rows, 0) for rows in data.plan(0)]
    real = [real_tokens(batch) for batch in batches]
    return joey_tokens(network(len(data.target_vocabulary)), batches, real, label_smoothing)


def training_contenders() -> dict[str, Contender]:
    short, long = words(PAIRS), phrases(FEW_PAIRS)
    by_length = {
        "words": Clocked(short, TOGETHER, True, 24),
        "phrases": Clocked(long, PHRASES, True, 16),
        "sentences": Clocked(short[:FEW_PAIRS], TOGETHER, True, 16, SUBWORDS),
    }
    random = {
        "words": Clocked(short, TOGETHER, False, 24),
        "phrases": Clocked(long, PHRASES, False, 12),
    }
    loops: dict[str, Contender] = {}
    for name, data in by_length.items():
        smoothing = SMOOTHING if name == "sentences" else 0.0
        loops[name] = partial(hlml_tokens, data, smoothing)
        if name in random:
            loops[f"{name}, random"] = partial(hlml_tokens, random[name])
        if installed():
            loops[f"{name}, JoeyNMT"] = partial(joeys_tokens, data, smoothing)
    return loops


def countdowns(lengths: Tensor) -> Tensor:
    """lengths (B,) -> (B, longest + 1): from each length down to 1, END, PAD."""
    left = lengths[:, None] - torch.arange(int(lengths.max()) + 1)
    return torch.where(left > 0, left + 3, END).masked_fill(left < 0, PAD)


@functools.cache
def counting() -> Transformer:
    torch.manual_seed(0)
    model = network(SIGNS, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    for _ in range(LESSONS):
        source = countdowns(words(32)[:, 0])
        optimizer.zero_grad()
        scores = model(source, F.pad(source[:, :-1], (1, 0), value=BEGIN))
        F.cross_entropy(scores.flatten(0, 1), source.flatten(), ignore_index=PAD).backward()
        optimizer.step()
    return model.eval()


def prefixes_greedy(model: Transformer, source: Tensor, longest: int) -> Tensor:
    """Without a cache: all that was written is read again for each token, until all have ended."""
    state, written = model.read(source), source.new_full((len(source), 1), BEGIN)
    for _ in range(longest):
        token = model.write(state, written).scores[:, -1].argmax(1)
        written = torch.cat([written, token[:, None]], 1)
        if (written == END).any(1).all():
            break
    return written


def prefixes_beam(model: Transformer, source: Tensor, longest: int) -> Tensor:
    """The same of BEAM beginnings of each sentence; what has ended adds END for nothing."""
    state = on_tensors(model.read(source), lambda x: x.repeat_interleave(BEAM, 0))
    first = BEAM * torch.arange(len(source))[:, None]
    written = source.new_full((BEAM * len(source), 1), BEGIN)
    total = torch.full((len(source), BEAM), -torch.inf)
    total[:, 0] = 0
    for _ in range(longest):
        follow = model.write(state, written).scores[:, -1].log_softmax(1)
        ended = (written == END).any(1)
        follow[ended] = -torch.inf
        follow[ended, END] = 0
        every = (total[:, :, None] + follow.view(len(source), BEAM, -1)).flatten(1)
        total, place = every.topk(BEAM)
        parents = (first + place // follow.shape[1]).flatten()
        written = torch.cat([written[parents], (place % follow.shape[1]).view(-1, 1)], 1)
        if (written == END).any(1).all():
            break
    tokens = (written != END).sum(1).view(len(source), BEAM)  # BEGIN for END
    return written[first[:, 0] + (total / tokens).argmax(1)]


def decoding_contenders() -> dict[str, Contender]:
    model, source = counting(), countdowns(words(BATCH)[:, 0])
    longest = int(1.5 * source.shape[1])
    each = torch.full((BATCH,), longest)
    decoders: dict[str, Callable[[], object]] = {
        "greedy": lambda: greedy(model, source, each),
        "greedy, prefixes": lambda: prefixes_greedy(model, source, longest),
        "beam": lambda: beam_search(model, source, each, BEAM, length_penalty=1.0),
        "beam, prefixes": lambda: prefixes_beam(model, source, longest),
    }
    if installed():
        decoders["beam, JoeyNMT"] = joey_beam(model, source, longest, BEAM)
    return {name: partial(seconds, decode) for name, decode in decoders.items()}


@torch.no_grad()
def seconds(decode: Callable[[], object]) -> float:
    start = time.perf_counter()
    decode()
    return time.perf_counter() - start
