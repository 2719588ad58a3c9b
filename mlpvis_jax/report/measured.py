"""All that an evaluation has measured: what the sections of its report are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.inference import TrainedClassifier
from mlpvis_jax.learning.corruptions import CORRUPTIONS, STRENGTHS, corrupt, corruptions_for
from mlpvis_jax.pictures.statistics import confusion_matrix
from mlpvis_jax.report.predictions import LabelledPredictions
from mlpvis_jax.running.evaluation import Tested
from mlpvis_jax.settings.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an evaluation has found.

    Attributes:
      tested: the run, its weights, the test set, and the programs.
      classifier: of these weights.
      results: test_loss, test_accuracy, and so on, as the run itself computes them.
      predictions: of every test image.
      corrupted: accuracy at each strength, of each corruption by name; {} if none was asked for.
    """

    tested: Tested
    classifier: TrainedClassifier
    results: Mapping[str, Any]
    predictions: LabelledPredictions
    corrupted: Mapping[str, Sequence[float]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Lists the names of the classes."""
        return self.tested.task.source.class_names

    @property
    def matrix(self) -> np.ndarray:
        """Gives the confusion matrix, int64 [label, prediction]."""
        found = self.predictions
        return confusion_matrix(found.labels, found.predictions, len(self.class_names))

    @property
    def superclasses(self) -> tuple[str, ...] | None:
        """Gives the class of classes that each class belongs to, or None."""
        return self.tested.task.source.superclasses


def images_of(tested: Tested) -> np.ndarray:
    """Gives the test images, uint8 [number, height, width, channels]."""
    examples = tested.task.test
    return np.asarray(examples.images).reshape(-1, *examples.image_shape)


def classifier_of(tested: Tested) -> TrainedClassifier:
    """Makes a classifier of the tested weights, for any images of the test set's shape."""
    return TrainedClassifier(
        tested.model,
        tested.params,
        {**tested.description, "class_names": tested.task.source.class_names},
        tested.config.model.image_size,
        tested.task.test.image_shape,
        tested.task.normalization,
        images_at_a_time(tested.config),
    )


def images_at_a_time(config: RunConfig) -> int:
    """Gives the batch size of a report.

    A single device computes it, which need not hold what the run's devices hold together, or what
    they compute in microbatches.
    """
    return min(config.batch_size, 64)


def probabilities_of(
    tested: Tested, classifier: TrainedClassifier, images: np.ndarray
) -> np.ndarray:
    """Classifies images as the run is tested: with its mirror images, if its settings say so.

    Args:
      tested: the run.
      classifier: of its weights; see `classifier_of`.
      images: uint8 [number, height, width, channels].

    Returns:
      float32 [number, classes].
    """
    logits = classifier.features(images, "head")
    if tested.config.average_flips:
        logits = (logits + classifier.features(images[:, :, ::-1], "head")) / 2
    return softmax(logits, axis=-1)


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
    tested: Tested, classifier: TrainedClassifier, names: Sequence[str]
) -> dict[str, list[float]]:
    """Measures the accuracy on corrupted test images at each strength, a pass each.

    Corruptions of colour are left out of grey images. A line is printed for each.
    """
    images, labels = images_of(tested), np.asarray(tested.task.test.labels)
    possible = corruptions_for(images.shape[-1])
    found: dict[str, list[float]] = {}
    for name in names:
        if name not in possible:
            print(f"{name}: left out, for the images are not of red, green and blue.")
            continue
        found[name] = []
        for strength in STRENGTHS:
            told = probabilities_of(tested, classifier, corrupt(name, strength, images))
            right = told.argmax(axis=-1) == labels
            found[name].append(float(right.mean()))
        print(f"{name}: {', '.join(f'{value:.1%}' for value in found[name])}", flush=True)
    return found
