"""The course's talks: found, cleaned and split as the course does, and no test line lost."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hlml.data.module import Split
from hlml.data.ted2020 import (
    Ted2020,
    clean_chinese,
    clean_english,
    filtered,
    read_talks,
    split_as_the_course,
)
from hlml.errors import UserError

ENGLISH = [
    f"Talk {number}, about cat-like {chr(97 + number % 26)} things." for number in range(150)
]
CHINESE = [f"演講{number}，關於貓{chr(0x4E00 + number % 40)}的事。" for number in range(150)]
TESTS = ["First line.", "", "(Laughter)", "A line\u2028with a break", "Last line"]
FILES = {
    "raw.en": ENGLISH,
    "raw.zh": CHINESE,
    "test.en": TESTS,
    "test.zh": ["。"] * len(TESTS),
}
LONG = {"raw.en": "train_dev.raw.en", "raw.zh": "train_dev.raw.zh", "test.en": "test.raw.en"}


def content(name: str, lines: dict[str, list[str]] = FILES) -> bytes:
    return "".join(f"{line}\n" for line in lines[name]).encode()


def write_tar(path: Path, names: list[str], prefix: str = "") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content(name))
            archive.addfile(info, io.BytesIO(content(name)))


def write(root: Path, layout: str) -> Path:
    """The files as the course leaves them in one of the steps, or as people unpack them."""
    root.mkdir(exist_ok=True)
    deep = root / "DATA/rawdata/ted2020"
    if layout == "archives":
        write_tar(root / "ted2020.tgz", ["raw.en", "raw.zh"])
        write_tar(root / "test.tgz", ["test.en", "test.zh"], "./")
    elif layout == "archives of folders":
        (root / "ted2020").mkdir()
        write_tar(root / "ted2020/ted2020.tgz", ["raw.en", "raw.zh"], "ted2020/")
        write_tar(root / "ted2020/test.tgz", ["test.en", "test.zh"], "test/")
    elif layout == "zip":
        with zipfile.ZipFile(root / "ted2020.zip", "w") as archive:
            for name in FILES:
                archive.writestr(f"ted2020/{name}", content(name))
    elif layout == "folders":
        for name in FILES:
            folder = root / ("test" if name.startswith("test") else "ted2020")
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content(name))
    else:
        deep.mkdir(parents=True)
        for name in FILES:
            (deep / LONG.get(name, name)).write_bytes(content(name))
        write_tar(deep / "ted2020.tgz", ["raw.en", "raw.zh"])
    return root


def read(root: Path, **options: Any) -> Ted2020:
    return Ted2020(8, root=str(root), **{"pieces": 200, **options})


@pytest.mark.parametrize(
    "layout", ["archives", "archives of folders", "zip", "folders", "the notebook's"]
)
def test_files_are_found_where_the_course_leaves_them(layout: str, tmp_path: Path) -> None:
    assert read_talks(write(tmp_path, layout)) == ((ENGLISH, CHINESE), TESTS)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Thank you so much, Chris.", "Thank you so much , Chris ."),
        ('(Applause) It\'s well-known (laughs): "yes"!', 'It\'s wellknown : " yes " !'),
        ("a ((b) c) d", "a ( c ) d"),
        ("  many \t blanks\u2028here  ", "many blanks here"),
        ("(Laughter)", ""),
    ],
)
def test_english_is_cleaned(line: str, wanted: str) -> None:
    assert clean_english(line) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("非常謝謝，克里斯。", "非常謝謝 , 克里斯 。"),
        ("（掌聲）ＡＢＣ１２３！", "ABC123 !"),
        ("他說：「好」——真 的_嗎？", "他說: 「 好 」 真的嗎 ?"),
        ("“引\u3000號”～", '" 引號 " ~'),
        ("（笑聲）", ""),
    ],
)
def test_chinese_is_cleaned(line: str, wanted: str) -> None:
    assert clean_chinese(line) == wanted


@given(st.text(st.sampled_from('ab 好。,（）()-—_“”"「」～~！＿\u3000\u2028'), max_size=20))
def test_of_clean_lines_no_remark_is_left_and_signs_stand_alone(line: str) -> None:
    for clean, signs in ((clean_english, '.,;!?()"'), (clean_chinese, '。,;!?()"~「」')):
        text = clean(line)
        assert "  " not in text
        assert text == text.strip()
        assert all(part in signs for part in text.split(" ") if set(part) & set(signs))
    assert not set("—_“”（）～！＿\u3000") & set(clean_chinese(line))


def test_pairs_are_kept_by_their_lengths() -> None:
    def pair(words: int, signs: int) -> tuple[str, str]:
        return " ".join(["a"] * words), "好" * signs

    kept = [(1, 1), (1, 9), (9, 1), (1000, 1000), (112, 1000), (1000, 112)]
    dropped = [(0, 1), (1, 0), (0, 0), (1, 10), (10, 1), (1001, 1000), (1000, 1001), (111, 1000)]
    pairs = [pair(*lengths) for lengths in kept + dropped]
    texts = [one for one, _ in pairs], [other for _, other in pairs]
    assert filtered(texts) == tuple(side[: len(kept)] for side in texts)


def test_the_split_has_the_sizes_the_course_reports() -> None:
    train, valid = split_as_the_course(393_980, 0.01)
    assert (len(train), len(valid)) == (390_041, 3_939)
    assert torch.cat([train, valid]).sort().values.equal(torch.arange(393_980))


def test_no_line_of_the_test_is_lost_and_none_is_scored(tmp_path: Path) -> None:
    data = read(write(tmp_path, "archives"))
    texts = [data.source_text("test", row) for row in range(len(data.splits["test"]))]
    assert texts == ["First line .", "", "", "A line with a break", "Last line"]
    assert [data.has_labels(split) for split in ("train", "valid", "test")] == [True, True, False]
    data.write_answers(["一", "", " ", "四", "五"], tmp_path / data.answers_name)
    written = (tmp_path / "prediction.txt").read_bytes().decode()
    assert written == "一\n。\n。\n四\n五\n"


def test_training_reads_the_pairs_and_the_extra_ones_in_both_directions(tmp_path: Path) -> None:
    write(tmp_path, "archives")
    extra = {"en": ["More (of it)", "", "x " * 30], "zh": ["更，多", "空", "好"]}
    for name, lines in extra.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    paths = {"extra_source": str(tmp_path / "en"), "extra_target": str(tmp_path / "zh")}
    plain, forward = read(tmp_path), read(tmp_path, **paths)
    backward = read(tmp_path, **paths, reverse=True)
    models = {one.source_vocabulary.model for one in (plain, forward, backward)}
    assert len(models) == 1  # the two directions share it, and a resumed chain finds it again
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert (forward.target_language, backward.target_language) == ("zh", "en")
    assert len(forward.splits["train"]) == len(plain.splits["train"]) + 1
    split: Split
    for split in ("train", "valid"):
        for row in range(len(forward.splits[split])):
            read_, written = forward.source_text(split, row), backward.source_text(split, row)
            assert forward.references(split, row) == [forward.source_vocabulary.normalised(written)]
            assert backward.references(split, row) == [forward.source_vocabulary.normalised(read_)]
    assert forward.source_text("train", len(forward.splits["train"]) - 1) == "More"
    everything = {
        forward.source_text(split, row)
        for split in ("train", "valid")
        for row in range(len(forward.splits[split]))
    }
    assert everything == {"More", *map(clean_english, ENGLISH)}


@pytest.mark.parametrize("gone", ["raw.en", "raw.zh", "test.en"])
def test_a_missing_file_is_named_with_where_it_comes_from(gone: str, tmp_path: Path) -> None:
    write(tmp_path, "folders")
    next(tmp_path.glob(f"*/{gone}")).unlink()
    with pytest.raises(
        UserError, match=rf"^{gone} not found in .*ted2020\.tgz and test\.tgz"
    ) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)
    assert "data.root=FOLDER" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid": 0.0}, r"data\.valid=0 of 150 pairs"),
        ({"valid": 1.0}, r"data\.valid=1 of 150 pairs"),
        ({"extra_source": "x"}, r"data\.extra_source=x, data\.extra_target=None: two text files"),
        ({"pieces": 10}, r"data\.pieces=10: the texts have \d+ different characters"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, "folders"), **options)


def test_lines_out_of_step_and_other_encodings_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "folders")
    (tmp_path / "ted2020/raw.zh").write_text("好\n" * 149)
    with pytest.raises(
        UserError, match=r"raw\.en has 150 lines .* from line 150 .*raw\.zh has nothing"
    ):
        read(tmp_path)
    (tmp_path / "ted2020/raw.zh").write_bytes("好\n".encode() * 2 + "好\n".encode("big5"))
    with pytest.raises(UserError, match=r"raw\.zh, line 3: is no UTF-8"):
        read(tmp_path)
