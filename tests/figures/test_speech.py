"""Pictures of speech: what is drawn is where it is said to be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from hlml.figures import speech


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("tone", [500.0, 2000.0])
def test_a_tone_lies_at_its_frequency_and_in_its_second(rate: int, tone: float) -> None:
    """Half a second of silence, and then the tone."""
    times = torch.arange(rate) / rate
    wave = torch.sin(2 * math.pi * tone * times) * (times > 0.5)
    ground = speech.spectrogram(wave, rate)
    rows, columns = ground.image.shape
    assert ground.seconds == 1
    assert ground.top == pytest.approx(min(rate / 2000, speech.HEARD / 1000), rel=0.02)
    brightest = int(ground.image[:, int(0.75 * columns)].argmax())
    assert (brightest + 0.5) / rows * ground.top == pytest.approx(tone / 1000, abs=0.06)
    assert ground.image[:, int(0.25 * columns)].max() == -speech.QUIET


@given(st.lists(st.sampled_from("ab"), max_size=12))
def test_runs_are_groups(names: list[str]) -> None:
    groups = [(name, len(list(group))) for name, group in itertools.groupby(names)]
    assert [(name, end - start) for start, end, name in speech.runs(names)] == groups


def test_what_was_heard_wrong_is_orange() -> None:
    true = ["sil"] * 20 + ["sh"] * 20 + ["iy"] * 30
    heard = ["sil"] * 26 + ["s"] * 14 + ["iy"] * 30
    ground = speech.features(torch.randn(70, 5), 0.01)
    figure = speech.labelled(speech.Speech(ground, 0.01, true, heard))
    above, below = figure.axes
    assert "71%" in above.get_title(loc="left")
    assert [text.get_text() for text in below.texts] == ["sil", "sh", "iy", "sil", "s", "iy"]
    seconds = {speech.PALE_BLUE: [0.0, 0.0], speech.PALE_ORANGE: [0.0, 0.0]}
    for boxes in below.collections:
        for path in boxes.get_paths() if boxes.get_facecolor().size else ():
            (left, low), (right, _) = path.vertices.min(0), path.vertices.max(0)
            seconds[to_hex(boxes.get_facecolor()[0])][int(low)] += right - left
    np.testing.assert_allclose(seconds[speech.PALE_BLUE], [0.5, 0.7])
    np.testing.assert_allclose(seconds[speech.PALE_ORANGE], [0.2, 0], atol=1e-9)
