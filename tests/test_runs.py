"""`hlml runs`: every run folder there can be, the damaged ones too."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command import Command
from hlml import runs

SUMMARY = {
    "homework": "hw1",
    "level": "simple",
    "data": "births",
    "status": "finished",
    "monitor": "rmse",
    "direction": "min",
    "valid": {"rmse": 3.5, "r2": -0.5},
    "test": {"rmse": 4.0},
    "steps": 92,
    "seconds": 1.5,
    "command": "hlml train homework=hw1 level=simple optimizer.lr=1e-2 'data.lags=[1,7]'",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four runs that can be read, two of them in a multirun's folder, and five that cannot."""
    root = tmp_path / "runs"

    def add(name: str, **changes: Any) -> Path:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(SUMMARY | changes))
        return folder

    (add("hw1/2026-01-01_a") / "best.pt").touch()
    add("hw1/2026-01-03_multirun/2026-01-03_b", valid={"rmse": 2.5}, command="hlml '")
    add("hw1/2026-01-03_multirun/2026-01-04_c", valid={"rmse": float("nan")}, status="failed")
    add("hw2/2026-01-02_d", homework="hw2", data="toy", monitor="acc", direction="max",
        valid={"acc": 0.25}, command="hlml train homework=hw2 x=@SUM(1) +y=-3 z=-word")  # fmt: skip
    add("hw2/2026-01-02_e", homework="hw2", data="toy", monitor="acc", direction="max",
        valid={"acc": 0.75})  # fmt: skip
    for name, text in {"f": "", "g": "[1]", "h": "{", "i": "[" * 100_000, "j": "\xff"}.items():
        (root / "hw1" / name).mkdir()
        (root / "hw1" / name / "summary.json").write_text(text, encoding="latin-1")
    (root / "hw1" / "2026-01-05_k").mkdir()
    (root / "hw1" / "2026-01-05_k" / "config.yaml").write_text(
        "homework: hw1\nlevel: boss\ndata: {_target_: hlml.data.births.Births}\n"
    )
    (root / "hw1" / "2026-01-06_l").mkdir()
    (root / "hw1" / "2026-01-06_l" / "config.yaml").write_text("a: [")
    return root


def test_the_list_is_newest_first_and_counts_what_it_skips(hlml: Command, root: Path) -> None:
    code, out, err = hlml("runs")
    assert (code, err) == (0, "6 folders skipped: damaged files\n")
    lines = out.splitlines()
    assert lines[0].split() == ["run", "homework", "level", "data", "valid", "steps", "status"]
    assert [line.split()[0][-1] for line in lines[1:]] == ["k", "c", "b", "e", "d", "a"]
    assert lines[1].split()[1:] == ["hw1", "boss", "births", "unfinished"]
    assert lines[3].split()[1:] == ["hw1", "simple", "births", "rmse", "2.5", "92", "finished"]


def test_the_best_is_the_best_by_its_own_metric(hlml: Command, root: Path) -> None:
    _, out, _ = hlml("runs", "best")
    assert [line.split()[0][-1] for line in out.splitlines()[1:]] == ["b", "e"]
    _, out, _ = hlml("runs", "hw2", "best")
    assert [line.split()[0][-1] for line in out.splitlines()[1:]] == ["e"]


def test_the_table_is_safe_for_a_spreadsheet(hlml: Command, root: Path) -> None:
    _, out, _ = hlml("runs", "table", "--runs", "runs")
    rows = {row["run"][-1]: row for row in csv.DictReader(io.StringIO(out))}
    assert rows["a"]["override.optimizer.lr"] == "0.01"
    assert rows["a"]["override.data.lags"] == "[1,7]"
    assert rows["a"]["checkpoint"] == "runs/hw1/2026-01-01_a/best.pt"
    assert (rows["a"]["valid.rmse"], rows["a"]["valid.r2"]) == ("3.5", "-0.5")
    assert (rows["d"]["override.x"], rows["d"]["override.z"]) == ("'@SUM(1)", "'-word")
    assert rows["d"]["override.+y"] == "-3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "hlml runs lst: did you mean list?"),
        (["list", "hw7"], "hw7: no runs of it; did you mean hw"),
        (["--runs", "nowhere"], "nowhere: no such folder"),
        (["runs=nowhere"], "nowhere: no such folder"),
        (["--rns"], "--rns"),
    ],
)
def test_a_wrong_word_is_one_line(
    hlml: Command, root: Path, words: list[str], message: str
) -> None:
    assert message in hlml.error("runs", *words)


def test_an_empty_folder_and_help(hlml: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert hlml("runs")[1] == "no runs in runs yet\n"
    assert hlml("runs", "table")[0] == 0
    assert "newest first" in hlml("runs", "--help")[1]


@given(st.text())
def test_no_cell_starts_a_formula(text: str) -> None:
    cell = runs._cell(text)
    assert isinstance(cell, str)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == text.removeprefix("'")


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(SUMMARY)) | st.text(), anything))
def test_any_summary_can_be_shown(summary: dict[str, Any]) -> None:
    run = runs.Run(Path("runs/hw1/x"), summary)
    runs.best([run])
    runs._show([run], Path("runs"))
    runs.write_csv([run])
