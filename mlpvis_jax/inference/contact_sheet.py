"""A contact sheet: pictures with their likeliest classes, as bars."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.inference.predictions import Guess, Predictions, percent
from mlpvis_jax.show.drawing import new_figure, save_picture, shortened

MOST = 24  # images on a sheet
_COLUMNS = 3
_CLASSES = 5
# Of the Okabe-Ito palette: the likeliest class, and the others.
_FIRST, _OTHER = "#0072B2", "#9CC9E3"
_LETTERS = 24  # of the name of an image, or of a class


def draw_contact_sheet(
    path: Path, images: np.ndarray, predictions: Predictions, title: str
) -> bool:
    """Draws images with the five likeliest classes of each and their probabilities, as a PNG.

    A picture that cannot be drawn costs a line of warning: see `drawing.save_picture`.

    Args:
      path: of the picture.
      images: uint8 [number, height, width, channels], the first of those that were classified; at
        most `MOST`.
      predictions: of all that were classified.
      title: such as "runs/mixer".

    Returns:
      Whether the picture is there.
    """
    return save_picture(path, _sheet, images, predictions, title)


def _sheet(images: np.ndarray, predictions: Predictions, title: str) -> Any:
    number = len(images)
    columns = min(_COLUMNS, number)
    rows = -(-number // columns)
    which = (
        f"The first {number} of {len(predictions):,} images"
        if number < len(predictions)
        else "Images"
    )
    figure = new_figure(
        max(4.2 * columns, 5.0),
        1.9 * rows + 0.8,
        title,
        f"{which} as the classifier is given them, with the likeliest classes",
    )
    panels = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 1.5] * columns)
    tops = predictions.top(_CLASSES)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        picture, bars = panels[row, 2 * column], panels[row, 2 * column + 1]
        if index >= number:
            picture.set_axis_off()
            bars.set_axis_off()
            continue
        _draw_picture(picture, images[index], predictions.names[index])
        _draw_bars(bars, tops[index])
    return figure


def _draw_picture(axes: Any, image: np.ndarray, name: str) -> None:
    is_grey = image.shape[-1] == 1
    axes.imshow(
        image[..., 0] if is_grey else image, cmap="gray" if is_grey else None, vmin=0, vmax=255
    )
    # A dollar sign would begin a formula.
    axes.set_title(shortened(Path(name).name, _LETTERS), fontsize=8, loc="left", parse_math=False)
    axes.set_axis_off()


def _draw_bars(axes: Any, guesses: Sequence[Guess]) -> None:
    places = range(len(guesses))
    colors = [_FIRST, *[_OTHER] * (len(guesses) - 1)]
    axes.barh(places, [one.probability for one in guesses], color=colors, height=0.45, align="edge")
    for place, one in enumerate(guesses):
        axes.text(
            0,
            place - 0.06,
            shortened(one.class_name, _LETTERS),
            fontsize=8,
            va="bottom",
            parse_math=False,
        )
        axes.text(1, place - 0.06, percent(one.probability), fontsize=8, va="bottom", ha="right")
    axes.set(xlim=(0, 1), ylim=(_CLASSES - 0.4, -0.55))  # the likeliest is on top
    axes.set_axis_off()
