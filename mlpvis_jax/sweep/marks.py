"""How the pictures of a sweep mark a trial, and where they put it.

Colours are Okabe and Ito's, which people of all kinds of colour vision tell apart; a marker, a dash
or a hatch says the same in grey print.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.sweep.ranking import Row, short
from mlpvis_jax.sweep.space import Dimension, Range

CULLED, LINE, BEST = "#8C8C8C", "#0072B2", "#D55E00"
ACCURACY_MAP = "viridis"  # from dark to light, for all kinds of colour vision
ENDED_EARLY = ("culled", "diverged")
NAME_OF_CULLED, NAME_OF_ENDED = "culled or diverged", "trained to its end"


def is_culled(row: Row) -> bool:
    """Tells whether a trial was ended before its time."""
    return row["state"] in ENDED_EARLY


def places(
    key: str, dimension: Dimension, rows: Sequence[Row]
) -> tuple[dict[int, float], list[str] | None]:
    """Finds where each trial lies on an axis: at its number, or at its place in a list of values.

    A logarithmic range has the logarithm of the number for its place.

    Returns:
      The places by the trial's number, and the texts of the list's values; None of a range.
    """
    values = {row["trial"]: row["values"][key] for row in rows}
    if isinstance(dimension, Range):
        if dimension.is_log:
            values = {trial: math.log10(value) for trial, value in values.items()}
        return values, None
    found = list(values.values())
    listed = [value for value in dimension.extremes if value in found]
    if not all(value in listed for value in found):  # a range of whole numbers
        listed = sorted(set(found))
    return {trial: listed.index(value) for trial, value in values.items()}, [
        short(value) for value in listed
    ]


def spread(
    points: Mapping[int, tuple[float, float]], radius: tuple[float, float], most: float
) -> dict[int, float]:
    """Moves points that would cover one another apart, to the sides.

    Args:
      points: (x, y) by the trial's number.
      radius: of a point, in units of x and of y.
      most: x may be moved by, at most; where more points lie in a place, they are set closer.

    Returns:
      The new x of each.
    """
    rows: dict[int, list[int]] = defaultdict(list)
    by_height = sorted(points, key=lambda trial: (points[trial][1], points[trial][0], trial))
    lanes: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for trial in by_height:
        x, y = points[trial]
        lane = 0
        while any(
            abs(x - other_x) < 2 * radius[0] and abs(y - other_y) < 2 * radius[1]
            for other_x, other_y in lanes[lane]
        ):
            lane += 1
        lanes[lane].append((x, y))
        rows[lane].append(trial)
    step = min(2 * radius[0], most / max(1, math.ceil((len(lanes) - 1) / 2)))
    moved: dict[int, float] = {}
    for lane, trials in rows.items():
        # To the right, to the left, farther to the right, ...
        side = (lane + 1) // 2 * (1 if lane % 2 else -1)
        moved |= {trial: points[trial][0] + side * step for trial in trials}
    return moved


def dress(axes: Any) -> None:
    """Takes away what no eye needs."""
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def on_two_lines(key: str) -> str:
    """Breaks a key in two lines, such as "optimizer." above "learning_rate"."""
    return key.replace(".", ".\n")
