"""`hlml predict RUN`: a saved run's answers, or those of several, as the file to hand in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlml import saved
from hlml.errors import UserError

if TYPE_CHECKING:
    from hlml.data import DataModule
    from hlml.task import Task


def main(argv: list[str]) -> int:
    words = saved.parser("predict", "write the test split's answers in the course's format")
    words.usage = "hlml predict [options] RUN [RUN ...] [NAME=VALUE ...]"
    words.add_argument("--output", help="the file to write (default: in the first run's folder)")
    words.add_argument(
        "--views",
        type=int,
        default=0,
        metavar="N",
        help="average over each picture and N augmented views of it",
    )
    args = words.parse_intermixed_args(argv)  # NAME=VALUE may come after an option
    if args.views < 0:
        raise UserError(f"--views {args.views}: must be 0 or more")
    runs = _runs(args)
    if len(runs) > 1 or args.views:
        data, task, answers = _together(runs, args.views)
    else:
        data, task, answers = _alone(runs[0])
    name = task.answers_name(data)
    if len(runs) > 1 or args.views:
        name = f"average_{name}"  # beside the run's own answers, not over them
    output = Path(args.output) if args.output else runs[0].folder / name
    try:
        task.write_answers(answers, data, output)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    print(f"{len(answers)} answers in {output}")
    return 0


def _runs(args: argparse.Namespace) -> list[saved.Saved]:
    """Every run the words name; the NAME=VALUE among them hold for all."""
    more = [word for word in args.overrides if "=" not in word or Path(word).exists()]
    overrides = [word for word in args.overrides if word not in more]
    options = vars(args) | {"overrides": overrides}
    runs = [saved.find(argparse.Namespace(**options | {"run": run})) for run in (args.run, *more)]
    files = [run.checkpoint.resolve() for run in runs]
    if twice := next((file for file in files if files.count(file) > 1), None):
        raise UserError(f"{twice}: named twice, and would count twice; name each run once")
    return runs


def _alone(run: saved.Saved) -> tuple[DataModule, Task, list[Any]]:
    data, task = run.open()
    from hlml.evaluation import predict

    return data, task, predict(task, data, "test", run.precision)


def _together(runs: list[saved.Saved], views: int) -> tuple[DataModule, Task, list[Any]]:
    from hlml.ensemble import Ensemble

    ensemble = Ensemble(runs, views)
    print(ensemble.table())
    return ensemble.data, ensemble.task, ensemble.answers()
