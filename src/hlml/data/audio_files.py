"""Recordings from files of any kind: a wave, or the reason why not; and the log-mels of many.

Files come from strangers: whatever a decoder makes of them, the answer is a wave or a reason.
"""

from __future__ import annotations

import io
import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hlml.data import speech_features
from hlml.data.archive import MEMBER_BYTES, Files, Folder, Member, open_files, shown
from hlml.data.packed import Notes, Packing, Put, packed
from hlml.data.picture_source import say
from hlml.errors import UserError

VERSION = 1  # of what becomes of a recording
SUFFIXES = frozenset((".wav", ".flac", ".ogg"))
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")  # not what a name says but what may be inside
RATES = range(8_000, 192_001)  # samples a second
SHORTEST, LONGEST = 0.1, 600.0  # seconds
QUIETEST = 1e-4  # the largest swing of a wave in which nothing is to be heard
UNTOLD = 2**31 - 1  # bytes: a header that says more was written before anybody knew the length
TAIL = 1024  # bytes: writers do not count their headers alike


class BadRecordingError(Exception):
    """Says in a few words why a file is no recording."""


class Recordings(NamedTuple):
    """The log-mels of many files: row i is frames[starts[i] : starts[i] + lengths[i]]."""

    frames: Tensor  # (N, 40) float16, memory-mapped
    starts: Tensor
    lengths: Tensor  # 0: the file is bad
    contents: list[int]  # a checksum of each file's bytes


class _Told(Folder):
    """A folder whose files are told by size and time of change: to read them all at each start,
    for a checksum, takes too long for recordings."""

    def _member(self, name: str) -> Member:
        try:
            status = (self.path / name).stat()
        except OSError:
            return Member(name, 0, 0)
        return Member(name, status.st_size, status.st_mtime_ns)


def open_recordings(path: Path) -> Files:
    """The recordings of a folder, a zip or a tar."""
    return _Told(path, SUFFIXES) if path.is_dir() else open_files(path, SUFFIXES)


def decode(content: bytes) -> tuple[Tensor, int]:
    """A file's bytes -> wave (n,) float32 in -1..1, channels averaged, and its samples a second.

    Raises BadRecordingError; UserError without soundfile.
    """
    soundfile = _soundfile()
    if not content:
        raise BadRecordingError("empty or unreadable")
    if len(content) >= MEMBER_BYTES:
        raise BadRecordingError(f"over {MEMBER_BYTES // 2**20} MiB")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check(file, content)
            samples = torch.from_numpy(file.read(dtype="float32", always_2d=True))
            promised, rate = file.frames, file.samplerate
    except BadRecordingError:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them to
        what = "no recording" if "not recognised" in str(error) else "damaged"
        raise BadRecordingError(what) from error
    wave = samples.mean(1)
    if len(wave) < promised:
        raise BadRecordingError("cut off")
    if not wave.isfinite().all():
        raise BadRecordingError("samples that are no numbers")
    if (wave - wave.mean()).abs().max() < QUIETEST:
        raise BadRecordingError("silent")
    return wave / wave.abs().max().clamp(min=1), rate


def _check(file: Any, content: bytes) -> None:
    """What a header says, before it is believed."""
    seconds = file.frames / max(1, file.samplerate)
    if file.format not in FORMATS:
        raise BadRecordingError(f"{file.format}, not one of {', '.join(sorted(SUFFIXES))}")
    if file.samplerate not in RATES:
        raise BadRecordingError(f"{file.samplerate:,} samples a second")
    if file.channels > 2:
        raise BadRecordingError(f"{file.channels} channels")
    if content[:4] == b"RIFF":  # libsndfile takes what is there for all
        promised = int.from_bytes(content[4:8], "little")
        if len(content) + TAIL < promised < UNTOLD:
            raise BadRecordingError("cut off")
    if seconds < SHORTEST:
        raise BadRecordingError(f"too short: {seconds:.2g} s")
    if seconds > LONGEST:
        raise BadRecordingError(f"over {LONGEST / 60:g} minutes: cut it")


def read_log_mels(files: Files, names: list[str], cache: Path) -> Recordings:
    """Row i is the recording names[i]; those that are bad are said, and have no frames.

    Kept in the folder `cache`. UserError: none can be read, or soundfile is not installed.
    """
    members = {member.name: list(member) for member in files.members}
    choices: list[float] = [speech_features.RATE, speech_features.HOP, speech_features.WINDOW]
    choices += [speech_features.BINS, speech_features.MELS, speech_features.FLOOR]
    key = [VERSION, choices, [members[name] for name in names]]
    make, width = partial(_extract, files, names), speech_features.MELS
    frames, notes = packed(cache, Packing("log_mels", width, torch.float16, key, make))
    bad = [f"{shown(names[row])} ({why})" for row, why in notes["bad"]]
    if bad:
        more = ", ..." if len(bad) > 5 else ""
        say(
            f"{len(bad):,} of {len(names):,} recordings of {files.path} cannot be used and are "
            f"left out: {', '.join(bad[:5])}{more}"
        )
    starts, lengths = torch.tensor(notes["starts"]), torch.tensor(notes["lengths"])
    return Recordings(frames, starts, lengths, notes["contents"])


def _extract(files: Files, names: list[str], put: Put) -> Notes:
    """Puts the log-mels of every file that is a recording, in the order that reads fastest."""
    _soundfile()
    say(f"log-mels of {len(names):,} recordings of {files.path}, once")
    rows = {name: row for row, name in enumerate(names)}
    starts, lengths, contents = ([0] * len(names) for _ in range(3))
    bad, count = [], 0
    bar = tqdm(files.read(names), "recordings", len(names), disable=None, leave=False)
    with speech_features.one_thread():
        for name, content in bar:
            row = rows[name]
            contents[row] = zlib.crc32(content)
            try:
                frames = speech_features.log_mels(*decode(content))
            except BadRecordingError as error:
                bad.append((row, str(error)))
                continue
            put(frames)
            starts[row], lengths[row] = count, len(frames)
            count += len(frames)
    if not count:
        row, why = bad[0]
        raise UserError(
            f"{files.path}: none of its {len(names):,} recordings can be used, such as "
            f"{shown(names[row])} ({why})"
        )
    return {"starts": starts, "lengths": lengths, "contents": contents, "bad": sorted(bad)}


def _soundfile() -> Any:
    """The package. UserError: it is not installed, or the library in it does not load."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise UserError(
            "recordings are read with the package soundfile, which is not installed: "
            "pip install 'hlml[speech]'"
        ) from error
    return soundfile
