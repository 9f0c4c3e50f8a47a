"""Text files with a line a text; of two that belong together, line n of one is line n of the other.

Only a line feed ends a line. Python's own splitting takes a dozen other signs for ends of lines,
some of which occur within sentences, and from there on the wrong lines would stand together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hlml.errors import UserError


def read_lines(option: str, path: str) -> list[str]:
    """The lines of the file that data.`option` names. UserError: none to read, or no UTF-8."""
    place = Path(path).expanduser()
    try:
        content = place.read_bytes()
    except OSError as error:
        raise UserError(
            f"data.{option}={path}: cannot be read ({error.strerror}); name a file of texts"
        ) from error
    return lines_of(content, str(place))


def lines_of(content: bytes, where: str) -> list[str]:
    """The lines of a file's content; `where` it is from, for a message."""
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")  # which editors on Windows put
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where}, line {line:,}: is no UTF-8 (byte {content[error.start]:#04x}); save the "
            "file as UTF-8"
        ) from error
    lines = text.split("\n")
    if not lines[-1]:  # behind the last line's end
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def check_aligned(names: tuple[str, str], texts: tuple[Sequence[str], Sequence[str]]) -> None:
    """UserError: the two files have not a line each."""
    counts = len(texts[0]), len(texts[1])
    if counts[0] != counts[1]:
        short, long = (0, 1) if counts[0] < counts[1] else (1, 0)
        raise UserError(
            f"{names[0]} has {counts[0]:,} lines and {names[1]} has {counts[1]:,}: from line "
            f"{counts[short] + 1:,} of {names[long]} on, {names[short]} has nothing that "
            "belongs to it; give files with a line for each line of the other"
        )


def read_pair(
    options: tuple[str, str], paths: tuple[str | None, str | None]
) -> tuple[list[str], list[str]]:
    """The lines of two files that belong together, which data.`options` name. UserError: one is
    missing or cannot be read, or they do not belong together."""
    if paths[0] is None or paths[1] is None:
        given = ", ".join(f"data.{name}={path}" for name, path in zip(options, paths, strict=True))
        raise UserError(
            f"{given}: two text files are needed, with line n of one the translation of line n of "
            "the other"
        )
    texts = read_lines(options[0], paths[0]), read_lines(options[1], paths[1])
    check_aligned((paths[0], paths[1]), texts)
    return texts


def write_lines(lines: Iterable[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n", errors="backslashreplace") as file:
        file.writelines(f"{line}\n" for line in lines)
