"""The weights across tokens as pictures: every unit an image of the token grid."""

from typing import Any

import numpy as np

from mlpvis_jax.pictures.mixing import Grid
from mlpvis_jax.pictures.theme import empty_figure

_MOST = 16  # units in a row, and in a column
_GAP = 1  # between two units, in tokens


def draw_kernels(units: np.ndarray, grid: Grid, title: str = "", columns: int = 0) -> Any:
    """Draws each unit's weights as an image over the token grid, in the units' order.

    Each unit is scaled by its largest weight: the colours say which weights are positive ("C1") and
    negative ("C0"), not how large those of one unit are beside another's. At most 16 x 16 units are
    drawn; where there are more, every n-th of the rows and of the columns.

    Args:
      units: [units, tokens], of `mixing.Kernels`.
      grid: rows and columns of the tokens.
      title: above the picture.
      columns: units in a row; by default their number's root, so that the picture is a square. With
        a unit for each token, the columns of the grid put each unit where its token is.

    Returns:
      A Matplotlib Figure.
    """
    columns = columns or int(np.ceil(np.sqrt(len(units))))
    rows = -(-len(units) // columns)
    places = np.arange(rows * columns).reshape(rows, columns)
    places = places[:: -(-rows // _MOST), :: -(-columns // _MOST)]
    rows, columns = places.shape
    height, width = (size + _GAP for size in grid)
    mosaic = np.full((rows * height - _GAP, columns * width - _GAP), np.nan)
    shown = 0
    for (row, column), index in np.ndenumerate(places):
        if index < len(units):
            shown += 1
            top, left = row * height, column * width
            largest = np.abs(units[index]).max()
            image = (units[index] / (largest if largest > 0 else 1)).reshape(grid)
            mosaic[top : top + grid[0], left : left + grid[1]] = image
    inches = 7.4
    figure = empty_figure(inches, 0.9 + (inches - 0.4) * mosaic.shape[0] / mosaic.shape[1])
    axes = figure.subplots()
    # Blocks of pixels rather than interpolation, which would blur a unit's edge into the gap.
    picture = axes.imshow(mosaic, cmap=_signed(), vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    left_out = f" ({shown} of {len(units)} units)" if shown < len(units) else ""
    axes.set_title(title + left_out)
    bar = figure.colorbar(
        picture, ax=axes, orientation="horizontal", shrink=0.35, aspect=30, pad=0.01
    )
    bar.set_ticks([-1, 0, 1], labels=["negative", "0", "positive"])
    bar.outline.set_visible(False)
    return figure


def _signed() -> Any:
    """A colour map of the theme in use: from "C0" by way of the paper to "C1"."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    paper = matplotlib.rcParams["axes.facecolor"]
    colours = LinearSegmentedColormap.from_list("signed", ["C0", paper, "C1"])
    return colours.with_extremes(bad=matplotlib.rcParams["grid.color"])
