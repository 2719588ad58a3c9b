"""The test of a run's best weights, from its folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.data import identity
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import load_weights, read_description
from mlpvis_jax.learning import augment
from mlpvis_jax.models import Classifier
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.running.choices import build_model, completed
from mlpvis_jax.running.placement import DataParallel, Placement
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.task import Task, open_data
from mlpvis_jax.settings.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Tested:
    """The best weights of a run, and the images that test them.

    Attributes:
      config: the settings, complete.
      folder: of the run.
      task: its test set is what the weights are tested on; the other sets have no images.
      model: the linen module.
      params: the weights, on the host.
      description: all that the file of the weights says of them, JSON values.
      placement: where the test runs.
      is_of_run: whether the test set is the run's own.
    """

    config: RunConfig
    folder: RunFolder
    task: Task
    model: Classifier
    params: Any
    description: Mapping[str, Any]
    placement: Placement
    is_of_run: bool

    @classmethod
    def open(
        cls, config: RunConfig, folder: RunFolder, placement: Placement | None = None
    ) -> "Tested":
        """Reads the best weights of a run, and a test set; nothing is computed yet.

        The test images may be others than the run's own, which is said; the classes may not.

        Args:
          config: the settings.
          folder: of the run.
          placement: where it runs; by default on all devices of this process.

        Raises:
          InputError: no weights in the folder, or those of another model or of other classes.
        """
        placement = DataParallel.all() if placement is None else placement
        config = completed(config)
        source = open_data(config)
        folder.check_weights(config)
        told = read_description(folder.best_weights)
        differing = identity.class_differences(
            told.get("class_names", source.class_names), source.class_names
        )
        if differing:
            raise InputError(
                f"{folder.best_weights} was trained on other classes than those of {source.name}: "
                f"{'; '.join(differing)}."
            )
        model = build_model(config.model, source.num_classes)
        shapes = parameter_shapes(model, config.model.image_size, source.image_shape[-1])
        params, _ = load_weights(folder.best_weights, shapes)
        normalization = normalization_of(told, source.image_shape[-1], folder.best_weights)
        task = Task.of_test_set(config, source, folder.path, normalization)
        found = task.identity["test"]
        is_of_run = identity.is_same_set(told.get("data", {}).get("test", found), found)
        if not is_of_run:
            print(f"The {found['number']:,} test images are not those of the run.")
        framing = told.get("framing", config.data.framing)
        if framing != config.data.framing:
            is_of_run = False
            print(
                f"The test images are framed as config.data.framing={config.data.framing}, and "
                f"those of the run as {framing}."
            )
        return cls(config, folder, task, model, params, told, placement, is_of_run)

    def results(self) -> dict[str, Any]:
        """Measures the weights on the test set: test_loss, test_accuracy, and so on."""
        (tested,) = Programs([self.config], self.task, self.placement).test([self.params])
        return {f"test_{name}": value for name, value in tested.items()}


def evaluate(
    config: RunConfig, folder: RunFolder, placement: Placement | None = None
) -> dict[str, Any]:
    """Tests the best weights of a run; writes nothing. See `Tested`.

    Returns:
      test_loss, test_accuracy, and so on.

    Raises:
      InputError: no weights in the folder, or those of another model or of other classes.
    """
    return Tested.open(config, folder, placement).results()


def normalization_of(
    description: Mapping[str, Any], channels: int, path: Path
) -> augment.Normalization:
    """Reads the statistics of the images that weights were trained on from their description.

    Raises:
      InputError: there are none, or not one for each channel; it names `path`.
    """
    statistics = [description.get(f"normalization_{name}") for name in ("mean", "deviation")]
    try:
        mean, deviation = (np.asarray(values, np.float32) for values in statistics)
    except (TypeError, ValueError):
        mean = deviation = np.zeros(0, np.float32)
    if not mean.shape == deviation.shape == (channels,):
        raise InputError(
            f"{path} does not say how its images, of {channels} channels, were scaled."
        )
    return augment.Normalization(mean, deviation)
