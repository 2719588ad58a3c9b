"""A sweep from its definition to its best trial, or on from where it was.

Any number of processes may work on one: each takes a group of trials at a time, and all of them
stay until the last trial has ended, in case that a group has to be taken up again.
"""

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.errors import InputError, InterruptedRunError
from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.config_file import ConfigFile
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import read_description
from mlpvis_jax.running.failures import explained
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.running.setup import build_model, describe_devices
from mlpvis_jax.running.task import Task, open_data
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.report import print_header
from mlpvis_jax.sweep import culling, report, tpe
from mlpvis_jax.sweep.database import DatabaseStore
from mlpvis_jax.sweep.database_url import DatabaseUrl
from mlpvis_jax.sweep.definition import Sweep, Trial, config_of
from mlpvis_jax.sweep.folder import Group, SweepFolder
from mlpvis_jax.sweep.lockstep import Lockstep
from mlpvis_jax.sweep.population import Population, trials_that_fit
from mlpvis_jax.sweep.records import DIVERGED, RUNNING
from mlpvis_jax.sweep.store import Store

_POLL_SECONDS = 1.0


def run(
    sweep: Sweep,
    path: str | os.PathLike,
    storage: str | None = None,
    devices: Devices | None = None,
    config_file: ConfigFile | None = None,
) -> dict[str, Any] | None:
    """Trains what is missing of a sweep, and reports on all of it.

    Args:
      sweep: what to do.
      path: its folder; one that holds this sweep already makes it go on.
      storage: the URL of a database, through which several machines share it.
      devices: those to use; by default all of this process.
      config_file: to be kept with the sweep.

    Returns:
      The row of the best trial, see `store.Store.rows`; None if every trial diverged.

    Raises:
      InputError: a trial of no use, another sweep in the folder or the database; nothing is
        compiled or written then.
      InterruptedRunError: a signal came, see `Interruption`; the sweep is saved.
      StorageError, OutOfMemoryError: no room on the disk, or on the devices.
    """
    devices = devices or Devices.all()
    folder = SweepFolder(path)
    is_tpe = sweep.settings.strategy == "tpe"
    if is_tpe or storage is not None:
        tpe.optuna()
    url = None if storage is None else DatabaseUrl.parse(storage)
    _check_trials(sweep)
    folder.check(sweep, url)
    with contextlib.ExitStack() as stack:
        store: Store | DatabaseStore
        if url is None:
            store = Store(folder, sweep, functools.partial(tpe.suggest, sweep) if is_tpe else None)
        else:
            store = DatabaseStore(folder, sweep, url)
        config = config_of(sweep.base, {})
        data = _read_data(config, {}, sweep, folder)
        with folder.locked():
            folder.check(sweep, url)
            if config_file is not None:
                config_file.write(folder.path)
            folder.write(sweep, None if url is None else url.shown)
        if isinstance(store, DatabaseStore):
            store.begin()
            stack.enter_context(store)
        run = _Run(sweep, folder, store, devices, data)
        run.print_header()
        run.to_the_end()
        with folder.locked():
            return report.finish(folder, sweep, store.rows())


def _check_trials(sweep: Sweep) -> None:
    """Builds every model, and looks for every source, that the sweep may ask for.

    Raises:
      InputError: one that cannot be; the message names the trial.
    """
    known = sweep.settings.strategy != "tpe"
    points = map(sweep.point, range(sweep.num_points)) if known else sweep.space.corners()
    shapes, sources = set(), set()
    for point in points:
        shape = sweep.shape_of_point(point)
        if shape in shapes:
            continue
        shapes.add(shape)
        config = config_of(sweep.base, point)
        try:
            build_model(config.model, num_classes=2)
            if _data_key(config) not in sources:
                open_data(config)
                sources.add(_data_key(config))
        except InputError as error:
            values = ", ".join(f"{key}={value}" for key, value in point.items())
            raise InputError(f"The sweep's point {values}: {error}") from None


class _Run:
    """One process at work on a sweep; it is the watcher of its groups."""

    def __init__(
        self,
        sweep: Sweep,
        folder: SweepFolder,
        store: Store | DatabaseStore,
        devices: Devices,
        data: Task,
    ) -> None:
        self._sweep = sweep
        self._folder = folder
        self._store = store
        self._devices = devices
        self._data = {_data_key(config_of(sweep.base, {})): data}
        self._populations: list[Population] = []
        self._live = report.LiveTable(sweep, store.rows(), len(data.training))
        self._to_go_on = RunFolder(folder.path).command(config_of(sweep.base, {}))
        if isinstance(store, DatabaseStore):
            self._to_go_on += f" --storage={store.shown_url}"

    def print_header(self) -> None:
        sweep = self._sweep
        space = sweep.space.to_json()
        rows = {
            "sweep": f"{sweep.num_trials} trials, {sweep.settings.strategy}",
            **{f"  {key}": str(written) for key, written in space.items()},
            "model": str(sweep.base["model"]["name"]),
            "data": next(iter(self._data.values())).describe(),
            "devices": describe_devices(self._devices),
            "folder": str(self._folder.path),
        }
        done = sum(row["state"] != RUNNING for row in self._store.rows())
        if done:
            rows["goes on"] = f"after {done} trials"
        print_header(rows)

    def to_the_end(self) -> None:
        """Works until every trial of the sweep has ended, here or elsewhere."""
        with Interruption() as interruption, self._live as live:
            while True:
                claimed = self._store.claim(self._most)
                if claimed is not None:
                    self._train(*claimed, interruption)
                    continue
                rows = self._store.rows()
                live.know(rows)
                ended = sum(row["state"] != RUNNING for row in rows)
                if ended >= self._sweep.num_trials:
                    return
                time.sleep(_POLL_SECONDS)  # others are at work on the rest
                if interruption.received:
                    raise InterruptedRunError(
                        f"The sweep is stopped here. To go on: {self._to_go_on}",
                        interruption.received,
                    )

    def _most(self, trial: Trial) -> int:
        """How many trials like this one train together."""
        settings = self._sweep.settings
        if settings.trials_per_program is not None:
            return settings.trials_per_program
        return trials_that_fit(trial, self._data_of(trial), self._devices, settings.side_by_side)

    def _data_of(self, trial: Trial) -> Task:
        key = _data_key(trial.config)
        if key not in self._data:
            # One set at a time.
            self._data = {key: _read_data(trial.config, trial.values, self._sweep, self._folder)}
            self._populations = []
        return self._data[key]

    def _train(self, group: Group, trials: Sequence[Trial], interruption: Interruption) -> None:
        ended = {trial.number for trial in trials if self._folder.read_outcome(trial.number)}
        left = [trial for trial in trials if trial.number not in ended]
        folders = [self._folder.run_folder(trial.number) for trial in left]
        data = self._data_of(left[0])

        def build(trials: Sequence[Trial]) -> Population:
            configs = [trial.config for trial in trials]
            found = next((one for one in self._populations if one.has_room(configs)), None)
            if found is None:
                found = Population(
                    configs, data, self._devices, len(configs), self._sweep.settings.side_by_side
                )
                self._populations = [found]  # one at a time: it holds memory
            return found

        self._live.group_begins(left)
        checkpoint = self._sweep.base["checkpoint"]
        with contextlib.ExitStack() as stack:
            run_folder = RunFolder(self._folder.path)
            stack.enter_context(explained(left[0].config, run_folder, len(left)))
            for folder in folders:
                stack.enter_context(folder.locked())
            checkpoints = stack.enter_context(Checkpoints(group.checkpoints, **checkpoint))
            Lockstep(
                build, left, folders, checkpoints, self._devices, data, self._cull, self,
                interruption, self._to_go_on,
            ).run()  # fmt: skip
        shutil.rmtree(group.checkpoints)  # every trial has its own in its folder
        self._store.done(group)

    def _cull(self, epoch: int, trials: Sequence[Trial]) -> set[int]:
        if epoch not in self._sweep.cull_epochs:
            return set()
        settings = self._sweep.settings
        came = [
            row
            for row in self._store.rows()
            if len(row["history"]) >= epoch or row["state"] == DIVERGED
        ]
        scores = {
            row["trial"]: culling.score_of(row["history"][:epoch], settings.objective)
            if len(row["history"]) >= epoch
            else float("inf")
            for row in came
        }
        points = {row["trial"]: row["point"] for row in came}
        return culling.culled(trials, scores, points, settings.cull_factor)

    # What a group tells its watcher.

    def advance(self, images: int) -> None:
        self._live.advance(images)

    def epoch_done(self, trial: Trial, history: Sequence[culling.Record]) -> None:
        self._store.epoch_done(trial, history)
        self._live.epoch_done(trial, history)

    def group_epoch_done(self, epoch: int) -> None:
        self._live.know(self._store.rows())
        self._live.group_epoch_done(epoch)

    def trial_done(
        self, trial: Trial, outcome: dict[str, Any], history: Sequence[culling.Record]
    ) -> None:
        self._store.trial_done(trial, outcome, history)
        self._live.trial_done(trial, outcome, history)


def _data_key(config: RunConfig) -> tuple[Any, ...]:
    """What decides which images a run trains on."""
    return config.data, config.model.image_size


def _read_data(
    config: RunConfig, values: Mapping[str, Any], sweep: Sweep, folder: SweepFolder
) -> Task:
    """The data of trials with these values, which are those of the trials before them.

    Raises:
      InputError: trials in the folder had other images, labels or classes under the same name.
    """
    task = Task.read(config, folder.path)
    for group in folder.read_groups(sweep):
        for one in group.points:
            weights = folder.run_folder(one["trial"]).best_weights
            if _of_data(one["values"]) != _of_data(values) or not weights.exists():
                continue
            before = read_description(weights).get("data")
            if before is not None:
                task.refuse_other(before, f"The sweep in {folder.path}")
                return task
    return task


def _of_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial's values those that decide which images it trains on."""
    return {key: values[key] for key in values if key[:5] == "data." or key == "model.image_size"}
