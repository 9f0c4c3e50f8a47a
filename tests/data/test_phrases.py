"""Phrases made by CLDR and sentences of a package: the same always, and whole translations."""

from __future__ import annotations

import re
import sys
from datetime import datetime

import pytest
from babel import Locale

from hlml.data.module import Split
from hlml.data.phrases import MOST, Phrases, make_phrases
from hlml.errors import UserError

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def test_phrases_are_different_and_the_same_at_every_call() -> None:
    english, chinese = make_phrases(800)
    assert len(set(english)) == len(english) == len(chinese) == 800
    more = make_phrases(900)
    assert (more[0][:800], more[1][:800]) == (english, chinese)
    assert all(text == " ".join(text.split()) and text for text in english + chinese)


def test_a_phrase_means_the_same_in_both_languages() -> None:
    """Dates and lists, understood anew from the text of either side."""
    locale, other = Locale.parse("en_US"), Locale.parse("zh_Hant_TW")
    dates = names = 0
    territories = {locale.territories[key]: other.territories[key] for key in other.territories}
    for english, chinese in zip(*make_phrases(3000), strict=True):
        if match := re.fullmatch(r"(\d+)年(\d+)月(\d+)日", chinese):
            year, month, day = map(int, match.groups())
            forms = ("%B {d}, %Y", "%b {d}, %Y")
            moment = datetime(year, month, day)
            assert english in [moment.strftime(form.format(d=day)) for form in forms]
            dates += 1
        parts = english.split(" and ")
        if len(parts) == 2 and set(parts) <= territories.keys():
            assert chinese == "和".join(territories[part] for part in parts)
            names += 1
    assert dates > 20
    assert names > 20


@pytest.mark.parametrize("reverse", [False, True])
def test_phrases_are_split_and_read_from_either_side(reverse: bool) -> None:
    data = Phrases(8, reverse=reverse, number=300, valid=30, test=50, kind="characters")
    english, chinese = make_phrases(300)
    wanted = dict(zip(english, chinese, strict=True))
    found = []
    for split, count in zip(SPLITS, (220, 30, 50), strict=True):
        assert len(data.splits[split]) == count
        for row in range(count):
            pair = data.source_text(split, row), data.references(split, row)[0]
            found.append(pair[::-1] if reverse else pair)
    assert len(found) == 300
    assert dict(found) == wanted
    assert data.target_language == ("en" if reverse else "zh")


@pytest.mark.parametrize("number", [9, MOST + 1])
def test_how_many_there_may_be(number: int) -> None:
    with pytest.raises(
        UserError, match=rf"data\.number={number}: is out of range, it must be 10 to"
    ):
        Phrases(8, number=number)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_no_split_is_empty(split: str) -> None:
    counts = {"valid": 3, "test": 3} | {split: 0}
    with pytest.raises(UserError, match=rf"^data\.{split}: there are no pairs for it; give some$"):
        Phrases(8, number=60, pieces=400, **counts)


def test_without_babel_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(UserError, match=r"pip install 'hlml\[text\]'"):
        make_phrases(10)
