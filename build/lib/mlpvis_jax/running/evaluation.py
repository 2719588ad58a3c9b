"""The test of a run's best weights, from its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.data import identity
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import load_weights, read_description
from mlpvis_jax.learning import augment
from mlpvis_jax.running.choices import build_model, completed, parameter_shapes
from mlpvis_jax.running.placement import DataParallel, Placement
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.task import Task, open_data
from mlpvis_jax.settings.config import RunConfig


def evaluate(
    config: RunConfig, folder: RunFolder, placement: Placement | None = None
) -> dict[str, Any]:
    """Tests the best weights of a run; writes nothing.

    The test images may be others than the run's own, which is said; the classes may not.

    Args:
      config: the settings.
      folder: of the run.
      placement: where it runs; by default on all devices of this process.

    Returns:
      test_loss, test_accuracy, and so on.

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
    found = identity.describe_set(task.test)
    if found != told.get("data", {}).get("test", found):
        print(f"The {found['number']:,} test images are not those of the run.")
    (tested,) = Programs([config], task, placement).test([params])
    return {f"test_{name}": value for name, value in tested.items()}


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
