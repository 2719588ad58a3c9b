"""How widely and how far the mixing looks, by the depth of the block."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlpvis_jax.pictures.mixing import Grid, Measures, uniform
from mlpvis_jax.pictures.theme import empty_figure


def draw_by_depth(
    measures: Mapping[str, Measures], grid: Grid, fields: Mapping[str, float] | None = None
) -> Any:
    """Draws the entropy and the distance of each block's mixing, and the receptive field's size.

    Lines are means over the tokens that are written, and the bands around them hold the middle
    80 percent of these. The dashed line is a mixing that weighs all tokens alike.

    Args:
      measures: of each block by name; those of `mixing.measure`. Without any, their panels are
        left out, and `fields` is needed.
      grid: rows and columns of the tokens.
      fields: of each layer by name, the mean distance of `receptive_field.field_distance`.

    Returns:
      A Matplotlib Figure.
    """
    panels = {"entropy (nats)": "entropy", "mean distance (tokens)": "distance"} if measures else {}
    if fields:
        panels["receptive field (patches)"] = ""
    figure = empty_figure(7.4, 3.0)
    everywhere = uniform(grid)
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, key) in zip(places, panels.items(), strict=True):
        if key:
            spread = np.stack([getattr(one, key) for one in measures.values()])
            _draw_spread(axes, spread, getattr(everywhere, key).mean())
            names = [name.rpartition("_")[2] for name in measures]
        else:
            assert fields is not None
            values = list(fields.values())
            axes.plot(values, color="C0", marker="o", markersize=3.5)
            axes.set_ylim(0, 1.1 * np.nanmax(values))
            names = [name.rpartition("_")[2] for name in fields]
        step = -(-len(names) // 12)
        axes.set_xticks(range(0, len(names), step), names[::step])
        axes.set_title(label)
        axes.set_xlabel("block")
        axes.grid(axis="y")
    return figure


def _draw_spread(axes: Any, spread: np.ndarray, of_all_alike: float) -> None:
    """A line for the means of [blocks, tokens], and a band; NaN is left out."""
    with warnings.catch_warnings():  # of blocks where all are NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.nanmean(spread, axis=1)
        least, most = np.nanquantile(spread, [0.1, 0.9], axis=1)
    places = np.arange(len(means))
    axes.fill_between(places, least, most, color="C0", alpha=0.2, linewidth=0)
    axes.vlines(places, least, most, color="C0", linewidth=0.8)  # alone, a band of one block
    axes.plot(places, means, color="C0", marker="o", markersize=3.5)
    axes.axhline(of_all_alike, color="C1", linestyle="--", linewidth=1)
    axes.annotate(
        "all alike",
        (1, of_all_alike),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color="C1",
        ha="right",
        va="bottom",
        fontsize=8,
    )
    axes.set_ylim(0, 1.15 * np.nanmax([of_all_alike, *most]))
