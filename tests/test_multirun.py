"""Many runs: every job is run, reported and tabled, whatever happened to the others."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from command import Command
from hlml.errors import UserError


def by_seed(config: dict[str, Any], overrides: list[str], parent: Path | None) -> dict[str, Any]:
    """Seed 2 is refused, 3 is a bug of ours, 4 is interrupted; others score their seed."""
    seed = config["seed"]
    if seed == 2:
        error = UserError("seed two\nis not for us")
        error.run_folder = parent / "mine"  # type: ignore
        raise error
    if seed == 3:
        raise RuntimeError("boom")
    if seed == 4:
        raise KeyboardInterrupt
    return {"monitor": "rmse", "valid": {"rmse": seed / 4}, "test": {"rmse": seed / 8}}


def folder(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "runs" / "hw1").glob("*_multirun")
    return found


@pytest.mark.parametrize(
    ("seeds", "code"), [("0,1", 0), ("1,2", 2), ("1,3", 1), ("1,2,3", 1), ("1,4,5", 130)]
)
def test_the_exit_code_says_what_failed(hlml: Command, seeds: str, code: int) -> None:
    hlml.train = by_seed
    assert hlml("train", "homework=hw1", "-m", f"seed={seeds}")[0] == code


def test_each_job_is_in_the_table_and_has_its_report(hlml: Command, tmp_path: Path) -> None:
    hlml.train = by_seed
    words = ("train", "homework=hw1", "-m", "seed=range(1,6,2)", "trainer.epochs=2")
    code, out, err = hlml(*words)
    assert (code, err) == (1, "")
    table = out[out.index("3 jobs in") :].splitlines()
    assert table[1].split() == ["job", "overrides", "status", "valid", "rmse", "test", "rmse"]
    assert table[2].split() == ["0", "seed=1", "finished", "0.25", "0.125"]
    assert table[3].split() == ["1", "seed=3", "failed"]
    assert table[4].split() == ["2", "seed=5", "finished", "1.25", "0.625"]
    assert "RuntimeError: boom" in table[5]
    assert "--- job 2: seed=5 trainer.epochs=2" in out
    reports = [json.loads(path.read_text()) for path in sorted(folder(tmp_path).glob("job_*.json"))]
    assert [report["status"] for report in reports] == ["finished", "failed", "finished"]
    assert reports[0]["overrides"] == ["seed=1", "trainer.epochs=2"]
    assert hlml.calls[-1][2] == folder(tmp_path).relative_to(tmp_path)


def test_a_failed_job_has_its_traceback_in_its_own_folder(hlml: Command, tmp_path: Path) -> None:
    hlml.train = by_seed
    hlml("train", "homework=hw1", "-m", "seed=2,3")
    assert "UserError: seed two" in (folder(tmp_path) / "mine" / "error.txt").read_text()
    text = (folder(tmp_path) / "1_failed" / "error.txt").read_text()
    assert text.startswith("Traceback")
    assert "by_seed" in text


def test_one_bad_value_stops_the_sweep_before_it_starts(hlml: Command, tmp_path: Path) -> None:
    message = hlml.error("train", "homework=hw1", "-m", "seed=1,2", "optimizer.lr=0.1,-1")
    assert "optimizer.lr: -1 is out of range" in message
    assert "did you mean sgd?" in hlml.error("train", "homework=hw1", "-m", "optimizer=adam,sgdd")
    assert not (tmp_path / "runs").exists()


def test_an_interpolation_is_resolved_in_each_job(hlml: Command) -> None:
    assert hlml("train", "homework=hw1", "-m", "seed=3,5", "trainer.epochs=${seed}")[0] == 0
    assert [call[0]["trainer"]["epochs"] for call in hlml.calls] == [3, 5]
    assert hlml.calls[0][1] == ["seed=3", "trainer.epochs=${seed}"]


def test_two_sweeps_of_one_second_have_two_folders(
    hlml: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    for _ in range(2):
        hlml("train", "homework=hw1", "-m", "seed=1")
    names = sorted(path.name for path in (tmp_path / "runs" / "hw1").iterdir())
    assert names == ["now_multirun", "now_multirun_2"]


def test_folders_can_be_chosen(hlml: Command, tmp_path: Path) -> None:
    assert hlml("train", "homework=hw1", "-m", "seed=1", "runs=a b")[0] == 0
    assert len(list((tmp_path / "a b" / "hw1").iterdir())) == 1
    assert hlml("train", "homework=hw1", "-m", "seed=1", "hydra.sweep.dir=there")[0] == 0
    assert (tmp_path / "there" / "job_0.json").exists()
    hlml.calls.clear()
    assert "run_dir" in hlml.error("train", "homework=hw1", "-m", "seed=1,2", "run_dir=x")
