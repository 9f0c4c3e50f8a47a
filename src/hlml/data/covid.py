"""The course's COVID-19 survey: three days of a state, and the third day's share of positive tests.

Columns of a row, after its id: 40 states (one is 1), then 18 percentages of day 1, 18 of day 2 and
17 of day 3, whose 18th, `tested_positive`, is the target. Names repeat: columns go by position.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hlml.data.files import find_files
from hlml.data.module import Split, TensorRows, generator
from hlml.data.table import Table, read_csv, standardise, statistics
from hlml.errors import UserError

TRAIN, TEST = "covid.train.csv", "covid.test.csv"
STATES, INPUTS = 40, 93
POSITIVES = (57, 75)  # tested_positive of days 1 and 2
ILLNESS = (*range(40, 44), *range(58, 62), *range(76, 80))  # of days 1, 2 and 3
SOURCE = (
    "they are the files of the course's Kaggle contest ml2021spring-hw1 "
    "(also linked from HW01 of github.com/ga642381/ML2021-Spring)"
)

Partition = Literal["every_tenth", "random", "by_time"]
Features = Literal["all", "states_and_positives", "illness_and_positives", "top"]


class Covid(Table):
    """The course's files under `root`, in a folder covid/ of it, or in a zip in either.

    `split` takes validation rows out of the labelled ones: the course's `every_tenth`, a `random`
    tenth, or `by_time` the last `valid_windows` days that every state has (some have one more),
    with `gap` days before them unused: neighbouring rows share two of three days, so only
    `by_time` with a gap of 2 leaks nothing.
    `features`: `top` keeps the `top` inputs that correlate most with the target.
    """

    answers_name = "pred.csv"
    target_name = "tested positive (%)"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        root: str = "data",
        split: Partition = "every_tenth",
        valid_windows: int = 7,
        gap: int = 2,
        features: Features = "all",
        top: int = 14,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        names, labelled, unlabelled, self.ids = _read(Path(root))
        x, y = labelled[:, :INPUTS], labelled[:, INPUTS]
        train, valid = _partition(split, x, seed, valid_windows, gap)
        self.rows_in_file = {"train": train.tolist(), "valid": valid.tolist()}
        self.days: dict[Split, list[int]] = {
            "train": _row_in_state(x)[train].tolist(),
            "valid": _row_in_state(x)[valid].tolist(),
            "test": list(range(len(unlabelled))),
        }
        mean, std = statistics(x[train])
        mean[:STATES], std[:STATES] = 0, 1  # a one-hot stays one
        y_mean, y_std = statistics(y[train])
        keep = _choose(features, top, x[train], y[train])
        self.input_mean, self.input_std = mean[keep], std[keep]
        self.input_names = [_name(names[column], column) for column in keep]
        self.target_mean, self.target_std = float(y_mean), float(y_std)
        x, y = standardise(x, mean, std)[:, keep], standardise(y, y_mean, y_std)
        self.splits = {
            "train": TensorRows(x[train], y[train]),
            "valid": TensorRows(x[valid], y[valid]),
            "test": TensorRows(standardise(unlabelled, mean, std)[:, keep]),
        }

    def has_labels(self, split: Split) -> bool:
        return split != "test"

    def times(self, split: Split) -> list[int]:
        """A labelled row's number within its state, which is its day; a test row's in the file."""
        return self.days[split]

    def write_answers(self, answers: list[Any], path: Path) -> None:
        lines = [f"{row},{positive}\n" for row, positive in zip(self.ids, answers, strict=True)]
        path.write_text("id,tested_positive\n" + "".join(lines))


def _read(root: Path) -> tuple[list[str], Tensor, Tensor, list[int]]:
    """Names of the inputs, labelled rows (N, 94), unlabelled rows (N, 93) and the latters' ids."""
    (where, content), (test_where, test_content) = find_files((TRAIN, TEST), root, "covid", SOURCE)
    names, _, labelled = read_csv(where, content, 1 + INPUTS + 1)
    _, ids, unlabelled = read_csv(test_where, test_content, 1 + INPUTS)
    _check_states(where, labelled)
    _check_states(test_where, unlabelled)
    return names[1:], labelled, unlabelled, ids


def _check_states(where: str, table: Tensor) -> None:
    states = table[:, :STATES]
    wrong = ((states != 0) & (states != 1)).any(1) | (states.sum(1) != 1)
    if wrong.any():
        line = int(wrong.nonzero()[0]) + 2
        raise UserError(
            f"{where}, line {line}, columns 2 to {STATES + 1}: one state must be 1 and the others "
            "0: use the file as it was downloaded"
        )


def _row_in_state(x: Tensor) -> Tensor:
    """x (N, inputs) -> (N,): how many rows of the same state come before."""
    states = x[:, :STATES]
    return ((states.cumsum(0) * states).sum(1) - 1).long()


def _partition(
    split: Partition, x: Tensor, seed: int, valid_windows: int, gap: int
) -> tuple[Tensor, Tensor]:
    """Row numbers of the training and of the validation split, in the file's order."""
    if valid_windows < 1 or gap < 0:
        raise UserError(
            f"data.valid_windows={valid_windows} must be at least 1, and data.gap={gap} at least 0"
        )
    row = torch.arange(len(x))
    if split == "by_time":
        # every state starts on the same day, so one day is the cut for all; some have a row more
        day, rows_of_state = _row_in_state(x), x[:, :STATES].sum(0)
        cut = int(rows_of_state[rows_of_state > 0].min()) - valid_windows
        valid, train = day >= cut, day < cut - gap
    elif split == "random":
        valid = torch.randperm(len(x), generator=generator(seed)) < len(x) // 10
        train = ~valid
    elif split == "every_tenth":
        valid = row % 10 == 0
        train = ~valid
    else:
        raise UserError(f"data.split={split}: choose one of {', '.join(get_args(Partition))}")
    if not (valid.any() and train.any()):
        raise UserError(
            f"data.split={split} of {len(x)} rows leaves {int(train.sum())} to train on and "
            f"{int(valid.sum())} to validate on: change data.valid_windows={valid_windows} or "
            f"data.gap={gap}, or check that {TRAIN} is complete"
        )
    return row[train], row[valid]


def _choose(features: Features, top: int, x: Tensor, y: Tensor) -> list[int]:
    """The columns to keep; x and y are training rows, for no other may have a say."""
    if features == "all":
        return list(range(INPUTS))
    if features == "states_and_positives":
        return [*range(STATES), *POSITIVES]
    if features == "illness_and_positives":
        return sorted((*ILLNESS, *POSITIVES))
    if features != "top":
        raise UserError(f"data.features={features}: choose one of {', '.join(get_args(Features))}")
    if not 1 <= top <= INPUTS:
        raise UserError(f"data.top={top}: there are {INPUTS} inputs, keep 1 to {INPUTS} of them")
    x, y = x - x.mean(0), y - y.mean()
    correlation = (x.T @ y).abs() / (x.norm(dim=0) * y.norm()).clamp(min=1e-12)
    return sorted(correlation.argsort(descending=True, stable=True)[:top].tolist())


def _name(name: str, column: int) -> str:
    return name if column < STATES else f"{name}, day {(column - STATES) // 18 + 1}"
