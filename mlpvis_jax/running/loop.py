"""A run from its settings to its test accuracy, or on from where it was."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlpvis_jax.data import identity
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import (
    count_parameters,
    load_weights,
    read_description,
    save_weights,
)
from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.state import EpochTotals, Hyperparameters, TrainState
from mlpvis_jax.running.failures import explained, interrupted, refuse_divergence
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.running.position import Position, arrays_of
from mlpvis_jax.running.programs import Evaluation, Training
from mlpvis_jax.running.setup import (
    build_model,
    describe_devices,
    initial_hyperparameters,
    initial_state,
    versions,
)
from mlpvis_jax.running.task import Task, open_data, read_test_set
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show import report


def train(config: RunConfig, folder: RunFolder, devices: Devices | None = None) -> dict[str, Any]:
    """Trains, validates after each epoch, and tests the weights of the best one.

    A folder that holds this run already makes it go on; a finished run stays as it is.

    Args:
      config: the settings.
      folder: of the run.
      devices: those to use; by default all of this process.

    Returns:
      What results.json holds.

    Raises:
      InputError: settings or data of no use, before anything is compiled or written.
      DivergenceError: a loss or a gradient is not finite.
      InterruptedRunError: a signal came, see `Interruption`; the run is saved.
      StorageError, OutOfMemoryError: no room on the disk, or on the devices.
    """
    devices = devices or Devices.all()
    build_model(config.model, num_classes=1)  # so that it is refused before data is fetched
    folder.check(config)
    results = folder.finished(config)
    if results is not None:
        print(f"The run in {folder.path} is finished; nothing is changed.")
        return results
    task = Task.read(config, folder.path)
    task.training.refuse_larger_batch(config.batch_size)
    model = build_model(config.model, task.source.num_classes)

    with explained(config, folder), folder.locked():
        folder.check(config)  # again: another process may have begun a run meanwhile
        if not folder.holds_run():
            folder.write_config(config)  # first: files without it are nobody's, and are refused
        state = jax.device_get(initial_state(config, model, task.channels))
        position = Position.start(config, state.params)
        checkpoints = Checkpoints(folder.checkpoints, **dataclasses.asdict(config.checkpoint))

        def like(values: Mapping[str, Any]) -> dict[str, Any]:
            task.refuse_other(values["data"], f"The run in {folder.path}")
            return arrays_of(state, position.totals, position.best_params)

        saved = checkpoints.newest(like)
        if saved is not None:
            folder.refuse_other(RunConfig.from_mapping(saved.values["config"]), config)
            position, state = Position.of(saved, state)
        elif folder.results.exists():
            raise InputError(
                f"--workdir={folder.path} holds the results of a run, but no checkpoint to go on "
                "from; choose another folder."
            )
        rows = {
            "model": f"{config.model.name}, {count_parameters(state.params):,} parameters",
            "data": task.describe(),
            "devices": describe_devices(devices),
            "folder": str(folder.path),
        }
        if saved is not None:
            rows["goes on"] = f"after step {position.step:,}, in epoch {position.epoch}"
        report.print_header(rows)

        normalize = task.normalization
        description = describe_weights(config, task)
        # What the folder tells of the run is what the checkpoint tells, no more and no less.
        folder.write_config(config)
        folder.write_metrics(position.history)
        if position.stopping.best_epoch:
            save_weights(folder.best_weights, position.best_params, description)

        told = initial_hyperparameters(config, model)
        state = devices.replicate(state)
        training = Training(config, model, normalize, devices, task.training, state, told)
        validate = Evaluation(config, model, normalize, devices, task.validation, state.params)
        images_done = int(position.totals.sums["count"])
        with (
            checkpoints,
            Interruption() as interruption,
            report.EventWriter(folder.events, position.epoch) as events,
            report.Progress(
                config.num_epochs, len(task.training), position.epoch - 1, images_done
            ) as progress,
        ):
            loop = _Loop(
                config, folder, devices, position, task.identity, training, validate, description,
                checkpoints, interruption, events, progress,
            )  # fmt: skip
            while not position.is_over(config.num_epochs):
                state = loop.train_epoch(state, told)
                loop.validate_epoch(state)
            if position.stopping.should_stop:
                progress.note(
                    "Stopped: no lower validation loss than that of epoch "
                    f"{position.stopping.best_epoch} in {position.stopping.patience} epochs."
                )
        save_weights(folder.last_weights, devices.first(state.params), description)
        test = Evaluation(config, model, normalize, devices, task.test, state.params)
        tested = metrics.means_of(devices.first(test(devices.replicate(position.best_params))))
        results = results_of(position, tested, devices)
        folder.write_results(results)
        report.plot_curves(
            position.history, folder.curves, f"{config.model.name} on {task.source.name}"
        )
    return results


def describe_weights(config: RunConfig, task: Task) -> dict[str, Any]:
    """What stands beside weights in their file: all that it takes to use them."""
    return {
        "model": config.to_dict()["model"],
        "class_names": task.source.class_names,
        "normalization_mean": task.normalization.mean.tolist(),
        "normalization_deviation": task.normalization.deviation.tolist(),
        "data": task.identity,
    }


def results_of(position: Position, tested: Mapping[str, float], devices: Devices) -> dict[str, Any]:
    """What results.json holds of a run that is over."""
    return {
        **{f"test_{name}": value for name, value in tested.items()},
        "best_epoch": position.stopping.best_epoch,
        "epochs": len(position.history),
        "stopped_early": position.stopping.should_stop,
        "seconds": sum(record["seconds"] for record in position.history),
        "parameters": count_parameters(position.best_params),
        "device": describe_devices(devices),
        "versions": versions(),
    }


@dataclasses.dataclass(frozen=True)
class _Loop:
    """An epoch of training, the validation after it, and checkpoints within and between them."""

    config: RunConfig
    folder: RunFolder
    devices: Devices
    position: Position
    identity: Mapping[str, Any]
    training: Training
    validate: Evaluation
    description: Mapping[str, Any]
    checkpoints: Checkpoints
    interruption: Interruption
    events: report.EventWriter
    progress: report.Progress

    def train_epoch(self, state: TrainState, hyperparameters: Hyperparameters) -> TrainState:
        """Takes what is left of the epoch; `position` is then at its last step."""
        position = self.position
        start = time.perf_counter() - position.seconds
        first = position.step - (position.epoch - 1) * self.training.steps_per_epoch
        rate = np.float32(position.plateau.learning_rate)
        hyperparameters = dataclasses.replace(hyperparameters, learning_rate=rate)
        done = totals = self.devices.replicate(position.totals)
        dispatches = self.training.run_epoch(state, totals, position.epoch, first, hyperparameters)
        for state, totals, number in dispatches:
            self._look_at(done)
            done = totals
            position.step += number
            position.seconds = time.perf_counter() - start
            if position.step % self.training.steps_per_epoch == 0:
                break  # what follows at once, validation, saves
            if self.interruption.received or self.checkpoints.is_due(position.step):
                position.totals = self._look_at(totals)
                self._save(state)
        position.totals = self._look_at(totals)
        position.seconds = time.perf_counter() - start
        return state

    def validate_epoch(self, state: TrainState) -> None:
        """Validates, writes down the epoch and applies the rules that watch the loss."""
        position = self.position
        start = time.perf_counter()
        validated = metrics.means_of(self.devices.first(self.validate(state.params)))
        refuse_divergence(validated["loss"], position, self.config, self.folder)
        is_best = position.end_epoch(validated, time.perf_counter() - start)
        record = position.history[-1]
        self.folder.append_metrics(record)
        self.events.write(record)
        self.progress.epoch_done(record)
        if is_best:
            position.best_params = self.devices.first(state.params)
            save_weights(self.folder.best_weights, position.best_params, self.description)
        self._save(state)

    def _look_at(self, totals: EpochTotals) -> EpochTotals:
        """Fetches totals; shows how far they are, and stops where they are not finite."""
        totals = self.devices.first(totals)
        refuse_divergence(totals, self.position, self.config, self.folder)
        self.progress.advance(int(totals.sums["count"]))
        return totals

    def _save(self, state: TrainState) -> None:
        """Waits for the devices, not for the disk; after a signal for both, and ends the run."""
        snapshot = self.position.snapshot(self.devices.first(state), self.config, self.identity)
        self.checkpoints.save(self.position.step, snapshot)
        if self.interruption.received:
            self.checkpoints.wait()
            raise interrupted(
                self.interruption.received, self.position.step, self.config, self.folder
            )


def evaluate(
    config: RunConfig, folder: RunFolder, devices: Devices | None = None
) -> dict[str, Any]:
    """Tests the best weights of a run; writes nothing.

    The test images may be others than the run's own, which is said; the classes may not.

    Returns:
      test_loss, test_accuracy and test_top5_accuracy.

    Raises:
      InputError: no weights in the folder, or those of another model or of other classes.
    """
    devices = devices or Devices.all()
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
    shapes = jax.eval_shape(lambda: initial_state(config, model, source.image_shape[-1]))
    params, description = load_weights(folder.best_weights, shapes.params)
    normalize = normalization_of(description, source.image_shape[-1], folder.best_weights)
    test_set = read_test_set(config, source, folder.path)
    found = identity.describe_set(test_set)
    if found != told.get("data", {}).get("test", found):
        print(f"The {found['number']:,} test images are not those of the run.")
    params = devices.replicate(params)
    test = Evaluation(config, model, normalize, devices, test_set, params)
    tested = metrics.means_of(devices.first(test(params)))
    return {f"test_{name}": value for name, value in tested.items()}


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
