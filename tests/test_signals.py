"""Ctrl-C and SIGTERM on the real command: saved, exit 130 or 143, gone on with; twice: out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hlml import cli

WORDS = ["train", "homework=hw1", "run_dir=run", "trainer.epochs=3000"]
RUN = [sys.executable, "-m", "hlml", *WORDS]


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The command, once its training loop is under way."""
    process = subprocess.Popen(
        [*RUN, *more], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            return process
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_saves_exits_and_goes_on(
    number: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    process = started(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "resume=run" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    steps = summary["steps"]
    monkeypatch.chdir(tmp_path)
    assert cli.main([*WORDS, "resume=auto", f"trainer.epochs={int(summary['epochs']) + 6}"]) == 0
    assert f"going on with run at step {steps}" in capsys.readouterr().out
    with (tmp_path / "run" / "metrics.csv").open() as file:
        logged = [int(row["step"]) for row in csv.DictReader(file)]
    assert logged == sorted(set(logged))  # nothing twice, nothing from after the checkpoint


def test_a_signal_to_the_whole_group_reaches_workers_too(tmp_path: Path) -> None:
    """As a queue or a shell sends it: the run is saved all the same."""
    command = [*RUN, "data.workers=2", "trainer.validate_every=50"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"


def test_a_second_signal_quits_at_once(tmp_path: Path) -> None:
    """Here: while the first one's save is held up by a full second of sleep."""
    code = (
        "import time, os, signal; from hlml.signals import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.number: time.sleep(0.01)\n"
        "    print('saving', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


def test_kill_9_loses_nothing_before_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = started(tmp_path, "trainer.save_every=20")
    time.sleep(0.3)
    process.kill()
    process.communicate()
    monkeypatch.chdir(tmp_path)
    assert cli.main([*WORDS, "resume=auto", "trainer.epochs=60"]) == 0
    assert "going on with" in capsys.readouterr().out
