"""Who speaks? Synthesised speakers: a voice, an accent, and a habit of pitch and of speed.

Some share a voice, and differ in accent and habits. An utterance wanders from its speaker's habits,
says new words, and comes through a channel and noise of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from hlml.data.answers import write_names
from hlml.data.espeak import Saying
from hlml.data.sequences import Corpus
from hlml.data.speech_features import MELS, RATE, log_mels
from hlml.data.spoken import Piece, SpokenData, Take, kept, padding, recordings, sentence, words
from hlml.errors import UserError

VOICES = [
    *("Alex", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene", "Hugo"),
    *("Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Mr serious", "Nguyen", "Reed"),
    *("Storm", "Tweaky", "UniRobot", "adam", "anika", "anikaRobot", "antonio", "aunty"),
    *("belinda", "benjamin", "boris", "caleb", "croak", "david", "ed", "edward", "f1", "f4"),
    *("fast", "grandma", "grandpa", "gustave", "ian", "iven", "iven2", "iven4", "john"),
    *("kaukovalta", "klatt", "klatt3", "klatt4", "linda", "m1", "m2", "m3", "m4", "m5", "m6"),
    *("m7", "m8", "marcelo", "max", "michel", "mike2", "norbert", "pablo", "paul", "pedro"),
    *("quincy", "rob", "robert", "robosoft", "robosoft2", "robosoft4", "robosoft5", "robosoft6"),
    *("robosoft7", "robosoft8", "shelby", "steph", "travis", "zac"),
]
ACCENTS = {
    **{"us": "en-us", "british": "en", "scottish": "en-gb-scotland", "rp": "en-gb-x-rp"},
    **{"caribbean": "en-029", "lancastrian": "en-gb-x-gbclan", "midland": "en-gb-x-gbcwmd"},
    "new_york": "en-us-nyc",
}
MOST = 100
SPEED, PITCH = (145, 195), (35, 65)  # of a speaker
WANDERS = {"speed": 15, "pitch": 12}  # either way, of an utterance
SNR, TILT = (0.0, 20.0), 0.5
SHARE = 7  # one in so many utterances of a speaker is for validation, and one for the test
HEARD = 32  # validation utterances whose waves are kept


class Speaker(NamedTuple):
    name: str
    voice: str
    speed: int  # words a minute
    pitch: int


class SpokenSpeakers(SpokenData):
    """`speakers` of up to 100, each with so many `utterances` of 5 to 9 random words, a seventh
    each for validation and for the test; 40 log-mels a frame. `speech_seed` draws habits,
    sentences, channels and noise: the same one, the same bytes.
    """

    answers_name = "output.csv"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 0,
        segment: int = 128,
        budget: int = 0,
        root: str = "data",
        speakers: int = 100,
        utterances: int = 30,
        speech_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, unit, context, segment, budget)
        if not 2 <= speakers <= MOST:
            raise UserError(f"data.speakers: there are {MOST}, {speakers} is not among 2 to {MOST}")
        if utterances < 3:
            raise UserError(
                f"data.utterances: {utterances} for each speaker are too few for three splits, "
                "ask for at least 3"
            )
        self.class_names = [speaker.name for speaker in people(speakers, speech_seed)]
        corpus, self.waves = spoken_speakers(Path(root), speakers, utterances, speech_seed)
        held_out = speakers * (max(1, utterances // SHARE))
        parts = [speakers * utterances - 2 * held_out, held_out, held_out]
        self.fill(corpus, *torch.arange(speakers * utterances).split(parts))

    def write_answers(self, answers: list[Any], path: Path) -> None:
        """`answers`: a class number for each utterance; their names are written."""
        write_names(range(len(answers)), [self.class_names[who] for who in answers], path)


def spoken_speakers(
    root: Path, speakers: int, utterances: int, seed: int
) -> tuple[Corpus, list[Tensor]]:
    """Their utterances in turn, all first ones first: from the cache, or made into it."""
    choices = [VOICES, ACCENTS, SPEED, PITCH, WANDERS, SNR, TILT, SHARE, HEARD]
    choices += [speakers, utterances, seed]
    return kept(root, "spoken_speakers", MELS, choices, lambda: _pieces(speakers, utterances, seed))


def people(count: int, seed: int) -> list[Speaker]:
    """Every voice comes once before any comes again, and then in another accent."""
    draw, found = Random(f"speakers {seed}"), []
    order = draw.sample(VOICES, len(VOICES))
    accents = [draw.sample(list(ACCENTS), 2) for _ in VOICES]
    for number in range(count):
        again, place = divmod(number, len(VOICES))
        accent = accents[place][again]
        speed, pitch = draw.randint(*SPEED), draw.randint(*PITCH)
        name = f"{order[place].replace(' ', '_')}-{accent}"
        found.append(Speaker(name, f"{ACCENTS[accent]}+{order[place]}", speed, pitch))
    return found


def takes(speakers: list[Speaker], utterances: int, seed: int) -> list[Take]:
    draw, vocabulary, planned = Random(f"utterances {seed}"), words(), []
    for _ in range(utterances):
        for speaker in speakers:
            saying = Saying(
                sentence(draw, vocabulary),
                speaker.voice,
                speaker.speed + draw.randint(-WANDERS["speed"], WANDERS["speed"]),
                speaker.pitch + draw.randint(-WANDERS["pitch"], WANDERS["pitch"]),
            )
            tilt = draw.uniform(-TILT, TILT)
            planned.append(Take(saying, padding(draw), padding(draw), draw.uniform(*SNR), tilt))
    return planned


def _pieces(speakers: int, utterances: int, seed: int) -> Iterator[Piece]:
    planned = takes(people(speakers, seed), utterances, seed)
    held_out = speakers * max(1, utterances // SHARE)
    first = len(planned) - 2 * held_out
    heard = range(first, first + min(HEARD, held_out))
    for place, recording in enumerate(recordings(planned, seed)):
        wave = recording.wave if place in heard else None
        yield Piece(log_mels(recording.wave, RATE), torch.tensor([place % speakers]), wave)
