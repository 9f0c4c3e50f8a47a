"""Comparisons that a drifting machine cannot spoil: alternating repeats, medians of ratios."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping

Times = dict[str, list[float]]


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Seconds of every contender, once a round; each round begins with another one.

    The first round is thrown away: it pays for imports, caches and first allocations.
    """
    times: Times = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            seconds = contenders[name]()
            if number:
                times[name].append(seconds)
    return times


def ratio(times: Times, name: str, other: str) -> float:
    """How many times `other`'s time `name` takes: the median over rounds of their ratio."""
    return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))


def spread(times: Times, name: str, other: str) -> str:
    """The middle half of those ratios."""
    ratios = [a / b for a, b in zip(times[name], times[other], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{low:.2f} - {high:.2f}"


def with_spread(times: Times, name: str, other: str, digits: int = 2) -> str:
    """A cell of a table: 1.04 (1.02 - 1.05)."""
    return f"{ratio(times, name, other):.{digits}f} ({spread(times, name, other)})"
