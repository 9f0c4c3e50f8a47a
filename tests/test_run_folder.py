"""Run folders: never overwritten, told apart by what is trained, found again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hlml import run_folder
from hlml.errors import UserError

CONFIG: dict[str, Any] = {
    "homework": "hw1",
    "runs": "runs",
    "run_dir": None,
    "resume": None,
    "data": {"lags": 7, "root": "data"},
    "trainer": {"epochs": 3},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_two_of_one_second_get_two_folders() -> None:
    assert len({run_folder.create(CONFIG, ["data.lags=7"], None) for _ in range(5)}) == 5


@pytest.mark.parametrize("word", ["data.root=../../etc/x", "a=/b", "n=" + "x" * 500, "a=b\nc"])
def test_a_name_stays_inside_and_short(word: str) -> None:
    folder = run_folder.create(CONFIG, [word], None)
    assert folder.parent == Path("runs/hw1").resolve()
    assert len(folder.name) < 200
    assert re.fullmatch(r"[\w=.,\[\]-]+", folder.name)


def test_an_old_run_is_not_overwritten() -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("dear diary")
    with pytest.raises(UserError, match="never overwritten"):
        run_folder.create(CONFIG | {"run_dir": "mine"}, [], None)


def test_the_hash_is_of_what_is_trained() -> None:
    same = CONFIG | {"runs": "elsewhere", "trainer": {"epochs": 9}}
    other = CONFIG | {"data": {"lags": 8, "root": "data"}}
    assert run_folder.config_hash(CONFIG) == run_folder.config_hash(same)
    assert run_folder.config_hash(CONFIG) != run_folder.config_hash(other)


def test_auto_finds_the_newest_of_the_homework() -> None:
    import os

    for number, name in enumerate(("b", "a", "c")):
        path = Path("runs/hw1", name, "last.pt")
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (number, number))
    Path("runs/hw1/c/last.pt").rename("runs/hw1/c/previous.pt")  # killed between two renames
    found = run_folder.find_resume(CONFIG | {"resume": "auto"})
    assert found == Path("runs/hw1/c/last.pt")
    assert run_folder.find_resume(CONFIG | {"resume": "auto", "homework": "hw2"}) is None
    with pytest.raises(UserError, match="no checkpoint at"):
        run_folder.find_resume(CONFIG | {"resume": "nowhere"})
