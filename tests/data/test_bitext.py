"""Two aligned files: split, joined with others, and refused where they are not aligned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hlml.data.bitext import Bitext, language
from hlml.data.module import Split
from hlml.data.vocabulary import Vocabulary
from hlml.errors import UserError

SHARED = Path(__file__).parents[3] / "shared/data/bitext"
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
SIGNS = "一二三四五六七八九十"


def english(number: int) -> str:
    return f"Number {number} is here"


def chinese(number: int) -> str:
    return f"號碼{''.join(SIGNS[int(digit)] for digit in str(number))}在這"


def write(folder: Path, name: str, numbers: range) -> dict[str, str]:
    """Files of these pairs, and the options that name them."""
    paths = {}
    for side, say in (("source", english), ("target", chinese)):
        path = folder / f"{name}{side}.txt"
        path.write_text("".join(f"{say(number)}\n" for number in numbers))
        paths[f"{name}{side}"] = str(path)
    return paths


def read(root: Path, **options: Any) -> Bitext:
    return Bitext(8, root=str(root), **{"kind": "words", "pieces": 300, **options})


def sources(data: Bitext, split: Split) -> list[str]:
    return [data.source_text(split, row) for row in range(len(data.splits[split]))]


def test_each_pair_is_in_one_split_with_its_own_translation(tmp_path: Path) -> None:
    data = read(tmp_path, **write(tmp_path, "", range(100)), valid=10, test=20)
    assert [len(data.splits[split]) for split in SPLITS] == [70, 10, 20]
    found = {
        text: data.references(s, row)[0]
        for s in SPLITS
        for row, text in enumerate(sources(data, s))
    }
    assert found == {english(number): chinese(number) for number in range(100)}
    assert data.source_vocabulary is data.target_vocabulary
    assert data.target_language == "zh"


@pytest.mark.parametrize("reverse", [False, True])
def test_files_of_their_own_and_extra_pairs_go_where_they_belong(
    reverse: bool, tmp_path: Path
) -> None:
    parts = {
        "": range(50),
        "valid_": range(50, 60),
        "test_": range(60, 75),
        "extra_": range(90, 99),
    }
    paths = [write(tmp_path, name, numbers) for name, numbers in parts.items()]
    options = {key: path for pair in paths for key, path in pair.items()}
    data = read(tmp_path, **options, reverse=reverse, joint=False)
    say, answer = (chinese, english) if reverse else (english, chinese)
    wanted = {
        "train": [*parts[""], *parts["extra_"]],
        "valid": parts["valid_"],
        "test": parts["test_"],
    }
    for split in SPLITS:
        assert sources(data, split) == [say(number) for number in wanted[split]]
        rows = range(len(data.splits[split]))
        answers = [data.references(split, row) for row in rows]
        assert [one for (one,) in answers] == [
            data.target_vocabulary.normalised(answer(n)) for n in wanted[split]
        ]
    assert data.target_language == ("en" if reverse else "zh")
    # vocabularies are made of the files' pairs, without the extra ones
    assert "▁90" not in data.source_vocabulary.pieces(range(len(data.source_vocabulary)))


def test_a_test_without_answers_is_read_whole_and_not_scored(tmp_path: Path) -> None:
    train = write(tmp_path, "", range(40))
    path = tmp_path / "lines.txt"
    path.write_text("Number 3\n\n\nNumber 4 is here\n")
    data = read(tmp_path, **train, test_source=str(path), valid=5, normalise=False)
    assert sources(data, "test") == ["Number 3", "", "", "Number 4 is here"]
    assert [data.has_labels(split) for split in SPLITS] == [True, True, False]
    data.write_answers(list("abcd"), tmp_path / "answers")
    assert (tmp_path / "answers").read_text() == "a\nb\nc\nd\n"
    with pytest.raises(UserError, match=r"data\.test_target=None: two text files"):
        read(tmp_path, **train, test_source=str(path), valid=5, reverse=True)


def test_empty_pairs_are_left_out_of_training_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, lines in (("s", "a b\n\nc\nd\n"), ("t", "A\nB\n\nD\n")):
        (tmp_path / name).write_text(lines)
    train = {"source": str(tmp_path / "s"), "target": str(tmp_path / "t")}
    held_out = {
        f"{split}_{side}": path for split in ("valid", "test") for side, path in train.items()
    }
    data = read(tmp_path, **train, **held_out, normalise=False)
    assert [len(data.splits[split]) for split in SPLITS] == [2, 4, 4]
    assert "2 of 4 pairs to train on have an empty side" in capsys.readouterr().err
    assert data.references("test", 2) == [""]


def test_a_saved_vocabulary_is_used_as_it_is(tmp_path: Path) -> None:
    paths = write(tmp_path, "", range(60))
    saved = Vocabulary.learn(["other texts"], "characters")
    saved.save(tmp_path / "v.model")
    data = read(tmp_path, **paths, valid=5, test=5, vocabulary=str(tmp_path / "v.model"))
    assert data.source_vocabulary.model == data.target_vocabulary.model == saved.model
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["Hello there", "more of it"], "en"),
        (["你好，世界。", "OK 了"], "zh"),
        (["こんにちは"], "en"),
        (["ab 中文"], "zh"),
        (["12, 34"], "en"),
        ([], "en"),
    ],
)
def test_a_language_is_guessed_from_its_letters(texts: list[str], wanted: str) -> None:
    assert language(texts) == wanted


def test_a_language_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    options = write(tmp_path, "", range(60)) | {"valid": 5, "test": 5}
    assert read(tmp_path, **options, target_language="ja").target_language == "ja"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": None}, r"data\.source=None, data\.target=.*target\.txt: two text files"),
        ({"valid_source": "x"}, r"data\.valid_source=x, data\.valid_target=None: two"),
        ({"extra_target": "x"}, r"data\.extra_source=None, data\.extra_target=x: two"),
        ({"valid": 30, "test": 30}, r"data\.valid=30 data\.test=30: there are 60 pairs"),
        ({"valid": 0}, r"data\.valid: there are no pairs for it"),
        ({"pieces": 5, "kind": "subwords"}, r"data\.pieces=5: the texts have \d+ different"),
        ({"vocabulary": "none.model"}, r"none\.model: is not a SentencePiece model"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    paths: dict[str, Any] = write(tmp_path, "", range(60))
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, **{**paths, "valid": 5, "test": 5, **options})
    assert "\n" not in str(error.value)


def test_files_that_are_not_aligned_are_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, "", range(60))
    Path(paths["target"]).write_text("一\n" * 58)
    with pytest.raises(
        UserError, match=r"source\.txt has 60 lines .*target\.txt has 58: from line 59"
    ):
        read(tmp_path, **paths)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared sentences are not here")
def test_the_shared_sentences(tmp_path: Path) -> None:
    paths = [str(SHARED / f"train_dev.raw.{language}") for language in ("en", "zh")]
    data = Bitext(64, source=paths[0], target=paths[1], root=str(tmp_path), kind="characters")
    assert [len(data.splits[split]) for split in SPLITS] == [14_000, 500, 500]
    seen = [{text.casefold() for text in sources(data, split)} for split in SPLITS]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert data.target_language == "zh"
