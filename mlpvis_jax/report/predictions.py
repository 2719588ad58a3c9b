"""What a classifier says of each test image, as arrays and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.pictures.statistics import softmax

PREDICTIONS = "predictions.csv"
_COLUMNS = (
    *("image", "label", "prediction", "confidence", "label_probability"),
    *("label_name", "prediction_name"),
)
_ROWS = 4096  # of probabilities in memory at once


class Predictions(NamedTuple):
    """The predictions of a set of images, in its order.

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
    def of(cls, logits: np.ndarray, labels: np.ndarray) -> "Predictions":
        """Takes the most probable class of each image, of equal ones the first.

        Args:
          logits: finite, float32 [number, classes].
          labels: int [number].
        """
        predictions = logits.argmax(axis=-1)
        confidences, of_labels = np.empty((2, len(labels)))
        for start in range(0, len(labels), _ROWS):
            rows = slice(start, start + _ROWS)
            probabilities = softmax(logits[rows])
            places = np.arange(len(probabilities))
            confidences[rows] = probabilities[places, predictions[rows]]
            of_labels[rows] = probabilities[places, labels[rows]]
        return cls(np.asarray(labels, np.int64), predictions, confidences, of_labels)

    @property
    def are_right(self) -> np.ndarray:
        """Whether each prediction is the label, bool [number]."""
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
        return stream.getvalue().encode()

    @classmethod
    def read(cls, path: Path) -> "Predictions":
        """Reads what `to_csv` wrote.

        Raises:
          InputError: no such file, or another content.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            columns = [[float(row[name]) for row in rows] for name in _COLUMNS[1:5]]
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise InputError(f"{path} cannot be read as predictions ({error}).") from error
        labels, predictions, confidences, of_labels = map(np.array, columns)
        return cls(labels.astype(np.int64), predictions.astype(np.int64), confidences, of_labels)
