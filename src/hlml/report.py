"""What a run says of itself: the header, the table at the end, summary.json, pictures, answers."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from hlml import averaging, checkpoint
from hlml.data import DataModule, Split
from hlml.errors import UserError, did_you_mean
from hlml.evaluation import evaluate, predict, quietly
from hlml.figures.curves import learning_curves
from hlml.levels import ORDER
from hlml.logbook import Logbook
from hlml.run_folder import AVERAGE, BEST, flatten
from hlml.runs import aligned
from hlml.task import Task
from hlml.trainer import Trainer

Summary = dict[str, Any]


def begin(book: Logbook, about: dict[str, Any]) -> None:
    """Write config.yaml, with the command on its first line."""
    assert book.folder is not None
    text = yaml.safe_dump(about["config"], sort_keys=False, allow_unicode=True)
    (book.folder / "config.yaml").write_text(f"# {about['command']}\n{text}", encoding="utf-8")


def end(
    trainer: Trainer,
    task: Task,
    data: DataModule,
    book: Logbook,
    about: dict[str, Any],
    reason: str,
) -> Summary:
    """Score the selected weights, draw, write, and print what a student wants to know."""
    assert book.folder is not None
    book.step = trainer.step
    config = about["config"]
    selected = _select(trainer, task, book.folder)
    scores = {} if reason == "interrupted" else _scores(trainer, task, data)
    summary = _summary(trainer, task, data, about, "smoke" if trainer.smoke else reason, scores)
    summary |= {"weights": selected, "seconds": book.seconds}
    if scores:
        _draw_and_answer(trainer, task, data, book)
    _write(book, config, summary)
    _print(summary, book.folder, reason, task.answers_name(data))
    return summary


def _summary(
    trainer: Trainer,
    task: Task,
    data: DataModule,
    about: dict[str, Any],
    reason: str,
    scores: dict[str, Any],
) -> Summary:
    config = about["config"]
    thresholds = {} if trainer.smoke else config["baselines"]
    return {
        "homework": config["homework"],
        "level": config["level"],
        "data": type(data).__name__.lower(),
        "status": reason.split(":")[0],
        "monitor": trainer.best.metric,
        "direction": trainer.best.direction,
        **(scores or {"valid": _best_value(trainer)}),
        "baselines": _baselines(thresholds, scores, task),
        **task.about(),
        "steps": trainer.step,
        "epochs": round(trainer.step / trainer.steps_per_epoch, 3),
        "parameters": sum(p.numel() for p in task.parameters()),
        "seed": config["seed"],
        "command": about["command"],
    }


def _draw_and_answer(trainer: Trainer, task: Task, data: DataModule, book: Logbook) -> None:
    assert book.folder is not None
    with quietly(task, trainer.device):
        task.report(book, data, final=True)
    best = trainer.best
    curves = learning_curves(book.history, best.metric, best.direction)
    book.figure("learning_curves", curves)
    answers = predict(task, data, "test", trainer.precision)
    task.write_answers(answers, data, book.folder / task.answers_name(data))


def scores_table(summary: Summary) -> str:
    splits = [split for split in ("valid", "test") if split in summary]
    names = list(summary[splits[0]])
    rows = [[s, *(f"{summary[s][name]:.5g}" for name in names)] for s in splits]
    return "\n".join(aligned([["", *names], *rows], str.rjust))


def _select(trainer: Trainer, task: Task, folder: Path) -> str:
    """Put the weights that are to be reported into the task; say which they are."""
    if trainer.select == "average" and trainer.snapshots:
        weights = averaging.mean(trainer.snapshots)
        averaging.load(task, weights)
        checkpoint.save({"task": task.state_dict(), "ema": {}}, folder / AVERAGE)
        return f"average of the last {len(trainer.snapshots)} validations"
    if trainer.select == "best" and (folder / BEST).exists():
        try:
            load_weights(task, checkpoint.load(folder / BEST))
            return f"best on valid, of step {trainer.best.step}"
        except checkpoint.DamagedError as error:
            print(f"hlml: {error}; the last weights are reported", file=sys.stderr)
    if trainer.ema:
        averaging.load(task.averaged(), trainer.ema.average)
    return f"last, of step {trainer.step}"


def load_weights(task: Task, state: checkpoint.State) -> None:
    """A checkpoint's weights as they were validated: the moving average where there is one."""
    try:
        task.load_state_dict(state["task"])
        if state["ema"]:
            averaging.load(task.averaged(), state["ema"]["average"])
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the weights are of another model than the config's: {reason}") from error


def _scores(trainer: Trainer, task: Task, data: DataModule) -> dict[str, Any]:
    splits: tuple[Split, ...] = ("valid", "test")
    most = 2 if trainer.smoke else None
    return {
        split: evaluate(task, data, split, trainer.precision, most)
        for split in splits
        if data.has_labels(split)
    }


def _best_value(trainer: Trainer) -> dict[str, float]:
    value = trainer.best.value
    return {} if value is None else {trainer.best.metric: value}


def check_baselines(thresholds: dict[str, Any], task: Task) -> None:
    """Their metric must be one of the task's: said before training, not after."""
    metric = thresholds.get("metric")
    if thresholds and metric not in task.directions:
        known = did_you_mean(str(metric), task.directions)
        raise UserError(f"baselines.metric: no metric {metric!r}; {known}")


def _baselines(thresholds: dict[str, Any], scores: dict[str, Any], task: Task) -> dict[str, Any]:
    """Each level's threshold, and whether the scored split passes it."""
    split, metric = thresholds.get("split", "valid"), thresholds.get("metric", "")
    if split not in scores or not thresholds:
        return {}
    score, sign = scores[split][metric], 1 if task.directions[metric] == "min" else -1
    levels = {
        level: {
            "threshold": thresholds[level],
            "passed": bool(sign * score <= sign * thresholds[level]),
        }
        for level in ORDER
        if level in thresholds
    }
    return {"split": split, "metric": metric, **levels}


def _write(book: Logbook, config: dict[str, Any], summary: Summary) -> None:
    assert book.folder is not None
    path = book.folder / "summary.json"
    text = json.dumps(_without_nan(summary), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    flat = {f"{s}/{n}": v for s in ("valid", "test") for n, v in summary.get(s, {}).items()}
    book.hparams(_choices(config), flat)
    book.text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False)}```")
    book.text("summary", f"```json\n{text}\n```")


def _without_nan(value: Any) -> Any:
    """JSON knows no nan and no infinity: null."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _choices(config: dict[str, Any]) -> dict[str, Any]:
    """What a run was told, as TensorBoard's table shows it: each thing once, no plumbing."""
    skipped = ("phases.", "baselines.", "runs", "run_dir", "resume", "trust", "shelf")
    choices: dict[str, Any] = {}
    for name, value in flatten(config).items():
        group, _, option = name.rpartition(".")
        if option == "_target_":
            choices[group] = str(value).rpartition(".")[2]
        elif not option.startswith("_") and not name.startswith(skipped):
            choices[name] = value
    return choices


def _print(summary: Summary, folder: Path, reason: str, answers: str) -> None:
    """The last lines a student reads."""
    print(f"\n{reason} after {summary['epochs']:g} epochs, {summary['seconds']:.1f} s")
    if reason == "interrupted":
        again = shlex.quote(f"resume={_shown(folder)}")
        print(f"saved in {folder}\ngo on:    {summary['command']} {again}")
        return
    print(f"weights:  {summary['weights']}\n\n{scores_table(summary)}\n")
    base = summary["baselines"]
    for level in ORDER:
        if level in base:
            score, threshold = summary[base["split"]][base["metric"]], base[level]["threshold"]
            verdict = "passed" if base[level]["passed"] else f"{abs(score - threshold):.4g} to go"
            print(f"{level:<8}{base['split']} {base['metric']} {threshold:<10g}{verdict}")
    where = _shown(folder)
    print(f"\nrun       {where}\npictures  {where}/figures")
    print(f"answers   {where}/{answers}\nlook      make tensorboard")
    if hint := _next(summary):
        print(f"next      {hint}")


def _shown(folder: Path) -> Path:
    """The path a user can type from where they are."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _next(summary: Summary) -> str:
    """The next level, or the student's own model after the last."""
    level, command = summary["level"], str(summary["command"])
    if level not in ORDER:
        return ""
    last = level == ORDER[-1]
    change = "model=mine" if last else f"level={ORDER[ORDER.index(level) + 1]}"
    replaced = (change.partition("=")[0] + "=", "run_dir=", "resume=")
    words = [word for word in shlex.split(command) if not word.startswith(replaced)]
    return shlex.join([*words, change])
