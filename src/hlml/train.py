"""`hlml train`: from a checked config to a trained model, its report and its run folder."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hlml import __version__, checkpoint, distributed, overfit, report, run_folder
from hlml.build import build
from hlml.data import DataModule
from hlml.errors import UserError
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.task import Task
from hlml.trainer import Trainer

Config = dict[str, Any]


def train(config: Config, overrides: list[str], parent: Path | None = None) -> Config:
    """Train as the (checked, plain) config says; return the summary. `parent`: a multirun's folder.

    Exits 130 or 143 after saving when a signal asked for it.
    """
    data, task, trainer = assemble(config)
    command = run_folder.command_line(config, overrides)
    if trainer.overfit:
        return overfit.check(trainer, task, data)
    state, folder = _resume(config, command)
    folder = folder or _new_folder(config, overrides, parent)
    about = {"config": config, "command": command, "version": __version__}
    first, step = distributed.rank() == 0, state["step"] if state else 0
    book = Logbook(folder if first else None, columns(trainer.phases, task), step)
    try:
        if first and state is None:
            report.begin(book, about)
        reason = trainer.fit(task, data, book, state, about)
        distributed.leave()
        summary = report.end(trainer, task, data, book, about, reason)
    except Exception as error:
        error.run_folder = folder  # type: ignore[attr-defined]
        raise
    finally:
        book.close()
    if trainer.stop and trainer.stop.number:
        sys.exit(128 + trainer.stop.number)
    return summary


def assemble(config: Config) -> tuple[DataModule, Task, Trainer]:
    """Build everything a run needs; what does not fit together is said here, before any folder."""
    data, task = build_task(config)
    phases = {name: build(phase) for name, phase in config["phases"].items()}
    trainer: Trainer = build(config["trainer"])(phases=phases)
    trainer.watch(task)
    return data, task, trainer


def build_task(config: Config) -> tuple[DataModule, Task]:
    """Data, then a model of the data's sizes, then the task around both."""
    seed_all(config["seed"])
    data: DataModule = build(config["data"])
    model = build(config["model"])(**data.sizes())
    return data, build(config["task"])(model=model, data=data)


def seed_all(seed: int) -> None:
    """One seed for every generator a model's first weights or a dropout may come from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _resume(config: Config, command: str) -> tuple[checkpoint.State | None, Path | None]:
    """The state and the folder of the run to go on with, if there is one."""
    path = run_folder.find_resume(config)
    if path is None:
        if config["resume"]:
            print("resume=auto: no earlier checkpoint, so this run starts anew")
        return None, None
    state, warning = checkpoint.load_newest(path)
    if warning:
        print(f"hlml: {warning}", file=sys.stderr)
    if "config" not in state:
        raise UserError(f"resume: {path} is not a checkpoint of `hlml train`")
    run_folder.check_same(path, state["config"], config, state["command"])
    print(f"going on with {path.parent} at step {state['step']}")
    return state, path.parent


def _new_folder(config: Config, overrides: list[str], parent: Path | None) -> Path:
    """The first process makes the folder; the others are told its name."""
    folder = run_folder.create(config, overrides, parent) if distributed.rank() == 0 else None
    found: Path = distributed.from_first(folder)
    return found
