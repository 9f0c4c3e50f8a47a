"""The three lists of the course's VoxCeleb, checked: who there is, and which utterances."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any, NamedTuple

from hlml.data.archive import shown
from hlml.data.sequences import UNKNOWN
from hlml.errors import UserError

MAPPING, METADATA, TESTDATA = NAMES = "mapping.json", "metadata.json", "testdata.json"
MOST_MELS = 1000
USE = "use the files as they were downloaded"


class Listed(NamedTuple):
    """An utterance."""

    file: str
    frames: int | None  # where the list says it
    speaker: int  # UNKNOWN: to be answered


class Lists(NamedTuple):
    """All that they say, and a checksum of it."""

    speakers: list[str]  # by number
    mels: int  # numbers a frame
    labelled: list[Listed]
    tests: list[Listed]
    digest: str


def read_lists(where: str, contents: dict[str, bytes]) -> Lists:
    """From the files' bytes; `where` is their folder. UserError: what is wrong with which."""
    tables = {name: _Table(f"{where}/{name}", contents[name]) for name in NAMES}
    speakers = _speakers(tables[MAPPING])
    mels = tables[METADATA].get("n_mels", int)
    if not 0 < mels <= MOST_MELS:
        raise tables[METADATA].wrong(f"n_mels is {mels}")
    labelled = _labelled(tables[METADATA], speakers)
    tests = [
        _listed(tables[TESTDATA], entry, UNKNOWN)
        for entry in tables[TESTDATA].get("utterances", list)
    ]
    counts = Counter(one.file for one in [*labelled, *tests])
    if twice := next((file for file, count in counts.items() if count > 1), None):
        raise UserError(f"{where}: the lists have {shown(twice)} more than once: {USE}")
    digest = hashlib.sha256(b"".join(hashlib.sha256(contents[name]).digest() for name in NAMES))
    return Lists(speakers, mels, labelled, tests, digest.hexdigest())


class _Table:
    """A JSON object, and errors that say where."""

    def __init__(self, where: str, content: bytes) -> None:
        self.where = where
        try:
            self.table = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"it is no JSON ({shown(str(error))})") from error

    def get(self, key: str, kind: type, table: object = None) -> Any:
        """What the key says, in the whole or in a `table` within."""
        table = self.table if table is None else table
        value = table.get(key) if isinstance(table, dict) else None
        if type(value) is not kind or value == {} or value == []:
            raise self.wrong(f"{key} is missing, empty or no {kind.__name__}")
        return value

    def wrong(self, what: str) -> UserError:
        return UserError(f"{self.where}: {what}: {USE}")


def _speakers(mapping: _Table) -> list[str]:
    """Their names, by number; both directions must agree."""
    numbers = mapping.get("speaker2id", dict)
    names = {number: name for name, number in numbers.items() if type(number) is int}
    if sorted(names) != list(range(len(numbers))):
        raise mapping.wrong("speaker2id does not number the speakers from 0 on")
    if mapping.get("id2speaker", dict) != {str(number): name for number, name in names.items()}:
        raise mapping.wrong("id2speaker is not the inverse of speaker2id")
    return [names[number] for number in range(len(names))]


def _labelled(metadata: _Table, speakers: list[str]) -> list[Listed]:
    said = metadata.get("speakers", dict)
    if odd := sorted(said.keys() ^ set(speakers)):
        raise metadata.wrong(
            f"it has {len(said):,} speakers and {MAPPING} has {len(speakers):,}; only one of them "
            f"has {shown(odd[0])}"
        )
    numbers = {name: number for number, name in enumerate(speakers)}
    return [
        _listed(metadata, entry, numbers[name])
        for name in said
        for entry in metadata.get(name, list, said)
    ]


def _listed(table: _Table, entry: object, speaker: int) -> Listed:
    frames = entry.get("mel_len") if isinstance(entry, dict) else None
    if frames is not None and (type(frames) is not int or frames < 1):
        raise table.wrong(f"a mel_len is {shown(str(frames))}")
    return Listed(table.get("feature_path", str, entry), frames, speaker)
