"""The sentences of hsk-sentences-audio: whole pairs only, no English one on both sides."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

from hlml.data import sentences
from hlml.data.module import Split
from hlml.data.sentences import Sentences, read_sentences
from hlml.errors import UserError

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@pytest.mark.parametrize("reverse", [False, True])
def test_sentences_are_split_by_their_english(reverse: bool) -> None:
    data = Sentences(8, reverse=reverse, kind="characters", normalise=False)
    english, chinese = read_sentences()
    assert len(english) > 4200
    assert not [text for text in english if "placeholder" in text.lower() or len(text) < 4]
    found: dict[Split, list[tuple[str, str]]] = {}
    for split in SPLITS:
        rows = range(len(data.splits[split]))
        pairs = [(data.source_text(split, row), data.references(split, row)[0]) for row in rows]
        found[split] = [pair[::-1] if reverse else pair for pair in pairs]
    assert (len(found["valid"]), len(found["test"])) == (200, 400)
    wanted = zip((" ".join(text.split(" ")) for text in english), chinese, strict=True)
    assert sorted(chain.from_iterable(found.values())) == sorted(wanted)
    seen = [{pair[0] for pair in pairs} for pairs in found.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert data.target_language == ("en" if reverse else "zh")


@pytest.mark.parametrize("content", ["no JSON", json.dumps([{"english": "x"}]), json.dumps([1])])
def test_another_form_is_refused(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sentences.json").write_text(content)
    monkeypatch.setattr(sentences, "package_file", lambda *names: tmp_path / "sentences.json")
    with pytest.raises(UserError, match=r"sentences\.json: has another form"):
        read_sentences()


def test_entries_without_a_translation_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [
        ("Hello.", "你好。"),
        ("placeholder-p1", "我"),
        ("PH", "他"),
        ("placeholder", "她"),
        (" ", "它"),
    ]
    entries = [{"translation": {"en": english}, "traditional": text} for english, text in pairs]
    (tmp_path / "sentences.json").write_text(json.dumps(entries))
    monkeypatch.setattr(sentences, "package_file", lambda *names: tmp_path / "sentences.json")
    assert read_sentences() == (["Hello."], ["你好。"])
