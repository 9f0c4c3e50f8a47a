"""What a user can mend: shown as one line, with exit code 2 and no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Says what is wrong, where, and what to do, in one line."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The nearest of the known names, or all of them when none is near."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
