"""The fold against what espeak-ng itself says its symbols are, in the international alphabet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from hlml.data import espeak
from hlml.data.phonemes import CLASSES, NUMBER, SILENCE, fold
from hlml.data.spoken import words

# The class of a sound by its first sign of the international alphabet; vowels with r by all signs.
IPA = {
    **{"iː": "iy", "i": "iy", "ɪ": "ih", "ᵻ": "ih", "iə": "ih", "ɪɹ": "er", "ɛ": "eh", "ɛɹ": "eh"},
    **{"æ": "ae", "ʌ": "ah", "ə": "ah", "ɐ": "ah", "uː": "uw", "ʊ": "uh", "ʊɹ": "uh", "ɑː": "aa"},
    **{"ɔ": "aa", "ɔː": "aa", "oː": "aa", "ɑːɹ": "aa", "ɔːɹ": "aa", "oːɹ": "aa", "eɪ": "ey"},
    **{"aɪ": "ay", "aɪə": "ay", "aɪɚ": "ay", "ɔɪ": "oy", "aʊ": "aw", "oʊ": "ow", "ɜː": "er"},
    **{"ɚ": "er", "l": "l", "əl": "l", "ɹ": "r", "j": "y", "w": "w", "m": "m", "n": "n", "n̩": "n"},
    **{"ŋ": "ng", "tʃ": "ch", "dʒ": "jh", "ð": "dh", "b": "b", "d": "d", "ɾ": "dx", "ɡ": "g"},
    **{"p": "p", "t": "t", "k": "k", "z": "z", "v": "v", "f": "f", "θ": "th", "s": "s", "ʃ": "sh"},
    **{"ʒ": "sh", "h": "hh", "ʔ": "sil", "": "sil"},
}
NAMES = """
import json, sys, espeakng_loader
sys.path.insert(0, sys.argv[1])
import espeak  # as a file: hlml.data would bring torch along
espeak.EVENTS |= int(sys.argv[2])
engine = espeak.Engine(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
found = []
for text in json.load(sys.stdin):
    engine.say(espeak.Saying(text, "en-us", 170, 50))
    found += [symbol.decode() for symbol in engine.symbols]
print(json.dumps(found))
"""


def test_classes_are_the_courses() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 39
    order = "iy ih eh ae ah uw uh aa ey ay oy aw ow l r y w er m n ng ch jh dh b d dx g p t k z v"
    assert [*order.split(), "f", "th", "s", "sh", "hh", "sil"] == CLASSES
    assert set(NUMBER.values()) == set(range(39))


def names(texts: list[str], alphabet: int) -> list[str]:
    """What the engine calls the phonemes of these texts; alphabet 2 is the international one."""
    folder = str(Path(espeak.__file__).parent)
    command = [sys.executable, "-c", NAMES, folder, str(alphabet)]
    asked = json.dumps(texts)
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_fold_agrees_with_the_engines_own_alphabet() -> None:
    """Words in random company: each symbol, and its sign in the international alphabet."""
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")
    vocabulary = Random(0).sample(words(), 800)
    texts = [" ".join(vocabulary[place : place + 8]) for place in range(0, 800, 8)]
    heard = set()
    for symbol, sign in zip(names(texts, 0), names(texts, 2), strict=True):
        number, bare = fold(symbol), sign.strip("ˈˌ")
        if number is None or (bare == "" and not symbol.startswith("_")):
            continue  # no sound, or a murmur that has no sign
        assert CLASSES[number] == IPA[bare], f"{symbol} is {sign}"
        heard.add(number)
    assert heard == set(range(39))


def test_marks_of_stress_change_no_class() -> None:
    assert {fold(mark + "aI") for mark in ("", "'", ",", "%", "=", "|", "''")} == {9}
    assert fold(";") is None
    assert fold("_:") == SILENCE


def test_an_unknown_symbol_is_an_error_and_not_silence() -> None:
    with pytest.raises(ValueError, match="no class for espeak-ng's symbol \"'q2\""):
        fold("'q2")


def test_words_are_words() -> None:
    assert len(words()) == len(set(words())) > 1000
    assert all(word.isascii() and word.isalpha() for word in words())
