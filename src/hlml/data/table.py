"""A table: rows of numbers, and one number to predict from each."""

from __future__ import annotations

import codecs
import csv
import io
from abc import abstractmethod
from datetime import date

import torch
from torch import Tensor

from hlml.data.module import DataModule, Rows, Split, TensorRows
from hlml.errors import UserError

LARGEST = 1e6  # no count or percentage is larger, and its square must fit a float32


class Table(DataModule):
    """A data set of regression. Rows are standardised; the statistics say how to go back."""

    input_names: list[str]
    input_mean: Tensor  # (inputs,), in the inputs' own units: 0 where a column is left as it is
    input_std: Tensor  # (inputs,)
    target_name: str
    target_mean: float
    target_std: float
    splits: dict[Split, TensorRows]  # x (N, inputs) and y (N,); without labels x alone

    def rows(self, split: Split) -> Rows:
        return self.splits[split]

    def sizes(self) -> dict[str, int]:
        return {"inputs": len(self.input_names)}

    @abstractmethod
    def times(self, split: Split) -> list[date] | list[int]:
        """When each row of the split was measured: dates, or the day's number."""


def standardise(column: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(N, ...) float64 -> float32 with the given statistics taken out."""
    return ((column - mean) / std).float()


def statistics(training: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the rows (N, ...); a constant column keeps its scale."""
    mean, std = training.mean(0), training.std(0, correction=0)
    # rounding leaves a constant column a std of about 1e-15 of its mean, not 0
    constant = std <= 1e-9 * mean.abs().clamp(min=1e-9)
    return mean, std.masked_fill(constant, 1.0)


def read_csv(where: str, content: bytes, columns: int) -> tuple[list[str], list[int], Tensor]:
    """Header, ids (first column) and numbers (N, columns - 1) float64 of a csv file's `content`.

    Line ends and repeated names do not matter. UserError: names the file, the line and the column.
    """
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            f"{where}, line 1, column 1: a byte order mark, which a spreadsheet writes when it "
            "saves a file: use the file as it was downloaded, or save it as plain UTF-8 csv"
        )
    text = content.decode(errors="replace").rstrip("\r\n")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    ids, table = [], []
    try:
        names = next(reader, [])
        _check_header(where, names, columns)
        for row in reader:
            if len(row) != columns:
                raise UserError(
                    f"{where}, line {reader.line_num}, column {min(len(row), columns) + 1}: "
                    f"the row has {len(row)} cells, the header {columns}: is the file complete?"
                )
            place = f"{where}, line {reader.line_num}"
            ids.append(_whole(place, row[0]))
            table.append(_numbers(place, names, row))
    except csv.Error as error:
        raise UserError(f"{where}, line {reader.line_num}: not csv ({error})") from error
    if not table:
        raise UserError(f"{where}, line 2: a header and no rows: is the file complete?")
    return names, ids, torch.tensor(table, dtype=torch.float64)


def _check_header(where: str, names: list[str], columns: int) -> None:
    if len(names) != columns:
        raise UserError(
            f"{where} has {len(names)} columns where {columns} are expected: later years of the "
            "course use the same names for other files; this homework reads the 2021 ones"
        )
    if names[0] != "id":
        raise UserError(
            f"{where}, line 1, column 1: {names[0][:40]!r} where the header starts with 'id': "
            "use the file as it was downloaded"
        )


def _whole(place: str, cell: str) -> int:
    try:
        return int(cell)
    except ValueError as error:
        raise UserError(f"{place}, column 1 (id): {cell[:40]!r} is no row number") from error


def _numbers(place: str, names: list[str], row: list[str]) -> list[float]:
    """The cells after the id; the first that is no finite number is an error."""
    try:
        numbers = [float(cell) for cell in row[1:]]
        if all(-LARGEST < number < LARGEST for number in numbers):  # false for nan
            return numbers
    except ValueError:
        pass
    column = next(i for i, cell in enumerate(row[1:], 1) if not _is_number(cell))
    what = f"{row[column][:40]!r} is no usable number" if row[column].strip() else "an empty cell"
    raise UserError(f"{place}, column {column + 1} ({names[column][:40]}): {what}: mend the file")


def _is_number(cell: str) -> bool:
    try:
        return abs(float(cell)) < LARGEST
    except ValueError:
        return False
