"""`hlml runs`: what ran, how good it was, and all of it as a table for a spreadsheet."""

from __future__ import annotations

import argparse
import csv
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hlml.errors import UserError, did_you_mean

KINDS = ("list", "best", "table")
DANGEROUS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # a spreadsheet takes a cell that starts so for a formula


@dataclass(frozen=True)
class Run:
    """One run folder, as far as it can be read."""

    folder: Path
    summary: dict[str, Any]

    def text(self, key: str) -> str:
        value = self.summary.get(key)
        return "" if value is None else str(value)

    def metric(self) -> float | None:
        """The watched metric on the validation split."""
        valid = self.summary.get("valid")
        value: Any = valid.get(self.text("monitor")) if isinstance(valid, dict) else None
        return float(value) if _is_number(value) and math.isfinite(value) else None

    def rank(self) -> float:
        """Lower is better, whatever the metric."""
        value = self.metric()
        if value is None:
            return math.inf
        return -value if self.summary.get("direction") == "max" else value


def main(argv: list[str]) -> int:
    args = _parse(argv)
    root = Path(args.runs)
    if not root.is_dir():
        raise UserError(
            f"runs={args.runs}: no such folder; hlml train homework=hw1 makes the first"
        )
    runs, damaged = read_all(root)
    if args.homework:
        known = sorted({run.text("homework") for run in runs})
        if args.homework not in known:
            raise UserError(f"{args.homework}: no runs of it; {did_you_mean(args.homework, known)}")
        runs = [run for run in runs if run.text("homework") == args.homework]
    if args.kind == "table":
        write_csv(runs)
    else:
        _show(runs if args.kind == "list" else best(runs), root)
    if damaged:
        print(f"{damaged} folders skipped: damaged files", file=sys.stderr)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    """`[list|best|table] [HOMEWORK] [--runs FOLDER]`, the words in any order."""
    parser = argparse.ArgumentParser(
        "hlml runs",
        description="list: the newest first. best: of each homework, by the metric it watched. "
        "table: everything, as csv.",
    )
    parser.add_argument("words", nargs="*", metavar="list|best|table, hw1")
    parser.add_argument("--runs", default="runs", help="the folder of runs (runs)")

    def refuse(message: str) -> NoReturn:
        raise UserError(f"hlml runs: {message}; hlml runs --help")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(argv)
    args.kind, args.homework = "list", None
    for word in args.words:
        if word.startswith("runs="):
            args.runs = word.removeprefix("runs=")
        elif word in KINDS:
            args.kind = word
        elif args.homework is None and word.startswith("hw"):
            args.homework = word
        else:
            raise UserError(f"hlml runs {word}: {did_you_mean(word, (*KINDS, 'hw1'))}")
    return args


def read_all(root: Path) -> tuple[list[Run], int]:
    """Every run below the folder, newest first, and how many could not be read."""
    runs, damaged = [], 0
    for folder in _folders(root):
        summary = _summary(folder)
        if summary is None:
            damaged += 1
        else:
            runs.append(Run(folder, summary))
    return sorted(runs, key=lambda run: run.folder.name, reverse=True), damaged


def _folders(root: Path) -> Iterator[Path]:
    """The folders that are runs: they hold a summary or the config of a run that has none yet."""
    found = {path.parent for name in ("summary.json", "config.yaml") for path in root.rglob(name)}
    return iter(sorted(found))


def _summary(folder: Path) -> dict[str, Any] | None:
    """What is known of a run; None: its files are damaged."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        summary = _from_config(folder / "config.yaml")
    except (OSError, ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) else None


def _from_config(path: Path) -> dict[str, Any] | None:
    """A run without a summary: it is still going, or was killed."""
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = str(config["data"]["_target_"]).rpartition(".")[2].lower()
    except (OSError, ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        return None
    known = {key: config.get(key) for key in ("homework", "level")}
    return {**known, "data": data, "status": "unfinished"}


def best(runs: list[Run]) -> list[Run]:
    """The best of each homework and data set: two data sets' errors cannot be compared."""
    found: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        key = (run.text("homework"), run.text("data"), run.text("monitor"))
        if run.text("status") == "smoke":
            continue  # two steps, scored on two batches
        if run.metric() is not None and (key not in found or run.rank() < found[key].rank()):
            found[key] = run
    return [found[key] for key in sorted(found)]


def _show(runs: list[Run], root: Path) -> None:
    rows = []
    for run in runs:
        metric = run.metric()
        rows.append(
            {
                "run": str(run.folder.relative_to(root)),
                "homework": run.text("homework"),
                "level": run.text("level"),
                "data": run.text("data"),
                "valid": "" if metric is None else f"{run.text('monitor')} {metric:.6g}",
                "steps": run.text("steps"),
                "status": run.text("status"),
            }
        )
    if rows:
        print_table(rows)
    else:
        print(f"no runs in {root} yet")


def print_table(rows: list[dict[str, str]]) -> None:
    """Columns as wide as they need to be; a column is there when a row has it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names, *([_plain(row.get(name, "")) for name in names] for row in rows)]
    for line in aligned(table, str.ljust):
        print(line)


def aligned(table: list[list[str]], align: Callable[[str, int], str]) -> list[str]:
    """Lines of columns as wide as they need to be: the first to the left, the others by `align`."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if not widths:
        return []
    return [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [align(cell, width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in table
    ]


def _plain(text: str) -> str:
    """Nothing from a file may move the terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def write_csv(runs: list[Run]) -> None:
    """One row a run: what was set, what came out, where the weights are."""
    rows = [_row(run) for run in runs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: (*_ORDER, *_LAST).index(name.split(".")[0]))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    for row in rows:
        writer.writerow([_cell(row.get(name, "")) for name in names])


_ORDER = ("run", "homework", "level", "data", "status", "valid", "test", "seconds", "steps")
_LAST = ("override", "checkpoint")


def _row(run: Run) -> dict[str, object]:
    row: dict[str, object] = {"run": str(run.folder)}
    for key in ("homework", "level", "data", "status", "seconds", "steps"):
        row[key] = run.summary.get(key, "")
    for split in ("valid", "test"):
        metrics = run.summary.get(split)
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            row[f"{split}.{name}"] = value
    for override in _overrides(run):
        name, _, value = override.partition("=")
        row[f"override.{name}"] = _number(value)
    checkpoint = run.folder / "best.pt"
    row["checkpoint"] = str(checkpoint) if checkpoint.is_file() else ""
    return row


def _overrides(run: Run) -> list[str]:
    """The NAME=VALUE words of the run's command, without those that have a column of their own."""
    try:
        words = shlex.split(run.text("command"))
    except ValueError:
        return []
    shown = ("homework=", "level=")
    return [word for word in words if "=" in word and not word.startswith(shown)]


def _number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> object:
    """Numbers stay numbers; text that a spreadsheet would run is quoted by an apostrophe."""
    if value is None:
        return ""
    if _is_number(value):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip().startswith(DANGEROUS) or text.startswith(DANGEROUS) else text
