"""Speakers of one's own: a folder (or zip, or tar) of SPEAKER/*.wav, .flac or .ogg."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hlml.data.answers import write_names
from hlml.data.archive import Files, shown
from hlml.data.audio_files import (
    SUFFIXES,
    BadRecordingError,
    decode,
    open_recordings,
    read_log_mels,
)
from hlml.data.class_folders import find_folder, split_by_class, wrappers
from hlml.data.picture_source import cache_folder, say, sorted_classes
from hlml.data.sequences import Corpus, SequenceData
from hlml.errors import UserError

# folders of these names are somebody's splits, not speakers
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


class SpeakerFolder(SequenceData):
    """`folder` (or an archive), as it is or in `root`: a folder of recordings for each speaker, at
    any depth below it.

    `valid` and `test` are the shares of each speaker's recordings that are held out, chosen by
    `split_seed`. Recordings of one day have its room and microphone in common: where a speaker has
    several days, scores on this split flatter. Log-mels are kept in root/cache.
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
        folder: str = "speakers",
        valid: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, unit, context, segment, budget)
        home = Path(root).expanduser()
        self.files = open_recordings(
            find_folder(home, folder, "folder of speakers' folders with recordings")
        )
        names, speakers = _speakers(self.files)
        recordings = read_log_mels(self.files, names, cache_folder(home))
        good = recordings.lengths.nonzero().flatten()
        self.file_names = [names[row] for row in good.tolist()]
        speakers = [speakers[row] for row in good.tolist()]
        self.class_names = sorted_classes(set(speakers))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = torch.tensor([numbers[speaker] for speaker in speakers])
        starts, lengths = recordings.starts[good], recordings.lengths[good]
        parts = split_by_class(labels, valid, test, split_seed, "recordings")
        self.fill(Corpus(recordings.frames, starts, lengths, labels), *parts)
        self._warn_of_copies([recordings.contents[row] for row in good.tolist()])

    def sound(self, row: int) -> tuple[Tensor, int] | None:
        """(n,) and its samples a second; None: the file is no longer there."""
        name = self.file_names[int(self.splits["valid"].index[row])]
        with suppress(BadRecordingError, UserError):
            for _, content in self.files.read([name]):
                return decode(content)
        return None

    def write_answers(self, answers: list[Any], path: Path) -> None:
        """`answers`: the number of each test recording's speaker; a line has its path and name."""
        files = [self.file_names[row] for row in self.splits["test"].index.tolist()]
        write_names(files, [self.class_names[answer] for answer in answers], path)

    def _warn_of_copies(self, contents: list[int]) -> None:
        """Say when what is held out is in the training too, byte for byte."""
        trained = {contents[row]: row for row in self.splits["train"].index.tolist()}
        held_out = torch.cat([self.splits["valid"].index, self.splits["test"].index]).tolist()
        copies = [(row, trained[contents[row]]) for row in held_out if contents[row] in trained]
        if copies:
            name, original = (shown(self.file_names[row]) for row in copies[0])
            say(
                f"{len(copies):,} recordings to validate or test on are also among those to train "
                f"on, such as {name}, the same file as {original}: scores on them flatter"
            )


def _speakers(files: Files) -> tuple[list[str], list[str]]:
    """The names of the recordings, and whose folder each lies in."""
    paths = [member.name.split("/") for member in files.members]
    if not paths:
        raise UserError(
            f"{files.path}: there are no recordings in it (files that end in "
            f"{', '.join(sorted(SUFFIXES))}): name another folder with data.folder=PATH"
        )
    shared = wrappers(paths, below=2)
    speakers = [path[shared] if len(path) > shared + 1 else "" for path in paths]
    counts = Counter(speakers)
    if "" in counts:
        raise UserError(
            f"{files.path}: {counts['']:,} recordings lie in no speaker's folder, such as "
            f"{shown('/'.join(paths[speakers.index('')]))}: put each into a folder with the "
            "speaker's name"
        )
    if len(counts) < 2 or {name.lower() for name in counts} <= SPLITS:
        raise UserError(
            f"{files.path}: the folders in it are {', '.join(map(shown, sorted(counts)[:5]))}, and "
            "must be two or more speakers: name the folder that holds the speakers' folders"
        )
    return ["/".join(path) for path in paths], speakers
