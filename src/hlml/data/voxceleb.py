"""The course's part of VoxCeleb: 600 speakers, and each of their utterances as a file of log-mels.

In one folder: mapping.json numbers the speakers, metadata.json lists the utterances of each,
testdata.json those to answer for, and uttr-*.pt hold one tensor (T, 40) each.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from hlml.data.answers import write_names
from hlml.data.archive import MEMBER_BYTES, open_files, shown
from hlml.data.images import stratified
from hlml.data.module import Split
from hlml.data.packed import Notes, Packing, Put, packed
from hlml.data.picture_source import cache_folder, say
from hlml.data.sequences import UNKNOWN, Corpus, SequenceData
from hlml.data.voxceleb_lists import METADATA, NAMES, Listed, read_lists
from hlml.errors import UserError

FOLDERS = ("Dataset", "Dataset.zip")
SUFFIXES = frozenset((".json", ".pt"))
VERSION = 1  # of what becomes of a file
MOST_NAMED = 5  # bad files in one line
SOURCE = (
    "it is the data of the course's Kaggle contest ml2021spring-hw4 (also linked from HW04 of "
    "github.com/ga642381/ML2021-Spring); put it there, or say where it is with data.root=FOLDER"
)


class VoxCeleb(SequenceData):
    """The course's folder Dataset/ or Dataset.zip in `root`, or `root` itself.

    All utterances are packed once into one file of root/cache, in float16: half as large as the
    tensors, and the rounding is a thousandth of how much log-mels vary. `valid` is the share of
    each speaker's utterances that is for validation, chosen by `split_seed`.
    """

    answers_name = "output.csv"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 0,
        segment: int = 128,
        budget: int = 4096,
        root: str = "data",
        valid: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, unit, context, segment, budget)
        home = Path(root).expanduser()
        place = _Place(_find(home))
        lists = read_lists(str(place), dict(place.read(place.found(NAMES))))
        self.class_names = lists.speakers
        self.test_files = [one.file for one in lists.tests]
        make = partial(_pack, place, [*lists.labelled, *lists.tests], lists.mels)
        packing = Packing("voxceleb", lists.mels, torch.float16, [VERSION, lists.digest], make)
        frames, notes = packed(cache_folder(home), packing)
        labels = torch.tensor([one.speaker for one in lists.labelled])
        tests = torch.full((len(lists.tests),), UNKNOWN)
        starts, lengths = torch.tensor(notes["starts"]), torch.tensor(notes["lengths"])
        corpus = Corpus(frames, starts, lengths, torch.cat([labels, tests]))
        train, held_out = _split(labels, valid, split_seed)
        self.fill(corpus, train, held_out, len(labels) + torch.arange(len(tests)))

    def has_labels(self, split: Split) -> bool:
        return split != "test"

    def write_answers(self, answers: list[Any], path: Path) -> None:
        """`answers`: the number of each test utterance's speaker; a line has its file and name."""
        write_names(self.test_files, [self.class_names[answer] for answer in answers], path)


def _find(root: Path) -> Path:
    """The folder or archive: root itself, or one of the usual names in it."""
    if root.is_file() or (root / METADATA).is_file():
        return root
    found = [root / name for name in FOLDERS if (root / name).exists()]
    if not found:
        raise UserError(f"{FOLDERS[0]}/ or {FOLDERS[1]} not found in {root}/: {SOURCE}")
    return found[0]


class _Place:
    """The files of the data's folder, or of that folder within an archive."""

    def __init__(self, path: Path) -> None:
        self.path, self.prefix = path, ""
        self._archive = None if path.is_dir() else open_files(path, SUFFIXES)
        if self._archive is None:
            self.names = {entry.name for entry in os.scandir(path)}
            return
        members = [member.name for member in self._archive.members]
        known = [name for name in members if name.rpartition("/")[2] == METADATA]
        self.prefix = min(known, key=len, default="").removesuffix(METADATA)
        self.names = {name.removeprefix(self.prefix) for name in members}

    def __str__(self) -> str:
        return f"{self.path}/{self.prefix}".rstrip("/")

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Each file's name and content, b"" where it cannot be read; in any order."""
        if self._archive is None:
            for name in names:
                yield name, self._content(name)
        else:
            inside = [self.prefix + name for name in names]
            for name, content in self._archive.read(inside):
                yield name.removeprefix(self.prefix), content

    def _content(self, name: str) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                return file.read(MEMBER_BYTES)
        except OSError:
            return b""

    def found(self, names: Iterable[str]) -> list[str]:
        """The names. UserError: some of them are not there."""
        names = list(names)
        # a name that leads out of the folder is not in it either
        missing = [name for name in names if name not in self.names]
        if missing:
            raise UserError(
                f"{self}: {len(missing):,} of {len(names):,} files are missing: "
                f"{_some([shown(name) for name in missing])}: unpack or fetch all of it again"
            )
        return names


def _split(labels: Tensor, valid: float, seed: int) -> list[Tensor]:
    """Rows to train and to validate on, of each speaker in its share."""
    count = round(valid * len(labels))
    if not 0 < count < len(labels):
        raise UserError(
            f"data.valid={valid:g} of {len(labels):,} utterances: some must be for validation and "
            "some for training"
        )
    held_out, train = stratified(labels, [count, len(labels) - count], seed)
    return [train, held_out]


def _pack(place: _Place, listed: list[Listed], mels: int, put: Put) -> Notes:
    """Puts every utterance's frames. UserError: some files are missing, or not what is listed."""
    rows = {one.file: row for row, one in enumerate(listed)}
    names = place.found(rows)
    say(f"packing {len(names):,} utterances of {place}, once")
    starts, lengths = [0] * len(names), [0] * len(names)
    bad: list[str] = []
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about what is refused below
        for name, content in tqdm(place.read(names), "utterances", len(names), disable=None):
            try:
                frames = _load(content, mels, listed[rows[name]].frames)
            except _BadFileError as error:
                bad.append(f"{shown(name)} ({error})")
                if len(bad) > MOST_NAMED:
                    break
                continue
            put(frames)
            starts[rows[name]], lengths[rows[name]] = count, len(frames)
            count += len(frames)
    if bad:
        raise UserError(f"{place}: cannot be used: {_some(bad)}: fetch it again")
    return {"starts": starts, "lengths": lengths}


class _BadFileError(Exception):
    """Says in a few words why a file is no utterance."""


def _load(content: bytes, mels: int, listed: int | None) -> Tensor:
    """A file's bytes -> (T, mels) float16. Raises _BadFileError."""
    if not content:
        raise _BadFileError("empty or unreadable")
    try:
        frames = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of bytes from strangers
        code = "GLOBAL" in str(error)
        raise _BadFileError("it holds code, and is refused" if code else "damaged") from error
    if type(frames) is not Tensor or frames.is_nested or frames.layout != torch.strided:
        raise _BadFileError("no tensor")
    shape, needed = "x".join(map(str, frames.shape)), frames.numel() * frames.element_size()
    if not frames.is_floating_point() or frames.device.type != "cpu":
        raise _BadFileError(f"{frames.dtype}, no floats")
    if frames.ndim != 2 or frames.shape[1] != mels or not len(frames):
        raise _BadFileError(f"{shape}, and not frames x {mels}")
    if listed not in (None, len(frames)):
        raise _BadFileError(f"{len(frames):,} frames, and {listed:,} are listed")
    if frames.untyped_storage().nbytes() < needed:  # one number that claims to be a million
        raise _BadFileError("less in it than its shape says")
    half = frames.detach().half()
    if not half.isfinite().all():
        raise _BadFileError("numbers that are none to compute with")
    return half


def _some(names: list[str]) -> str:
    """The first of them."""
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
