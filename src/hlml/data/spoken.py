"""Utterances of random words: who says what, how it is recorded, and the keeping of it."""

from __future__ import annotations

import base64
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hlml.data import espeak
from hlml.data.espeak import Said, Saying
from hlml.data.module import generator
from hlml.data.packed import Notes, Packing, Put, packed
from hlml.data.picture_source import cache_folder
from hlml.data.sequences import Corpus, SequenceData
from hlml.data.speech_features import RATE, frame_energy, one_thread, resample

VERSION = 1  # of sentences, recordings and frames, as made here: another one is another set
WORDS = (5, 9)  # a sentence, at least and at most
PADDING = (0.05, 0.2)  # seconds before and after, each
SILENCE = 1e-7  # -70 dB, of a clean frame's mean square: the engine's own silence is exactly 0


@dataclass(frozen=True)
class Take:
    """A saying and its recording: seconds of padding, noise and a channel."""

    saying: Saying
    before: float
    after: float
    snr: float  # dB: the speech's power over that of the white noise
    tilt: float = 0.0  # of the channel: each sample is added to the next, times this


class Recording(NamedTuple):
    """At 16 kHz: the wave (n,), what it was before the noise; and when each phoneme begins (s)."""

    wave: Tensor
    clean: Tensor
    symbols: list[str]
    starts: Tensor


class Piece(NamedTuple):
    """An utterance: frames (T, F), the classes of its frames (T,) or its own (1,), at most 255; and
    its wave (n,) in -1..1, if that is to be kept."""

    frames: Tensor
    labels: Tensor
    wave: Tensor | None


class SpokenData(SequenceData, ABC):
    """A set of recordings; `waves` (n,) in -1..1: how the first of the validation split sound."""

    waves: list[Tensor]

    def sound(self, row: int) -> tuple[Tensor, int] | None:
        return (self.waves[row], RATE) if row < len(self.waves) else None


def words() -> list[str]:
    """Common English words, with all the sounds of the language."""
    return resources.files("hlml.data").joinpath("words.txt").read_text("utf-8").split()


def sentence(draw: Random, vocabulary: list[str]) -> str:
    return " ".join(draw.choices(vocabulary, k=draw.randint(*WORDS))) + "."


def padding(draw: Random) -> float:
    return draw.uniform(*PADDING)


def kept(
    root: Path, name: str, width: int, choices: list[Any], make: Callable[[], Iterator[Piece]]
) -> tuple[Corpus, list[Tensor]]:
    """The utterances, of frames of `width` numbers, and the waves that were kept, in order: from
    root/cache, or made into it. Other choices, or another engine, are another set."""

    def pack(put: Put) -> Notes:
        lengths, labels, waves = [], [], []
        for piece in make():
            put(piece.frames)
            lengths.append(len(piece.frames))
            labels.append(piece.labels.byte())
            if piece.wave is not None:
                wave = (piece.wave * 2**15).clamp(-(2**15), 2**15 - 1)
                waves.append(_text(wave.short()))
        return {"lengths": lengths, "labels": _text(torch.cat(labels)), "waves": waves}

    everything = [VERSION, espeak.version(), words(), WORDS, PADDING, SILENCE, *choices]
    packing = Packing(name, width, torch.float16, everything, pack)
    frames, notes = packed(cache_folder(root.expanduser()), packing)
    lengths = torch.tensor(notes["lengths"])
    labels = _tensor(notes["labels"], torch.uint8).long()
    waves = [_tensor(text, torch.int16) / 2**15 for text in notes["waves"]]
    return Corpus(frames, lengths.cumsum(0) - lengths, lengths, labels), waves


def _text(numbers: Tensor) -> str:
    return base64.b64encode(numbers.numpy().tobytes()).decode()


def _tensor(text: str, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=dtype)


def recordings(takes: Sequence[Take], seed: int) -> Iterator[Recording]:
    """Each take as it was recorded. UserError: no engine is installed."""
    print(f"synthesising {len(takes):,} utterances, once (by espeak-ng, a program under the GPL-3)")
    with one_thread():
        said = espeak.say([take.saying for take in takes])
        pairs = zip(takes, tqdm(said, "speech", len(takes), disable=None, leave=False), strict=True)
        for number, (take, speech) in enumerate(pairs):
            yield record(take, speech, generator(seed, number))


def record(take: Take, said: Said, draw: torch.Generator) -> Recording:
    speech = torch.from_numpy(said.samples.copy()).float() / 2**15
    edges = (round(take.before * espeak.RATE), round(take.after * espeak.RATE))
    clean = resample(torch.nn.functional.pad(speech, edges), espeak.RATE)
    clean[1:] = clean[1:] + take.tilt * clean[:-1]
    energy = frame_energy(clean)
    power = energy[energy >= SILENCE].mean().nan_to_num()
    noise = torch.randn(len(clean), generator=draw) * power.sqrt() * 10 ** (-take.snr / 20)
    starts = (torch.from_numpy(said.starts.astype("int64")) + edges[0]).double() / espeak.RATE
    return Recording(clean + noise, clean, said.symbols, starts)
