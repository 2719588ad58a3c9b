"""Pictures as PNG files: pyplot and its screens have no part in it, and no picture ends a run."""

import contextlib
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlpvis_jax.files.atomic import replacing


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> Any:
    """Makes an empty matplotlib Figure of width x height inches, 150 pixels each.

    A title that is too long for the width is broken between its words.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    letters = int(width * 9)  # of the bold title
    lines = textwrap.wrap(title, letters, break_long_words=False) or [""]
    figure.suptitle("\n".join(lines), fontweight="bold")
    if subtitle:
        # Below the title, and above all panels, whose layout leaves room for both.
        below = textwrap.wrap(subtitle, int(width * 13), break_long_words=False)
        figure.suptitle("\n".join([*lines, *below]), fontsize=10.5)
    return figure


def in_utf8(text: str) -> str:
    """Replaces what is not UTF-8 by question marks; names of files need not be in it."""
    return text.encode(errors="replace").decode()


def shortened(name: str, letters: int) -> str:
    """Shortens a name to at most `letters` letters; what is not UTF-8 becomes a question mark."""
    name = in_utf8(name)
    first = (letters - 1) // 2
    last = letters - 1 - first
    return name if len(name) <= letters else f"{name[:first]}…{name[-last:]}"


@contextlib.contextmanager
def letters_without_font(picture: str) -> Iterator[None]:
    """Turns Matplotlib's warnings of letters that no font has, one each, into a single line."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    is_of_font = [str(one.message).startswith("Glyph ") for one in told]
    for one, is_known in zip(told, is_of_font, strict=True):
        if not is_known:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if any(is_of_font):
        print(f"The picture {picture} has letters that no font here has.", file=sys.stderr)


def save_picture(path: Path, draw: Callable[..., Any], *arguments: Any) -> bool:
    """Saves the figure that `draw(*arguments)` returns; the file is replaced as a whole.

    Whatever goes wrong, in the drawing or on the disk, costs the picture and a line of warning.

    Returns:
      Whether the picture is there.
    """
    try:
        figure = draw(*arguments)
        with replacing(path) as partial, letters_without_font(str(path)):
            figure.savefig(partial, format="png")
    except Exception as error:  # matplotlib, its settings, its fonts, the disk, ...
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"The picture {path} is left out ({reason}).", file=sys.stderr)
        return False
    return True
