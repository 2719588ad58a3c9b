"""All that an evaluation has measured: what the sections of its report are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.learning.corruptions import CORRUPTIONS, STRENGTHS, corrupt, corruptions_for
from mlpvis_jax.pictures.statistics import confusion_matrix
from mlpvis_jax.report.predictions import Predictions
from mlpvis_jax.running.evaluation import Tested
from mlpvis_jax.running.programs import PredictionProgram


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an evaluation has found.

    Attributes:
      tested: the run, its weights, the test set, and the programs.
      results: test_loss, test_accuracy, and so on, as the run itself computes them.
      predictions: of every test image.
      corrupted: accuracy at each strength, of each corruption by name; {} if none was asked for.
    """

    tested: Tested
    results: Mapping[str, Any]
    predictions: Predictions
    corrupted: Mapping[str, Sequence[float]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.tested.task.source.class_names

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix, int64 [label, prediction]."""
        found = self.predictions
        return confusion_matrix(found.labels, found.predictions, len(self.class_names))

    @property
    def superclasses(self) -> tuple[str, ...] | None:
        """The class of classes that each class belongs to, or None."""
        return self.tested.task.source.superclasses

    def images(self, places: np.ndarray) -> np.ndarray:
        """Takes test images, uint8 [places, height, width, channels]."""
        examples = self.tested.task.test
        return np.asarray(examples.images)[places].reshape(-1, *examples.image_shape)


def choose_corruptions(asked: str | None) -> tuple[str, ...]:
    """Reads the flag --corruptions: none, all, or names with commas between them.

    Raises:
      InputError: a name that no corruption has.
    """
    if asked is None:
        return ()
    if asked.strip() == "all":
        return tuple(CORRUPTIONS)
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in CORRUPTIONS:
            near = nearest(name, CORRUPTIONS)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(CORRUPTIONS)}."
            raise InputError(f"--corruptions={asked}: {name!r} is no corruption; all, or {hint}")
    return tuple(dict.fromkeys(names))


def measure_corruptions(
    tested: Tested, predict: PredictionProgram, names: Sequence[str]
) -> dict[str, list[float]]:
    """Measures the accuracy on corrupted test images at each strength, a pass each.

    Corruptions of colour are left out of grey images. A line is printed for each.
    """
    examples = tested.task.test
    possible = corruptions_for(examples.image_shape[-1])
    images = np.asarray(examples.images).reshape(-1, *examples.image_shape)
    labels = np.asarray(examples.labels)
    found: dict[str, list[float]] = {}
    for name in names:
        if name not in possible:
            print(f"{name}: left out, for the images have no colour.")
            continue
        found[name] = []
        for strength in STRENGTHS:
            worse = ResidentSet.of(corrupt(name, strength, images), labels)
            right = predict(worse).argmax(axis=-1) == labels
            found[name].append(float(right.mean()))
        print(f"{name}: {', '.join(f'{value:.1%}' for value in found[name])}", flush=True)
    return found
