"""How pictures look on a light and on a dark page: Matplotlib's settings for each.

The drawing functions name no colour of their own: "C0", "C1" and so on are those of the theme, from
the palette of Okabe and Ito, which people of all kinds of colour vision tell apart, and differ in
lightness for grey print.
"""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mlpvis_jax.show.drawing import new_figure

# Tried one after another for a sign that Matplotlib's own font lacks.
_MORE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Devanagari", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Yu Gothic", "Microsoft YaHei"),
    *("Malgun Gothic", "Nirmala UI"),
)
# A sign that none of them has is a box in the picture, and was six lines on the terminal. A filter
# is process-wide, so it is set once.
warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")


class Theme(NamedTuple):
    """Colours of a page and of the pictures on it, such as "#ffffff".

    Attributes:
      paper: behind everything.
      ink: of text.
      soft: of axes and captions.
      faint: of grids and rules.
      cycle: "C0", "C1" and so on.
    """

    paper: str
    ink: str
    soft: str
    faint: str
    cycle: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1d1d1f",
    soft="#5f6066",
    faint="#e4e4e7",
    cycle=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
)
DARK = Theme(
    paper="#17181b",
    ink="#ececed",
    soft="#a2a4ab",
    faint="#34363c",
    cycle=("#56B4E9", "#E69F00", "#2BB793", "#E3A1C6", "#F0E442", "#4C9BE8"),
)


@contextlib.contextmanager
def themed(theme: Theme) -> Iterator[None]:
    """Has figures that are made and saved meanwhile look as a theme says."""
    import matplotlib
    from cycler import cycler

    settings: Any = {
        "axes.edgecolor": theme.soft,
        "axes.facecolor": theme.paper,
        "axes.labelcolor": theme.soft,
        "axes.labelsize": 9,
        "axes.prop_cycle": cycler(color=theme.cycle),
        "axes.titlesize": 9.5,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.axisbelow": True,
        "figure.facecolor": theme.paper,
        "font.family": ["DejaVu Sans", *_fonts_of_more_scripts()],
        "font.size": 9,
        "grid.color": theme.faint,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "text.color": theme.ink,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
    }
    with matplotlib.rc_context(settings):
        yield


@functools.cache
def _fonts_of_more_scripts() -> tuple[str, ...]:
    """Fonts of this machine for what Matplotlib's own lacks, such as Chinese class names."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return tuple(name for name in _MORE_FONTS if name in installed)


def empty_figure(width: float, height: float) -> Any:
    """Makes an empty Matplotlib Figure of width x height inches, of 150 pixels each."""
    figure = new_figure(width, height, "")
    figure.suptitle("").set_in_layout(False)
    return figure


def shades() -> Any:
    """Makes a colour map of the theme in use: from the paper by way of "C0" to the ink."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    settings = matplotlib.rcParams
    steps = [settings["axes.facecolor"], "C0", settings["text.color"]]
    return LinearSegmentedColormap.from_list("shades", steps)


def png(draw: Callable[[], Any], theme: Theme = LIGHT) -> bytes:
    """Draws a figure in a theme, and gives it as the content of a PNG file."""
    stream = io.BytesIO()
    with themed(theme):
        draw().savefig(stream, format="png")
    return stream.getvalue()
