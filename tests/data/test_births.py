"""Births: the figures least squares is known to reach, and no day seen before its time."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlml.data.births import Births, read_series
from hlml.errors import UserError

SERIES = read_series()


def in_births(data: Births, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a split, in births."""
    x, y = (tensor.double().numpy() for tensor in data.rows(split).tensors)
    return x * data.target_std + data.target_mean, y * data.target_std + data.target_mean


def test_the_series_is_the_published_one() -> None:
    assert len(SERIES) == 7305 == (date(1988, 12, 31) - date(1969, 1, 1)).days + 1
    assert (min(SERIES), max(SERIES)) == (6675, 12851)
    by_weekday = np.array(SERIES[2 : 2 + 7 * 1043]).reshape(-1, 7).mean(0)  # from a Friday on
    friday, saturday, sunday, monday = 2, 3, 4, 5  # 1969-01-01 was a Wednesday
    means = {day: np.mean(SERIES[day::7]) for day in (friday, saturday, sunday, monday)}
    assert [round(mean) for mean in means.values()] == [10147, 8708, 8290, 9944]
    assert by_weekday.min() == pytest.approx(means[sunday], rel=0.01)


@pytest.mark.parametrize(("lags", "rmse"), [(1, 1197), (7, 492), (28, 415), (56, 402)])
def test_least_squares_reaches_the_known_figures(lags: int, rmse: int) -> None:
    data = Births(64, lags=lags)
    fits = [in_births(data, split) for split in ("train", "valid")]
    x, y = (np.concatenate(parts) for parts in zip(*fits, strict=True))
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    x, y = in_births(data, "test")
    errors = np.c_[x, np.ones(len(x))] @ weights - y
    assert np.sqrt((errors**2).mean()) == pytest.approx(rmse, abs=0.6)


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 800), min_size=1, max_size=12, unique=True),
    st.integers(1, 2000),
)
def test_a_row_is_its_day_and_the_days_before(lags: list[int], valid_days: int) -> None:
    data = Births(64, lags=lags, valid_days=valid_days)
    assert data.sizes() == {"inputs": len(lags)}
    for split in ("train", "valid", "test"):
        x, y = in_births(data, split)
        days = [(day - date(1969, 1, 1)).days for day in data.times(split)]
        assert len(x) == len(y) == len(days)
        for row in (0, len(days) // 2, len(days) - 1):
            assert y[row] == pytest.approx(SERIES[days[row]], abs=0.01)
            back = [SERIES[days[row] - lag] for lag in lags]
            assert x[row] == pytest.approx(back, abs=0.01)


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 3000))
def test_splits_follow_each_other_in_time(lags: int, valid_days: int) -> None:
    data = Births(64, lags=lags, valid_days=valid_days)
    days = [data.times(split) for split in ("train", "valid", "test")]
    assert [len(some) for some in days[1:]] == [valid_days, 731]
    everything = [day for some in days for day in some]
    assert everything == sorted(set(everything))
    assert everything[-1] == date(1988, 12, 31)


def test_the_calendar_says_which_day_it_is() -> None:
    data = Births(64, lags=[364], calendar=True)
    assert data.sizes() == {"inputs": 1 + 7 + 12 + 31} == {"inputs": len(data.input_names)}
    for split in ("train", "valid", "test"):
        ones = data.rows(split).tensors[0][:, 1:]
        for row, day in zip(ones, data.times(split), strict=True):
            names = [data.input_names[1 + int(column)] for column in row.nonzero()]
            assert names == [f"{day:%a}", f"{day:%b}", f"the {day.day}."]


def test_statistics_are_those_of_the_days_before_validation() -> None:
    data = Births(64)
    past = np.array(SERIES[: 7305 - 731 - 731], dtype=np.float64)
    assert data.target_mean == pytest.approx(past.mean())
    assert data.target_std == pytest.approx(past.std())


def test_rows_are_float32_and_the_same_object_at_every_call() -> None:
    data = Births(64, lags=7)
    assert all(tensor.dtype == torch.float32 for tensor in data.rows("train").tensors)
    assert data.rows("test") is data.rows("test")
    assert data.input_names[0] == "1 day before"


@pytest.mark.parametrize("lags", [0, -3, [], [7, 7], [0, 1], [-7], 10_000])
def test_lags_that_mean_nothing_are_refused(lags: int | list[int]) -> None:
    with pytest.raises(UserError, match="lags"):
        Births(64, lags=lags)


@pytest.mark.parametrize("valid_days", [0, -1, 6574, 100_000])
def test_a_validation_split_of_the_wrong_size_is_refused(valid_days: int) -> None:
    with pytest.raises(UserError, match=r"data\.valid_days"):
        Births(64, valid_days=valid_days)


def test_answers_are_written_with_their_dates(tmp_path: Path) -> None:
    data = Births(64)
    answers = [float(births) for births in SERIES[-731:]]
    data.write_answers(answers, tmp_path / "answers.csv")
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert (lines[0], lines[1].split(",")[0]) == ("date,births", "1987-01-01")
    assert lines[-1].split(",")[0] == "1988-12-31"
    assert [float(line.split(",")[1]) for line in lines[1:]] == answers
    with pytest.raises(ValueError, match="zip"):
        data.write_answers(answers[1:], tmp_path / "short.csv")
