"""Utterances of random words: who says what and how it is recorded, and the recording itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hlml.data import espeak
from hlml.data.espeak import Said, Saying
from hlml.data.module import generator
from hlml.data.speech_features import frame_energy, one_thread, resample

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


def words() -> list[str]:
    """Common English words, with all the sounds of the language."""
    return resources.files("hlml.data").joinpath("words.txt").read_text("utf-8").split()


def sentence(draw: Random, vocabulary: list[str]) -> str:
    return " ".join(draw.choices(vocabulary, k=draw.randint(*WORDS))) + "."


def padding(draw: Random) -> float:
    return draw.uniform(*PADDING)


def key(*choices: Any) -> str:
    """Other choices, or another engine, are another set: under another name in the cache."""
    everything = [VERSION, espeak.version(), words(), WORDS, PADDING, SILENCE, *choices]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:10]


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
