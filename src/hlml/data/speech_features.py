"""From a wave to frames: log-mels, and 13 MFCC with their changes, of 25 ms every 10 ms.

A wave is (n,) float in -1..1; it has T = 1 + n // 160 frames at 16 kHz, and frame t is about the
moment 10 t ms. Davis and Mermelstein 1980, "Comparison of parametric representations for
monosyllabic word recognition"; the changes: Furui 1986, "Speaker-independent isolated word
recognition using dynamic features of speech spectrum".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

RATE = 16_000  # samples a second
HOP = 160
WINDOW = 400
BINS = 512  # of the Fourier transform: a power of two is fast, and no mel filter is left empty
MELS = 40
CEPSTRA = 13
FLOOR = 1e-6  # added to a filter's energy: the logarithm of digital silence is -13.8
LARGEST = 10_000  # of a resampling filter's sides


def log_mels(wave: Tensor, rate: int) -> Tensor:
    """wave (n,) of `rate` samples a second -> (T, 40)"""
    window, filters = _tables()
    # zeros beyond the ends, not a mirror: a wave may be shorter than the window
    spectrum = torch.stft(
        *(resample(wave, rate), BINS, HOP, WINDOW, window), pad_mode="constant", return_complex=True
    )
    squares = torch.view_as_real(spectrum.T).square().flatten(1)  # (T, 514)
    return (squares @ filters + FLOOR).log()


def mfcc(wave: Tensor, rate: int) -> Tensor:
    """wave (n,) -> (T, 39): 13 cepstra, their changes and the changes' changes; each has mean 0 and
    variance 1 within the wave, so that neither the microphone nor the volume matters."""
    cepstra = log_mels(wave, rate) @ _cosines()
    changes = deltas(cepstra)
    frames = torch.cat([cepstra, changes, deltas(changes)], 1)
    mean, std = frames.mean(0), frames.std(0, correction=0)
    return (frames - mean) / std.clamp(min=1e-3)


def deltas(frames: Tensor) -> Tensor:
    """frames (T, F) -> (T, F): the slope of the line through each and two neighbours either side.

    That is torchaudio's compute_deltas, but five times as fast on a short utterance.
    """
    first, last = frames[:1].expand(2, -1), frames[-1:].expand(2, -1)
    around = torch.cat([first, frames, last])
    return (around[3:-1] - around[1:-3] + 2 * (around[4:] - around[:-4])) / 10


def resample(wave: Tensor, rate: int) -> Tensor:
    """wave (n,) -> (n 16,000 / rate,), rounded up: everything above 8 kHz is left out."""
    if rate == RATE:
        return wave
    shared = math.gcd(rate, RATE)
    if max(rate, RATE) // shared > LARGEST:
        # a filter for 44,099 samples a second would take gigabytes: 44,100 is near enough
        rate = max(1, round(rate / 25)) * 25
    return _resampler(rate)(wave)


def frame_energy(wave: Tensor) -> Tensor:
    """wave (n,) at 16 kHz -> (T,): the mean square of the 10 ms around each frame's moment."""
    count = 1 + len(wave) // HOP
    padded = torch.nn.functional.pad(wave, (HOP // 2, HOP))
    return padded[: count * HOP].view(count, HOP).square().mean(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """For many short waves: two threads on arrays this small wait for each other, and a frame takes
    a hundred times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _tables() -> tuple[Tensor, Tensor]:
    """Window (400,); mel filters (514, 40), each row twice: for a real and an imaginary part."""
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(BINS // 2 + 1, 0.0, RATE / 2, MELS, RATE)
    return torch.hann_window(WINDOW), filters.repeat_interleave(2, 0)


@cache
def _cosines() -> Tensor:
    """(40, 13): of the discrete cosine transform"""
    from torchaudio.functional import create_dct

    cosines: Tensor = create_dct(CEPSTRA, MELS, norm="ortho")
    return cosines


@cache
def _resampler(rate: int) -> Callable[[Tensor], Tensor]:
    from torchaudio.transforms import Resample

    resampler: Callable[[Tensor], Tensor] = Resample(rate, RATE)
    return resampler
