"""`hlml train`: Hydra's flags, one run, or many."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from hlml import compose, multirun, signature
from hlml.compose import Composer
from hlml.errors import UserError
from hlml.refusals import one_line

HELP = """\
hlml train homework=NAME [NAME=VALUE ...] [flags]

  level=strong             simple, medium, strong or boss        data=covid   another data set
  optimizer=sgd            another choice (listed below)         optimizer.lr=0.01  its option
  'data.lags=[1,7]'        quotes around brackets and spaces     run_dir=PATH  resume=auto|PATH
  trust=[mypackage]        let a _target_ come from your own package

  -m seed=1,2,3            one run for each value, a table at the end (seed=range(3), also several)
  --cfg job                the composed config, instead of a run (--resolve, -p optimizer)
  --info defaults-tree     which files it came from
  --config-dir PATH        a folder of your own configs
  --hydra-help             Hydra's own flags

Choices:
"""


def main(argv: list[str]) -> int:
    args = compose.parse(argv)
    composer = Composer.open(args)
    try:
        return _dispatch(composer, args)
    finally:
        GlobalHydra.instance().clear()


def _dispatch(composer: Composer, args: argparse.Namespace) -> int:
    if args.help:
        print(HELP + composer.format_config_groups(lambda name: "hydra" not in name), end="")
        return 0
    if args.hydra_help:
        args.overrides = []  # Hydra's help is the same for every homework, and refuses any
        composer.hydra_help(composer.name, get_args_parser(), args)
        return 0
    if args.shell_completion:
        raise UserError("completion has no verb: hlml -sc install=bash")
    overrides = composer.prepare(args.overrides, args.multirun)
    if args.info:
        composer.compose(overrides)  # for its messages
        with one_line(overrides):
            composer.show_info(args.info, config_name=composer.name, overrides=overrides)
        return 0
    if args.multirun:
        return multirun.run(composer, overrides)
    composed = composer.compose(overrides)
    if composer.is_multirun(composed):
        return multirun.run(composer, overrides)
    config = compose.resolved(composed, overrides)
    if args.cfg:
        with one_line(overrides):
            composer.show_cfg(composer.name, overrides, args.cfg, args.package, args.resolve)
        return 0
    _run(composer, composed, config)
    return 0


def _run(composer: Composer, composed: DictConfig, config: dict[str, Any]) -> None:
    """One run of what was checked, with Hydra's callbacks around it."""
    failure: list[Exception] = []

    def task(_: DictConfig) -> None:
        try:
            start(config, typed(composed), None)
        except Exception as error:  # Hydra would print a line of its own
            failure.append(error)

    with one_line(typed(composed)):
        callbacks = Callbacks(composed)
        callbacks.on_run_start(config=composed, config_name=composer.name)
        context = HydraContext(composer.config_loader, callbacks)
        result = run_job(task, composed, "hydra.run.dir", None, context)
        callbacks.on_run_end(config=composed, config_name=composer.name, job_return=result)
    if failure:
        raise failure[0]


def start(config: dict[str, Any], overrides: list[str], parent: Path | None) -> dict[str, Any]:
    """Hand over to the half of the program that imports torch; the run's summary."""
    signature.make_importable()
    from hlml.train import train

    summary: dict[str, Any] = train(config, overrides, parent) or {}
    return summary


def typed(composed: DictConfig) -> list[str]:
    """The overrides as the user would write them, without the homework."""
    preset = str(composed.hydra.runtime.choices.get("homework", "")).split("/")[1:]
    rest = [_as_typed(override) for override in compose.texts(composed.hydra.overrides.task)]
    own_data = any(override.startswith("data=") for override in rest)  # instead of the preset's
    names = [f"level={level}" for level in preset[-1:]]
    names += [f"data={data}" for data in preset[:-1] if not own_data]
    return names + [override for override in rest if not override.startswith("homework=")]


def _as_typed(override: str) -> str:
    """Undo the ++ that was put before it, and the sweeper's spelling: a=True, a=$\\{b\\}."""
    plain = re.sub(r"\$\\{(.*?)\\}", r"${\1}", override.removeprefix("++"))
    name, equals, value = plain.partition("=")
    if compose.PATH.match(f"{name}=x"):  # the quotes were ours
        value = value.removeprefix("'").removesuffix("'").replace("\\'", "'")
    words = {"True": "true", "False": "false", "None": "null"}
    return f"{name}{equals}{words.get(value, value)}"
