"""What a classifier says of images: probabilities, and the likeliest classes by name."""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.atomic import replacing

_IN_CSV = 5  # classes of an image, or fewer where there are not as many


class Guess(NamedTuple):
    """A class with its probability."""

    class_name: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a classifier says of images, in their order.

    Attributes:
      probabilities: softmax of the logits, float32 [number, classes].
      class_names: of the classes, in the order of the probabilities.
      names: of the images: their paths, or such as "images[3]" of arrays.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.probabilities)

    def top(self, number: int = 5) -> list[list[Guess]]:
        """Lists the likeliest classes of each image, the likeliest first; of equal ones the first.

        Args:
          number: of classes; all of them where there are not as many.

        Raises:
          InputError: the number is not 1 or more.
        """
        if number < 1:
            raise InputError(f"top({number}): the number of classes must be 1 or more.")
        order = np.argsort(-self.probabilities, axis=-1, kind="stable")[:, :number]
        return [
            [Guess(self.class_names[label], float(row[label])) for label in labels]
            for row, labels in zip(self.probabilities, order, strict=True)
        ]

    def write_csv(self, path: str | os.PathLike) -> None:
        """Writes a line an image: its name, and the five likeliest classes with probabilities."""
        number = min(_IN_CSV, len(self.class_names))
        titles = [f"{what}_{place}" for place in range(1, number + 1) for what in Guess._fields]
        # Of a name of a file that is no Unicode, the bytes are kept.
        with (
            replacing(Path(path)) as partial,
            partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", *titles])
            for name, guesses in zip(self.names, self.top(number), strict=True):
                told = [(one.class_name, f"{one.probability:.6f}") for one in guesses]
                writer.writerow([name, *(value for pair in told for value in pair)])


def percent(probability: float) -> str:
    """Writes a probability for a person, such as "97.1%"; rounding makes nothing certain."""
    if 0.9995 <= probability < 1:
        return ">99.9%"
    return "<0.1%" if 0 < probability < 0.0005 else f"{100 * probability:.1f}%"


def likeliest(guesses: Sequence[Guess], place: int) -> str:
    """Writes the class of a place, such as "cat 12.0%"; "" where there are not as many."""
    if place >= len(guesses):
        return ""
    return f"{guesses[place].class_name} {percent(guesses[place].probability)}"
