"""Texts to numbers and back: nothing is lost, what is unknown included."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlml.data.vocabulary import TYPES, Kind, Vocabulary
from hlml.errors import UserError
from hlml.tokens import BEGIN, END, PAD, UNKNOWN

TEXTS = [
    "The cat sat on the mat, and the dog sat on the cat.",
    "A dog and a cat ran to the rat; the rat ran on.",
    "貓坐在墊子上，狗坐在貓上。",
    "Ｎｏ ｃａｔ, no dog.",
]
MANY = TEXTS * 5
WAYS = [(kind, normalise) for kind in TYPES for normalise in (True, False)]
VOCABULARIES = {way: Vocabulary.learn(MANY, way[0], 80, way[1]) for way in WAYS}  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40)
@given(texts=st.lists(st.text("acdot TM貓狗，,Ｎé☃\u2028\x0b\r", max_size=12), max_size=5))
def test_a_text_comes_back_up_to_its_blanks_and_its_normal_form(
    way: tuple[Kind, bool], texts: list[str]
) -> None:
    vocabulary = VOCABULARIES[way]
    wanted = texts
    if way[1]:
        # it folds case, and blanks of every kind are blanks; of the others \x0b goes
        plain = [
            text.replace("\x0b", "").replace("\u2028", " ").replace("\r", " ") for text in texts
        ]
        wanted = [unicodedata.normalize("NFKC", text).casefold() for text in plain]
    wanted = [" ".join(part for part in text.split(" ") if part) for text in wanted]
    assert [vocabulary.decode(numbers) for numbers in vocabulary.encode(texts)] == wanted
    assert [vocabulary.normalised(text) for text in texts] == wanted


@pytest.mark.parametrize("way", WAYS)
def test_the_first_four_numbers_are_signs_and_texts_have_none_of_them(
    way: tuple[Kind, bool],
) -> None:
    vocabulary = VOCABULARIES[way]
    signs = {PAD, BEGIN, END, UNKNOWN}
    encoded = vocabulary.encode([*TEXTS, "dog ☃ unheard", "<pad> <s> </s> <unk>"])
    assert signs == set(range(4))
    assert not signs & {number for numbers in encoded for number in numbers}
    around = [[BEGIN, *numbers, END, PAD, PAD] for numbers in encoded]
    assert list(map(vocabulary.decode, around)) == list(map(vocabulary.decode, encoded))


def test_each_unknown_word_has_a_number_of_its_own_and_keeps_it() -> None:
    vocabulary = Vocabulary.learn(["a b c"], "words", 20, normalise=False)
    size = len(vocabulary)
    first, second = vocabulary.encode(["a Ann Bob b Ann", "Bob Cleo Cleo c"])
    known = [vocabulary.encode([letter])[0][0] for letter in "abc"]
    assert first == [known[0], size, size + 1, known[1], size]
    assert second == [size + 1, size + 2, size + 2, known[2]]
    assert [piece.lstrip("▁") for piece in vocabulary.unknown] == ["Ann", "Bob", "Cleo"]
    assert vocabulary.pieces([BEGIN, *first, END]) == ["▁a", "▁Ann", "▁Bob", "▁b", "▁Ann"]
    assert len(vocabulary) == size


def test_one_text_and_many_are_encoded_alike() -> None:
    texts = [*TEXTS, "☃", "", "unheard ☃☃ of", "☃ again"]
    one, many = (Vocabulary(VOCABULARIES["subwords", True].model) for _ in range(2))
    assert many.encode(texts) == [one.encode([text])[0] for text in texts]
    assert many.unknown == one.unknown


def test_characters_are_one_number_each_and_no_blank_is_put_before_them() -> None:
    vocabulary = Vocabulary.learn(["hello", "old world"], "characters", normalise=False)
    assert vocabulary.pieces(vocabulary.encode(["hello"])[0]) == list("hello")
    assert set(vocabulary.pieces(range(4, len(vocabulary)))) == set("helowrd") | {"▁"}
    alone = Vocabulary.learn(["hello", "world"], "characters", normalise=False)
    assert set(alone.pieces(range(4, len(alone)))) == set("helowrd")


def test_a_small_vocabulary_has_the_words_that_are_met_most() -> None:
    texts = ["a a a a b b b c c d", "e a b c"]
    common = [word for word, _ in Counter(" ".join(texts).split()).most_common(3)]
    vocabulary = Vocabulary.learn(texts, "words", 4 + 3)
    assert vocabulary.pieces(range(4, len(vocabulary))) == [f"▁{word}" for word in common]


@pytest.mark.parametrize("kind", TYPES)
def test_the_same_texts_make_the_same_vocabulary_and_a_file_keeps_it(
    kind: Kind, tmp_path: Path
) -> None:
    vocabulary = Vocabulary.learn(iter(MANY), kind, 80)
    assert vocabulary.model == VOCABULARIES[kind, True].model
    vocabulary.save(tmp_path / "v.model")
    assert Vocabulary.load(tmp_path / "v.model").encode(TEXTS) == vocabulary.encode(TEXTS)


@pytest.mark.parametrize(
    "content", [None, b"", b"no model", VOCABULARIES["words", True].model[:99]]
)
def test_what_is_no_vocabulary_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "v.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"v\.model: is not a SentencePiece model"):
        Vocabulary.load(path)


def test_a_vocabulary_with_other_signs_is_refused(tmp_path: Path) -> None:
    import sentencepiece

    with (tmp_path / "v.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(MANY), model_writer=file, vocab_size=35, minloglevel=2
        )
    with pytest.raises(UserError, match=r"v\.model: numbers PAD, .* \(-1, 1, 2, 0\), not \(0, 1,"):
        Vocabulary.load(tmp_path / "v.model")


@pytest.mark.parametrize(
    ("texts", "kind", "size", "message"),
    [
        (MANY, "subwords", 20, r"data\.pieces=20: the texts have \d+ different characters"),
        (MANY, "subwords", 2, r"data\.pieces=2: "),
        ([], "words", 20, r"data\.pieces=20: SentencePiece makes no vocabulary of words"),
        (MANY, "syllables", 20, r"data\.kind=syllables: .*subwords, characters, words"),
    ],
)
def test_vocabularies_that_cannot_be_are_refused_in_a_line(
    texts: list[str], kind: Kind, size: int, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        Vocabulary.learn(texts, kind, size)
    assert "\n" not in str(error.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"pip install 'hlml\[text\]'"):
        Vocabulary.learn(MANY, "words")
