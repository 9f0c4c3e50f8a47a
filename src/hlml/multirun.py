"""`-m`: one job for each combination of values. A job that fails does not stop the others.

Each job leaves job_<number>.json in the multirun's folder; the table at the end is read from
those files, because a launcher may run jobs in other processes or on other machines.
"""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from itertools import count
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict, read_write

from hlml import compose
from hlml.compose import Composer
from hlml.errors import UserError
from hlml.explain import explain
from hlml.refusals import one_line
from hlml.runs import print_table


def run(composer: Composer, overrides: list[str]) -> int:
    """Check every value, run every job, print the table; the exit code says what failed."""
    master = composer.compose(overrides, RunMode.MULTIRUN)
    if master.get("run_dir"):
        raise UserError("run_dir: names one folder, and -m makes many; say runs=FOLDER")
    with one_line(overrides):
        compose.check_hydra(master, compose.trusted(overrides))
        jobs = _one_of_each(composer, master, overrides)
    for job_overrides in jobs:
        config = compose.resolved(composer.compose(job_overrides), job_overrides)
    folder = _folder(master, Path(config["runs"]), config["homework"])
    with one_line(overrides):
        callbacks = Callbacks(master)
        context = HydraContext(composer.config_loader, callbacks)
        callbacks.on_multirun_start(config=master, config_name=composer.name)
        sweeper = Plugins.instance().instantiate_sweeper(
            config=master, hydra_context=context, task_function=job
        )
        try:
            sweeper.sweep(arguments=compose.texts(master.hydra.overrides.task))
        finally:
            reports = read_jobs(folder)
            _print(reports, folder)
        callbacks.on_multirun_end(config=master, config_name=composer.name)
    failed = [report for report in reports if report["status"] == "failed"]
    return 0 if not failed else 2 if all(report.get("user_error") for report in failed) else 1


def _one_of_each(composer: Composer, master: DictConfig, overrides: list[str]) -> list[list[str]]:
    """Jobs that show each swept value once: enough to find what is wrong with any of them."""
    params = master.hydra.sweeper.get("params") or {}
    lines = [*(f"{name}={value}" for name, value in params.items()), *overrides]
    choices: list[list[str]] = []
    for parsed in OverridesParser.create(composer.config_loader).parse_overrides(lines):
        if not parsed.is_sweep_override():
            choices.append([str(parsed.input_line)])
        elif parsed.is_discrete_sweep():
            name = parsed.get_key_element()
            choices.append([f"{name}={value}" for value in parsed.sweep_string_iterator()])
            if not choices[-1]:
                raise UserError(f"{parsed.input_line}: no values to try")
    base = [values[0] for values in choices]
    jobs = [base]
    for position, values in enumerate(choices):
        jobs += [[*base[:position], value, *base[position + 1 :]] for value in values[1:]]
    return jobs


def _folder(master: DictConfig, runs: Path, homework: str) -> Path:
    """The multirun's own folder; made here, so that two of the same second get two."""
    given = compose.texts(master.hydra.overrides.hydra)
    if any(override.startswith("hydra.sweep.dir=") for override in given):
        folder = Path(str(master.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in count(1):
        name = f"{stamp}_multirun" if number == 1 else f"{stamp}_multirun_{number}"
        folder = runs / homework / name
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    with read_write(master.hydra), open_dict(master.hydra):
        master.hydra.sweep.dir = str(folder)
        # each job composes anew, from these
        master.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")
    return folder


def job(config: DictConfig) -> float:
    """One job, in whatever process: never raises, writes its report, returns what was watched."""
    from hlml import launch

    settings = HydraConfig.get()
    number, folder = int(settings.job.num), Path(str(settings.sweep.dir))
    task = compose.texts(settings.overrides.task)
    with open_dict(config):
        # as it is, interpolations and all: assigning would resolve them
        config._set_item_impl("hydra", settings)
    compose.name_preset(config)
    overrides = launch.typed(config)
    print(f"\n--- job {number}: {' '.join(overrides)}", flush=True)
    report: dict[str, Any] = {"number": number, "overrides": overrides, "status": "interrupted"}
    try:
        report |= _outcome(launch.start(compose.resolved(config, task), overrides, folder))
    except Exception as error:
        report |= _failure(error, folder, number, compose.trusted(task))
        print(report["error"], flush=True)
    finally:
        _write(folder / f"job_{number}.json", json.dumps(report, indent=2, default=str))
    value = report.get("valid", {}).get(report.get("monitor"))
    return float(value) if isinstance(value, int | float) else math.nan


def _outcome(summary: dict[str, Any]) -> dict[str, Any]:
    kept = ("folder", "monitor", "valid", "test", "seconds", "status")
    return {"status": "finished", **{key: summary[key] for key in kept if key in summary}}


def _failure(error: Exception, folder: Path, number: int, trust: tuple[str, ...]) -> dict[str, Any]:
    """The failed job's report; its traceback goes into its own folder."""
    text, code = explain(error, trust)
    own = Path(getattr(error, "run_folder", None) or folder / f"{number}_failed")
    own.mkdir(parents=True, exist_ok=True)
    _write(own / "error.txt", "".join(traceback.format_exception(error)))
    # of a traceback only the last line; the rest is in error.txt
    line = text.splitlines()[0 if code == 2 else -1]
    return {"status": "failed", "error": line, "user_error": code == 2, "folder": str(own)}


def _write(path: Path, text: str) -> None:
    """Whole or not at all: somebody may be reading."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The reports of all jobs, by number; a damaged one counts as failed."""
    reports = []
    for path in folder.glob("job_*.json"):
        try:
            reports.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            number = int(path.stem.rpartition("_")[2]) if path.stem[4:].isdecimal() else -1
            reports.append({"number": number, "overrides": [], "status": "failed"})
    return sorted(reports, key=lambda report: int(report["number"]))


def _print(reports: list[dict[str, Any]], folder: Path) -> None:
    """What differed, how it ended, how good it was."""
    everyone = [set(report["overrides"]) for report in reports]
    shared = set.intersection(*everyone) if len(reports) > 1 else set()
    rows = []
    for report in reports:
        own = " ".join(one for one in report["overrides"] if one not in shared)
        row = {"job": str(report["number"]), "overrides": own, "status": report["status"]}
        name = report.get("monitor")
        for split in ("valid", "test") if name else ():
            value = (report.get(split) or {}).get(name)
            row[f"{split} {name}"] = "" if value is None else f"{value:.6g}"
        rows.append(row)
    print(f"\n{len(reports)} jobs in {folder}")
    print_table(rows)
    for report in reports:
        if report["status"] == "failed":
            print(f"job {report['number']}: {report.get('error')}  ({report.get('folder')})")
