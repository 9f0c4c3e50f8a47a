"""Lines end at line feeds alone, and files that do not belong together are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlml.data.line_files import check_aligned, lines_of, read_lines, read_pair, write_lines
from hlml.errors import UserError

# signs that Python's splitlines takes for ends of lines
ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@given(st.lists(st.text(st.sampled_from("ab 中" + ENDS + "\r"), max_size=6)))
def test_lines_written_are_the_lines_read(lines: list[str]) -> None:
    lines = [line.rstrip("\r") for line in lines]  # of "\r\n" both are the end
    content = "".join(f"{line}\n" for line in lines)
    assert lines_of(content.encode(), "file") == lines
    assert lines_of(content.replace("\n", "\r\n").encode(), "file") == lines


@pytest.mark.parametrize("end", ENDS)
def test_other_ends_of_lines_are_within_the_line(end: str, tmp_path: Path) -> None:
    lines = [f"one{end}two", "three", f"{end}"]
    write_lines(lines, tmp_path / "file")
    assert read_lines("source", str(tmp_path / "file")) == lines
    assert (tmp_path / "file").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("content", ["a\nb", "a\nb\n", "\ufeffa\nb\n", "a\r\nb\r\n"])
def test_a_last_end_and_marks_of_windows_change_nothing(content: str) -> None:
    assert lines_of(content.encode(), "file") == ["a", "b"]


def test_empty_lines_count() -> None:
    assert lines_of(b"", "file") == []
    assert lines_of(b"\n\na\n\n", "file") == ["", "", "a", ""]


def test_what_is_no_utf_8_is_named_by_file_and_line() -> None:
    content = "one\ntwo\u2028\nthr\xe9e\n".encode("latin-1", "replace")
    with pytest.raises(UserError, match=r"^file, line 3: is no UTF-8 \(byte 0xe9\)"):
        lines_of(content, "file")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((3, 5), r"a has 3 lines and b has 5: from line 4 of b on, a has nothing"),
        ((1200, 2), r"a has 1,200 lines and b has 2: from line 3 of a on, b has nothing"),
        ((0, 1), r"a has 0 lines and b has 1: from line 1 of b on, a has nothing"),
    ],
)
def test_files_of_different_lengths_say_from_where_on(
    counts: tuple[int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_aligned(("a", "b"), (["x"] * counts[0], ["y"] * counts[1]))


def test_a_file_that_is_missing_or_not_named_is_said_by_its_option(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    with pytest.raises(UserError, match=rf"data\.source={path}: cannot be read \(No such file"):
        read_lines("source", path)
    with pytest.raises(UserError, match=rf"data\.source={path}, data\.target=None: two text files"):
        read_pair(("source", "target"), (path, None))
