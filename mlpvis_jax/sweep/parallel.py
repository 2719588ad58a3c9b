"""The picture `parallel_coordinates.png` of a sweep: all dimensions and the accuracy together."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.show.drawing import new_figure
from mlpvis_jax.sweep import marks
from mlpvis_jax.sweep.ranking import Row, short
from mlpvis_jax.sweep.space import Dimension, Range

_GUTTER = 0.3  # of the way between two axes; the labels of the right one stand there, and no line
_FAN = 0.05  # height over which lines at one value are spread


def draw(
    rows: Sequence[Row], best: int | None, dimensions: Mapping[str, Dimension], title: str
) -> Any:
    """Draws an upright axis a dimension and one for the accuracy; a line a trial, coloured by it.

    Lines are broken where an axis has its labels. A culled trial's line is dashed and grey.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import PercentFormatter

    figure = new_figure(2.5 + 2.2 * (len(dimensions) + 1), 4.8, title)
    axes = figure.subplots()
    accuracies = {row["trial"]: row["validation_accuracy"] for row in rows}
    low, high = min(accuracies.values()), max(accuracies.values())
    high = high if high > low else low + 1e-3
    columns = [
        _column(axes, number, key, dimension, rows)
        for number, (key, dimension) in enumerate(dimensions.items())
    ]
    columns.append({trial: (y - low) / (high - low) for trial, y in accuracies.items()})
    shares = [0, 0.25, 0.5, 0.75, 1]
    percents = [f"{low + share * (high - low):.1%}" for share in shares]
    _write_labels(axes, len(dimensions), shares, percents)
    ended = [accuracies[row["trial"]] for row in rows if not marks.is_culled(row)] or [low, high]
    top = max(ended) if max(ended) > min(ended) else min(ended) + 1e-3
    colours = ScalarMappable(Normalize(min(ended), top), marks.ACCURACY_MAP)
    named: set[str] = set()
    for row in sorted(rows, key=lambda row: (not marks.is_culled(row), accuracies[row["trial"]])):
        trial = row["trial"]
        name = marks.NAME_OF_ENDED
        style: dict[str, Any] = {"linewidth": 1.2, "zorder": 3.0}
        style["color"] = colours.to_rgba(accuracies[trial])
        if marks.is_culled(row):
            name = marks.NAME_OF_CULLED
            style |= {"color": marks.CULLED, "linestyle": (0, (4, 3)), "linewidth": 0.8}
            style["zorder"] = 2.0
        if trial == best:
            name = f"best: trial {best}"
            style |= {"color": marks.BEST, "linewidth": 2.8, "zorder": 4.0}
        across, up = _broken([column[trial] for column in columns])
        label = "_" if name in named else name
        axes.plot(across, up, label=label, gid=f"trial {trial}", **style)
        # No line leads on from the last axis.
        dot = {**style, "marker": "x" if marks.is_culled(row) else "o", "linestyle": "none"}
        axes.plot(across[-1], up[-1], markersize=4.5, **dot)
        named.add(name)
    for number in range(len(columns)):
        axes.axvline(number, color="#444444", linewidth=0.9, zorder=1)
    names = [marks.on_two_lines(key) for key in dimensions]
    axes.set_xticks(range(len(columns)), [*names, "validation\naccuracy"])
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.set_xlim(-_GUTTER, len(columns) - 1 + 0.05)
    axes.set_ylim(-0.05, 1.05)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, pad=0.02, aspect=30)
    bar.set_label(f"accuracy, {marks.NAME_OF_ENDED}")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    bar.outline.set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _column(
    axes: Any, number: int, key: str, dimension: Dimension, rows: Sequence[Row]
) -> dict[int, float]:
    """Writes an axis's labels, and finds the height in [0, 1] of each trial on it."""
    places, labels = marks.places(key, dimension, rows)
    bottom, top = min(places.values()), max(places.values())
    span = top - bottom or 1.0
    if labels is None:
        is_log = isinstance(dimension, Range) and dimension.is_log
        shares = [0.0, 0.25, 0.5, 0.75, 1.0] if top > bottom else [0.0]
        numbers = [bottom + share * (top - bottom) for share in shares]
        texts = [short(float(f"{10**one if is_log else one:.3g}")) for one in numbers]
        heights = {trial: (place - bottom) / span for trial, place in places.items()}
    else:
        shares = [(place - bottom) / span for place in range(len(labels))]
        texts = labels
        heights = _fanned({trial: (place - bottom) / span for trial, place in places.items()})
    _write_labels(axes, number, shares, texts)
    return heights


def _write_labels(axes: Any, number: int, heights: Sequence[float], texts: Sequence[str]) -> None:
    for height, text in zip(heights, texts, strict=True):
        axes.annotate(
            text, (number, height), xytext=(-6, 0), textcoords="offset points", ha="right",
            va="center", fontsize=8,
        )  # fmt: skip


def _fanned(heights: Mapping[int, float]) -> dict[int, float]:
    """Spreads trials of one value a little, so that each of their lines is seen."""
    at: dict[float, list[int]] = defaultdict(list)
    for trial, height in heights.items():
        at[height].append(trial)
    fanned = {}
    for height, trials in at.items():
        step = min(0.012, _FAN / max(len(trials) - 1, 1))
        for place, trial in enumerate(sorted(trials)):
            fanned[trial] = height + (place - (len(trials) - 1) / 2) * step
    return fanned


def _broken(heights: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points of a line through the axes, with a gap before each axis."""
    across, up = [0.0], [heights[0]]
    for number in range(1, len(heights)):
        now = heights[number]
        across += [number - _GUTTER, math.nan, number]
        up += [now, math.nan, now]
    return across, up
