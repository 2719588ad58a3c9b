"""The pictures of a sweep: each dimension, all dimensions together, and every learning curve."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.show.drawing import new_figure, save_picture
from mlpvis_jax.sweep import heat_map, marks, parallel
from mlpvis_jax.sweep.ranking import Row
from mlpvis_jax.sweep.space import Dimension, Range


def draw_all(
    folder: Path,
    rows: Sequence[Row],
    best: int | None,
    dimensions: Mapping[str, Dimension],
    title: str,
    importances: Mapping[str, float] | None = None,
) -> list[Path]:
    """Draws them as PNG files; one that cannot be drawn costs a line of warning.

    Args:
      folder: that they go to.
      rows: of all trials, see `store.Store.rows`.
      best: the number of the best trial; None where every trial diverged.
      dimensions: of the space, by key.
      title: of the sweep.
      importances: share of the variance that each dimension explains, if it is known.

    Returns:
      The files that are there now.
    """
    drawn = [row for row in rows if row.get("validation_accuracy") is not None]
    arguments = (drawn, best, dimensions, title)
    pictures: dict[str, tuple[Any, ...]] = {}
    if drawn and dimensions:
        pictures["dimensions.png"] = (_dimensions, *arguments)
        pictures["parallel_coordinates.png"] = (parallel.draw, *arguments)
    if drawn and heat_map.pairs(dimensions):
        pictures["heat_map.png"] = (heat_map.draw, *arguments)
    if importances:
        pictures["importance.png"] = (_importance, importances, title)
    if any(row["history"] for row in rows):
        pictures["learning_curves.png"] = (_curves, rows, best, title)
    return [folder / name for name, call in pictures.items() if save_picture(folder / name, *call)]


def _dimensions(
    rows: Sequence[Row], best: int | None, dimensions: Mapping[str, Dimension], title: str
) -> Any:
    """A panel a dimension: its value against the validation accuracy of the best epoch."""
    from matplotlib.ticker import PercentFormatter

    across = min(len(dimensions), 3)
    down = math.ceil(len(dimensions) / across)
    figure = new_figure(1.0 + 3.6 * across, 0.9 + 3.2 * down, title)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    heights = {row["trial"]: row["validation_accuracy"] for row in rows}
    for axes, (key, dimension) in zip(panels, dimensions.items(), strict=False):
        _draw_dimension(axes, key, dimension, rows, best)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        marks.dress(axes)
    for axes in panels[len(dimensions) :]:
        axes.set_visible(False)
    for axes in panels[::across]:
        axes.set_ylabel("validation accuracy, best epoch")
    span = max(heights.values()) - min(heights.values()) or 0.01
    panels[0].set_ylim(min(heights.values()) - 0.08 * span, max(heights.values()) + 0.08 * span)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_dimension(
    axes: Any, key: str, dimension: Dimension, rows: Sequence[Row], best: int | None
) -> None:
    places, labels = marks.places(key, dimension, rows)
    heights = {row["trial"]: row["validation_accuracy"] for row in rows}
    left, right = (min(places.values()), max(places.values())) if labels is None else (
        -0.5, len(labels) - 0.5
    )  # fmt: skip
    width = right - left or 1.0
    tall = max(heights.values()) - min(heights.values()) or 0.01
    places = marks.spread(
        {trial: (place, heights[trial]) for trial, place in places.items()},
        (0.013 * width, 0.014 * tall),
        0.42 if labels is not None else 0.05 * width,
    )
    if isinstance(dimension, Range) and dimension.is_log:
        places = {trial: 10**place for trial, place in places.items()}
        axes.set_xscale("log")
    for culled in (True, False):
        some = [row["trial"] for row in rows if marks.is_culled(row) == culled]
        axes.scatter(
            [places[trial] for trial in some],
            [heights[trial] for trial in some],
            s=22,
            marker="x" if culled else "o",
            linewidths=1.1 if culled else 0.5,
            color=marks.CULLED if culled else marks.LINE,
            label=marks.NAME_OF_CULLED if culled else marks.NAME_OF_ENDED,
            zorder=2 if culled else 3,
        )
    if best is not None:
        axes.scatter(
            places[best], heights[best], s=110, facecolors="none", edgecolors=marks.BEST,
            linewidths=1.8, label=f"best: trial {best}", zorder=4,
        )  # fmt: skip
    if labels is not None:
        many = len(labels) > 6 or max(map(len, labels)) > 8
        axes.set_xticks(range(len(labels)), labels, rotation=45 if many else 0)
        axes.set_xlim(left, right)
    else:
        axes.margins(x=0.08)
    axes.set_xlabel(key)


def _importance(importances: Mapping[str, float], title: str) -> Any:
    """A bar a dimension: how much of the differences between trials it explains."""
    from matplotlib.ticker import PercentFormatter

    ordered = sorted(importances.items(), key=lambda item: item[1])
    figure = new_figure(7.0, 1.4 + 0.42 * len(ordered), title, "importance by fANOVA")
    axes = figure.subplots()
    bars = axes.barh([key for key, _ in ordered], [share for _, share in ordered], color=marks.LINE)
    axes.bar_label(bars, [f"{share:.0%}" for _, share in ordered], padding=4, fontsize=9)
    axes.set_xlim(0, 1.12 * max(share for _, share in ordered))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the variance between trials, of each dimension alone")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(rows: Sequence[Row], best: int | None, title: str) -> Any:
    """Validation loss and accuracy of every trial; those that were culled are faded."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = new_figure(10, 4.4, title)
    panels = figure.subplots(1, 2)
    names = ("validation_loss", "validation_accuracy")
    labelled: set[str] = set()
    for row in sorted(rows, key=lambda row: row["trial"] == best):
        if not row["history"]:
            continue
        is_best, is_culled = row["trial"] == best, marks.is_culled(row)
        kind = marks.NAME_OF_CULLED if is_culled else marks.NAME_OF_ENDED
        kind = f"best: trial {best}" if is_best else kind
        style = {
            "color": marks.BEST if is_best else marks.CULLED if is_culled else marks.LINE,
            "linewidth": 2.2 if is_best else 1.0,
            "linestyle": (0, (4, 3)) if is_culled else "-",
            "alpha": 1.0 if is_best else 0.7,
            "zorder": 4 if is_best else 2 if is_culled else 3,
        }
        epochs = [record["epoch"] for record in row["history"]]
        for axes, name in zip(panels, names, strict=True):
            values = [record[name] for record in row["history"]]
            label = "_" if kind in labelled else kind
            axes.plot(epochs, values, marker="o" if len(epochs) == 1 else "", markersize=4,
                      label=label, **style)  # fmt: skip
            if is_culled:
                axes.plot(epochs[-1], values[-1], marker="x", markersize=5, **style)
        labelled.add(kind)
    losses = [record["validation_loss"] for row in rows for record in row["history"]]
    middle = sorted(losses)[len(losses) // 2]
    # A trial on its way to diverging would flatten all the others.
    panels[0].set_ylim(top=min(max(losses), 2.5 * middle) * 1.02)
    panels[0].set_ylabel("validation cross-entropy (nats)")
    panels[1].set_ylabel("validation accuracy")
    panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        marks.dress(axes)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
