"""What a classifier says of images whose labels are known, as arrays and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpvis_jax.errors import InputError

PREDICTIONS = "predictions.csv"
_COLUMNS = (
    *("image", "label", "prediction", "confidence", "label_probability"),
    *("label_name", "prediction_name"),
)


class LabelledPredictions(NamedTuple):
    """The predictions of a set of images with their labels, in its order.

    Attributes:
      labels, predictions: numbers of classes, int64 [number].
      confidences: probability of the prediction, float64 [number].
      label_probabilities: probability of the label, float64 [number].
    """

    labels: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    label_probabilities: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "LabelledPredictions":
        """Takes the most probable class of each image, of equal ones the first.

        Args:
          probabilities: float32 [number, classes].
          labels: int [number].
        """
        predictions, places = probabilities.argmax(axis=-1), np.arange(len(labels))
        confidences = probabilities[places, predictions].astype(np.float64)
        of_labels = probabilities[places, labels].astype(np.float64)
        return cls(np.asarray(labels, np.int64), predictions, confidences, of_labels)

    @property
    def are_right(self) -> np.ndarray:
        """Says whether each prediction is the label, bool [number]."""
        return self.predictions == self.labels

    def to_csv(self, class_names: Sequence[str]) -> bytes:
        """Writes a line an image: its place in the test set, and what is said of it."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for place, row in enumerate(zip(*self, strict=True)):
            label, prediction, confidence, of_label = row
            names = class_names[label], class_names[prediction]
            numbers = f"{confidence:.6f}", f"{of_label:.6f}"
            writer.writerow([place, label, prediction, *numbers, *names])
        return stream.getvalue().encode(errors="surrogateescape")

    @classmethod
    def read(cls, path: Path) -> "LabelledPredictions":
        """Reads what `to_csv` wrote.

        Raises:
          InputError: no such file, or another content.
        """
        try:
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                rows = list(csv.DictReader(file))
            if not rows:
                raise ValueError("it has no line")
            columns = [[float(row[name]) for row in rows] for name in _COLUMNS[1:5]]
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise InputError(f"{path} cannot be read as predictions ({error}).") from error
        labels, predictions, confidences, of_labels = map(np.array, columns)
        return cls(labels.astype(np.int64), predictions.astype(np.int64), confidences, of_labels)
