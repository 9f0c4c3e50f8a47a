"""Spoken phonemes: labels are where the sounds are, voices are held out, bytes are the same."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hlml.data import espeak, spoken_phonemes
from hlml.data.espeak import Said, say
from hlml.data.phonemes import CLASSES, SILENCE, fold
from hlml.data.speech_features import HOP, RATE, mfcc
from hlml.data.spoken import Take, record
from hlml.data.spoken_phonemes import VOICES, SpokenPhonemes, labels, takes
from hlml.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def data(root: Path) -> SpokenPhonemes:
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")
    return SpokenPhonemes(8, root=str(root), number=120)


@pytest.fixture(scope="module")
def spoken() -> tuple[Take, Said]:
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")
    take = takes(120, 0)[2]
    (said,) = say([take.saying])
    return take, said


def right(frames: Tensor, marks: Tensor, fitted: Tensor) -> float:
    """A linear model by least squares: its share of right answers on the frames not fitted."""
    x = F.pad(frames.double(), (0, 1), value=1.0)
    target = F.one_hot(marks, len(CLASSES)).double()
    weights = torch.linalg.lstsq(x[fitted], target[fitted]).solution
    return float(((x @ weights).argmax(1) == marks)[~fitted].double().mean())


def test_labels_that_come_10_ms_early_or_late_are_worse(data: SpokenPhonemes) -> None:
    corpus = data.corpus
    utterance = torch.repeat_interleave(torch.arange(len(corpus.lengths)), corpus.lengths)
    scores = {
        shift: right(corpus.frames, corpus.labels.roll(shift), utterance % 2 == 0)
        for shift in (-2, -1, 0, 1, 2)
    }
    assert scores[0] > scores[-1] > scores[-2]
    assert scores[0] > scores[1] > scores[2]
    assert scores[0] > 0.4


def test_fresh_syntheses_give_the_same_bytes(tmp_path: Path, data: SpokenPhonemes) -> None:
    contents = []
    for folder, seed in (("one", 0), ("two", 0), ("other", 1)):
        SpokenPhonemes(8, seed=seed + 5, root=str(tmp_path / folder), number=9, speech_seed=seed)
        files = sorted((tmp_path / folder / "cache").glob("*.bin"))
        assert len(files) == 1
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
    assert all(one != other for one, other in zip(contents[0], contents[2], strict=True))


def test_no_voice_is_in_two_splits_and_each_speaks_as_often() -> None:
    planned = takes(160, 0)
    heard = [
        [take.saying.voice.partition("+")[2] for take in part]
        for part in (planned[:120], planned[120:140], planned[140:])
    ]
    assert [set(voices) for voices in heard] == [set(voices) for voices in VOICES.values()]
    assert len({voice for voices in heard for voice in set(voices)}) == sum(
        map(len, VOICES.values())
    )
    for voices in heard:
        times = [voices.count(voice) for voice in set(voices)]
        assert max(times) - min(times) <= 1
    assert not espeak.UNSTEADY & {voice for voices in heard for voice in voices}


def test_every_frame_has_a_label_and_every_class_occurs(data: SpokenPhonemes) -> None:
    corpus = data.corpus
    assert len(corpus.frames) == len(corpus.labels) == int(corpus.lengths.sum())
    assert corpus.labels.unique().tolist() == list(range(39))
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 90,
        "valid": 15,
        "test": 15,
    }
    assert data.sizes() == {"inputs": 39, "classes": 39}


def test_frames_are_the_mfcc_of_the_sound(data: SpokenPhonemes) -> None:
    for row in (0, 14):
        sound = data.sound(row)
        assert sound is not None
        wave, rate = sound
        assert (rate, len(wave) // HOP + 1) == (RATE, int(data.splits["valid"].lengths[row]))
        batch = data.splits["valid"].batch(torch.tensor([row]), 0)
        difference = batch.frames[0] - mfcc(wave, rate)
        assert difference.abs().max() < 0.05  # float16, and a wave of int16


def test_labels_by_the_books(spoken: tuple[Take, Said]) -> None:
    """One frame after the other: which phoneme began last, and whether anything sounds."""
    take, said = spoken
    recording = record(take, said, torch.Generator())
    found = labels(recording).tolist()
    begins = [round(take.before * espeak.RATE) + int(start) for start in said.starts]
    clean = np.pad(recording.clean.numpy(), (80, 200))
    expected = []
    for t in range(len(found)):
        current = SILENCE
        for begin, symbol in zip(begins, said.symbols, strict=True):
            number = fold(symbol)
            if number is not None and begin / espeak.RATE <= t / 100:
                current = number
        quiet = (clean[160 * t : 160 * t + 160].astype(float) ** 2).mean() < 1e-7
        expected.append(SILENCE if quiet else current)
    assert found == expected
    first, last = take.before * 100, len(found) - take.after * 100
    assert set(found[: int(first)]) == set(found[int(last) + 1 :]) == {SILENCE}
    assert len(set(found)) > 10


def test_digital_silence_is_sil_though_noise_covers_it(spoken: tuple[Take, Said]) -> None:
    take, said = spoken
    quiet = np.zeros(espeak.RATE // 10, np.int16)
    middle = len(said.samples) // 2
    stretched = said._replace(
        samples=np.concatenate([said.samples[:middle], quiet, said.samples[middle:]])
    )
    recording = record(take, stretched, torch.Generator().manual_seed(0))
    start = round((take.before + middle / espeak.RATE) * 100)
    assert set(labels(recording)[start + 2 : start + 9].tolist()) == {SILENCE}
    assert recording.wave[(start + 2) * HOP : (start + 9) * HOP].square().mean() > 1e-7


@pytest.mark.parametrize("snr", [0.0, 5.0, 25.0])
def test_noise_is_as_loud_as_it_is_told(spoken: tuple[Take, Said], snr: float) -> None:
    take, said = spoken
    recording = record(replace(take, snr=snr), said, torch.Generator().manual_seed(0))
    noise = (recording.wave - recording.clean).square().mean()
    pieces = recording.clean[: len(recording.clean) // 160 * 160].view(-1, 160).square().mean(1)
    power = pieces[pieces > 1e-7].mean()
    assert float(10 * (power / noise).log10()) == pytest.approx(snr, abs=0.3)


def test_a_second_run_reads_and_the_run_seed_changes_nothing(
    data: SpokenPhonemes, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*anything: object) -> None:
        raise AssertionError("synthesised again")

    monkeypatch.setattr(spoken_phonemes, "recordings", never)
    again = SpokenPhonemes(8, seed=3, root=str(root), number=120, unit="frame", context=5)
    assert torch.equal(again.corpus.frames, data.corpus.frames)
    assert again.sizes() == {"inputs": 429, "classes": 39}
    with pytest.raises(AssertionError):
        SpokenPhonemes(8, root=str(root), number=121)


def test_answers_are_a_row_for_each_frame_of_the_test(data: SpokenPhonemes, tmp_path: Path) -> None:
    answers = [
        batch.labels[row][batch.mask[row]].tolist()
        for batch in data.evaluation("test")
        for row in range(len(batch.rows))
    ]
    data.write_answers(answers, tmp_path / data.answers_name)
    with (tmp_path / "prediction.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["Id", "Class"]
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    first = int(data.corpus.starts[data.splits["test"].index[0]])
    assert [int(row[1]) for row in rows] == data.corpus.labels[first:].tolist()


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise espeak.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(espeak.metadata, "version", absent)
    with pytest.raises(UserError, match=r"not installed: pip install 'hlml\[speech\]'"):
        SpokenPhonemes(8, root=str(tmp_path))


@pytest.mark.parametrize("number", [-1, 0, 7])
def test_too_few_utterances_are_refused(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.number: {number} utterances are too few"):
        SpokenPhonemes(8, root=str(tmp_path), number=number)
