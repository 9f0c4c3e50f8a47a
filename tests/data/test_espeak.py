"""espeak-ng: the same calls, the same bytes; and what is said when it is absent or fails."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hlml.data import espeak
from hlml.data.espeak import RATE, Said, Saying, say
from hlml.errors import UserError

SAYINGS = [
    Saying("Thick butter, please.", "en-us+m3", 150, 40),
    Saying("Boys measure the noisy jungle.", "en-us+f1", 180, 60),
    Saying("Boys measure the noisy jungle.", "en-gb-scotland+Mr serious", 180, 60),
    Saying("Boys measure the noisy jungle.", "en-us+f1", 180, 60),
]


@pytest.fixture
def engine() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that takes the engine's place: write it here."""
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")
    path = tmp_path / "engine.py"
    monkeypatch.setattr(espeak, "__file__", str(path))
    return path


def bytes_of(said: Said) -> tuple[bytes, list[str], bytes]:
    return said.samples.tobytes(), said.symbols, said.starts.tobytes()


@pytest.mark.usefixtures("engine")
def test_fresh_processes_say_the_same_bytes() -> None:
    first = [bytes_of(said) for said in say(SAYINGS)]
    assert first == [bytes_of(said) for said in say(SAYINGS)]
    assert len({samples for samples, _, _ in first[:3]}) == 3


@pytest.mark.usefixtures("engine")
def test_phonemes_come_in_order_and_the_pause_behind_them_is_silent() -> None:
    for said in say(SAYINGS):
        assert len(said.symbols) == len(said.starts) > 8
        assert (np.diff(said.starts) >= 0).all()
        assert said.starts[0] >= 0
        assert said.starts[-1] <= len(said.samples)
        begins = dict(zip(said.symbols, said.starts, strict=True))["_"]  # the last of them
        assert not said.samples[begins:].any()
        assert np.abs(said.samples).max() > 3000


@pytest.mark.usefixtures("engine")
def test_speed_and_pitch_are_obeyed() -> None:
    slow, fast, high = (
        said.samples.astype(float)
        for said in say([Saying("A long yellow arm.", "en-us+m3", *how) for how in SPEEDS])
    )
    assert 1.3 < len(slow) / len(fast) < 2
    assert pitch(high) > 1.3 * pitch(fast)


SPEEDS = [(110, 40), (190, 40), (190, 90)]


def pitch(samples: np.ndarray) -> float:
    """Hz, by the autocorrelation's first large peak."""
    wave = samples[2000:12000] - samples[2000:12000].mean()
    spectrum = np.abs(np.fft.rfft(wave, 2 * len(wave))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(wave)]
    shortest, longest = RATE // 400, RATE // 60
    return RATE / (shortest + int(correlation[shortest:longest].argmax()))


@pytest.mark.usefixtures("engine")
def test_who_stops_listening_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(espeak.subprocess, "Popen", Noted)
    speech = say(SAYINGS * 50)
    next(speech)
    speech.close()
    assert started[0].returncode is not None


@pytest.mark.usefixtures("engine")
def test_a_package_in_a_deep_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine cuts its data's path off at 160 bytes."""
    import espeakng_loader

    deep = tmp_path / ("deep" * 50)
    package = deep / "espeakng_loader"
    package.mkdir(parents=True)
    (package / "data").symlink_to(espeakng_loader.get_data_path())
    (package / "__init__.py").write_text(
        f"get_library_path = lambda: {espeakng_loader.get_library_path()!r}\n"
        f"get_data_path = lambda: {str(package / 'data')!r}\n"
    )
    usual = [bytes_of(said) for said in say(SAYINGS[:1])]
    monkeypatch.setenv("PYTHONPATH", str(deep))
    assert [bytes_of(said) for said in say(SAYINGS[:1])] == usual


@pytest.mark.usefixtures("engine")
def test_an_unknown_voice_is_named() -> None:
    speech = say([SAYINGS[0], SAYINGS[1]._replace(voice="en-us+nobody")])
    next(speech)
    with pytest.raises(UserError, match=r"stopped after 1 of 2 .*it has no voice en-us\+nobody"):
        next(speech)


def test_an_engine_that_crashes_is_one_line(failing: Path) -> None:
    failing.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UserError, match=r"stopped after 0 of 4 .*\(exit code -11\).*reinstall"):
        list(say(SAYINGS))


def test_half_an_answer_is_none(failing: Path) -> None:
    whole = (
        espeak.HEADER.pack(3, 1)
        + np.array([1, 2, 3], "<i2").tobytes()
        + bytes(4)
        + b"aI\0\0\0\0\0\0"
    )
    failing.write_text(
        f"import sys; sys.stdin.read(); sys.stdout.buffer.write({whole!r} + {whole[:-1]!r})\n"
        "sys.exit('out of breath')"
    )
    speech = say(SAYINGS)
    said = next(speech)
    assert said.samples.tolist() == [1, 2, 3]
    assert (said.symbols, said.starts.tolist()) == (["aI"], [0])
    with pytest.raises(UserError, match=r"stopped after 1 of 4 .*out of breath"):
        next(speech)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise espeak.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(espeak.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(espeak.metadata, "version", absent)
    message = r"espeakng-loader.* is not installed: pip install 'hlml\[speech\]'"
    with pytest.raises(UserError, match=message):
        next(say(SAYINGS))
    with pytest.raises(UserError, match=message):
        espeak.version()


def test_the_event_has_the_layout_of_the_header() -> None:
    """speak_lib.h: a pointer after six ints is aligned to eight bytes, and so is the union."""
    assert ctypes.sizeof(espeak._Event) == 40
    assert espeak._Event.user_data.offset == 24


def test_the_worker_needs_no_torch() -> None:
    code = f"import sys, runpy; runpy.run_path({espeak.__file__!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
