"""The pictures of a sweep: each dimension, all dimensions together, and every learning curve."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.show.drawing import new_figure, save_picture
from mlpvis_jax.sweep.ranking import Row, short
from mlpvis_jax.sweep.space import Dimension, Range

_CULLED, _LINE, _BEST = "#BBBBBB", "#0072B2", "#D55E00"  # Okabe and Ito's, and a grey
_ENDED_EARLY = ("culled", "diverged")


def draw_all(
    folder: Path, rows: Sequence[Row], best: int, dimensions: Mapping[str, Dimension], title: str
) -> list[Path]:
    """Draws them as PNG files; one that cannot be drawn costs a line of warning.

    Args:
      folder: that they go to.
      rows: of all trials, see `store.Store.rows`.
      best: the number of the best trial.
      dimensions: of the space, by key.
      title: of the sweep.

    Returns:
      The files that are there now.
    """
    drawn = [row for row in rows if row.get("validation_accuracy") is not None]
    arguments = (drawn, best, dimensions, title)
    pictures: dict[str, tuple[Any, ...]] = {}
    if drawn and dimensions:
        pictures["dimensions.png"] = (_dimensions, *arguments)
        pictures["parallel_coordinates.png"] = (_parallel, *arguments)
    if any(row["history"] for row in rows):
        pictures["learning_curves.png"] = (_curves, rows, best, title)
    return [folder / name for name, call in pictures.items() if save_picture(folder / name, *call)]


def _dress(axes: Any) -> None:
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _dimensions(
    rows: Sequence[Row], best: int, dimensions: Mapping[str, Dimension], title: str
) -> Any:
    """A panel a dimension: its value against the best validation accuracy."""
    from matplotlib.ticker import PercentFormatter

    across = min(len(dimensions), 3)
    down = math.ceil(len(dimensions) / across)
    figure = new_figure(1.0 + 3.6 * across, 0.8 + 3.2 * down, title)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, (key, dimension) in zip(panels, dimensions.items(), strict=False):
        places, labels = _places(key, dimension, rows)
        for culled in (True, False):
            some = [row for row in rows if (row["state"] in _ENDED_EARLY) == culled]
            axes.scatter(
                [places[row["trial"]] for row in some],
                [row["validation_accuracy"] for row in some],
                s=22,
                color=_CULLED if culled else _LINE,
                label="culled or diverged" if culled else "trained to its end",
                zorder=2 if culled else 3,
            )
        (row,) = [row for row in rows if row["trial"] == best]
        axes.scatter(
            places[best], row["validation_accuracy"], s=110, facecolors="none",
            edgecolors=_BEST, linewidths=1.6, label=f"best: trial {best}", zorder=4,
        )  # fmt: skip
        if labels is not None:
            axes.set_xticks(range(len(labels)), labels)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        elif isinstance(dimension, Range) and dimension.is_log:
            axes.set_xscale("log")
        axes.set_xlabel(key)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _dress(axes)
    for axes in panels[len(dimensions) :]:
        axes.set_visible(False)
    for axes in panels[::across]:
        axes.set_ylabel("best validation accuracy")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _parallel(
    rows: Sequence[Row], best: int, dimensions: Mapping[str, Dimension], title: str
) -> Any:
    """An upright axis a dimension and one for the accuracy; a line a trial, coloured by it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import PercentFormatter

    figure = new_figure(2.5 + 2.2 * (len(dimensions) + 1), 4.6, title)
    axes = figure.subplots()
    accuracies = {row["trial"]: row["validation_accuracy"] for row in rows}
    low, high = min(accuracies.values()), max(accuracies.values())
    high = high if high > low else low + 1e-3
    columns = []
    for number, (key, dimension) in enumerate(dimensions.items()):
        places, labels = _places(key, dimension, rows)
        is_log = isinstance(dimension, Range) and dimension.is_log
        scaled = {trial: math.log(x) if is_log else float(x) for trial, x in places.items()}
        bottom, top = min(scaled.values()), max(scaled.values())
        span = top - bottom or 1.0
        columns.append({trial: (x - bottom) / span for trial, x in scaled.items()})
        if labels is None:
            marks = [bottom + share * (top - bottom) for share in (0, 0.25, 0.5, 0.75, 1)]
            labels = [short(math.exp(mark) if is_log else mark) for mark in marks]
            heights = [0, 0.25, 0.5, 0.75, 1.0] if top > bottom else [0.0] * 5
        else:
            heights = [(place - bottom) / span for place in range(len(labels))]
        for height, label in zip(heights, labels, strict=True):
            axes.annotate(
                label, (number, height), xytext=(-5, 0), textcoords="offset points",
                ha="right", va="center", fontsize=8, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
            )  # fmt: skip
    columns.append({trial: (y - low) / (high - low) for trial, y in accuracies.items()})
    colours = ScalarMappable(Normalize(low, high), "viridis")
    for trial in sorted(accuracies, key=lambda trial: accuracies[trial]):
        axes.plot(
            range(len(columns)),
            [column[trial] for column in columns],
            color=_BEST if trial == best else colours.to_rgba(accuracies[trial]),
            linewidth=2.6 if trial == best else 1.1,
            label=f"best: trial {best}" if trial == best else "_",
            zorder=3 if trial == best else 2,
        )
    for number in range(len(columns)):
        axes.axvline(number, color="#444444", linewidth=0.9, zorder=1)
    axes.set_xticks(range(len(columns)), [*dimensions, "validation accuracy"])
    axes.set_yticks([])
    axes.set_xlim(-0.5, len(columns) - 1 + 0.05)
    axes.set_ylim(-0.04, 1.04)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, pad=0.01, aspect=30)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    bar.outline.set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, -0.2))
    return figure


def _curves(rows: Sequence[Row], best: int, title: str) -> Any:
    """Validation loss and accuracy of every trial; those that were culled are faded."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = new_figure(10, 4.4, title)
    panels = figure.subplots(1, 2)
    names = ("validation_loss", "validation_accuracy")
    labelled: set[str] = set()
    for row in sorted(rows, key=lambda row: row["trial"] == best):
        if not row["history"]:
            continue
        is_best, is_culled = row["trial"] == best, row["state"] in _ENDED_EARLY
        kind = "culled or diverged" if is_culled else "trained to its end"
        kind = f"best: trial {best}" if is_best else kind
        style = {
            "color": _BEST if is_best else _CULLED if is_culled else _LINE,
            "linewidth": 2.2 if is_best else 1.0,
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
        _dress(axes)
    panels[0].legend(frameon=False, fontsize=9)
    return figure


def _places(
    key: str, dimension: Dimension, rows: Sequence[Row]
) -> tuple[dict[int, float], list[str] | None]:
    """Where each trial lies on an axis: at its number, or at its place in a list of values."""
    values = {row["trial"]: row["values"][key] for row in rows}
    if isinstance(dimension, Range):
        return values, None
    found = list(values.values())
    listed = [value for value in dimension.extremes if value in found]
    if not all(value in listed for value in found):  # a range of whole numbers
        listed = sorted(set(found))
    return {trial: listed.index(value) for trial, value in values.items()}, [
        short(value) for value in listed
    ]
