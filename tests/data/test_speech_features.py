"""Log-mels and MFCC against numpy and torchaudio, and the moments frames are about."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hlml.data.speech_features import (
    FLOOR,
    HOP,
    RATE,
    deltas,
    frame_energy,
    log_mels,
    mfcc,
    one_thread,
    resample,
)


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def tone(hertz: float, rate: int, seconds: float = 0.5) -> Tensor:
    return (2 * math.pi * hertz * torch.arange(round(rate * seconds)) / rate).sin()


def mel_by_hand(wave: np.ndarray) -> np.ndarray:
    """(T, 40): windows one by one, and each filter a triangle between three mels."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
    bins = np.arange(257) * 16000 / 512
    filters = [
        np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
        for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(wave, 200)
    pieces = [padded[160 * t : 160 * t + 400] * window for t in range(1 + len(wave) // 160)]
    energy = np.abs(np.fft.rfft(pieces, 512)) ** 2
    return energy @ np.array(filters).T


def test_log_mels_are_what_numpy_says() -> None:
    wave = noise(5000) + 0.3 * tone(700, RATE)[:5000]
    expected = np.log(mel_by_hand(wave.double().numpy()) + FLOOR)
    np.testing.assert_allclose(log_mels(wave, RATE).numpy(), expected, atol=1e-3)


def test_mfcc_are_torchaudios_with_its_deltas_and_normalised() -> None:
    from torchaudio.functional import compute_deltas
    from torchaudio.transforms import MFCC

    wave = noise(20000) + 0.3 * tone(700, RATE, 1.25)
    mel = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40, "pad_mode": "constant"}
    cepstra = MFCC(RATE, 13, log_mels=True, melkwargs=mel)(wave)
    changes = compute_deltas(cepstra)
    raw = torch.cat([cepstra, changes, compute_deltas(changes)]).T
    expected = (raw - raw.mean(0)) / raw.std(0, correction=0)
    np.testing.assert_allclose(mfcc(wave, RATE).numpy(), expected.numpy(), atol=2e-4)


def test_a_delta_is_the_slope_of_the_line_of_best_fit() -> None:
    frames = noise(60).view(20, 3).double().numpy()
    slopes = deltas(torch.from_numpy(frames)).numpy()
    for t in range(20):
        around = frames[np.clip(np.arange(t - 2, t + 3), 0, 19)]
        np.testing.assert_allclose(slopes[t], np.polyfit(np.arange(5), around, 1)[0], atol=1e-12)


@given(st.integers(1, 4000))
@settings(max_examples=25)
def test_a_wave_has_a_frame_every_10_ms(samples: int) -> None:
    wave = noise(samples)
    frames = 1 + samples // HOP
    assert log_mels(wave, RATE).shape == (frames, 40)
    assert mfcc(wave, RATE).shape == (frames, 39)
    assert frame_energy(wave).shape == (frames,)
    assert mfcc(wave, RATE).isfinite().all()


@pytest.mark.parametrize("frame", [0, 1, 7, 49, 50])
def test_a_click_is_loudest_in_the_frame_of_its_moment(frame: int) -> None:
    wave = torch.zeros(8001)
    wave[frame * HOP] = 1
    assert int(log_mels(wave, RATE).sum(1).argmax()) == frame
    assert frame_energy(wave).nonzero().flatten().tolist() == [frame]


def test_frame_energy_is_the_mean_square_of_10_ms() -> None:
    wave = noise(1000)
    padded = np.pad(wave.numpy(), (80, 200))
    expected = [(padded[160 * t : 160 * t + 160] ** 2).mean() for t in range(7)]
    np.testing.assert_allclose(frame_energy(wave).numpy(), expected, rtol=1e-5)


def test_mfcc_know_no_volume() -> None:
    wave = noise(16000)
    np.testing.assert_allclose(mfcc(wave * 4, RATE).numpy(), mfcc(wave, RATE).numpy(), atol=2e-2)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44099, 44100, 48000])
def test_a_tone_is_the_same_tone_at_any_rate(rate: int) -> None:
    resampled, expected = resample(tone(1000, rate, 0.1), rate), tone(1000, RATE, 0.1)
    assert abs(len(resampled) - len(expected)) <= 1
    assert (resampled[200:-200] - expected[200 : len(resampled) - 200]).abs().max() < 0.02


def test_what_16_khz_cannot_hold_is_left_out() -> None:
    assert resample(tone(10_000, 48_000), 48_000)[200:-200].abs().max() < 0.02


def test_one_thread_is_for_a_while() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suppress(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
