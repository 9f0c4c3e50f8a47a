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
import re
from pathlib import Path
from typing import Any

import yaml

from hlml import compose, launch, saved
from hlml.errors import UserError
from hlml.run_folder import check_same

CHUNK = 512  # lines that are written at once, and so the most that an interruption costs
SYNTHETIC = "synthetic.txt"
DONE = ("finished", "early stop")


def main(argv: list[str]) -> int:
    args = _arguments(argv)
    texts = Path(args.texts).resolve()
    if not texts.is_file():
        raise UserError(f"{args.texts}: no such file; it is one text of the target language a line")
    folder = _folder(args, texts)
    synthetic = folder / SYNTHETIC
    pairs = [f"data.extra_source={_quoted(synthetic)}", f"data.extra_target={_quoted(texts)}"]
    runs = {
        name: Run(folder / name, [*_words(args.overrides, name), *more])
        for name, more in (("backward", ["data.reverse=true"]), ("forward", pairs))
    }
    _remember(texts, folder)

    print(f"1 of 3: a model that translates backwards, in {folder / 'backward'}")
    runs["backward"].train()
    print(f"2 of 3: {texts} backwards, into {synthetic}")
    _translate(runs["backward"], texts, synthetic)
    print(f"3 of 3: the model that is wanted, in {folder / 'forward'}")
    runs["forward"].train()
    for name in runs:
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
    names = [word.partition("=")[0].lstrip("+~").rpartition(".")[2] for word in args.overrides]
    taken = {"run_dir", "resume", "reverse", "extra_source", "extra_target"} & set(names)
    if taken:
        raise UserError(f"{min(taken)}: backtranslate sets it; leave it out")
    return args


def _words(overrides: list[str], name: str) -> list[str]:
    """What holds for both trainings and for this one."""
    own = [word.removeprefix(f"{name}.") for word in overrides if word.startswith(f"{name}.")]
    both = [word for word in overrides if not word.startswith(("backward.", "forward."))]
    return [*both, *own]  # of two words for one thing the last counts


def _folder(args: argparse.Namespace, texts: Path) -> Path:
    """The same for the same words, so that a command that was stopped finds what it has done."""
    if args.folder:
        return Path(args.folder).resolve()
    told = json.dumps([str(texts), *args.overrides])
    digest = hashlib.sha256(told.encode()).hexdigest()[:6]
    runs = [word.partition("=")[2] for word in args.overrides if word.startswith("runs=")]
    return Path(runs[-1] if runs else "runs").resolve() / f"backtranslation_{digest}"


def _remember(texts: Path, folder: Path) -> None:
    """Of what texts the folder is. UserError: of others, to which its sources do not belong."""
    digest, path = hashlib.sha256(texts.read_bytes()).hexdigest(), folder / "texts.sha256"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text() != digest:
            raise UserError(
                f"{texts}: is not what {folder} was begun with; choose another --folder, or "
                "delete this one"
            )
        path.write_text(digest)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written into ({error.strerror})") from error


class Run:
    """One of the two trainings. UserError: its words make no config, or another than it has."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.folder = folder
        self.words = [*words, f"run_dir={_quoted(folder)}", "resume=auto"]
        try:  # both are tried before either is trained
            self.config = compose.config_of(compose.parse(self.words))
        except UserError as error:
            if str(error).startswith(("data.reverse: no such", "data.extra_source: no such")):
                raise UserError(
                    "data: back-translation needs a data set that has reverse and extra_source; "
                    "choose data=bitext or data=ted2020"
                ) from error
            raise
        self.over = _summary(folder).get("status") in DONE
        if self.over:
            file = folder / "config.yaml"
            known = yaml.safe_load(file.read_text(encoding="utf-8"))
            check_same(file, known, self.config, str(_summary(folder)["command"]))

    def train(self) -> None:
        """All of it, what is left of it, or nothing where it is over."""
        if self.over:
            print(f"{self.folder} is finished")
            return
        launch.main(self.words)


def _translate(run: Run, texts: Path, synthetic: Path) -> None:
    """Line n of `synthetic` is what the run makes of line n of `texts`."""
    from hlml.data.line_files import lines_of
    from hlml.translate import Translator

    wanted = lines_of(texts.read_bytes(), str(texts))
    before = synthetic.read_bytes() if synthetic.exists() else b""
    done = before.count(b"\n")
    if done >= len(wanted):
        print(f"{synthetic} has all {len(wanted):,} lines")
        return
    trust = [word for word in run.words if word.startswith("trust=")]
    options = argparse.Namespace(run=str(run.folder), overrides=trust, weights=None, runs=".")
    translator = Translator(saved.find(options))
    with synthetic.open("r+b" if done else "wb") as file:
        file.seek(before.rfind(b"\n") + 1)
        file.truncate()  # half a line of a process that was killed
        for start in range(done, len(wanted), CHUNK):
            answers = translator(wanted[start : start + CHUNK])
            file.write("".join(f"{answer}\n" for answer in answers).encode())
            file.flush()
            print(f"{start + len(answers):,} of {len(wanted):,} lines")


def _summary(run: Path) -> dict[str, Any]:
    path = run / "summary.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _quoted(path: Path) -> str:
    """As Hydra reads it, whatever signs are in it."""
    text = re.sub(r'(\\*)("|$)', r"\1\1\2", str(path))  # only there a backslash escapes
    text = text.replace('"', '\\"')
    return f'"{text}"'
