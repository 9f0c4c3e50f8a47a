"""How good written answers are, from counts that add up over batches and processes.

BLEU: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; chrF:
Popovic 2015, "chrF: character n-gram F-score for automatic MT evaluation"; both as sacrebleu
counts them (Post 2018, "A Call for Clarity in Reporting BLEU Scores"). Error rates of phonemes and
of words: as for letters to phonemes, against the listed pronunciation that is nearest.
A answers; of each one reference or several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar, Literal

import numpy as np

from hlml.error_rates import edit_distances
from hlml.errors import UserError

Counts = dict[str, list[int]]
TOKENIZERS = {"zh": "zh"}  # by language: characters; else words and punctuation marks, "13a"


class Scoring(ABC):
    """`directions`: its metrics and which way is better, the most telling first."""

    directions: ClassVar[dict[str, str]]
    by_length: ClassVar[str]
    """The metric that is drawn over the length of the source."""

    @abstractmethod
    def count(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
        """What adds up: as many numbers of each name for any answers."""

    @abstractmethod
    def scores(self, counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Added-up counts as the numbers we report: every name of `directions`."""

    def about(self) -> dict[str, Any]:
        """How it was counted, for the summary."""
        return {}


class Translations(Scoring):
    """BLEU and chrF of text in `language`, 0 to 100.

    Raises:
        UserError: sacrebleu is not installed.
    """

    directions: ClassVar[dict[str, str]] = {"bleu": "max", "chrf": "max"}
    by_length = "bleu"

    def __init__(self, language: str) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU
            from sacrebleu.metrics.chrf import CHRF
        except ImportError as error:
            raise UserError("task: BLEU needs sacrebleu; pip install 'hlml[text]'") from error
        # force: whoever leaves blanks before full stops need not be told so at each validation
        bleu = BLEU(tokenize=TOKENIZERS.get(language, "13a"), force=True)
        self.measures: dict[str, Any] = {"bleu": bleu, "chrf": CHRF()}
        self.references: set[int] = set()  # how many there are of an answer

    def count(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
        """bleu: words of the answers and of the references, n-grams that are right and n-grams,
        n = 1..4; chrf: n-grams of the answers, of the references and of both, n = 1..6."""
        self.references |= {len(several) for several in references}
        first, *others = zip_longest(*references)  # the way sacrebleu wants them, None: no more
        found = {}
        for name, measure in self.measures.items():
            rows = measure._extract_corpus_statistics(answers, [first, *others])
            found[name] = [sum(column) for column in zip(*rows, strict=True)]
        return found

    def scores(self, counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
        return {
            name: float(measure._compute_score_from_stats([round(n) for n in counts[name]]).score)
            for name, measure in self.measures.items()
        }

    def about(self) -> dict[str, Any]:
        """sacrebleu's signatures, once there is something they can speak of."""
        if not self.references:
            return {}
        for measure in self.measures.values():  # -1: some answers have more of them than others
            measure.num_refs = min(self.references) if len(self.references) == 1 else -1
        return {
            f"{name}_signature": measure.get_signature().format()
            for name, measure in self.measures.items()
        }


class Pronunciations(Scoring):
    """per: insertions, deletions and substitutions for each phoneme of the reference that is
    nearest (of several, the longest), with blanks between phonemes; wer: the share of words that
    are like none of their references."""

    directions: ClassVar[dict[str, str]] = {"per": "min", "wer": "min"}
    by_length = "wer"

    def count(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
        """errors: errors and phonemes; words: wrong ones and all"""
        numbers: dict[str, int] = {}

        def numbered(text: str) -> Any:
            known = [numbers.setdefault(phoneme, len(numbers)) for phoneme in text.split()]
            return np.array(known, dtype=np.int64)

        which = [row for row, several in enumerate(references) for _ in several]
        heard = [numbered(answer) for answer in answers]
        said = [numbered(reference) for several in references for reference in several]
        distances = edit_distances([heard[row] for row in which], said).tolist()
        nearest = [(10**9, 0)] * len(answers)
        for row, distance, phonemes in zip(which, distances, map(len, said), strict=True):
            nearest[row] = min(nearest[row], (distance, -phonemes))
        errors, phonemes = (sum(column) for column in zip(*nearest, strict=True))
        wrong = sum(distance > 0 for distance, _ in nearest)
        return {"errors": [errors, -phonemes], "words": [wrong, len(answers)]}

    def scores(self, counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
        (errors, phonemes), (wrong, words) = counts["errors"], counts["words"]
        return {"per": errors / phonemes, "wer": wrong / words}


def scoring(kind: Literal["bleu", "errors"], language: str) -> Scoring:
    return Pronunciations() if kind == "errors" else Translations(language)
