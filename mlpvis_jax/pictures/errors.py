"""Pictures of how a classifier errs: confusions, classes, calibration, the surest errors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpvis_jax.pictures.statistics import Reliability, wilson_interval
from mlpvis_jax.pictures.theme import empty_figure, shades
from mlpvis_jax.show.drawing import in_utf8

_NAMED = 40  # classes that have their names on both axes
_COUNTED = 20  # classes whose cells hold numbers
_READABLE = 110  # names along an axis
_ROWS = 60  # classes of a column of the picture of classes
MOST_CLASSES = 2 * _ROWS


def draw_confusion(
    matrix: np.ndarray,
    names: Sequence[str],
    order: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
) -> Any:
    """Draws a confusion matrix: the share of each label's examples by what they are taken for.

    Args:
      matrix: int [label, prediction].
      names: of the classes.
      order: of the classes from the top, int [classes]; by default as they are.
      groups: of each class, by name; those of one group must be neighbours in the order. With more
        than 40 classes, the groups' names stand in place of the classes'.

    Returns:
      A Matplotlib Figure.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    number = len(names)
    order = np.arange(number) if order is None else order
    named = ""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    is_large = number > _NAMED
    side = 12.0 if is_large and groups is None else 7.4
    # The names of groups take some of the width, and the matrix is a square.
    figure = empty_figure(side, 0.7 * side if is_large and groups is not None else 0.86 * side)
    figure.set_layout_engine("compressed")  # a square leaves room beside it
    axes = figure.subplots()
    # A root shows the few that go astray beside the many that do not.
    picture = axes.imshow(
        shares[np.ix_(order, order)], shades(), PowerNorm(0.5, 0, 1), interpolation="nearest"
    )
    ordered = [_short(names[place]) for place in order.tolist()]
    size = 8.5 if number <= 12 else 7 if number <= _NAMED else 5.5
    if is_large and groups is not None:
        _name_groups(axes, [groups[place] for place in order.tolist()])
        axes.set_xticks([])
    else:
        every = math.ceil(number / _READABLE)
        places, shown = range(0, number, every), ordered[::every]
        axes.set_yticks(places, shown, fontsize=size)
        is_short = number <= _COUNTED and max(map(len, ordered)) <= 3
        axes.set_xticks(places, shown, rotation=0 if is_short else 90, fontsize=size)
        named = f" (one of {every} is named)" if every > 1 else ""
    if number <= _COUNTED:
        _write_counts(axes, matrix[np.ix_(order, order)], shares[np.ix_(order, order)])
    axes.set_ylabel(f"label{named}")
    axes.set_xlabel("prediction" + (", in the same order" if is_large else ""))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, pad=0.015, aspect=30)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("of the label's examples")
    return figure


def _name_groups(axes: Any, groups: Sequence[str]) -> None:
    """Names the groups beside their rows, and draws lines between them."""
    starts = [
        place for place in range(len(groups)) if not place or groups[place] != groups[place - 1]
    ]
    ends = [*starts[1:], len(groups)]
    centres = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    axes.set_yticks(centres, [_short(groups[start]) for start in starts], fontsize=7.5)
    for start in starts[1:]:
        for line in (axes.axhline, axes.axvline):
            line(start - 0.5, color=axes.yaxis.label.get_color(), linewidth=0.3, alpha=0.6)


def _write_counts(axes: Any, matrix: np.ndarray, shares: np.ndarray) -> None:
    import matplotlib

    paper, ink = (matplotlib.rcParams[key] for key in ("axes.facecolor", "text.color"))
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = paper if shares[row, column] > 0.15 else ink
            text = {"ha": "center", "va": "center", "fontsize": 8 if len(matrix) <= 12 else 6}
            axes.text(column, row, f"{count:,}", color=colour, **text)


def draw_class_accuracy(
    names: Sequence[str], correct: np.ndarray, counts: np.ndarray, unit: str = "class"
) -> Any:
    """Draws the accuracy of each class with its 95% Wilson interval, the highest on top.

    Args:
      names: of the classes.
      correct, counts: the right ones and the number of each class's examples, int [classes].
      unit: what a row is, for the label of the axis.

    Returns:
      A Matplotlib Figure; of more than `MOST_CLASSES`, half of them the highest, half the lowest.
    """
    from matplotlib.ticker import PercentFormatter

    accuracy = correct / np.maximum(counts, 1)
    low, high = wilson_interval(correct, counts)
    order = np.lexsort((np.arange(len(names)), -accuracy))
    order = order[counts[order] > 0]
    if len(order) > MOST_CLASSES:
        order = np.concatenate([order[:_ROWS], order[-_ROWS:]])
    columns = 1 if len(order) <= 30 else 2
    rows = math.ceil(len(order) / columns)
    figure = empty_figure(7.4, 0.9 + 0.16 * rows if rows > 12 else 0.9 + 0.24 * rows)
    panels = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
    mean = correct.sum() / max(counts.sum(), 1)
    for panel, axes in enumerate(panels):
        some = order[panel * rows : (panel + 1) * rows]
        heights = np.arange(len(some))
        axes.axvline(mean, color="C1", linewidth=1, linestyle="--", zorder=1)
        axes.hlines(heights, low[some], high[some], color="C0", linewidth=1.4, alpha=0.45)
        axes.plot(accuracy[some], heights, "o", color="C0", markersize=3.6, clip_on=False)
        labels = [_short(names[place]) for place in some]
        axes.set_yticks(heights, labels, fontsize=6.8 if rows > 30 else 8.5)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xlim(
            math.floor(low[order].min() * 10) / 10, math.ceil(high[order].max() * 10) / 10
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"accuracy of the {unit}")
    panels[0].annotate(
        f"all: {mean:.1%}", (mean, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha="center", va="bottom", color="C1", fontsize=8,
    )  # fmt: skip
    return figure


def draw_reliability(found: Reliability) -> Any:
    """Draws how often predictions are right by how sure they are, above how many there are.

    Returns:
      A Matplotlib Figure.
    """
    from matplotlib.ticker import PercentFormatter

    figure = empty_figure(7.4, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = np.diff(found.edges)
    centres = (found.edges[:-1] + found.edges[1:]) / 2
    low, high = wilson_interval(np.nan_to_num(found.accuracy * found.counts).round(), found.counts)
    some = found.counts > 0
    above.plot([0, 1], [0, 1], color="C1", linewidth=1, linestyle="--", label="perfect")
    above.bar(
        centres[some], found.accuracy[some], 0.92 * width[some], color="C0", alpha=0.35,
        label="accuracy of a bin",
    )  # fmt: skip
    above.vlines(found.confidence[some], low[some], high[some], color="C0", linewidth=1.2)
    above.plot(
        found.confidence[some], found.accuracy[some], "o", color="C0", markersize=4,
        clip_on=False, label="mean confidence and accuracy, with 95% interval",
    )  # fmt: skip
    above.set_ylim(0, 1)
    above.set_ylabel("accuracy")
    figure.legend(loc="outside upper center", ncols=3)
    below.bar(centres, found.counts / max(found.counts.sum(), 1), 0.92 * width, color="C0")
    below.set_ylabel("share of images")
    below.set_xlabel("confidence: the probability of the predicted class")
    below.set_xlim(0, 1)
    for axes in (above, below):
        axes.grid(axis="y")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    below.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def draw_errors(
    images: np.ndarray, labels: Sequence[str], predictions: Sequence[str], confidences: np.ndarray
) -> Any:
    """Draws a sheet of images with what they were taken for, and what they are.

    Args:
      images: uint8 [number, height, width, channels], the surest errors first.
      labels, predictions: names of classes, one for each image.
      confidences: float [number], of the predictions.

    Returns:
      A Matplotlib Figure.
    """
    columns = 6
    rows = math.ceil(len(images) / columns)
    figure = empty_figure(7.4, 1.66 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for number, image in enumerate(images):
        axes = panels[number]
        is_grey = image.shape[-1] == 1
        pixels, colours = (image[..., 0], "gray") if is_grey else (image, None)
        axes.imshow(pixels, cmap=colours, vmin=0, vmax=255)
        axes.set_title(
            f"{_short(predictions[number], 16)} ({confidences[number]:.0%})",
            color="C1", fontsize=7.2, pad=3,
        )  # fmt: skip
        axes.text(
            0.5, -0.04, f"is {_short(labels[number], 18)}", transform=axes.transAxes,
            ha="center", va="top", fontsize=7.2,
        )  # fmt: skip
    return figure


def _short(name: str, letters: int = 28) -> str:
    """A name that fits beside an axis; a dollar sign is no formula, and all of it is in UTF-8."""
    shown = in_utf8(name.replace("_", " "))
    shown = shown if len(shown) <= letters else shown[: letters - 1] + "…"
    return shown.replace("$", r"\$")
