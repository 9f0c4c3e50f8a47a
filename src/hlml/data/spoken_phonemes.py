"""Speech whose every 10 ms frame has its phoneme: synthesised at first use, in many voices.

The engine knows when each of its phonemes begins, so the labels are exact where TIMIT's were
marked by hand. Voices of the validation and of the test split are heard nowhere else, and what
sounds like one of them (a variant with another pitch or timbre) is in the same split.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from hlml.data.answers import write_frames
from hlml.data.espeak import Saying
from hlml.data.module import Split
from hlml.data.phonemes import CLASSES, SILENCE, SYMBOLS, fold
from hlml.data.sequences import Corpus
from hlml.data.speech_features import CEPSTRA, HOP, RATE, frame_energy, mfcc
from hlml.data.spoken import SILENCE as QUIET
from hlml.data.spoken import (
    Piece,
    Recording,
    SpokenData,
    Take,
    kept,
    padding,
    recordings,
    sentence,
    words,
)
from hlml.errors import UserError

# Left out: voices whose breath differs from run to run, that echo into the pauses, and twins.
VOICES: dict[Split, list[str]] = {
    "train": [
        *(
            "Alex",
            "Mike",
            "croak",
            "fast",
            "grandpa",
            "john",
            "m1",
            "m3",
            "m5",
            "m6",
            "max",
            "Gene",
        ),
        *("Gene2", "Reed", "adam", "benjamin", "edward", "edward2", "mike2", "david", "klatt"),
        *("klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "Diogo", "Henrique", "Hugo", "michel"),
        *("miguel", "iven", "iven2", "iven3", "iven4", "Michael", "gustave", "Annie", "aunty"),
        *("linda", "anika", "shelby", "steph", "Andy", "AnxiousAndy", "Jacky", "Lee", "caleb"),
        *("ian", "kaukovalta", "norbert", "travis", "zac"),
    ],
    "valid": [
        *("Mario", "Nguyen", "Tweaky", "belinda", "boris", "m7", "m8", "marcelo", "pedro"),
        *("quincy",),
    ],
    "test": [
        *("Andrea", "Denis", "Mr serious", "Storm", "antonio", "ed", "f1", "grandma", "m4"),
        *("paul", "rob", "robert"),
    ],
}
ACCENT = "en-us"  # the one the classes were made for
SPEED, PITCH, SNR = (140, 200), (30, 70), (5.0, 25.0)
SHARE = 8  # one in so many utterances is for validation, and one for the test
HEARD = 32  # validation utterances whose waves are kept


class SpokenPhonemes(SpokenData):
    """`number` utterances of 5 to 9 random words, an eighth each for validation and for the test;
    39 inputs a frame: 13 MFCC, their changes and the changes' changes, normalised within the
    utterance. `speech_seed` draws sentences, speakers and noise: the same one, the same bytes.
    """

    answers_name = "prediction.csv"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 0,
        segment: int = 0,
        budget: int = 0,
        root: str = "data",
        number: int = 1600,
        speech_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, unit, context, segment, budget)
        if number < SHARE:
            raise UserError(
                f"data.number: {number} utterances are too few for three splits, ask for at least "
                f"{SHARE}"
            )
        self.class_names = CLASSES
        corpus, self.waves = spoken_phonemes(Path(root), number, speech_seed)
        held_out = number // SHARE
        parts = torch.arange(number).split([number - 2 * held_out, held_out, held_out])
        self.fill(corpus, *parts)

    def write_answers(self, answers: list[Any], path: Path) -> None:
        """`answers`: for each utterance, a class number for each of its frames."""
        write_frames(answers, path)


def spoken_phonemes(root: Path, number: int, seed: int) -> tuple[Corpus, list[Tensor]]:
    """`number` utterances, those of the training split first: from the cache, or made into it."""
    choices = [VOICES, ACCENT, SPEED, PITCH, SNR, SHARE, HEARD, SYMBOLS, number, seed]
    return kept(root, "spoken_phonemes", 3 * CEPSTRA, choices, lambda: _pieces(number, seed))


def takes(number: int, seed: int) -> list[Take]:
    """Every voice of a split has as many utterances as the others of it, or one more."""
    draw, vocabulary, planned = Random(f"phonemes {seed}"), words(), []
    held_out = number // SHARE
    counts: dict[Split, int] = {
        "train": number - 2 * held_out,
        "valid": held_out,
        "test": held_out,
    }
    for split, count in counts.items():
        for voice in islice(cycle(VOICES[split]), count):
            saying = Saying(
                sentence(draw, vocabulary),
                f"{ACCENT}+{voice}",
                draw.randint(*SPEED),
                draw.randint(*PITCH),
            )
            planned.append(Take(saying, padding(draw), padding(draw), draw.uniform(*SNR)))
    return planned


def labels(recording: Recording) -> Tensor:
    """(T,): the class that is heard in the middle of each frame; no sound at all is sil."""
    folded = [fold(symbol) for symbol in recording.symbols]
    starts = recording.starts[[number is not None for number in folded]]
    classes = torch.tensor([SILENCE, *(n for n in folded if n is not None)])
    energy = frame_energy(recording.clean)
    moments = torch.arange(len(energy)).double() * HOP / RATE
    heard = classes[torch.searchsorted(starts, moments, right=True)]
    return heard.masked_fill(energy < QUIET, SILENCE)


def _pieces(number: int, seed: int) -> Iterator[Piece]:
    first = number - 2 * (number // SHARE)
    planned = takes(number, seed)
    heard = range(first, first + min(HEARD, number // SHARE))
    for place, recording in enumerate(recordings(planned, seed)):
        wave = recording.wave if place in heard else None
        yield Piece(mfcc(recording.wave, RATE), labels(recording), wave)
