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
LAST_LAG = 3653  # ten years: half of the series must be left to train on
CALENDAR = [
    *("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    *(f"the {day}." for day in range(1, 32)),
]


def read_series() -> list[int]:
    """The 7,305 counts; day 0 is 1969-01-01."""
    packed = resources.files("hlml.data").joinpath("births_1969_1988.txt.xz").read_bytes()
    lines = lzma.decompress(packed).decode().splitlines()
    years = [line.split()[1:] for line in lines if not line.startswith("#")]
    return [int(count) for year in years for count in year]


class Births(Table):
    """A day's births from those of `lags` days before: 7 is the last week, [1, 7] two days of it.

    `calendar` adds the day's weekday, month and day of the month, each as a one-hot. The last 731
    days are the test, the `valid_days` before them the validation split.
    """

    target_name = "births"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        lags: int | list[int] = 56,
        valid_days: int = 731,
        calendar: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        self.splits = {}
        series = torch.tensor(read_series(), dtype=torch.float64)
        back = _days_back(lags)
        self.days = _split(len(series), valid_days, max(back))
        mean, std = statistics(series[: self.days["valid"].start])
        self.target_mean, self.target_std = float(mean), float(std)
        names = CALENDAR if calendar else []  # one-hots stay as they are: mean 0, std 1
        self.input_mean = torch.cat([mean.repeat(len(back)), torch.zeros(len(names))])
        self.input_std = torch.cat([std.repeat(len(back)), torch.ones(len(names))])
        self.input_names = [f"{lag} day{'s' * (lag > 1)} before" for lag in back] + names
        scaled = standardise(series, mean, std)
        for split, days in self.days.items():
            day = torch.arange(days.start, days.stop)
            x = scaled[day[:, None] - torch.tensor(back)]
            if calendar:
                x = torch.cat([x, _one_hots(self.times(split))], 1)
            self.splits[split] = TensorRows(x, scaled[day])

    def times(self, split: Split) -> list[date]:
        return [FIRST_DAY + timedelta(days=day) for day in self.days[split]]

    def write_answers(self, answers: list[Any], path: Path) -> None:
        lines = [
            f"{day},{births}\n" for day, births in zip(self.times("test"), answers, strict=True)
        ]
        path.write_text("date,births\n" + "".join(lines))


def _days_back(lags: int | list[int]) -> list[int]:
    """`lags` as a list of days, or a UserError."""
    wanted = range(1, min(lags, LAST_LAG + 1) + 1) if isinstance(lags, int) else lags
    days = list(wanted)
    if not days or min(days) < 1 or max(days) > LAST_LAG or len(set(days)) < len(days):
        raise UserError(
            f"data.lags={lags}: give the number of days to look back, or a list of different "
            f"days such as [1,7], each from 1 to {LAST_LAG}"
        )
    return days


def _split(days: int, valid_days: int, back: int) -> dict[Split, range]:
    """Which days each split predicts: the first `back` days can only be looked back at."""
    test = days - TEST_DAYS
    valid = test - valid_days
    if valid_days < 1 or valid - back < 2:
        raise UserError(
            f"data.valid_days={valid_days} with lags up to {back} days leaves "
            f"{max(0, valid - back)} days to train on: make one of them smaller"
        )
    return {"train": range(back, valid), "valid": range(valid, test), "test": range(test, days)}


def _one_hots(days: list[date]) -> Tensor:
    """(N, 50): weekday, month and day of the month of each day, in the order of CALENDAR."""
    ones = torch.tensor([[day.weekday(), 7 + day.month - 1, 19 + day.day - 1] for day in days])
    return torch.zeros(len(days), len(CALENDAR)).scatter(1, ones, 1.0)
