"""The `hlml` command: verbs, help, completion, and the one place where errors become messages.

Nothing here imports torch, and `--help` not even Hydra: what a person waits for must be quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress

from hlml.errors import UserError, did_you_mean

VERBS = ("train", "summary", "evaluate", "predict", "translate", "backtranslate", "runs")

HELP = """\
hlml: Hung-yi Lee's machine learning course as commands.

  train      hlml train homework=hw1               in a checkout also: make hw1
             hlml train homework=hw1 level=strong data=covid
  change     hlml train homework=hw1 optimizer=sgd optimizer.lr=0.01
             hlml train homework=hw1 --cfg job     what there is to change
             hlml train homework=hw1 -m seed=1,2   a run for each value
  look       hlml summary homework=hw1             the model, layer by layer
  see        hlml runs                             what ran, how good it was
             make tensorboard                      curves and pictures
  resume     hlml train homework=hw1 resume=auto   go on where it stopped
  evaluate   hlml evaluate hw1                     its newest run, once more
  predict    hlml predict hw1                      the file to hand in
             hlml predict RUN RUN --views 8        runs and views averaged
  translate  hlml translate hw5                    lines that you type
             hlml backtranslate TEXTS homework=hw5 pairs out of mere texts

A run's folder does for hw1, too. More: hlml train --help, hlml runs --help.
Tab completion: eval "$(hlml -sc install=bash)"
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 (a bug), 2 (the user's to mend) or 130."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        code = _run(argv)
        sys.stdout.flush()  # here, where a closed pipe is caught
        return code
    except UserError as error:
        from hlml.explain import one_line

        print(one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `hlml runs table | head`: nobody reads on, and Python must not flush into the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from hlml.explain import explain

        text, code = explain(error, _trusted(argv))
        print(text, file=sys.stderr)
        return code


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0
    if argv[0] == "--version":
        from hlml import __version__

        print(f"hlml {__version__}")
        return 0
    if argv[0] in ("-sc", "--shell-completion"):
        from hlml import completion

        return completion.main(argv)
    if argv[0] not in VERBS:
        raise UserError(_unknown(argv[0]))
    if argv[0] == "train":
        from hlml import launch

        return launch.main(argv[1:])
    if argv[0] != "runs":
        from hlml import signature

        signature.make_importable()
    result = importlib.import_module(f"hlml.{argv[0]}").main(argv[1:])
    return int(result or 0)


def _trusted(argv: list[str]) -> tuple[str, ...]:
    """The user's own packages: an error in one is theirs."""
    compose = sys.modules.get("hlml.compose")
    with suppress(Exception):
        return tuple(compose.trusted(argv)) if compose else ()
    return ()


def _unknown(verb: str) -> str:
    if "=" in verb:
        return f"{verb}: which command? hlml train {verb}"
    return f"{verb}: no such command; {did_you_mean(verb, VERBS)}"


if __name__ == "__main__":
    sys.exit(main())
