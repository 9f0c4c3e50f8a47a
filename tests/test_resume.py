"""A resumed run is the uninterrupted run, bit for bit, from whatever step it was stopped at."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from hlml import checkpoint

SUPERVISED: dict[str, Any] = {
    "plain": {},
    "accumulate 3, ema, average": {"accumulate": 3, "ema": 0.9, "average_last": 2},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "logs and saves at odd steps": {"log_every": 4, "save_every": 2, "validate_every": 5},
    "plateau": {"plateau": True},
}


def start(case: str, workers: int) -> tuple[Any, Any, Any, dict[str, Any]]:
    toys.seed()
    if case == "game":
        return toys.Game(), toys.Points(workers=workers), toys.two_phases(), {}
    options = dict(SUPERVISED[case])
    phases = toys.one_phase()
    if options.pop("plateau", False):
        from hlml.schedules import Plateau

        phases["main"].schedule = Plateau(factor=0.5, patience=0)
    return toys.Fit(), toys.Points(workers=workers), phases, options


def logged(folder: Path) -> list[dict[str, str]]:
    """Every row of metrics.csv, without the clock's columns."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    clock = ("seconds", "train/steps_per_second")
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def same(one: Any, other: Any) -> None:
    """Equal to the last bit, through nested dicts and lists."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other or (one != one and other != other)


@pytest.mark.parametrize("case", [*SUPERVISED, "game"])
def test_every_step(case: str, tmp_path: Path) -> None:
    """Weights, optimizers, generators, schedules, best, and all that is logged afterwards."""
    task, data, phases, options = start(case, workers=0)
    whole = toys.fit(tmp_path / "whole", task, data, phases, **options)
    end = checkpoint.load(tmp_path / "whole" / "last.pt")
    for stop in range(whole.total_steps):
        folder = tmp_path / str(stop)
        task, data, phases, options = start(case, workers=0)
        if stop:
            toys.fit(folder, task, data, phases, at=stop, **options)
            state, _ = checkpoint.load_newest(folder / "last.pt")
            assert state["step"] == stop
            task, data, phases, options = start(case, workers=0)
            toys.seed(99)  # what a fresh process would have is not what the run had
            toys.fit(folder, task, data, phases, state=state, **options)
        else:
            toys.fit(folder, task, data, phases, **options)
        same(end, checkpoint.load(folder / "last.pt"))
        assert logged(tmp_path / "whole") == logged(folder)


@pytest.mark.parametrize("stop", [4, 10])
def test_with_loader_workers(stop: int, tmp_path: Path) -> None:
    """Two worker processes read what no worker reads, before and after a resume."""
    task, data, phases, options = start("plain", workers=0)
    toys.fit(tmp_path / "whole", task, data, phases, **options)
    task, data, phases, options = start("plain", workers=2)
    toys.fit(tmp_path / "half", task, data, phases, at=stop, **options)
    state = checkpoint.load(tmp_path / "half" / "last.pt")
    task, data, phases, options = start("plain", workers=2)
    toys.fit(tmp_path / "half", task, data, phases, state=state, **options)
    same(
        checkpoint.load(tmp_path / "whole" / "last.pt"),
        checkpoint.load(tmp_path / "half" / "last.pt"),
    )


def test_stopped_in_a_validation(tmp_path: Path) -> None:
    """A signal between two validation batches: the resumed run begins with that validation."""

    class Slow(toys.Fit):
        trainer: Any = None

        def validation_step(self, batch: Any) -> dict[str, torch.Tensor]:
            if self.trainer is not None and self.trainer.step == 6:
                self.trainer.stop.number = 2
            return super().validation_step(batch)

    toys.seed()
    toys.fit(tmp_path / "whole", toys.Fit(), toys.Points(), toys.one_phase())
    toys.seed()
    task, data = Slow(), toys.Points()
    from hlml.journal import columns
    from hlml.logbook import Logbook

    trainer = toys.Stopped(toys.one_phase(), epochs=3, log_every=1, validate_every=3, threads=1)
    task.trainer = trainer
    book = Logbook(tmp_path / "half", columns(trainer.phases, task))
    assert trainer.fit(task, data, book) == "interrupted"
    book.close()
    state = checkpoint.load(tmp_path / "half" / "last.pt")
    assert state["pending"]
    assert state["step"] == 6
    toys.fit(tmp_path / "half", toys.Fit(), toys.Points(), toys.one_phase(), state=state)
    assert logged(tmp_path / "whole") == logged(tmp_path / "half")
    whole = checkpoint.load(tmp_path / "whole" / "last.pt")
    same(whole, checkpoint.load(tmp_path / "half" / "last.pt"))


def test_validating_more_often_changes_nothing(tmp_path: Path) -> None:
    weights = []
    for every in (1, 7):
        toys.seed()
        task = toys.Game()
        toys.fit(
            tmp_path / str(every), task, toys.Points(), toys.two_phases(), validate_every=every
        )
        weights.append(task.state_dict())
    same(*weights)
