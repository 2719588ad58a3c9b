"""A run from its settings to its test accuracy."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlpvis_jax import augment, optim, report
from mlpvis_jax.config import RunConfig
from mlpvis_jax.errors import InputError
from mlpvis_jax.parallel import Devices
from mlpvis_jax.run_folder import RunFolder
from mlpvis_jax.train.programs import Evaluation, Training
from mlpvis_jax.train.setup import (
    build_model,
    describe_devices,
    initial_hyperparameters,
    initial_params,
    open_data,
    read_split,
    split_off_validation,
    versions,
)
from mlpvis_jax.weights import count_parameters, load_weights, save_weights


def train(config: RunConfig, folder: RunFolder, devices: Devices | None = None) -> dict[str, Any]:
    """Trains, validates after each epoch, and tests the weights of the best one.

    Args:
      config: the settings.
      folder: of the run; must not hold one yet.
      devices: those to use; by default all of this process.

    Returns:
      What results.json holds.

    Raises:
      InputError: settings or data of no use, before anything is compiled or written.
    """
    devices = devices or Devices.all()
    folder.check_free()
    build_model(config.model, num_classes=1)  # so that it is refused before data is fetched
    source = open_data(config)
    model = build_model(config.model, source.num_classes)
    training_split = read_split(config, source, "train", folder.path)
    training_set, validation_set = split_off_validation(source, training_split)
    test_set = read_split(config, source, "test", folder.path)
    folder.create(config.to_dict())

    params = initial_params(config, model, source.image_shape[-1])
    report.print_header(
        [
            ("model", f"{config.model.name}, {count_parameters(params):,} parameters"),
            (
                "data",
                f"{source.name}: {len(training_set):,} train, {len(validation_set):,} validation, "
                f"{len(test_set):,} test images, {source.num_classes} classes",
            ),
            ("devices", describe_devices(devices)),
            ("folder", str(folder.path)),
        ]
    )
    normalize = augment.measure(training_set.images)
    description = {
        "model": config.to_dict()["model"],
        "class_names": source.class_names,
        "normalization_mean": normalize.mean.tolist(),
        "normalization_deviation": normalize.deviation.tolist(),
    }
    hyperparameters = initial_hyperparameters(config, model)
    training = Training(config, model, normalize, devices, training_set, params, hyperparameters)
    validate = Evaluation(config, model, normalize, devices, validation_set, params)

    state = training.initial_state
    plateau = optim.ReduceOnPlateau(
        config.optimizer.learning_rate, **dataclasses.asdict(config.reduce_on_plateau)
    )
    stopping = optim.EarlyStopping(config.early_stopping.patience)
    history: list[dict[str, Any]] = []
    with (
        report.Progress(config.num_epochs, len(training_set)) as progress,
        report.EventWriter(folder.events) as events,
    ):
        for epoch in range(1, config.num_epochs + 1):
            start = time.perf_counter()
            rate = np.float32(plateau.learning_rate)
            hyperparameters = dataclasses.replace(hyperparameters, learning_rate=rate)
            state, trained = training.run_epoch(state, epoch, hyperparameters, progress.advance)
            training_seconds = time.perf_counter() - start
            validated = validate(state.params)
            record = {
                "epoch": epoch,
                "step": epoch * training.steps_per_epoch,
                "train_loss": trained["loss"],
                "train_accuracy": trained["accuracy"],
                "validation_loss": validated["loss"],
                "validation_accuracy": validated["accuracy"],
                "validation_top5_accuracy": validated["top5_accuracy"],
                "learning_rate": plateau.learning_rate,
                "seconds": time.perf_counter() - start,
                "images_per_second": len(training_set) / training_seconds,
            }
            history.append(record)
            folder.append_metrics(record)
            events.write(record)
            progress.epoch_done(record)

            params = devices.first(state.params)
            if stopping.update(epoch, validated["loss"]):
                best_params = params
                save_weights(folder.best_weights, best_params, description)
            plateau.update(validated["loss"])
            if stopping.should_stop:
                progress.note(
                    f"Stopped: no lower validation loss than that of epoch {stopping.best_epoch} "
                    f"in {stopping.patience} epochs."
                )
                break
    save_weights(folder.last_weights, params, description)
    report.plot_curves(history, folder.curves, f"{config.model.name} on {source.name}")

    test = Evaluation(config, model, normalize, devices, test_set, best_params)
    tested = test(devices.replicate(best_params))
    results = {
        **{f"test_{name}": value for name, value in tested.items()},
        "best_epoch": stopping.best_epoch,
        "epochs": len(history),
        "seconds": sum(record["seconds"] for record in history),
        "parameters": count_parameters(params),
        "device": describe_devices(devices),
        "versions": versions(),
    }
    folder.write_results(results)
    return results


def evaluate(
    config: RunConfig, folder: RunFolder, devices: Devices | None = None
) -> dict[str, Any]:
    """Tests the best weights of a run; writes nothing.

    Returns:
      test_loss, test_accuracy and test_top5_accuracy.

    Raises:
      InputError: no weights in the folder, or those of another model.
    """
    devices = devices or Devices.all()
    source = open_data(config)
    model = build_model(config.model, source.num_classes)
    shapes = jax.eval_shape(lambda: initial_params(config, model, source.image_shape[-1]))
    params, description = load_weights(folder.best_weights, shapes)
    normalize = normalization_of(description, source.image_shape[-1], folder.best_weights)
    test_set = read_split(config, source, "test", folder.path)
    test = Evaluation(config, model, normalize, devices, test_set, params)
    return {f"test_{name}": value for name, value in test(devices.replicate(params)).items()}


def normalization_of(
    description: Mapping[str, Any], channels: int, path: Path
) -> augment.Normalization:
    """The statistics in the description of weights: of the images that they were trained on.

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
