"""Scores of text: sacrebleu's own and those of the definition, whatever the batches."""

from __future__ import annotations

import builtins
import functools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from hlml.errors import UserError
from hlml.scoring import Pronunciations, Scoring, Translations, scoring

WORDS = {
    "en": ["the", "cat", "sat", "on", "a", "mat", ".", "It's", "3.5", "(no)"],
    "zh": ["我們", "你", "好", "。", "今天", "abc", "，", "去"],
}


def texts(language: str, count: int, most: int) -> tuple[list[str], list[list[str]]]:
    """Answers that are partly right, an empty one among them, and 1 to `most` references of each"""
    draw = random.Random(count)
    blank = " " * (language == "en")

    def text() -> str:
        return blank.join(draw.choices(WORDS[language], k=draw.randrange(1, 9)))

    references = [[text() for _ in range(draw.randint(1, most))] for _ in range(count)]
    answers = [draw.choice(one) + blank + draw.choice(WORDS[language]) for one in references]
    answers[0] = ""
    return answers, references


def in_parts(score: Scoring, answers: Any, references: Any, size: int) -> dict[str, float]:
    """Counts of so many answers at a time, added up."""
    totals: dict[str, list[float]] = {}
    for start in range(0, len(answers), size):
        part = slice(start, start + size)
        for name, numbers in score.count(answers[part], references[part]).items():
            before = totals.get(name, [0.0] * len(numbers))
            totals[name] = [a + b for a, b in zip(before, numbers, strict=True)]
    return score.scores(totals)


@settings(max_examples=20)
@given(st.sampled_from(["en", "zh"]), st.integers(1, 12), st.integers(1, 3))
def test_bleu_and_chrf_are_sacrebleus_in_any_batches(language: str, size: int, most: int) -> None:
    answers, references = texts(language, 12, most)
    score = scoring("bleu", language)
    found = in_parts(score, answers, references, size)
    streams = [[one[n] if n < len(one) else None for one in references] for n in range(most)]
    bleu, chrf = BLEU(tokenize="zh" if language == "zh" else "13a"), CHRF()
    assert found["bleu"] == bleu.corpus_score(answers, streams).score
    assert found["chrf"] == chrf.corpus_score(answers, streams).score
    assert 0 < found["bleu"] < 100
    expected = {"bleu": bleu, "chrf": chrf}
    assert score.about() == {
        f"{name}_signature": one.get_signature().format() for name, one in expected.items()
    }
    assert list(found) == list(score.directions)


def test_the_signature_tells_how_chinese_is_divided() -> None:
    score = Translations("zh")
    assert score.about() == {}  # nothing has been counted yet
    score.count(["好"], [["好"]])
    assert "nrefs:1|" in score.about()["bleu_signature"]
    assert "tok:zh" in score.about()["bleu_signature"]


def test_what_is_all_wrong_or_empty_has_a_score() -> None:
    score = Translations("en")
    assert score.scores(score.count(["x", ""], [["a b"], ["c"]])) == {"bleu": 0, "chrf": 0}


PHONEMES = st.lists(st.sampled_from(["AH", "B", "K", "S"]), max_size=5)
WRITTEN = st.tuples(PHONEMES, st.lists(PHONEMES.filter(bool), min_size=1, max_size=3))


@functools.cache
def distance(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """As Levenshtein defines it."""
    if not one or not other:
        return len(one) + len(other)
    change = distance(one[1:], other[1:]) + (one[0] != other[0])
    return min(change, distance(one[1:], other) + 1, distance(one, other[1:]) + 1)


@given(st.lists(WRITTEN, min_size=1, max_size=8), st.integers(1, 8))
def test_error_rates_are_those_of_the_definition(words: Any, size: int) -> None:
    answers = [" ".join(answer) for answer, _ in words]
    references = [[" ".join(one) for one in several] for _, several in words]
    errors, phonemes, wrong = 0, 0, 0
    for answer, several in words:
        distances = [distance(tuple(answer), tuple(one)) for one in several]
        least = min(distances)
        errors, wrong = errors + least, wrong + (answer not in several)
        pairs = zip(distances, several, strict=True)
        phonemes += max(len(one) for number, one in pairs if number == least)
    found = in_parts(Pronunciations(), answers, references, size)
    assert found == pytest.approx({"per": errors / phonemes, "wer": wrong / len(words)})


def test_any_listed_pronunciation_is_right() -> None:
    score = scoring("errors", "en")
    counts = score.count(["T AH M AA T OW"], [["T AH M EY T OW", "T AH M AA T OW"]])
    assert score.scores(counts) == {"per": 0, "wer": 0}
    assert score.about() == {}


def test_without_sacrebleu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'hlml\[text\]'"):
        Translations("en")
