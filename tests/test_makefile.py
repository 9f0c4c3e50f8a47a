"""`make hw1 NAME=VALUE` hands every NAME=VALUE on to hlml, whatever is in it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile beside one homework, an environment that is up to date, and a false hlml."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "configs/homework").mkdir(parents=True)
    (tmp_path / "configs/homework/hw1.yaml").touch()
    (tmp_path / "requirements.lock").touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.complete").touch()
    hlml = tmp_path / "hlml"
    hlml.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    hlml.chmod(0o755)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", f"HLML={folder / 'hlml'}", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def handed_on(folder: Path, *words: str) -> list[str]:
    done = make(folder, "hw1", *words)
    assert done.returncode == 0, done.stderr
    verb, homework, *rest = json.loads(done.stdout)
    assert (verb, homework) == ("train", "homework=hw1")
    return rest


@pytest.mark.parametrize(
    "word",
    [
        "optimizer=sgd",
        "optimizer.lr=0.01",
        "data.lags=[1,7]",
        "level=strong",
        "note=",
        "note=two words",
        "note=blanks  inside ",
        "note=a\ttab",
        "note='quoted'",
        'note="quoted"',
        "note=it's",
        "note=back\\slash and \\ blank",
        "note=ends in \\",
        "note=50%",
        "note=#1",
        "note=a=b",
        "note=a;b|c&d<e>f",
        "note=$HOME",
        "note=$$",
        "note=`date`",
        "note=*?",
        "note=~",
        "note=!important",
        "out=${name}/${now:%Y-%m-%d}",
        "out=${out}",
        "out=${never closed",
        "out=$(shell touch broken)",
        "model={_target_: homeworks.hw1.Mine, width: 3}",
        "+new.key=1",
        "++new.key=1",
        "~optimizer.lr=1",
        "optimizer@phases.critic=adam",
        "MAKE=x",
        "note=häßlich 台灣",
    ],
)
def test_an_override_arrives_as_it_was_typed(checkout: Path, word: str) -> None:
    assert handed_on(checkout, word) == [word]
    assert not (checkout / "broken").exists()


def test_overrides_keep_their_order(checkout: Path) -> None:
    words = ["seed=1,2", "note=x seed=3", "optimizer=sgd", "optimizer.lr=0.1", "a=1", "Z=2"]
    assert handed_on(checkout, *words) == words


def test_args_are_words_and_no_override(checkout: Path) -> None:
    words = handed_on(checkout, "ARGS=-m seed=1,2,3 'note=two words'", "PORT=1", "data=covid")
    assert words == ["data=covid", "-m", "seed=1,2,3", "note=two words"]


def test_the_exit_code_is_shown(checkout: Path) -> None:
    (checkout / "hlml").write_text("#!/bin/sh\nexit 130\n")
    done = make(checkout, "hw1")
    assert done.returncode == 2
    assert "Error 130" in done.stderr


def test_a_homework_without_a_config_is_not_there_yet(checkout: Path) -> None:
    done = make(checkout, "hw2")
    assert done.returncode == 2
    assert "hw2 is not there yet; what is: hw1" in done.stderr
    assert "hw2" not in make(checkout).stdout
    assert "hw1" in make(checkout).stdout


def test_a_stray_word_stops_before_training(checkout: Path) -> None:
    done = make(checkout, "hw1", "strong")
    assert (done.returncode, done.stdout) == (2, "")
    assert "strong is not NAME=VALUE" in done.stderr


def test_a_python_out_of_range_is_one_line(checkout: Path) -> None:
    (checkout / ".venv/.complete").unlink()
    done = make(checkout, "hw1", "PYTHON=/bin/false")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("hlml needs Python 3.11, 3.12 or 3.13; tried:")


def test_cleaning_keeps_runs_and_data(checkout: Path) -> None:
    for folder in ("runs", "data", "dist", "src", "tests", "homeworks"):
        (checkout / folder).mkdir()
    assert make(checkout, "clean").returncode == 0
    left = {path.name for path in checkout.iterdir()}
    assert {"runs", "data", ".venv"} <= left
    assert "dist" not in left
