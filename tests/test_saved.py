"""A run folder from elsewhere: its config and its files are data, and nothing in them runs."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hlml import checkpoint, cli


class Payload:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("pwned",))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder):
        assert cli.main(["train", "homework=hw1", "run_dir=run", "trainer.epochs=1"]) == 0
    return folder / "run"


@pytest.fixture
def run(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """A copy of it, to be tampered with."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run")
    capsys.readouterr()
    return tmp_path / "run"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line a command is refused with."""
    code, error = cli.main(list(words)), capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1), error
    return error


@pytest.mark.parametrize(
    "attack",
    [
        "${oc.create:{_target_:torch.load,f:x.pt,weights_only:false}}",
        "${oc.create:{_target_:logging.FileHandler,filename:pwned}}",
        {"_target_": "torch.load", "f": "x.pt", "weights_only": False},
        {"_target_": "logging.FileHandler", "filename": "pwned"},
    ],
)
@pytest.mark.parametrize("place", ["task", "model", "data"])
def test_a_config_cannot_run_code(
    run: Path, attack: Any, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(Payload(), run.parent / "x.pt")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[place]["model" if place == "task" else "lags"] = attack
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for verb in ("evaluate", "predict"):
        assert cli.main([verb, "run"]) in (0, 2)  # left unused, or refused
    assert not Path("pwned").exists()


def test_an_interpolation_in_a_text_stays_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the text came through Hydra escaped, and would be resolved a second time."""
    monkeypatch.chdir(tmp_path)
    attack = r"task.model=\"\${oc.create:{_target_:logging.FileHandler,filename:pwned}}\""
    cli.main(["train", "homework=hw1", "trainer.smoke=true", "run_dir=run", attack])
    assert not Path("pwned").exists()


def test_its_own_homeworks_are_not_imported(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "homeworks").mkdir()
    (run / "homeworks" / "m.py").write_text("open('pwned', 'w')\nclass Model: pass\n")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"] = {"_target_": "homeworks.m.Model", "_partial_": True}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(run)
    assert "inside the run" in refused(capsys, "evaluate", ".")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("text", ["", "[1,2]", "\x00\xff", "a: [", "just words"])
def test_a_config_that_is_none(run: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "config.yaml").write_bytes(text.encode("latin-1"))
    assert "config.yaml" in refused(capsys, "evaluate", "run")


@pytest.mark.parametrize("words", [["data.lags=9"], ["data.lags=[1"], ["data.lagz=9"], ["lags"]])
def test_overrides_that_do_not_fit(
    run: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, "evaluate", "run", *words)


@pytest.mark.parametrize("state", [{"x": 1}, [1, 2], {}])
def test_a_checkpoint_of_something_else(
    run: Path, state: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(state, run / "best.pt")
    refused(capsys, "evaluate", "run")
