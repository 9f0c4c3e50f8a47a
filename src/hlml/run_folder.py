"""Run folders: how they are named, found again, and gone on with. Imports no torch."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shlex
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from hlml.errors import UserError

LAST, PREVIOUS, BEST, AVERAGE = "last.pt", "previous.pt", "best.pt", "average.pt"
LONGEST_NAME = 120  # file systems allow 255 bytes, and a name is to be read

# what a resumed run may be told anew: where things are, how long, how often; not what is trained
FREE_KEYS = {
    *("resume", "run_dir", "runs", "baselines", "trust", "data.root", "data.workers"),
    *("trainer.epochs", "trainer.patience", "trainer.validate_every", "trainer.save_every"),
    *("trainer.log_every", "trainer.select", "trainer.threads", "trainer.device"),
    *("trainer.compile", "trainer.deterministic", "trainer.tf32"),
}
NAMED = {"trainer.epochs", "trainer.patience"}  # free to change on resume, but they tell runs apart


def create(config: dict[str, Any], overrides: list[str], parent: Path | None) -> Path:
    """A new folder: run_dir where given, else runs/hw1/<time>_<overrides>_<hash>."""
    if config["run_dir"]:
        folder = Path(config["run_dir"]).resolve()
        if folder.exists() and not _may_be_used(folder, config["resume"] == "auto"):
            raise UserError(
                f"run_dir: {folder} is not empty, and runs are never overwritten; "
                "choose another, or go on with it by resume=auto"
            )
        _make(folder)
        return folder
    base = parent or Path(config["runs"]) / str(config["homework"])
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    name = "_".join([stamp, *_words(overrides), config_hash(config)])
    for clash in range(1000):
        folder = (base / (f"{name}-{clash}" if clash else name)).resolve()
        if _make(folder):
            return folder
    raise UserError(f"runs: {base} has a thousand runs of this second; clean it up")


def _may_be_used(folder: Path, resume: bool) -> bool:
    """Empty, or (resume=auto) left by a run that ended before its first checkpoint."""
    if not folder.is_dir():
        return False
    return not any(folder.rglob("*.pt") if resume else folder.iterdir())


def lock(folder: Path) -> IO[str]:
    """Hold the folder until the file is closed: two processes would spoil each other's files."""
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(f"{folder}: another process trains into it; wait, or stop it") from error
    return file


def config_hash(config: dict[str, Any]) -> str:
    """Six letters that differ when anything that is trained differs."""
    kept = {k: v for k, v in flatten(config).items() if k not in FREE_KEYS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:6]


def find_resume(config: dict[str, Any]) -> Path | None:
    """The checkpoint `resume=` means; None: `auto` found nothing, so the run starts anew."""
    resume = config["resume"]
    if resume is None:
        return None
    if resume != "auto":
        path = Path(resume)
        path = path / LAST if path.is_dir() else path
        if not path.exists() and not path.with_name(PREVIOUS).exists():
            raise UserError(f"resume: no checkpoint at {path}; a run folder or a .pt file, or auto")
        return path
    place = Path(config["run_dir"] or Path(config["runs"]) / str(config["homework"]))
    found = _newest_checkpoint(place)
    return found.with_name(LAST) if found else None


def newest(runs: Path, homework: str) -> Path:
    """The folder of a homework's newest run."""
    known = sorted(folder.name for folder in runs.iterdir()) if runs.is_dir() else []
    found = _newest_checkpoint(runs / homework) if homework in known else None
    if found is None:
        raise UserError(
            f"{homework}: neither a run folder nor a homework with runs in {runs}; "
            f"there are: {', '.join(known) or 'none'}"
        )
    return found.parent


def _newest_checkpoint(place: Path) -> Path | None:
    found = [path for name in (LAST, PREVIOUS) for path in place.rglob(name)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def check_same(path: Path, saved: dict[str, Any], config: dict[str, Any], command: str) -> None:
    """A checkpoint goes on only with what it was trained with; raises UserError otherwise."""
    before, now = flatten(saved), flatten(config)
    for key in sorted(before.keys() | now.keys()):
        if key not in FREE_KEYS and before.get(key) != now.get(key):
            raise UserError(
                f"resume: {path.parent.name} was trained with {key}={before.get(key)}, "
                f"not {now.get(key)}; its command: "
                f"{command} {shlex.quote(f'resume={path.parent}')}"
            )


def command_line(config: dict[str, Any], overrides: list[str]) -> str:
    """What the user types to have this run: make's short form in a checkout."""
    words = " ".join(shlex.quote(word) for word in overrides if not word.startswith("resume="))
    start = f"hlml train homework={config['homework']}"
    if Path("Makefile").exists() and Path("homeworks").exists():
        start = f"make {config['homework']}"
    return f"{start} {words}".strip()


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config as {"optimizer.lr": 0.01, ...}."""
    if not isinstance(config, dict):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _make(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False  # another run's, perhaps of this very second
    except OSError as error:
        raise UserError(f"{folder}: cannot make the run folder ({error.strerror})") from error
    return True


def _words(overrides: list[str]) -> list[str]:
    """The changed overrides as one readable piece of a file name."""
    kept = [w for w in overrides if w.split("=")[0].lstrip("+~") not in FREE_KEYS - NAMED]
    text = ",".join(re.sub(r"[^A-Za-z0-9=.,\[\]-]+", "-", word) for word in kept)
    return [text[:LONGEST_NAME]] if text else []
