"""`hlml backtranslate TEXTS ...`: pairs out of texts that nobody has translated.

Sennrich, Haddow & Birch 2016, "Improving neural machine translation models with monolingual data".
A model that translates backwards turns texts of the target language into sources; they are added
to the training of the model that is wanted. What it reads is partly wrong then, and what it learns
to write is not. Three steps in one folder, each of which goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from hlml import launch, saved
from hlml.errors import UserError

CHUNK = 512  # lines that are written at once, and so the most that an interruption costs
SYNTHETIC = "synthetic.txt"
DONE = ("finished", "early stop")


def main(argv: list[str]) -> int:
    args = _arguments(argv)
    texts = Path(args.texts).resolve()
    if not texts.is_file():
        raise UserError(f"{args.texts}: no such file; it is one text of the target language a line")
    words = {name: _words(args.overrides, name) for name in ("backward", "forward")}
    folder = _folder(args, texts)
    synthetic = folder / SYNTHETIC

    print(f"1 of 3: a model that translates backwards, in {folder / 'backward'}")
    _train(folder / "backward", [*words["backward"], "data.reverse=true"])
    print(f"2 of 3: {texts} backwards, into {synthetic}")
    _translate(folder / "backward", texts, synthetic)
    print(f"3 of 3: the model that is wanted, in {folder / 'forward'}")
    pairs = [f"data.extra_source={_quoted(synthetic)}", f"data.extra_target={_quoted(texts)}"]
    _train(folder / "forward", [*words["forward"], *pairs])
    for name in ("backward", "forward"):
        found = _summary(folder / name)
        metric = found["monitor"]
        split = "test" if metric in found.get("test", {}) else "valid"
        print(f"{name:<9} {split} {metric} {found[split][metric]:.5g}")
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    words = argparse.ArgumentParser(
        prog="hlml backtranslate",
        description="train backwards, translate TEXTS backwards, train forwards on all pairs",
        epilog="backward.NAME=VALUE and forward.NAME=VALUE change one of the two trainings. "
        "Stopped, the same command goes on.",
    )
    words.add_argument("texts", help="a file of the target language, a text a line")
    words.add_argument("overrides", nargs="+", metavar="NAME=VALUE", help="as of hlml train")
    words.add_argument("--folder", help="default: runs/backtranslation_<hash of all this>")

    def refuse(message: str) -> None:
        raise UserError(f"{message}; see hlml backtranslate --help")

    words.error = refuse  # type: ignore[method-assign,assignment]
    args = words.parse_intermixed_args(argv)
    names = [word.partition("=")[0].rpartition(".")[2] for word in args.overrides]
    taken = {"run_dir", "resume", "reverse", "extra_source", "extra_target"} & set(names)
    if taken:
        raise UserError(f"{min(taken)}: backtranslate sets it; leave it out")
    return args


def _words(overrides: list[str], name: str) -> list[str]:
    """What holds for both trainings and for this one."""
    other = "forward." if name == "backward" else "backward."
    return [word.removeprefix(f"{name}.") for word in overrides if not word.startswith(other)]


def _folder(args: argparse.Namespace, texts: Path) -> Path:
    """The same for the same words, so that a command that was stopped finds what it has done."""
    if args.folder:
        return Path(args.folder).resolve()
    told = json.dumps([str(texts), *args.overrides])
    digest = hashlib.sha256(told.encode()).hexdigest()[:6]
    runs = [word.partition("=")[2] for word in args.overrides if word.startswith("runs=")]
    return Path(runs[-1] if runs else "runs").resolve() / f"backtranslation_{digest}"


def _train(run: Path, words: list[str]) -> None:
    """A whole run, what is left of one, or nothing where it is over."""
    if _summary(run).get("status") in DONE:
        print(f"{run} is finished")
        return
    launch.main([*words, f"run_dir={_quoted(run)}", "resume=auto"])


def _translate(run: Path, texts: Path, synthetic: Path) -> None:
    """Line n of `synthetic` is what the run makes of line n of `texts`."""
    from hlml.data.line_files import lines_of
    from hlml.translate import Translator

    wanted = lines_of(texts.read_bytes(), str(texts))
    done = synthetic.read_bytes().count(b"\n") if synthetic.exists() else 0
    if done >= len(wanted):
        print(f"{synthetic} has all {len(wanted):,} lines")
        return
    options = argparse.Namespace(run=str(run), overrides=[], weights=None, runs=".")
    translator = Translator(saved.find(options))
    with synthetic.open("r+b" if done else "wb") as file:
        file.seek(_end_of_line(synthetic, done))
        file.truncate()  # half a line of a process that was killed
        for start in range(done, len(wanted), CHUNK):
            answers = translator(wanted[start : start + CHUNK])
            file.write("".join(f"{answer}\n" for answer in answers).encode())
            file.flush()
            print(f"{start + len(answers):,} of {len(wanted):,} lines")


def _end_of_line(path: Path, number: int) -> int:
    """Where in the file the line of that number, counted from 1, is over."""
    return sum(map(len, path.read_bytes().splitlines(keepends=True)[:number])) if number else 0


def _summary(run: Path) -> dict[str, Any]:
    path = run / "summary.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _quoted(path: Path) -> str:
    """As Hydra reads it, whatever signs are in it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
