"""What is kept of spoken utterances: read back as it was made, and made anew where it differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hlml.data import espeak
from hlml.data.spoken import Piece, kept

LENGTHS = [4, 1, 7]


def pieces(one_label: bool = False) -> Iterator[Piece]:
    draw = torch.Generator().manual_seed(0)
    for number, length in enumerate(LENGTHS):
        labels = torch.tensor([255 - number]) if one_label else torch.arange(length) + number
        wave = torch.rand(length * 10, generator=draw) * 2 - 1 if number else None
        yield Piece(torch.randn(length, 3, generator=draw), labels, wave)


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "version", lambda: "1.0")


@pytest.mark.parametrize("one_label", [False, True])
def test_it_comes_back_as_it_was_made(tmp_path: Path, one_label: bool) -> None:
    for _ in range(2):
        corpus, waves = kept(tmp_path, "some", 3, [], lambda: pieces(one_label))
        made = list(pieces(one_label))
        assert corpus.one_label == one_label
        assert torch.equal(corpus.frames, torch.cat([piece.frames for piece in made]).half())
        assert torch.equal(corpus.labels, torch.cat([piece.labels for piece in made]))
        assert (corpus.starts.tolist(), corpus.lengths.tolist()) == ([0, 4, 5], LENGTHS)
        for wave, piece in zip(waves, made[1:], strict=True):
            assert piece.wave is not None
            np.testing.assert_allclose(wave, piece.wave, atol=2**-15)


def test_what_is_louder_than_int16_is_cut_off_and_does_not_wrap(tmp_path: Path) -> None:
    loud = Piece(torch.zeros(1, 3), torch.zeros(1), torch.tensor([1.5, -1.5, 0.5]))
    _, (wave,) = kept(tmp_path, "loud", 3, [], lambda: iter([loud]))
    np.testing.assert_allclose(wave, [1.0, -1.0, 0.5], atol=2**-15)


def test_other_choices_or_another_engine_are_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def make() -> Iterator[Piece]:
        made.append(1)
        return pieces()

    for choices in ([1], [2], [1]):
        kept(tmp_path, "some", 3, [choices], make)
    assert len(made) == 2
    monkeypatch.setattr(espeak, "version", lambda: "1.1")
    kept(tmp_path, "some", 3, [[1]], make)
    assert len(made) == 3
