"""Spoken speakers: a label for each utterance, names that are handed in, the same bytes again."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from hlml.data import espeak
from hlml.data.espeak import say
from hlml.data.speech_features import RATE, log_mels
from hlml.data.spoken import Take, record, recordings
from hlml.data.spoken_speakers import (
    ACCENTS,
    MOST,
    VOICES,
    WANDERS,
    SpokenSpeakers,
    people,
    takes,
)
from hlml.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def data(root: Path) -> SpokenSpeakers:
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")
    return SpokenSpeakers(8, root=str(root), speakers=7, utterances=10)


def test_every_split_has_every_speaker_as_often(data: SpokenSpeakers) -> None:
    assert data.sizes() == {"inputs": 40, "classes": 7, "one_label": True}
    for split, each in (("train", 8), ("valid", 1), ("test", 1)):
        marks = data.corpus.labels[data.splits[split].index]  # type: ignore[index]
        assert Counter(marks.tolist()) == dict.fromkeys(range(7), each)
    used = torch.cat([rows.index for rows in data.splits.values()])
    assert used.tolist() == list(range(70))


def test_each_utterance_is_by_the_speaker_of_its_label(data: SpokenSpeakers) -> None:
    """All of it said again, by a fresh process: the same frames, and whose they are."""
    speakers, corpus = people(7, 0), data.corpus
    planned = takes(speakers, 10, 0)
    assert [speakers[who].voice for who in corpus.labels] == [t.saying.voice for t in planned]
    again = [log_mels(recording.wave, RATE) for recording in recordings(planned, 0)]
    assert torch.equal(torch.cat(again).half(), corpus.frames)
    assert [len(frames) for frames in again] == corpus.lengths.tolist()


def test_a_hundred_speakers_differ_in_name_voice_and_accent() -> None:
    found = people(MOST, 0)
    assert len({speaker.name for speaker in found}) == len({s.voice for s in found}) == 100
    assert not espeak.UNSTEADY & set(VOICES)
    assert {s.voice.partition("+")[0] for s in found} == set(ACCENTS.values())
    assert people(40, 0) == found[:40]
    assert people(40, 1) != found[:40]


def test_an_utterance_keeps_near_its_speakers_habits() -> None:
    speakers = people(5, 0)
    planned = takes(speakers, 6, 0)
    assert len({take.saying.text for take in planned}) == len(planned) == 30
    for number, take in enumerate(planned):
        speaker = speakers[number % 5]
        assert take.saying.voice == speaker.voice
        assert abs(take.saying.speed - speaker.speed) <= WANDERS["speed"]
        assert abs(take.saying.pitch - speaker.pitch) <= WANDERS["pitch"]


def test_the_speech_seed_says_everything_and_the_run_seed_nothing(
    data: SpokenSpeakers, root: Path
) -> None:
    assert takes(people(7, 1), 10, 1) != takes(people(7, 0), 10, 0) == takes(people(7, 0), 10, 0)
    again = SpokenSpeakers(8, seed=5, root=str(root), speakers=7, utterances=10)
    assert torch.equal(again.corpus.frames, data.corpus.frames)
    assert not torch.equal(again.plan(0)[0], data.plan(0)[0])


def test_a_channel_adds_each_sample_to_the_next(data: SpokenSpeakers) -> None:
    take = takes(people(1, 0), 1, 0)[0]
    (said,) = say([take.saying])
    plain, tilted = (
        record(Take(take.saying, 0.1, 0.1, 300.0, tilt), said, torch.Generator()).wave
        for tilt in (0.0, -0.5)
    )
    np.testing.assert_allclose(tilted[1:], plain[1:] - 0.5 * plain[:-1], atol=1e-6)


def test_frames_are_the_log_mels_of_the_sound(data: SpokenSpeakers) -> None:
    sound = data.sound(3)
    assert sound is not None
    assert sound[1] == RATE
    batch = data.splits["valid"].batch(torch.tensor([3]), 0)
    difference = batch.frames[0] - log_mels(*sound)
    assert difference.abs().mean() < 0.01  # float16, and a wave of int16


def test_names_are_handed_in(data: SpokenSpeakers, tmp_path: Path) -> None:
    answers = torch.cat([batch.labels for batch in data.evaluation("test")]).tolist()
    data.write_answers(answers, tmp_path / data.answers_name)
    with (tmp_path / "output.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["Id", "Category"]
    assert rows == [[str(row), name] for row, name in enumerate(data.class_names)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speakers": 101}, "data.speakers: .*101 is not among 2 to 100"),
        ({"speakers": 1}, "data.speakers: .*1 is not among 2 to 100"),
        ({"utterances": 2}, "data.utterances: 2 for each speaker are too few"),
        ({"unit": "frame", "speakers": 7, "utterances": 10}, "data.unit=frame"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, object], message: str, root: Path, data: SpokenSpeakers
) -> None:
    with pytest.raises(UserError, match=message):
        SpokenSpeakers(8, root=str(root), **options)  # type: ignore[arg-type]
