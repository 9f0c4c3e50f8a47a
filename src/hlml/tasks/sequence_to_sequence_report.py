"""What a model that reads and writes shows of itself: answers, where it looked, and how well it
does by length.

S and T tokens of source and target.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hlml.data.module import to_device
from hlml.data.pairs import Pairs
from hlml.data.vocabulary import BLANK, Vocabulary
from hlml.figures import text as figures
from hlml.figures.text import Pieces
from hlml.models.encoder_decoder import EncoderDecoder
from hlml.tokens import BEGIN, END, PAD, UNKNOWN

if TYPE_CHECKING:
    from hlml.logbook import Logbook
    from hlml.tasks.sequence_to_sequence import SequenceToSequence

SHOWN, DRAWN = 8, 4  # answers in the table, alignments
MOST = 2000  # pairs that the scores by length are of
GROUPS = 6  # of sources about as long as each other
LONG = 60  # pieces: who is longer is not drawn
MARKS = {PAD: "PAD", BEGIN: "BEGIN", END: "END", UNKNOWN: "UNKNOWN"}


def what_the_model_sees(task: SequenceToSequence, book: Logbook) -> None:
    """The first batch of training: where it is padding, and the first pairs of it in pieces."""
    data = task.data
    batch = data.rows("train").batch(data.rows_of(0, 1)[0], 0)
    figure = figures.padding(batch.source != PAD, batch.target[:, 1:] != PAD)
    book.figure("what_the_model_sees", figure)
    lines = ["| | read | shown before each token | to be written |", "|---|---|---|---|"]
    for row in range(min(DRAWN, len(batch.rows))):
        source, target = batch.source[row], batch.target[row]
        counts = target[1:] != PAD
        columns = [
            _in_pieces(data.source_vocabulary, source[source != PAD]),
            _in_pieces(data.target_vocabulary, target[:-1][counts]),
            _in_pieces(data.target_vocabulary, target[1:][counts]),
        ]
        lines.append(_line(f"train_{int(batch.rows[row])}", *columns))
    book.text("what_the_model_sees", "\n".join(lines))


def samples(task: SequenceToSequence, book: Logbook) -> None:
    """A markdown table of pairs from the whole validation split, and what is written of them."""
    batch = _valid(task, SHOWN)
    ways = task.ways()
    written = [task.answers(batch, width) for width in ways.values()]
    lines = [_line("", "source", "reference", *ways), "|---" * (3 + len(ways)) + "|"]
    for number, row in enumerate(batch.rows.tolist()):
        source = task.data.source_text("valid", row)
        right = " / ".join(task.data.references("valid", row))
        lines.append(_line(f"valid_{row}", source, right, *(way[number] for way in written)))
    book.text("samples", "\n".join(lines))


def by_length(task: SequenceToSequence, book: Logbook) -> None:
    """The score of sources about as long as each other, as many pairs in each group."""
    lengths = task.data.splits["valid"].lengths()[0] - 1  # END is no length
    answers: dict[int, str] = {}
    for rows in _batches(task):
        batch = to_device(task.data.rows("valid").batch(rows, 0), task.data.device)
        answers |= zip(rows.tolist(), task.answers(batch, task.beam), strict=True)
    names, values, counts = [], [], []
    for group in groups(lengths[list(answers)], GROUPS):
        rows = torch.tensor(list(answers))[group]
        low, high = int(lengths[rows].min()), int(lengths[rows].max())
        names.append(f"{low}" if low == high else f"{low}\u2013{high}")
        values.append(_score(task, answers, rows.tolist()))
        counts.append(len(rows))
    overall = _score(task, answers, list(answers))
    name = task.scoring.by_length.upper()
    book.figure("by_length", figures.by_length(names, values, counts, name, overall))


def alignments(task: SequenceToSequence, book: Logbook) -> None:
    """Where the model looked while it wrote the answers of a few pairs."""
    batch = _valid(task, DRAWN)
    if not isinstance(task.model, EncoderDecoder):
        return
    for number, answer in enumerate(task.write(batch, task.beam)):
        source = batch.source[number][batch.source[number] != PAD]
        tokens = source.new_tensor([BEGIN, *answer])
        state = task.model.read(source[None])
        looks = task.model.write(state, tokens[None], looking=True).looks
        if looks is None:
            return
        if max(looks.shape[1:]) > LONG:
            continue
        said = task.copied([answer], source[None])[0]
        read = _pieces(task.data.source_vocabulary, source.tolist())
        written = _pieces(task.data.target_vocabulary, [*said, END])
        title = f"Where it looked, valid_{int(batch.rows[number])}"
        book.figure(f"alignment_{number + 1}", figures.alignment(looks[0], read, written, title))


def groups(lengths: Tensor, most: int) -> Iterator[Tensor]:
    """lengths (N,) -> which of them are in each group, from the shortest on: at most so many of
    about as many each, and equal lengths always together."""
    order = lengths.argsort(stable=True)
    ranks = torch.searchsorted(lengths[order], lengths)  # how many are shorter
    part = ranks * most // max(1, len(lengths))
    for number in range(most):
        if bool((part == number).any()):
            yield (part == number).nonzero()[:, 0]


def _score(task: SequenceToSequence, answers: dict[int, str], rows: list[int]) -> float:
    references = [task.data.references("valid", row) for row in rows]
    counts = task.scoring.count([answers[row] for row in rows], references)
    return task.scoring.scores(counts)[task.scoring.by_length]


def _batches(task: SequenceToSequence) -> Iterator[Tensor]:
    """Rows of the validation split as they are read, at most MOST of them."""
    count = len(task.data.splits["valid"])
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[_spread(count, MOST)] = True
    for rows in task.data.reading("valid"):
        if bool(chosen[rows].any()):
            yield rows[chosen[rows]]


def _valid(task: SequenceToSequence, count: int) -> Pairs:
    """So many pairs from the whole validation split."""
    rows = task.data.rows("valid")
    return to_device(rows.batch(_spread(len(rows), count), 0), task.data.device)  # type: ignore[no-any-return]


def _spread(length: int, count: int) -> Tensor:
    """At most `count` of `length` places, as far apart as they can be."""
    count = min(length, count)
    return torch.arange(count) * length // max(1, count)


def _in_pieces(vocabulary: Vocabulary, numbers: Tensor) -> str:
    return " ".join(_pieces(vocabulary, numbers.tolist()).names)


def _pieces(vocabulary: Vocabulary, numbers: list[int]) -> Pieces:
    """With names for the marks, too; low lines only where some pieces begin a word and some do
    not."""
    names = vocabulary.pieces(number for number in numbers if number not in MARKS)
    skip = len(BLANK) if all(name.startswith(BLANK) for name in names) else 0
    return Pieces([MARKS.get(n) or vocabulary.pieces([n])[0][skip:] for n in numbers], numbers)


def _line(*columns: str) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in columns) + " |"
