"""Tab completion: Hydra's, behind our verbs, and levels, which Hydra does not know."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from hlml.errors import UserError
from hlml.levels import rewrite

if TYPE_CHECKING:
    from hlml.compose import Composer


def main(argv: list[str]) -> int:
    """`hlml -sc install=bash | uninstall=bash | query=bash`, called by the shell."""
    from hlml import compose

    args = compose.parse(argv)
    composer = compose.Composer.open(args)
    if not any(override.startswith("query=") for override in args.overrides):
        try:
            composer.shell_completion(None, args.overrides)
        except ValueError as error:
            raise UserError(
                f"-sc {' '.join(args.overrides)}: {str(error).splitlines()[0]}"
            ) from None
        return 0
    candidates = _verbs(os.environ.get("COMP_LINE", ""))
    if candidates is None:
        candidates = _levels(composer)
    if candidates is not None:
        print(" ".join(candidates))
        return 0
    composer.shell_completion(composer.name, args.overrides)
    return 0


def _verbs(line: str) -> list[str] | None:
    """The commands, while the first word is being typed; None: the line is past it."""
    from hlml.cli import VERBS
    from hlml.runs import KINDS

    words = line.split()[1:]
    if not words or (len(words) == 1 and not line.endswith(" ")):
        return [verb for verb in VERBS if verb.startswith("".join(words))]
    if words[0] in ("train", "summary"):
        # Hydra completes a line without the verb
        os.environ["COMP_LINE"] = f"hlml {line.split(words[0], 1)[1].lstrip()}"
        return None
    typed = "" if line.endswith(" ") else words[-1]
    return [kind for kind in KINDS if words[0] == "runs" and kind.startswith(typed)]


def _levels(composer: Composer) -> list[str] | None:
    """The values of level=; None: something else is being typed. Then Hydra reads the preset."""
    line = os.environ["COMP_LINE"]
    words = line.split()[1:]
    typed = "" if line.endswith(" ") or not words else words.pop()
    if len(typed) > 1 and "homework".startswith(typed):
        return ["homework="]  # Hydra stops before the =, for a homework has a folder too
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    homework = given.get("homework", "").split("/")[0]
    if homework not in composer.presets.homeworks():
        return None
    if typed.startswith("level="):
        default = composer.presets.default(homework)
        data = given.get("data", default.data)
        known = data in composer.presets.data_sets(homework)
        levels = composer.presets.levels(homework, data if known else default.data)
        return [name for name in (f"level={level}" for level in levels) if name.startswith(typed)]
    with suppress(UserError):
        words = rewrite(words, composer.presets, multirun=True)
    os.environ["COMP_LINE"] = " ".join(["hlml", *words, typed])
    return None
