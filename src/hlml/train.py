"""`hlml train`: from a checked config to a trained model, its report and its run folder."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hlml import __version__, checkpoint, distributed, overfit, report, run_folder
from hlml.build import build, expect
from hlml.data import DataModule
from hlml.errors import UserError
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.phase import Phase
from hlml.signals import StopRequest
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
    held = run_folder.lock(folder) if first else nullcontext()
    book = Logbook(folder if first else None, columns(trainer.phases, task), step)
    try:
        with held, closing(book):
            if first and state is None:
                report.begin(book, about)
                data.keep(folder)
            reason = trainer.fit(task, data, book, state, about)
            distributed.leave()
            with StopRequest() as late:  # the report is short: it is finished, and then we go
                summary = report.end(trainer, task, data, book, about, reason)
    except Exception as error:
        error.run_folder = folder  # type: ignore[attr-defined]
        raise
    number = late.number or (trainer.stop.number if trainer.stop else 0)
    if number:
        sys.exit(128 + number)
    return summary


def assemble(config: Config) -> tuple[DataModule, Task, Trainer]:
    """Build everything a run needs; what does not fit together is said here, before any folder."""
    data, task = build_task(config)
    trust = tuple(config["trust"])
    phases = {n: expect(build(p, trust), Phase, f"phases.{n}") for n, p in config["phases"].items()}
    trainer: Trainer = expect(build(config["trainer"], trust)(phases=phases), Trainer, "trainer")
    trainer.watch(task)
    report.check_baselines(config["baselines"], task)
    return data, task, trainer


def build_task(config: Config) -> tuple[DataModule, Task]:
    """Data and model, then the task around both."""
    data, model = build_model(config)
    task = build(config["task"], tuple(config["trust"]))(model=model, data=data)
    return data, expect(task, Task, "task")


def build_model(config: Config) -> tuple[DataModule, nn.Module]:
    """Data, then a model of the data's sizes."""
    seed_all(config["seed"])
    trust = tuple(config["trust"])
    data: DataModule = expect(build(config["data"], trust), DataModule, "data")
    model = build(config["model"], trust)
    _check_sizes(model, data)
    return data, expect(model(**data.sizes()), nn.Module, "model")


def _check_sizes(model: Callable[..., Any], data: DataModule) -> None:
    """Whether the model is one for this kind of data: whether it asks for these sizes."""
    sizes = data.sizes()
    try:
        inspect.signature(model).bind(**sizes)
    except TypeError as error:
        name = getattr(getattr(model, "func", model), "__name__", "it")
        raise UserError(
            f"model: {name} is for other data ({error}): {type(data).__name__} gives "
            f"{', '.join(sizes)}; choose a model of this homework"
        ) from error


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
