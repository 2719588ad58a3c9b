"""Interleaved rounds: all contestants in every round, so that a slow minute falls on all of them.

On a shared machine the absolute times of two minutes can differ by a factor. What holds is how
contestants compare within a round, so ratios are formed there and the median is taken over rounds.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

Contestant = TypeVar("Contestant")


def interleaved(contestants: Sequence[Contestant], rounds: int) -> Iterator[tuple[int, Contestant]]:
    """Pairs of round (from 0) and contestant; every second round runs backwards.

    A machine that slows down steadily would otherwise always be slowest for the last one.
    """
    for number in range(rounds):
        order = contestants if number % 2 == 0 else reversed(contestants)
        yield from ((number, contestant) for contestant in order)


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """Gives the median, least, most, and the values themselves in the order of their rounds."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "rounds": list(values),
    }


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Computes the median over rounds of value / other, both of one round."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))
