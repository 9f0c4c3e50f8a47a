"""A run that is over, opened again: its config from config.yaml, its weights from a checkpoint.

What can be wrong with the words typed is found before torch is imported.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hlml import config, signature
from hlml.compose import trusted
from hlml.errors import UserError, did_you_mean
from hlml.run_folder import AVERAGE, BEST, LAST, newest

if TYPE_CHECKING:
    from hlml.data import DataModule
    from hlml.task import Task

WEIGHTS = {"best": BEST, "last": LAST, "average": AVERAGE}


@dataclass
class Saved:
    """A run's folder, its checked config and the checkpoint that was asked for."""

    folder: Path
    config: dict[str, Any]
    checkpoint: Path

    @property
    def precision(self) -> str:
        """What it was trained in, and is scored in."""
        return str(self.config["trainer"].get("precision", "fp32"))

    def open(self) -> tuple[DataModule, Task]:
        """The data, and the task with the checkpoint's weights, on the device the config names."""
        from hlml import checkpoint
        from hlml.evaluation import choose_device
        from hlml.report import load_weights
        from hlml.train import build_task

        state, warning = checkpoint.load_newest(self.checkpoint)
        if warning:
            print(f"hlml: {warning}")
        data, task = build_task(self.config)
        device = choose_device(self.config["trainer"].get("device", "auto"))
        load_weights(task.to(device), state)
        data.place(device)
        return data, task


def parser(verb: str, does: str) -> argparse.ArgumentParser:
    """The words `evaluate` and `predict` have in common."""
    words = argparse.ArgumentParser(prog=f"hlml {verb}", description=does)
    words.add_argument(
        "run", help="a run folder, a .pt file in one, or a homework (its newest run)"
    )
    words.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="such as data.root=PATH")
    words.add_argument("--weights", choices=WEIGHTS, help="default: those that the run reports")
    words.add_argument("--runs", default="runs", help="where run folders are (default: runs)")

    def refuse(message: str) -> None:
        raise UserError(f"{message}; see hlml {verb} --help")

    words.error = refuse  # type: ignore[method-assign,assignment]
    return words


def find(args: argparse.Namespace) -> Saved:
    """The run the words mean, its config with the overrides, checked."""
    path = Path(args.run)
    if not path.exists():
        path = newest(Path(args.runs), args.run)
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and not any(path.glob("*.pt")):
        raise UserError(f"{path}: no checkpoint in it")
    _refuse_its_code(folder)
    checked = _config(folder / "config.yaml", args.overrides)
    for option in checked["data"]:
        model = folder / f"{option}.model"  # see DataModule.keep
        typed = any(word.startswith(f"data.{option}=") for word in args.overrides)
        if model.exists() and not typed:  # what was named in training may have changed since
            checked["data"][option] = str(model)
    weights = args.weights or checked["trainer"].get("select", "best")
    file = folder / WEIGHTS[weights] if path.is_dir() else path
    if not file.exists():
        kept = sorted(found.name for found in folder.glob("*.pt"))
        raise UserError(f"{file}: no such checkpoint; there are: {', '.join(kept) or 'none'}")
    return Saved(folder, checked, file)


def _refuse_its_code(folder: Path) -> None:
    """A run folder from elsewhere may bring a homeworks/ along: none of its code is to run."""
    home = signature.home().resolve()
    if home.is_relative_to(folder.resolve()):
        raise UserError(f"{home}/homeworks: would be imported from inside the run; cd to your own")


def _config(path: Path, overrides: list[str]) -> dict[str, Any]:
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read, and it says what the weights are of") from error
    if not isinstance(known, dict):
        raise UserError(f"{path}: is not the config of a run")
    for override in overrides:
        name = override.split("=")[0]
        if "=" not in override or name.split(".")[0] not in known:
            raise UserError(f"{override}: write NAME=VALUE; {did_you_mean(name, known)}")
    try:
        merged = OmegaConf.merge(OmegaConf.create(known), OmegaConf.from_dotlist(overrides))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from error
    plain = OmegaConf.to_container(merged)
    assert isinstance(plain, dict)
    checked: dict[str, Any] = {str(key): value for key, value in plain.items()}
    checked["trust"] = list(trusted(overrides))  # never what a file says
    config.check(checked, trusted(overrides))
    return checked
