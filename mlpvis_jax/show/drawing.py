"""Pictures as PNG files: pyplot and its screens have no part in it, and no picture ends a run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlpvis_jax.files.atomic import replacing


def new_figure(width: float, height: float, title: str) -> Any:
    """An empty matplotlib Figure of width x height inches, 150 pixels each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontweight="bold")
    return figure


def save_picture(path: Path, draw: Callable[..., Any], *arguments: Any) -> bool:
    """Saves the figure that `draw(*arguments)` returns; the file is replaced as a whole.

    Whatever goes wrong, in the drawing or on the disk, costs the picture and a line of warning.

    Returns:
      Whether the picture is there.
    """
    try:
        figure = draw(*arguments)
        with replacing(path) as partial:
            figure.savefig(partial, format="png")
    except Exception as error:  # matplotlib, its settings, its fonts, the disk, ...
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"The picture {path} is left out ({reason}).", file=sys.stderr)
        return False
    return True
