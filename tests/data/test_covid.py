"""The course's csv files: real ones where they are, made-up ones for what can be wrong."""

import math
import random
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlml.data.covid import ILLNESS, POSITIVES, TEST, TRAIN, Covid
from hlml.errors import UserError

REAL = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(
    not (REAL / "covid" / TRAIN).is_file(), reason="the course's files are not beside the checkout"
)
DAILY = [*(f"daily{i}" for i in range(17)), "tested_positive"]
HEADER = ["id", *(f"S{i}" for i in range(40)), *DAILY, *DAILY, *DAILY]


def made_up(labelled: bool, rows_of_state: int = 12, states: int = 4, end: str = "\n") -> str:
    """A file in the course's layout: 40 state columns, of which the first `states` occur."""
    rng = random.Random(rows_of_state + labelled)
    lines = [HEADER if labelled else HEADER[:-1]]
    for row in range(rows_of_state * states):
        one_hot = ["1" if i == row // rows_of_state else "0.0" for i in range(40)]
        numbers = [f"{rng.uniform(0, 40):.7f}" for _ in range(54 if labelled else 53)]
        lines.append([str(row + 100), *one_hot, *numbers])
    return end.join(",".join(line) for line in lines) + end


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / TRAIN).write_text(made_up(True))
    (tmp_path / TEST).write_text(made_up(False))
    return tmp_path


def damage(root: Path, line: int, column: int, cell: str | None, name: str = TRAIN) -> None:
    """Replace a cell (numbered as an error numbers it), or drop it."""
    lines = [text.split(",") for text in (root / name).read_text().splitlines()]
    lines[line - 1][column - 1 : column] = [] if cell is None else [cell]
    (root / name).write_text("\n".join(",".join(cells) for cells in lines) + "\n")


def least_squares(data: Covid) -> float:
    """RMSE on the validation split of numpy's solution on the training split."""
    x, y = (tensor.double().numpy() for tensor in data.rows("train").tensors)
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    x, y = (tensor.double().numpy() for tensor in data.rows("valid").tensors)
    errors = np.c_[x, np.ones(len(x))] @ weights - y
    return float(np.sqrt((errors**2).mean()) * data.target_std)


@real
@pytest.mark.parametrize(
    ("features", "every_tenth", "by_time"),
    [
        ("all", 0.884, 0.960),
        ("states_and_positives", 0.979, 0.998),
        ("illness_and_positives", 0.897, 0.957),
        ("top", 0.897, 0.957),  # the 14 that correlate most are the same 14
    ],
)
def test_least_squares_reaches_the_known_figures(
    features: str, every_tenth: float, by_time: float
) -> None:
    for split, rmse in {"every_tenth": every_tenth, "by_time": by_time}.items():
        data = Covid(270, root=str(REAL), split=split, features=features)  # type: ignore[arg-type]
        assert least_squares(data) == pytest.approx(rmse, abs=6e-4)


@real
def test_the_course_files_have_their_sizes() -> None:
    data = Covid(270, root=str(REAL))
    assert [len(data.rows(split)) for split in ("train", "valid", "test")] == [2430, 270, 893]
    assert data.ids == list(range(893))
    assert data.input_names[:2] == ["AL", "AK"]
    assert data.input_names[57] == "tested_positive, day 1"
    assert data.input_names[92] == "worried_finances, day 3"


def measured(data: Covid, split: str) -> list[set[tuple[float, ...]]]:
    """What the survey said on each row's days 1, 2 and 3: 17 percentages name a day of a state."""
    x = data.rows(split).tensors[0].double() * data.input_std + data.input_mean
    days = [x[:, start : start + 17].round(decimals=3) for start in (40, 58, 76)]
    return [{tuple(row) for row in day.tolist()} for day in days]


@real
def test_by_time_shares_no_day_of_a_state_between_training_and_validation() -> None:
    data = Covid(270, root=str(REAL), split="by_time")
    assert not set.union(*measured(data, "train")) & set.union(*measured(data, "valid"))
    course = Covid(270, root=str(REAL), split="every_tenth")  # its target is a training input
    assert len(measured(course, "valid")[2] & measured(course, "train")[0]) > 200


@pytest.mark.parametrize("split", ["every_tenth", "random", "by_time"])
def test_statistics_come_from_training_rows_only(root: Path, split: str) -> None:
    before = Covid(8, root=str(root), split=split)  # type: ignore[arg-type]
    line = 2 + before.rows_in_file["valid"][0]
    damage(root, line, 60, "999")  # a daily column of a row that training must not see
    damage(root, line, 95, "999")  # and its target
    after = Covid(8, root=str(root), split=split)  # type: ignore[arg-type]
    assert torch.equal(before.input_mean, after.input_mean)
    assert torch.equal(before.input_std, after.input_std)
    assert before.target_mean == after.target_mean
    for held, seen in zip(after.rows("train").tensors, before.rows("train").tensors, strict=True):
        assert torch.equal(held, seen)


def test_training_rows_are_standard_and_states_stay_ones(root: Path) -> None:
    x, y = Covid(8, root=str(root)).rows("train").tensors
    assert set(x[:, :40].unique().tolist()) == {0.0, 1.0}
    for column in (*x[:, 40:].T, y):
        assert float(column.mean()) == pytest.approx(0, abs=1e-6)
        assert float(column.std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_a_constant_column_becomes_zeros(root: Path) -> None:
    for line in range(2, 50):
        damage(root, line, 70, "33.3333333")
    x = Covid(8, root=str(root)).rows("train").tensors[0]
    assert x.isfinite().all()
    assert float(x[:, 68].abs().max()) < 1e-6


def test_top_is_chosen_on_training_rows_only(root: Path) -> None:
    lines = [text.split(",") for text in (root / TRAIN).read_text().splitlines()]
    for row, cells in enumerate(lines[1:]):
        cells[50] = cells[94] if row % 10 == 0 else cells[50]  # right in validation rows alone
        cells[80] = str(float(cells[94]) * 2) if row % 10 else "0"  # and in training rows alone
    (root / TRAIN).write_text("\n".join(",".join(cells) for cells in lines))
    data = Covid(8, root=str(root), features="top", top=1)
    assert data.input_names == ["daily3, day 3"]
    assert data.sizes() == {"inputs": 1}


def test_feature_sets_are_the_columns_they_name(root: Path) -> None:
    everything = Covid(8, root=str(root)).rows("train").tensors[0]
    columns = {
        "states_and_positives": [*range(40), *POSITIVES],
        "illness_and_positives": sorted([*ILLNESS, *POSITIVES]),
    }
    for features, kept in columns.items():
        data = Covid(8, root=str(root), features=features)  # type: ignore[arg-type]
        assert torch.equal(data.rows("train").tensors[0], everything[:, kept])
    assert Covid(8, root=str(root), features="top", top=93).sizes() == {"inputs": 93}


@settings(max_examples=25)
@given(st.integers(4, 14), st.integers(1, 5), st.integers(1, 6), st.integers(0, 4))
def test_by_time_keeps_the_gap(
    tmp_path_factory: pytest.TempPathFactory, rows: int, states: int, valid: int, gap: int
) -> None:
    root = tmp_path_factory.mktemp("covid")
    (root / TRAIN).write_text(made_up(True, rows, states))
    (root / TEST).write_text(made_up(False))
    if rows - valid - gap < 1:
        with pytest.raises(UserError, match=r"data\.valid_windows"):
            Covid(8, root=str(root), split="by_time", valid_windows=valid, gap=gap)
        return
    data = Covid(8, root=str(root), split="by_time", valid_windows=valid, gap=gap)
    train, held = data.times("train"), data.times("valid")
    assert min(held) - max(train) == gap + 1
    assert len(held) == valid * states
    assert len(train) == (rows - valid - gap) * states
    for split in ("train", "valid"):  # in the file's order
        assert all(early < late for early, late in pairwise(data.rows_in_file[split]))


def test_splits_of_every_kind_do_not_overlap(root: Path) -> None:
    for split in ("every_tenth", "random"):
        data = Covid(8, seed=3, root=str(root), split=split)  # type: ignore[arg-type]
        train, valid = (data.rows_in_file[part] for part in ("train", "valid"))
        assert sorted([*train, *valid]) == list(range(48))
        assert len(valid) == (5 if split == "every_tenth" else 4)
    other = Covid(8, seed=4, root=str(root), split="random").rows_in_file["valid"]
    assert other != Covid(8, seed=3, root=str(root), split="random").rows_in_file["valid"]


def test_line_ends_quotes_and_folders_do_not_matter(root: Path, tmp_path: Path) -> None:
    expected = Covid(8, root=str(root))
    crlf = tmp_path / "crlf" / "covid"
    crlf.mkdir(parents=True)
    quoted = made_up(True, end="\r\n").replace(",0.0,", ',"0",', 1)
    (crlf / TRAIN).write_bytes((quoted + "\r\n").encode())  # and an empty line at the end
    (crlf / TEST).write_bytes(made_up(False, end="\r\n").rstrip().encode())
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    (zipped / "another.zip").write_bytes(b"PK\x03\x04 half a download")
    with zipfile.ZipFile(zipped / "ml2021spring-hw1.zip", "w") as archive:
        archive.writestr(f"ml2021spring-hw1/{TRAIN}", made_up(True))
        archive.writestr(f"ml2021spring-hw1/{TEST}", made_up(False))
    for place in (crlf.parent, crlf, zipped):
        data = Covid(8, root=str(place))
        for split in ("train", "valid", "test"):
            ours, theirs = data.rows(split).tensors, expected.rows(split).tensors
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_answers_carry_the_ids_of_the_test_file(root: Path, tmp_path: Path) -> None:
    data = Covid(8, root=str(root))
    assert not data.has_labels("test")
    assert data.has_labels("valid")
    assert len(data.rows("test").batch(torch.tensor([0, 1]), 0)) == 1
    answers = [row / 3 for row in range(48)]
    data.write_answers(answers, tmp_path / "pred.csv")
    lines = (tmp_path / "pred.csv").read_text().splitlines()
    assert lines[0] == "id,tested_positive"
    written = [(int(row), float(answer)) for row, answer in (line.split(",") for line in lines[1:])]
    assert written == list(zip(range(100, 148), answers, strict=True))


@pytest.mark.parametrize(
    ("line", "column", "cell", "what"),
    [
        (7, 60, "", "empty"),
        (7, 60, "   ", "empty"),
        (30, 95, "n/a", "'n/a'"),
        (2, 44, "nan", "'nan'"),
        (49, 44, "-inf", "'-inf'"),
        (12, 44, "1e300", "'1e300'"),
        (5, 1, "x5", "'x5'"),
        (5, 1, "1.5", "'1.5'"),
    ],
)
def test_a_bad_cell_is_named(root: Path, line: int, column: int, cell: str, what: str) -> None:
    damage(root, line, column, cell)
    with pytest.raises(
        UserError, match=rf"covid\.train\.csv, line {line}, column {column} .*{what}"
    ):
        Covid(8, root=str(root))


def test_ragged_rows_marks_and_wrong_states_are_named(root: Path) -> None:
    good = (root / TEST).read_text()
    damage(root, 9, 94, None, TEST)
    with pytest.raises(UserError, match=r"covid\.test\.csv, line 9, column 94: .* 93 cells"):
        Covid(8, root=str(root))
    (root / TEST).write_text(good)
    damage(root, 9, 94, "1,2,3", TEST)
    with pytest.raises(UserError, match=r"line 9, column 95: .* 96 cells"):
        Covid(8, root=str(root))
    (root / TEST).write_bytes(b"\xef\xbb\xbf" + good.encode())
    with pytest.raises(UserError, match=r"line 1, column 1: a byte order mark"):
        Covid(8, root=str(root))
    (root / TEST).write_text(good)
    damage(root, 9, 30, "1", TEST)
    with pytest.raises(UserError, match=r"line 9, columns 2 to 41: one state"):
        Covid(8, root=str(root))


def test_another_year_is_refused(root: Path) -> None:
    other = "\n".join(",".join(["id", *"x" * 117]) for _ in range(3))
    (root / TRAIN).write_text(other)
    with pytest.raises(UserError, match=r"has 118 columns where 95 are expected.*2021"):
        Covid(8, root=str(root))


def test_missing_files_are_named_with_their_source(root: Path) -> None:
    (root / TEST).unlink()
    with pytest.raises(UserError, match=r"^covid\.test\.csv not found .*Kaggle.*data\.root="):
        Covid(8, root=str(root))
    with pytest.raises(UserError, match=r"^covid\.train\.csv and covid\.test\.csv not found"):
        Covid(8, root=str(root / "nowhere"))


@pytest.mark.parametrize(
    "options",
    [
        {"split": "by_tim"},
        {"features": "illness"},
        {"features": "top", "top": 0},
        {"features": "top", "top": 94},
        {"split": "by_time", "valid_windows": 12},
        {"split": "by_time", "valid_windows": 0},
        {"split": "by_time", "gap": 5, "valid_windows": 7},
        {"split": "by_time", "gap": -1},
    ],
)
def test_options_that_mean_nothing_are_refused(root: Path, options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"data\."):
        Covid(8, root=str(root), **options)  # type: ignore[arg-type]


GOOD = made_up(True, 3, 2).encode()


@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(st.sampled_from('id,0.1-"\r\n eE\x00ü'), max_size=300).map(str.encode),
        # a good file with a stretch of it replaced
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 40), st.binary(max_size=40)).map(
            lambda edit: GOOD[: edit[0]] + edit[2] + GOOD[edit[0] + edit[1] :]
        ),
    )
)
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.mktemp("covid")
    (root / TRAIN).write_bytes(content)
    (root / TEST).write_text(made_up(False, 3, 2))
    try:
        data = Covid(8, root=str(root))
    except UserError as error:
        refusal = str(error)
    else:
        for split in ("train", "valid", "test"):
            assert all(tensor.isfinite().all() for tensor in data.rows(split).tensors)
        assert math.isfinite(data.target_mean)
        assert data.target_std > 0
        return
    assert refusal.startswith(str(root / TRAIN)) or "data.split" in refusal
    assert "\n" not in refusal
