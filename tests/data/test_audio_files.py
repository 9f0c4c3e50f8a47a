"""Recordings: any rate, width and number of channels is one wave, and no bad file gets past."""

from __future__ import annotations

import builtins
import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlml.data import speech_features
from hlml.data.audio_files import BadRecordingError, decode, open_recordings, read_log_mels
from hlml.errors import UserError

soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")


def tone(rate: int = 16_000, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    """(n,) float64: a tone that swells, at most 0.5."""
    time = np.arange(int(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * hertz * time) * time / time.max()


def file(
    samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


KINDS = {
    **{("WAV", "PCM_16"): 1e-4, ("WAV", "PCM_24"): 1e-6, ("WAV", "PCM_32"): 1e-6},
    **{("WAV", "FLOAT"): 1e-7, ("WAV", "DOUBLE"): 1e-7, ("WAV", "PCM_U8"): 0.01},
    **{("WAV", "ULAW"): 0.02, ("WAV", "ALAW"): 0.02, ("WAVEX", "PCM_16"): 1e-4},
    **{("RF64", "PCM_16"): 1e-4, ("FLAC", "PCM_16"): 1e-4, ("FLAC", "PCM_24"): 1e-6},
    ("OGG", "VORBIS"): 0.05,
}


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_every_kind_of_file_is_the_wave_that_was_stored(kind: str, subtype: str, rate: int) -> None:
    wave, found = decode(file(tone(rate), rate, kind, subtype))
    assert found == rate
    assert wave.dtype == torch.float32
    assert len(wave) == rate // 2
    assert np.abs(wave.numpy() - tone(rate)).max() <= KINDS[kind, subtype]


def test_channels_are_averaged() -> None:
    both = np.stack([tone(), 0.2 * tone(hertz=700)], 1)
    wave, _ = decode(file(both, subtype="DOUBLE"))
    assert np.abs(wave.numpy() - both.mean(1)).max() < 1e-6


def test_what_swings_further_than_it_may_is_scaled_down() -> None:
    wave, _ = decode(file(32_768 * tone(), subtype="FLOAT"))
    assert np.abs(wave.numpy() - tone() / np.abs(tone()).max()).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 44_101])
def test_a_tone_is_in_the_same_filter_at_any_rate(rate: int) -> None:
    wave, found = decode(file(tone(rate, hertz=1000.0), rate))
    mels = speech_features.log_mels(wave, found)
    reference = speech_features.log_mels(torch.from_numpy(tone(hertz=1000.0)).float(), 16_000)
    assert abs(len(mels) - len(reference)) <= 1
    assert int(mels.mean(0).argmax()) == int(reference.mean(0).argmax())


WAVE = file(tone())
FLAC = file(tone(), kind="FLAC")
OGG = file(tone(), kind="OGG", subtype="VORBIS")
NAN = tone()
NAN[100] = np.nan


def header(content: bytes, at: int, number: int) -> bytes:
    """Four bytes of a header changed."""
    return content[:at] + struct.pack("<I", number) + content[at + 4 :]


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty or unreadable"),
    "text": (b"not a sound" * 100, "no recording"),
    "a web page": (b"<!doctype html>" * 50, "no recording"),
    "zeros": (bytes(5000), "no recording"),
    "wav cut in its header": (WAVE[:30], "damaged"),
    "wav cut in half": (WAVE[: len(WAVE) // 2], "cut off"),
    "flac cut in half": (FLAC[: len(FLAC) // 2], "damaged"),
    "ogg cut in half": (OGG[: len(OGG) // 2], "damaged"),
    "flac with a flaw": (FLAC[:900] + bytes(900) + FLAC[1800:], "damaged"),
    "too short": (file(tone(seconds=0.05)), r"too short: 0\.05 s"),
    "no samples": (file(np.zeros(0)), "too short: 0 s"),
    "too long": (file(np.zeros(8000 * 601), 8000, "FLAC"), "over 10 minutes: cut it"),
    "silent": (file(np.zeros(8000)), "silent"),
    "silent with an offset": (file(np.full(8000, 0.25), subtype="FLOAT"), "silent"),
    "sides that cancel": (file(np.stack([tone(), -tone()], 1)), "silent"),
    "NaN": (file(NAN, subtype="FLOAT"), "samples that are no numbers"),
    "six channels": (file(np.stack([tone()] * 6, 1)), "6 channels"),
    "4 kHz": (file(tone(4_000), 4_000), "4,000 samples a second"),
    "1 Hz": (header(WAVE, 24, 1), "1 samples a second"),
    "four billion Hz": (header(WAVE, 24, 2**32 - 1), "samples a second|damaged"),
    "aiff": (file(tone(), kind="AIFF"), r"AIFF, not one of \.flac, \.ogg, \.wav"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_recording_says_why(case: str) -> None:
    content, reason = BAD[case]
    with pytest.raises(BadRecordingError, match=rf"^({reason})"):
        decode(content)


def test_a_header_written_before_the_length_was_known_is_believed() -> None:
    """As when a recorder wrote into a pipe."""
    wave, _ = decode(header(header(WAVE, 4, 2**32 - 1), 40, 2**32 - 1))
    assert len(wave) == 8000


@settings(max_examples=150)
@given(
    st.sampled_from([WAVE[:4000], FLAC, OGG]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_whatever_is_changed_in_a_header_the_answer_is_a_wave_or_a_reason(
    content: bytes, changes: list[tuple[int, int]]
) -> None:
    spoilt = bytearray(content)
    for place, value in changes:
        spoilt[place] = value
    wave, rate = torch.zeros(16_000), 16_000
    with suppress(BadRecordingError):
        wave, rate = decode(bytes(spoilt))
    assert wave.isfinite().all()
    assert wave.abs().max() <= 1
    assert 0.1 <= len(wave) / rate <= 600


# --- many files


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(root: Path, cache: Path) -> Any:
    files = open_recordings(root)
    names = [member.name for member in files.members]
    return names, read_log_mels(files, names, cache)


def test_rows_are_the_log_mels_of_the_files(tmp_path: Path) -> None:
    sounds = {f"{n}.wav": tone(8_000, 0.2 + 0.1 * n, 300.0 * n) for n in range(1, 5)}
    root = folder(tmp_path / "a", {name: file(wave, 8_000) for name, wave in sounds.items()})
    names, found = read(root, tmp_path / "cache")
    assert names == list(sounds)
    for row, name in enumerate(names):
        start, length = int(found.starts[row]), int(found.lengths[row])
        wanted = speech_features.log_mels(*decode((root / name).read_bytes()))
        assert torch.equal(found.frames[start : start + length], wanted.half())


def test_kept_until_a_name_a_size_or_a_time_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "a", {"x.wav": WAVE, "y.flac": FLAC, "notes.txt": b"not asked"})
    read(root, tmp_path / "cache")
    assert "log-mels of 2 recordings" in capsys.readouterr().err
    read(root, tmp_path / "cache")
    assert capsys.readouterr().err == ""
    other = file(tone(hertz=1000))
    assert len(other) == len(WAVE)
    (root / "x.wav").write_bytes(other)
    (root / "notes.txt").unlink()
    _, found = read(root, tmp_path / "cache")
    assert "log-mels of 2 recordings" in capsys.readouterr().err
    wanted = speech_features.log_mels(*decode(other))
    assert torch.equal(found.frames[: len(wanted)], wanted.half())


def test_bad_files_are_counted_named_and_without_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = {f"{number}.wav": content for number, (content, _) in enumerate(BAD.values())}
    root = folder(tmp_path / "a", {"good.wav": WAVE, **spoilt})
    for _ in range(2):  # the second time from the cache
        names, found = read(root, tmp_path / "cache")
        assert names[-1] == "good.wav"
        assert found.lengths.tolist() == [0] * len(BAD) + [len(found.frames)]
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"hlml: {len(BAD)} of {len(names)} recordings of {root} cannot be used and are left "
            "out: 0.wav (empty or unreadable), 1.wav (no recording), 10.wav (too short: 0 s), "
            "11.wav (over 10 minutes: cut it), 12.wav (silent), ..."
        )


def test_none_that_can_be_used_is_one_line(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", {"x.wav": b"text", "y\n.wav": b""})
    message = r"none of its 2 recordings can be used, such as x\.wav \(no recording\)$"
    with pytest.raises(UserError, match=message):
        read(root, tmp_path / "cache")


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "a", {"x.wav": WAVE})
    plain = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == "soundfile":
            raise ImportError(name)
        return plain(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"not installed: pip install 'hlml\[speech\]'$"):
        read(root, tmp_path / "cache")
