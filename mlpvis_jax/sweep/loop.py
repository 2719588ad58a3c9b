"""A sweep from its definition to its best trial, or on from where it was.

Any number of processes may work on one: each takes a group of trials at a time, and all of them
stay until the last trial has ended, in case that a group has to be taken up again.
"""

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Sequence
from typing import Any

import jax

from mlpvis_jax.errors import InterruptedRunError
from mlpvis_jax.files.config_file import ConfigFile
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running.failures import explain_memory_errors, explain_resource_errors
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.machine import local_devices
from mlpvis_jax.running.outcome import DIVERGED, Outcome
from mlpvis_jax.running.placement import describe_devices
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.run import Observer, Run, make_writers
from mlpvis_jax.running.task import Task
from mlpvis_jax.running.trainer import GroupTrainer
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show import writers
from mlpvis_jax.show.terminal import print_header
from mlpvis_jax.sweep import culling, report
from mlpvis_jax.sweep.capacity import serves, trials_of_open_files, trials_that_fit
from mlpvis_jax.sweep.checking import check_settings, check_trials, check_with_data
from mlpvis_jax.sweep.data import data_key, find_weights, read_task
from mlpvis_jax.sweep.definition import Sweep, Trial, config_of
from mlpvis_jax.sweep.folder import Group, SweepFolder
from mlpvis_jax.sweep.live import LiveTable
from mlpvis_jax.sweep.records import RUNNING
from mlpvis_jax.sweep.storage import flags_of, read_storage
from mlpvis_jax.sweep.store import points_of_turn
from mlpvis_jax.sweep.stores import TrialStore, open_store
from mlpvis_jax.sweep.tpe import optuna

_VALIDATED = ("validation_loss", "validation_accuracy", "validation_top5_accuracy")
_POLL_SECONDS = 1.0


def run(
    sweep: Sweep,
    path: str | os.PathLike,
    storage: str | None = None,
    config_file: ConfigFile | None = None,
) -> dict[str, Any] | None:
    """Trains what is missing of a sweep, and reports on all of it.

    Args:
      sweep: what to do.
      path: its folder; one that holds this sweep already makes it go on.
      storage: the URL of a database, through which several machines share it.
      config_file: to be kept with the sweep.

    Returns:
      The row of the best trial, see `store.Store.rows`; None if every trial diverged.

    Raises:
      InputError: a trial of no use, another sweep in the folder or the database; nothing is
        compiled or written then.
      InterruptedRunError: a signal came, see `Interruption`; the sweep is saved.
      StorageError, OutOfMemoryError: no room on the disk, or on the devices.
    """
    devices = local_devices()
    folder = SweepFolder(path)
    sweep.strategy.check()
    if storage is not None and "://" in storage:
        optuna()  # databases are reached through it
    shared = None if storage is None else read_storage(storage)
    if shared is None and not folder.definition.exists():
        check_settings(sweep)  # one that is shared may have been begun elsewhere
    base, point = config_of(sweep.base, {}), sweep.example_point
    writers.chosen(base.writers)  # which refuses those that are not there
    begins = check_trials(sweep, folder)
    folder.check(sweep, shared)
    with contextlib.ExitStack() as stack:
        store = open_store(folder, sweep, shared)
        example = config_of(sweep.base, point)
        task = read_task(example, point, sweep, folder)
        lengths = check_with_data(sweep, task)
        to_go_on = RunFolder(folder.path).command(base, *flags_of(shared))
        full_disk = functools.partial(
            explain_resource_errors,
            *(example, RunFolder(folder.path)),
            command=lambda: to_go_on if folder.definition.exists() else None,
        )
        with full_disk(), folder.locked():
            folder.check(sweep, shared)
            if config_file is not None:
                config_file.write(folder.path)
            folder.write(sweep, None if shared is None else shared.shown)
        store.begin()
        stack.enter_context(store)
        most_epochs = max(length.num_epochs for length in lengths)
        live = LiveTable(sweep, store.rows(), len(task.training), most_epochs)
        session = _Session(sweep, folder, store, devices, {data_key(example): task}, live, to_go_on)
        session.print_header(begins, any(length.is_all_warmup for length in lengths))
        with full_disk():
            session.work()
            with folder.locked():
                return report.finish(folder, sweep, store.rows())


class _Session(Observer):
    """One process at work on a sweep; it is the observer of its groups."""

    def __init__(
        self,
        sweep: Sweep,
        folder: SweepFolder,
        store: TrialStore,
        devices: Sequence[jax.Device],
        tasks: dict[Any, Task],
        live: LiveTable,
        to_go_on: str,
    ) -> None:
        self._sweep = sweep
        self._folder = folder
        self._store = store
        self._devices = devices
        self._tasks = tasks
        self._programs: list[Programs] = []
        self._trials: dict[int, Trial] = {}
        self._runs: list[Run] = []  # of the group that trains
        self._live = live
        self._to_go_on = to_go_on
        self._most_trials = trials_of_open_files()

    def print_header(self, begins: Sequence[str], has_all_warmup: bool) -> None:
        """Prints what the sweep is about to do.

        Args:
          begins: a line about each of the weights that its trials begin with.
          has_all_warmup: its space holds trials that are no longer than their warm-up.
        """
        sweep = self._sweep
        rows = {
            "sweep": f"{sweep.num_trials} trials, {sweep.settings.strategy}",
            **{f"  {key}": str(written) for key, written in sweep.space.to_json().items()},
            "model": str(sweep.base["model"]["name"]),
            "data": next(iter(self._tasks.values())).describe(),
            "devices": describe_devices(self._devices),
            "folder": str(self._folder.path),
            **({"begin": f"with {'; '.join(begins)}"} if begins else {}),
        }
        done = sum(row["state"] != RUNNING for row in self._store.rows())
        if has_all_warmup:
            rows["note"] = (
                "the space holds trials that are no longer than their warm-up: their learning rate "
                "never reaches its full value"
            )
        if done:
            rows["goes on"] = f"after {done} trials"
        print_header(rows)

    def work(self) -> None:
        """Works until every trial of the sweep has ended, here or elsewhere."""
        with Interruption() as interruption, self._live as live:
            while True:
                claimed = self._store.claim(self._max_trials)
                if claimed is not None:
                    self._train(*claimed, interruption)
                    continue
                rows = self._store.rows()
                live.merge_rows(rows)
                ended = sum(row["state"] != RUNNING for row in rows)
                if ended >= self._sweep.num_trials:
                    return
                time.sleep(_POLL_SECONDS)  # others are at work on the rest
                if interruption.received:
                    raise InterruptedRunError(
                        f"The sweep is stopped here. To go on: {self._to_go_on}",
                        interruption.received,
                    )

    def _max_trials(self, trial: Trial) -> int:
        """How many trials like this one train together."""
        settings, number = self._sweep.settings, self._sweep.settings.trials_per_program
        if number is None:
            task = self._task_of(trial)
            number = trials_that_fit(trial.config, task, self._devices, settings.side_by_side)
            turn = points_of_turn(self._sweep, trial.point, self._store.rows)
            number = min(number, turn * len(self._sweep.space.seeds))
        number = min(number, self._most_trials)
        # The seeds of a point are culled by their mean, so they have to come to a cull together.
        return max(number, len(self._sweep.space.seeds)) if self._sweep.cull_epochs else number

    def _task_of(self, trial: Trial) -> Task:
        key = data_key(trial.config)
        if key not in self._tasks:
            # One set at a time.
            self._tasks = {key: read_task(trial.config, trial.values, self._sweep, self._folder)}
            self._programs = []
        return self._tasks[key]

    def _train(self, group: Group, trials: Sequence[Trial], interruption: Interruption) -> None:
        left = [trial for trial in trials if not self._folder.read_outcome(trial.number)]
        task = self._task_of(left[0])
        self._trials |= {trial.number: trial for trial in left}

        def programs_for(configs: Sequence[RunConfig]) -> Programs:
            if not any(serves(programs, configs) for programs in self._programs):
                vmapped_trials = self._sweep.settings.side_by_side
                placement = TrialParallel.with_capacity(self._devices, len(configs), vmapped_trials)
                self._programs = [Programs(configs, task, placement)]  # they hold memory
            return self._programs[0]

        self._live.group_begins(left)
        with contextlib.ExitStack() as stack:
            stack.enter_context(explain_memory_errors(left[0].config, len(left)))
            runs = []
            for trial in left:
                folder = self._folder.run_folder(trial.number)
                stack.enter_context(folder.locked())
                initial = find_weights(
                    trial.config, task.source, self._sweep, self._folder, group.has_checkpoint
                )
                runs.append(Run(trial.number, trial.config, folder, _writers_of_trial, initial))
            checkpoints = stack.enter_context(group.open_checkpoints(left[0].config))
            self._runs = []
            trainer = GroupTrainer(runs, programs_for, checkpoints, self, interruption)
            if self._runs:  # else what is left was lost from a folder: it is begun the next time
                trainer.train()
        shutil.rmtree(group.checkpoints)  # every trial has its own in its folder
        self._store.done(group)

    # What a group tells its observer.

    def begins(self, run: Run, before: RunConfig | None) -> None:
        self._runs.append(run)

    def compiling(self) -> None:
        self._live.compiling()

    def compiled(self) -> None:
        self._live.compiled()

    def advance(self, images: int, totals: Sequence[EpochTotals]) -> None:
        self._live.advance(images)

    def epoch_done(self, run: Run) -> None:
        history = run.progress.history
        self._store.epoch_done(self._trials[run.number], history)
        self._live.epoch_done(self._trials[run.number], history)

    def cull(self, epoch: int, runs: Sequence[Run]) -> set[int]:
        if epoch not in self._sweep.cull_epochs:
            return set()
        settings = self._sweep.settings
        rows = {row["trial"]: row for row in self._store.rows()}
        # What this very epoch brought is not yet written down as such, or a database has missed it.
        for run in self._runs:
            row = rows.get(run.number, {"point": self._trials[run.number].point, "state": RUNNING})
            state = DIVERGED if run.divergence else row["state"]
            rows[run.number] = {**row, "state": state, "history": run.progress.history}
        came = culling.rows_at(epoch, rows)
        scores = {number: culling.score_of(row, settings.objective) for number, row in came.items()}
        points = {number: row["point"] for number, row in came.items()}
        trials = [self._trials[run.number] for run in runs]
        return culling.culled(trials, scores, points, settings.cull_factor)

    def run_done(self, run: Run, outcome: Outcome) -> None:
        history, best = run.progress.history, run.progress.best_record
        row = {
            "state": outcome.state,
            "epochs": len(history),
            "best_epoch": run.progress.stopping.best_epoch,
            **{name: best.get(name) for name in _VALIDATED},
            **{name: value for name, value in outcome.results.items() if "test_" in name},
            "seconds": sum(record["seconds"] for record in history),
            "message": outcome.message,
        }
        self._store.trial_done(self._trials[run.number], row, history)
        self._live.trial_done(self._trials[run.number], row, history)

    def group_epoch_done(self, epoch: int) -> None:
        self._live.merge_rows(self._store.rows())
        self._live.group_epoch_done(epoch)

    def interrupted(self, signal_number: int, step: int) -> None:
        raise InterruptedRunError(
            f"The sweep is stopped and saved. To go on: {self._to_go_on}", signal_number
        )


def _writers_of_trial(run: Run) -> list[writers.Writer]:
    """A trial's own picture is left out: the sweep's learning_curves.png shows all trials."""
    config = run.config
    names = " ".join(name for name in writers.names_in(config.writers) if name != "curves")
    return make_writers(run, names, config.data.source, is_trial=True)
