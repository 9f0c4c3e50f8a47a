"""Two text files of which line n of one is the translation of line n of the other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hlml.data.line_files import read_lines, read_pair
from hlml.data.module import Split
from hlml.data.pairs import PairData
from hlml.data.text_splits import Joined, Texts, split_texts, without_empty
from hlml.data.vocabulary import Kind
from hlml.data.vocabulary_choice import VocabularyChoice

SHOWN = 1000  # texts from which a language is guessed
Paths = tuple[str | None, str | None]


class Bitext(PairData):
    """The files `source` and `target`, of which `valid` and `test` pairs are held out, so that no
    source is in two splits; or those come from files of their own, valid_source and the like. A
    test_source without a test_target is read only to be answered. Pairs of the files extra_source
    and extra_target (of back-translation, say) are added to the training.

    Vocabulary: its `kind`, at most so many `pieces`, `joint` one for both sides or one each, and
    `normalise`: compatibility forms and case folded, as the course does. `vocabulary` is the path
    of a saved one to use instead of learning it, of what is read (and written, where joint), and
    `target_vocabulary` of what is written. Learned ones, of the pairs to train on without the extra
    ones, are kept in root/cache. `target_language` says how BLEU divides what is written ("zh":
    into characters); null: "zh" where half of its letters are Chinese signs, else "en".
    """

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        budget: int = 2000,
        reverse: bool = False,
        source: str | None = None,
        target: str | None = None,
        valid: int = 500,
        test: int = 500,
        valid_source: str | None = None,
        valid_target: str | None = None,
        test_source: str | None = None,
        test_target: str | None = None,
        extra_source: str | None = None,
        extra_target: str | None = None,
        target_language: str | None = None,
        kind: Kind = "subwords",
        pieces: int = 8000,
        joint: bool = True,
        normalise: bool = True,
        vocabulary: str | None = None,
        target_vocabulary: str | None = None,
        root: str = "data",
    ) -> None:
        super().__init__(batch_size, seed, workers, budget, reverse)
        paths: dict[str, Paths] = {
            **{"": (source, target), "valid_": (valid_source, valid_target)},
            **{"test_": (test_source, test_target), "extra_": (extra_source, extra_target)},
        }
        texts, splits, learned = self._gathered(paths, valid, test)
        self.target_language = target_language or language(texts[0 if reverse else 1])
        cache = Path(root).expanduser() / "cache"
        saved = vocabulary, target_vocabulary
        self.fill_texts(
            texts, splits, VocabularyChoice(kind, pieces, joint, normalise, *saved, cache), learned
        )

    def has_labels(self, split: Split) -> bool:
        return split != "test" or self._labelled

    def _gathered(
        self, paths: dict[str, Paths], valid: int, test: int
    ) -> tuple[Texts, dict[Split, Tensor], Tensor]:
        """All pairs, those of each split, and those of which vocabularies are made."""
        joined, own = Joined(), {prefix: any(pair) for prefix, pair in paths.items()}
        main = without_empty(_pair("", paths[""]), "to train on")
        splits = split_texts(main[0], 0 if own["valid_"] else valid, 0 if own["test_"] else test)
        joined.add(main)
        learned = splits["train"]
        if own["extra_"]:
            extra = without_empty(_pair("extra_", paths["extra_"]), "of the extra ones")
            splits["train"] = torch.cat([learned, joined.add(extra)])
        if own["valid_"]:
            splits["valid"] = joined.add(_pair("valid_", paths["valid_"]))
        self._labelled = not own["test_"] or all(paths["test_"])
        if own["test_"]:
            splits["test"] = joined.add(_pair("test_", paths["test_"], alone=int(self.reverse)))
        return joined.texts, splits, learned


def language(texts: list[str]) -> str:
    """ "zh" where at least half of the letters in the first thousand texts are Chinese signs."""
    letters = [sign for text in texts[:SHOWN] for sign in text if sign.isalpha()]
    chinese = sum("\u3400" <= sign <= "\u9fff" for sign in letters)
    return "zh" if letters and 2 * chinese >= len(letters) else "en"


def _pair(prefix: str, paths: Paths, alone: int | None = None) -> Texts:
    """The lines of two files, of which only the one of side `alone` may be given alone."""
    options = f"{prefix}source", f"{prefix}target"
    if alone is None or None not in paths or paths[alone] is None:
        return read_pair(options, paths)
    lines = read_lines(options[alone], str(paths[alone]))
    nothing = [""] * len(lines)
    return (nothing, lines) if alone else (lines, nothing)
