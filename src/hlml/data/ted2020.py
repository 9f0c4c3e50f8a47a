"""TED2020 as the course's hw5 has it: transcripts of talks in English and traditional Chinese.

398,066 lines a side, of which the course's cleaning leaves 393,980; and 4,000 English lines to
translate, whose Chinese ones are not published: each line of test.zh is a lone full stop.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from hlml.data.archive import open_files
from hlml.data.line_files import check_aligned, lines_of, read_pair, write_lines
from hlml.data.module import Split
from hlml.data.pairs import PairData
from hlml.data.text_splits import Joined, Texts
from hlml.data.vocabulary_choice import VocabularyChoice
from hlml.errors import UserError

ENGLISH, CHINESE, TEST = WANTED = "raw.en", "raw.zh", "test.en"
NAMES = {  # as they are packed, and as the course's notebook renames them
    **{ENGLISH: ("raw.en", "train_dev.raw.en"), CHINESE: ("raw.zh", "train_dev.raw.zh")},
    **{TEST: ("test.en", "test.raw.en")},
}
FOLDERS = (".", "ted2020", "test", "rawdata/ted2020", "DATA/rawdata/ted2020")
ARCHIVES = [
    f"{name}{end}" for name in ("ted2020", "test") for end in (".tgz", ".tar.gz", ".tar", ".zip")
]
SUFFIXES = frozenset((".en", ".zh"))
SOURCE = (
    "they are in the course's ted2020.tgz and test.tgz, linked from HW05 of "
    "github.com/ga642381/ML2021-Spring (and at www.csie.ntu.edu.tw/~r09922057/ML2021-hw5/); put "
    "both there as they are, or unpacked, or say where they are with data.root=FOLDER"
)
UNKNOWN_TARGET = "。"  # what stands for the test's Chinese

MOST, RATIO = 1000, 9  # words or signs a side; how many times as many as the other side may have
SEED = 73  # the course's
REMARK = re.compile(r"\([^()]*\)")
HALF_WIDTH = {0x3000: " "} | {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
PLAIN_ENGLISH = str.maketrans({"-": ""} | {sign: f" {sign} " for sign in '.,;!?()"'})
PLAIN_CHINESE = str.maketrans(
    dict.fromkeys(" —_", "")
    | {sign: f" {sign} " for sign in '。,;!?()"~「」'}
    | dict.fromkeys("“”", ' " ')
)

Place = tuple[str, bytes]  # where a file is, and what it holds


class Ted2020(PairData):
    """The course's files in `root`: its archives, or what is in them, there or in one of the
    folders ted2020, test and DATA/rawdata/ted2020.

    Cleaned, filtered and split as the course does: `valid` of the lines are for validation. One
    vocabulary of `pieces` for both languages, of these lines and the same for both directions, is
    kept in root/cache; `vocabulary` is the path of a saved one to use instead. Pairs of the files
    extra_source (English) and extra_target (Chinese) are cleaned, filtered and added to the
    training. With `reverse` Chinese is read, and of the test there is nothing to read.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        budget: int = 8192,
        reverse: bool = False,
        root: str = "data",
        valid: float = 0.01,
        extra_source: str | None = None,
        extra_target: str | None = None,
        pieces: int = 8000,
        vocabulary: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, workers, budget, reverse)
        home = Path(root).expanduser()
        talks, tests = read_talks(home)
        joined = Joined()
        known = joined.add(filtered(cleaned(talks)))
        trained, held_out = (known[part] for part in split_as_the_course(len(known), valid))
        unknown = [UNKNOWN_TARGET] * len(tests)
        splits: dict[Split, Tensor] = {"train": trained, "valid": held_out}
        splits["test"] = joined.add(([clean_english(line) for line in tests], unknown))
        if extra_source is not None or extra_target is not None:
            extra = read_pair(("extra_source", "extra_target"), (extra_source, extra_target))
            splits["train"] = torch.cat([trained, joined.add(filtered(cleaned(extra)))])
        self.target_language = "en" if reverse else "zh"
        choice = VocabularyChoice(
            "subwords", pieces, True, True, source=vocabulary, cache=home / "cache"
        )
        self.fill_texts(joined.texts, splits, choice, learned=known)

    def has_labels(self, split: Split) -> bool:
        return split != "test"

    def cleaned(self, text: str) -> str:
        return clean_chinese(text) if self.reverse else clean_english(text)

    def write_answers(self, answers: list[str], path: Path) -> None:
        """A line a test line, in order; a full stop where nothing was written, for an empty line
        might be taken for none."""
        write_lines((answer.strip() or UNKNOWN_TARGET for answer in answers), path)


def read_talks(root: Path) -> tuple[Texts, list[str]]:
    """The lines to learn from, English and Chinese, and those to translate."""
    folders = [root / folder for folder in FOLDERS]
    found = {name: _loose(name, folders) for name in WANTED}
    if None in found.values():
        packed = _packed(folders)
        found = {name: place or packed.get(name) for name, place in found.items()}
    if missing := [name for name, place in found.items() if place is None]:
        raise UserError(f"{' and '.join(missing)} not found in {root}/: {SOURCE}")
    places = [place for place in found.values() if place is not None]
    english, chinese, tests = (lines_of(content, where) for where, content in places)
    check_aligned((places[0][0], places[1][0]), (english, chinese))
    return (english, chinese), tests


def _loose(name: str, folders: list[Path]) -> Place | None:
    for path in (folder / known for folder in folders for known in NAMES[name]):
        if path.is_file():
            return str(path), path.read_bytes()
    return None


def _packed(folders: list[Path]) -> dict[str, Place]:
    """What is in the archives, in whatever folder of theirs."""
    found: dict[str, Place] = {}
    for path in (folder / known for folder in folders for known in ARCHIVES):
        files = open_files(path, SUFFIXES) if path.is_file() else None
        for member in files.members if files else []:
            known = member.name.rpartition("/")[2]
            name = next((name for name, names in NAMES.items() if known in names), None)
            if files and name and name not in found:
                found[name] = f"{path}/{member.name}", next(files.read([member.name]))[1]
    return found


def cleaned(texts: Texts) -> Texts:
    return [clean_english(line) for line in texts[0]], [clean_chinese(line) for line in texts[1]]


def clean_english(line: str) -> str:
    """Without remarks in brackets and hyphens; signs stand alone."""
    return " ".join(REMARK.sub("", line).translate(PLAIN_ENGLISH).split())


def clean_chinese(line: str) -> str:
    """In half width, without remarks, blanks, dashes and low lines; signs stand alone."""
    half = REMARK.sub("", line.translate(HALF_WIDTH))
    return " ".join(half.translate(PLAIN_CHINESE).split())


def filtered(texts: Texts) -> Texts:
    """Pairs whose sides have 1 to 1000 English words and Chinese signs (with the blanks between
    them, as the course counts), neither more than 9 times as many as the other."""
    kept: Texts = [], []
    for english, chinese in zip(*texts, strict=True):
        words, signs = len(english.split()), len(chinese)
        if 0 < words <= MOST and 0 < signs <= MOST and words <= RATIO * signs <= RATIO**2 * words:
            kept[0].append(english)
            kept[1].append(chinese)
    return kept


def split_as_the_course(number: int, valid: float) -> tuple[Tensor, Tensor]:
    """Rows to train and to validate on."""
    labels = list(range(number))
    Random(SEED).shuffle(labels)
    trained = torch.tensor(labels) < (1 - valid) * number
    parts = trained.nonzero()[:, 0], (~trained).nonzero()[:, 0]
    if not all(map(len, parts)):
        raise UserError(
            f"data.valid={valid:g} of {number:,} pairs: some must be for validation and some for "
            "training"
        )
    return parts
