"""Births in the United States, 1969 to 1988: predict a day from the days before it.

The lecture predicts a channel's views of tomorrow from the last 1, 7, 28 or 56 days; births
have the same shape (a strong week, a slow year), and their counts are public.
"""

from __future__ import annotations

import lzma
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hlml.data.module import Split, TensorRows
from hlml.data.table import Table, standardise, statistics
from hlml.errors import UserError

FIRST_DAY = date(1969, 1, 1)
TEST_DAYS = 731  # 1987 and 1988


def read_series() -> list[int]:
    """The 7,305 counts; day 0 is 1969-01-01."""
    packed = resources.files("hlml.data").joinpath("births_1969_1988.txt.xz").read_bytes()
    lines = lzma.decompress(packed).decode().splitlines()
    years = [line.split()[1:] for line in lines if not line.startswith("#")]
    return [int(count) for year in years for count in year]


class Births(Table):
    """A day's births from those of `lags` days before: 7 is the last week, [1, 7] two days of it.

    The last 731 days are the test, the `valid_days` before them the validation split.
    """

    target_name = "births"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        lags: int | list[int] = 56,
        valid_days: int = 731,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        series = torch.tensor(read_series(), dtype=torch.float64)
        back = _days_back(lags)
        test = len(series) - TEST_DAYS
        valid = test - valid_days
        if valid_days < 1 or valid - max(back) < 2:
            raise UserError(
                f"data.valid_days={valid_days} with lags up to {max(back)} days leaves "
                f"{max(0, valid - max(back))} days to train on: make one of them smaller"
            )
        mean, std = statistics(series[:valid])
        self.target_mean, self.target_std = float(mean), float(std)
        self.input_mean, self.input_std = mean.repeat(len(back)), std.repeat(len(back))
        self.input_names = [f"{lag} day{'s' * (lag > 1)} before" for lag in back]
        self.days: dict[Split, range] = {
            "train": range(max(back), valid),
            "valid": range(valid, test),
            "test": range(test, len(series)),
        }
        scaled = standardise(series, mean, std)
        self.splits = {split: _rows(scaled, days, back) for split, days in self.days.items()}

    def times(self, split: Split) -> list[date]:
        return [FIRST_DAY + timedelta(days=day) for day in self.days[split]]

    def write_answers(self, answers: list[Any], path: Path) -> None:
        lines = [
            f"{day},{births}\n" for day, births in zip(self.times("test"), answers, strict=True)
        ]
        path.write_text("date,births\n" + "".join(lines))


def _days_back(lags: int | list[int]) -> list[int]:
    """`lags` as a list of days, or a UserError."""
    days = list(range(1, lags + 1)) if isinstance(lags, int) else list(lags)
    if not days or min(days) < 1 or len(set(days)) < len(days):
        raise UserError(
            f"data.lags={lags}: give the number of days to look back, or a list of different "
            "days such as [1,7], each at least 1"
        )
    return days


def _rows(series: Tensor, days: range, back: list[int]) -> TensorRows:
    """One row a day: the series at each of `back` days before, and on the day."""
    day = torch.arange(days.start, days.stop)
    return TensorRows(series[day[:, None] - torch.tensor(back)], series[day])
