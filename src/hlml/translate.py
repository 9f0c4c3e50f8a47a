"""`hlml translate RUN`: what a saved run of hw5 makes of lines of your own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hlml import saved
from hlml.errors import UserError

if TYPE_CHECKING:
    from hlml.data.pairs import PairData
    from hlml.tasks.sequence_to_sequence import SequenceToSequence


def main(argv: list[str]) -> int:
    words = saved.parser("translate", "answer lines of text: those typed, or a file's")
    words.add_argument("--input", metavar="FILE", help="its lines (default: what is typed)")
    words.add_argument("--output", metavar="FILE", help="where to (default: the terminal)")
    args = words.parse_intermixed_args(argv)
    lines = _lines(args)
    translator = Translator(saved.find(args))
    if args.output:
        from hlml.data.line_files import write_lines

        answers = translator(list(lines))
        try:
            write_lines(answers, Path(args.output))
        except OSError as error:
            raise UserError(f"--output {args.output}: {error.strerror}") from error
        print(f"{len(answers):,} lines in {args.output}")
    elif args.input or not sys.stdin.isatty():
        print("".join(f"{answer}\n" for answer in translator(list(lines))), end="")
    else:
        for line in lines:  # somebody is typing, and waits
            print(translator([line])[0], flush=True)
    return 0


def _lines(args: argparse.Namespace) -> Iterable[str]:
    from hlml.data.line_files import lines_of

    if not args.input and sys.stdin.isatty():
        return (line.rstrip("\r\n") for line in sys.stdin)
    if not args.input:
        return lines_of(sys.stdin.buffer.read(), "standard input")
    try:
        return lines_of(Path(args.input).read_bytes(), args.input)
    except OSError as error:
        raise UserError(f"--input {args.input}: {error.strerror}") from error


class Translator:
    """A saved run, as a function from lines of text to lines of text."""

    def __init__(self, run: saved.Saved) -> None:
        from hlml.data.pairs import PairData
        from hlml.tasks.sequence_to_sequence import SequenceToSequence

        data, task = run.open()
        if not isinstance(data, PairData) or not isinstance(task, SequenceToSequence):
            raise UserError(f"{run.folder}: is no run that turns texts into texts, such as hw5's")
        self.data: PairData = data
        self.task: SequenceToSequence = task
        self.precision = run.precision

    def __call__(self, lines: list[str]) -> list[str]:
        from hlml.data.module import to_device
        from hlml.evaluation import autocast, quietly

        device, answers = self.data.device, [""] * len(lines)  # of nothing, nothing
        places = [place for place, line in enumerate(lines) if line.strip()]
        rows = self.data.rows_of_texts([lines[place] for place in places])
        with quietly(self.task, device), autocast(device, self.precision):
            for some in self.data.in_order_of_length(rows):
                batch = to_device(rows.batch(some, 0), device)
                for row, answer in zip(some.tolist(), self.task.predict_step(batch), strict=True):
                    answers[places[row]] = answer
        return answers
