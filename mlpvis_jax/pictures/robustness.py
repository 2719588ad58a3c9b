"""Pictures of how a classifier fares with images that are made worse."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.pictures.theme import empty_figure


def draw_corruptions(clean: float, accuracies: Mapping[str, Sequence[float]]) -> Any:
    """Draws the accuracy by the strength of each corruption, a panel each.

    Args:
      clean: accuracy on the images as they are.
      accuracies: of each corruption by name, at its strengths from 1 on.

    Returns:
      A Matplotlib Figure.
    """
    from matplotlib.ticker import PercentFormatter

    columns = min(4, len(accuracies))
    rows = math.ceil(len(accuracies) / columns)
    figure = empty_figure(7.4, 0.5 + 1.55 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (name, values) in zip(panels, accuracies.items(), strict=False):
        axes.axhline(clean, color="C1", linewidth=1, linestyle="--")
        strengths = np.arange(len(values) + 1)
        axes.plot(strengths, [clean, *values], color="C0", marker="o", markersize=3.2)
        axes.set_title(name.replace("_", " "))
        axes.set_xticks(strengths, ["clean", *map(str, strengths[1:])], fontsize=7)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="y")
    for axes in panels[len(accuracies) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(accuracies) - columns) : len(accuracies)]:
        axes.tick_params(labelbottom=True)
    panels[0].set_ylim(0, min(1.0, 1.08 * max(clean, *(max(one) for one in accuracies.values()))))
    figure.supxlabel("strength", fontsize=9)
    figure.supylabel("accuracy", fontsize=9)
    return figure
