"""No text is on both sides of a split, and the split is part of the data."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlml.data.text_splits import Joined, split_texts, without_empty
from hlml.errors import UserError


def plain(text: str) -> str:
    return " ".join(text.split()).lower()


@settings(max_examples=40)
@given(
    texts=st.lists(st.text("ab B", max_size=4), max_size=30),
    single=st.integers(12, 20),
    valid=st.integers(0, 5),
    test=st.integers(0, 5),
)
def test_splits_have_all_rows_once_and_no_text_twice(
    texts: list[str], single: int, valid: int, test: int
) -> None:
    texts = texts + [f"only {number}" for number in range(single)]
    splits = split_texts(texts, valid, test)
    assert sorted(torch.cat(list(splits.values())).tolist()) == list(range(len(texts)))
    # there are enough texts that occur once to fill each split up
    assert (len(splits["valid"]), len(splits["test"])) == (valid, test)
    seen = [{plain(texts[row]) for row in rows.tolist()} for rows in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert all(rows.tolist() == sorted(rows.tolist()) for rows in splits.values())
    again = split_texts(texts, valid, test)
    assert all(torch.equal(splits[name], again[name]) for name in splits)


@pytest.mark.parametrize(
    ("texts", "valid", "test", "message"),
    [
        (list("abcdef"), 3, 3, r"data\.valid=3 data\.test=3: there are 6 pairs"),
        (list("abcdef"), -1, 3, r"data\.valid=-1: is out of range, it must be 0 or more"),
        (list("abcdef"), 1, -3, r"data\.test=-3: is out of range"),
        (["a", "A"] * 3, 1, 1, r"6 pairs of 1 different texts cannot be split"),
    ],
)
def test_splits_that_cannot_be_are_refused(
    texts: list[str], valid: int, test: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        split_texts(texts, valid, test)


def test_pairs_with_an_empty_side_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = ["a", "", "c", " \t", "e"], ["A", "B", "\u3000", "D", "E"]
    assert without_empty(texts, "to train on") == (["a", "e"], ["A", "E"])
    assert "3 of 5 pairs to train on have an empty side" in capsys.readouterr().err
    assert without_empty((["a"], ["A"]), "to train on") == (["a"], ["A"])
    assert not capsys.readouterr().err


def test_joined_pairs_keep_the_rows_they_were_given() -> None:
    joined = Joined()
    parts = [(["a", "b"], ["A", "B"]), ([], []), (["c"], ["C"])]
    rows = [joined.add(part) for part in parts]
    for part, places in zip(parts, rows, strict=True):
        assert tuple([side[row] for row in places.tolist()] for side in joined.texts) == part
