"""A run of its own, from its settings to its test accuracy, or on from where it was."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.data.streamed import StreamedSet
from mlpvis_jax.errors import DivergenceError, InputError
from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import count_parameters
from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running import processes
from mlpvis_jax.running.choices import completed, differences
from mlpvis_jax.running.failures import (
    command_to_go_on,
    explain_resource_errors,
    interrupted,
)
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.kept_programs import keep_programs_in
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.outcome import Outcome, versions
from mlpvis_jax.running.own_functions import check_functions
from mlpvis_jax.running.placement import DataParallel, Placement, describe_devices
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.run import Observer, Run, make_writers
from mlpvis_jax.running.start import find_initial_weights
from mlpvis_jax.running.stream import refuse_workers_without_room
from mlpvis_jax.running.task import Task, open_data
from mlpvis_jax.running.trainer import GroupTrainer
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show import writers
from mlpvis_jax.show.terminal import Progress, print_header
from mlpvis_jax.weights.initial import InitialWeights


def train(
    config: RunConfig, folder: RunFolder, placement: Placement | None = None
) -> dict[str, Any]:
    """Trains, validates after each epoch, and tests the weights of the best one.

    A folder that holds this run already makes it go on; a finished run stays as it is.

    Args:
      config: the settings.
      folder: of the run.
      placement: where it runs; by default on all devices of this process.

    Returns:
      What results.json holds.

    Raises:
      InputError: settings or data of no use, before anything is compiled or written.
      DivergenceError: a loss or a gradient is not finite.
      InterruptedRunError: a signal came; the run is saved.
      StorageError, OutOfMemoryError: no room on the disk, or on the devices.
    """
    placement = DataParallel.all() if placement is None else placement
    config = completed(config)
    with processes.in_turn():  # what the first decodes, downloads or finds out is kept
        results = _results(config, folder)
        read = _read(config, folder) if results is None else None
    processes.refuse_different(lambda: _facts(config, placement, read))
    if read is None:
        assert results is not None
        print(f"The run in {folder.path} is finished; nothing is changed.")
        return results
    task, initial = read
    to_go_on = functools.partial(command_to_go_on, config, folder)
    explained = explain_resource_errors(config, folder, command=to_go_on)
    with processes.telling(), explained, _begun(config, folder):
        keep_programs_in(folder.path)
        programs = Programs([config], task, placement)
        source = task.source.name
        writing = functools.partial(make_writers, names=config.writers, source=source)
        run = Run(0, config, folder, writing, initial)
        observer = SoloObserver(run, programs)
        checkpoints = Checkpoints(folder.checkpoints, **dataclasses.asdict(config.checkpoint))
        with checkpoints, Interruption() as interruption:
            trainer = GroupTrainer([run], lambda _: programs, checkpoints, observer, interruption)
            print_header(_header(run, programs))
            with observer.progress():
                trainer.train()
    assert observer.results is not None
    return observer.results


def _results(config: RunConfig, folder: RunFolder) -> dict[str, Any] | None:
    """The results of a run that is finished; None of one that is to be trained, and can be."""
    folder.check(config, differences)
    results = folder.finished(config)
    if results is None and folder.has_lost_checkpoints():
        raise InputError(
            f"--workdir={folder.path} holds what a run has written, but no checkpoint to go on "
            "from; put checkpoints/ back, or choose another folder. (A sweep's trial goes on with "
            "its sweep.)"
        )
    return results


def _read(config: RunConfig, folder: RunFolder) -> tuple[Task, InitialWeights | None]:
    """Reads the data of a run, and the weights that it starts from if its settings name some."""
    writers.chosen(config.writers)  # which refuses those that are not there
    initial = None
    if config.init_from is not None or config.data.workers:  # before images are decoded
        source = open_data(config)
        refuse_workers_without_room(source, config)
        initial = find_initial_weights(config, source, folder.has_checkpoint())
    task = Task.read(config, folder.path)
    task.training.refuse_larger_batch(config.batch_size)
    Length.of(config, len(task.training))  # which refuses too many steps
    check_functions(config, task.source.num_classes)
    return task, initial


def _facts(
    config: RunConfig, placement: Placement, read: tuple[Task, InitialWeights | None] | None
) -> dict[str, Any]:
    """What all processes of a run have to have in common; nothing is read of a finished one."""
    facts = {
        **{f"version of {name}": version for name, version in versions().items()},
        **{f"config.{key}": value for key, value in config.flat().items()},
        **{f"order of config.{section}": order for section, order in config.orders().items()},
        "number and kind of devices": describe_devices(placement.devices),
        "state of the run, to train or not": read is not None,
    }
    if read is not None:
        task, initial = read
        facts |= {f"data, {name}": value for name, value in task.identity.items()}
        is_streamed = isinstance(task.training, StreamedSet)
        scales = (task.normalization.mean, task.normalization.deviation)
        facts["scales of the pixels"] = [np.asarray(one).tolist() for one in scales]
        facts["config.data.feed"] = "stream" if is_streamed else "resident"
        facts["content of config.init_from"] = initial and initial.digest
    return facts


@contextlib.contextmanager
def _begun(config: RunConfig, folder: RunFolder) -> Iterator[None]:
    """Holds the lock of a run's folder, in which the settings are by then.

    Of several processes the first holds it, and the others prove that they see the same folder.
    """
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            stack.enter_context(folder.locked())
            folder.check(config, differences)  # again: another may have begun a run meanwhile
            if not folder.holds_run():
                folder.write_config(config)  # first: files without it are nobody's, and are refused
        processes.refuse_unseen(
            folder.holder,
            f"--workdir={folder.path} must be one folder that all processes of the run see, such "
            "as on a network file system",
        )
        yield


def _header(run: Run, programs: Programs) -> dict[str, str]:
    """What the run is about to do, a line each."""
    parameters = count_parameters(run.progress.best_params)
    rows = {
        "model": f"{run.config.model.name}, {parameters:,} parameters",
        "data": programs.task.describe(),
        "devices": describe_devices(programs.placement.devices),
        "folder": str(run.folder.path),
    }
    if run.initial is not None and not run.progress.step:
        rows["begins"] = f"with {run.initial.described}"
    if run.length.is_all_warmup:
        rows["note"] = (
            f"the warm-up, {run.config.schedule.warmup}, is no shorter than the run: the learning "
            "rate never reaches its full value"
        )
    if run.progress.step:
        rows["goes on"] = f"after step {run.progress.step:,}, in epoch {run.progress.epoch}"
    return rows


class SoloObserver(Observer):
    """Shows a single run on the terminal, and ends it where its loss is not finite.

    Attributes:
      results: what results.json holds, once the run has ended.
    """

    def __init__(self, run: Run, programs: Programs) -> None:
        self._run = run
        self._programs = programs
        self.results: dict[str, Any] | None = None

    def progress(self) -> Progress:
        """Makes the bar and the lines of epochs, from where the run stands."""
        progress, length = self._run.progress, self._run.length
        self._images = int(progress.totals.sums["count"])
        self._progress = Progress(
            self._programs.plan.learner.metrics,
            length.total_steps / length.steps_per_epoch,
            len(self._programs.task.training),
            progress.epoch - 1,
            self._images,
        )
        return self._progress

    def begins(self, run: Run, before: RunConfig | None) -> None:
        if before is not None:
            run.folder.refuse_other(before, run.config, differences)

    def compiling(self) -> None:
        self._progress.compiling()

    def compiled(self) -> None:
        # One that had its programs from the cache would wait for the others in a collective, and
        # that of CPUs gives up after half a minute.
        processes.wait_for_all()
        self._progress.compiled()

    def advance(self, images: int, totals: Sequence[EpochTotals]) -> None:
        self._images += images
        trained = {
            name: metric
            for name, metric in self._programs.plan.learner.metrics.items()
            if metric.is_trained
        }
        # Before the first step there is nothing to average.
        running = metrics.means_of(trained, totals[0].sums) if self._images else {}
        self._progress.advance(self._images, running)

    def epoch_done(self, run: Run) -> None:
        self._images = 0
        self._progress.epoch_done(run.progress.history[-1])

    def diverged(self, run: Run) -> None:
        raise DivergenceError(
            f"{run.divergence} The checkpoints in {run.folder.checkpoints} are those from before; "
            "begin anew in another folder."
        )

    def run_done(self, run: Run, outcome: Outcome) -> None:
        self.results = outcome.results
        stopping = run.progress.stopping
        if stopping.should_stop:
            self._progress.note(
                f"Stopped: no lower validation loss than that of epoch {stopping.best_epoch} in "
                f"{stopping.patience} epochs."
            )

    def interrupted(self, signal_number: int, step: int) -> None:
        processes.exchange("")  # so that none ends before all is on the disk of the first
        raise interrupted(signal_number, step, self._run.config, self._run.folder)
