"""The picture `heat_map.png` of a sweep: the accuracy over the values of two dimensions."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.show.drawing import new_figure
from mlpvis_jax.sweep import marks
from mlpvis_jax.sweep.ranking import Row, short
from mlpvis_jax.sweep.space import Dimension, Values

_MOST_PANELS, _MOST_VALUES = 6, 24


def pairs(dimensions: Mapping[str, Dimension]) -> list[tuple[str, str]]:
    """Lists the pairs of dimensions that are lists of values: each is a panel of the picture."""
    listed = [
        key
        for key, one in dimensions.items()
        if isinstance(one, Values) and 1 < len(one.values) <= _MOST_VALUES
    ]
    return list(itertools.combinations(listed, 2))[:_MOST_PANELS]


def draw(
    rows: Sequence[Row], best: int | None, dimensions: Mapping[str, Dimension], title: str
) -> Any:
    """Draws a panel a pair of dimensions; a cell is the mean validation accuracy.

    The mean is over the trials that ended in their time; a cell that has none is hatched, and its
    number is that of the culled ones.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch
    from matplotlib.ticker import PercentFormatter

    panels = pairs(dimensions)
    grids = [_cells(rows, one, other, dimensions) for one, other in panels]
    cells = [means[np.isfinite(means) & ~culled] for means, culled in grids]
    found = np.concatenate(cells) if any(map(len, cells)) else np.zeros(1)
    low, high = float(found.min()), float(found.max())
    colours = ScalarMappable(Normalize(low, high if high > low else low + 1e-3), marks.ACCURACY_MAP)
    across = min(len(panels), 2)
    down = math.ceil(len(panels) / across)
    most = max(len(means[0]) for means, _ in grids)
    figure = new_figure(1.6 + across * max(3.6, 0.75 * most), 1.2 + 3.2 * down, title)
    squares = figure.subplots(down, across, squeeze=False).ravel()
    best_rows = [row for row in rows if row["trial"] == best]
    for axes, (down_key, across_key), (means, culled) in zip(squares, panels, grids, strict=False):
        _draw_cells(axes, means, culled, colours)
        for key, axis in ((down_key, axes.yaxis), (across_key, axes.xaxis)):
            values = _values(dimensions[key])
            axis.set_ticks(range(len(values)), [short(value) for value in values])
            axis.set_label_text(key)
        for row in best_rows:
            column = _values(dimensions[across_key]).index(row["values"][across_key])
            line = _values(dimensions[down_key]).index(row["values"][down_key])
            _frame(axes, column, line)
    for axes in squares[len(panels) :]:
        axes.set_visible(False)
    bar = figure.colorbar(colours, ax=list(squares), aspect=30, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    bar.set_label("validation accuracy, best epoch")
    bar.outline.set_visible(False)
    patches = {marks.NAME_OF_CULLED: Patch(facecolor="white", edgecolor=marks.CULLED, hatch="////")}
    if best_rows:
        frame = Patch(fill=False, edgecolor=marks.BEST, linewidth=2.5)
        patches = {f"best: trial {best}": frame, **patches}
    figure.legend(
        list(patches.values()), list(patches),
        loc="outside lower center", ncols=2, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _values(dimension: Dimension) -> list[Any]:
    return list(dimension.extremes)


def _cells(
    rows: Sequence[Row], down: str, across: str, dimensions: Mapping[str, Dimension]
) -> tuple[np.ndarray, np.ndarray]:
    """Means of the cells, NaN where there is no trial, and whether all trials there were culled."""
    lines, columns = _values(dimensions[down]), _values(dimensions[across])
    means = np.full((len(lines), len(columns)), np.nan)
    culled = np.zeros(means.shape, bool)
    for line, column in np.ndindex(means.shape):
        here = [
            row
            for row in rows
            if row["values"][down] == lines[line] and row["values"][across] == columns[column]
        ]
        ended = [row for row in here if not marks.is_culled(row)]
        culled[line, column] = bool(here) and not ended
        if here:
            means[line, column] = np.mean([row["validation_accuracy"] for row in ended or here])
    return means, culled


def _draw_cells(axes: Any, means: np.ndarray, culled: np.ndarray, colours: Any) -> None:
    axes.imshow(
        means, cmap=colours.cmap, norm=colours.norm, origin="lower", aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    for line, column in np.ndindex(means.shape):
        mean = means[line, column]
        if not np.isfinite(mean):
            continue
        if culled[line, column]:
            axes.add_patch(_cell(column, line, fill=True, facecolor="white", linewidth=0))
            axes.add_patch(
                _cell(column, line, fill=False, hatch="////", edgecolor=marks.CULLED, linewidth=0)
            )
        red, green, blue, _ = colours.to_rgba(mean)
        is_dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
        words: dict[str, Any] = {"color": "white" if is_dark else "black"}
        if culled[line, column]:
            words = {
                "color": "black",
                "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
            }
        axes.text(column, line, f"{mean:.1%}", ha="center", va="center", fontsize=8.5, **words)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _cell(column: float, line: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, line - 0.5), 1, 1, **style)


def _frame(axes: Any, column: int, line: int) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.47, line - 0.47)
    style: dict[str, Any] = {"fill": False, "edgecolor": marks.BEST, "linewidth": 2.5, "zorder": 5}
    axes.add_patch(Rectangle(corner, 0.94, 0.94, **style))
