"""4,272 short English sentences and their Chinese ones in traditional signs, graded for learners.

They come with the package hsk-sentences-audio, whose texts are CC BY-SA 4.0; they are read where
it is installed, and no copy is kept. Its traditional signs were made from simplified ones.
"""

from __future__ import annotations

import json

from hlml.data.packages import package_file
from hlml.data.pairs import PairData
from hlml.data.text_splits import split_texts
from hlml.data.vocabulary import Kind
from hlml.data.vocabulary_choice import VocabularyChoice
from hlml.errors import UserError

FILE = "data/sentences.json"  # within the package
GAPS = ("placeholder", "PH")  # with them begins what stands for a missing translation


class Sentences(PairData):
    """`valid` and `test` sentences are held out, and no English one is in two splits. `kind`,
    `pieces`, `joint`, `normalise`, `vocabulary` and `target_vocabulary` are as in Bitext."""

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        budget: int = 1000,
        reverse: bool = False,
        valid: int = 200,
        test: int = 400,
        kind: Kind = "subwords",
        pieces: int = 4000,
        joint: bool = True,
        normalise: bool = True,
        vocabulary: str | None = None,
        target_vocabulary: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, workers, budget, reverse)
        english, chinese = read_sentences()
        choice = VocabularyChoice(kind, pieces, joint, normalise, vocabulary, target_vocabulary)
        self.target_language = "en" if reverse else "zh"
        self.fill_texts((english, chinese), split_texts(english, valid, test), choice)


def read_sentences() -> tuple[list[str], list[str]]:
    """English and Chinese. UserError: the package is not installed."""
    path = package_file("hsk_sentences_audio", FILE, "hsk-sentences-audio", "sentences")
    try:
        entries = json.loads(path.read_bytes())
        pairs = [(entry["translation"]["en"], entry["traditional"]) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: has another form than expected; install the package again"
        ) from error
    kept = [pair for pair in pairs if not pair[0].startswith(GAPS) and all(map(str.strip, pair))]
    return [english for english, _ in kept], [chinese for _, chinese in kept]
