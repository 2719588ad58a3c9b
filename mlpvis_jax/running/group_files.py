"""What a group of runs has on the disk: the group's checkpoints, and the files of each run.

Of several processes the first writes.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import jax
import numpy as np

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.weights import save_weights
from mlpvis_jax.learning.schedule_free import evaluated
from mlpvis_jax.learning.state import TrainState
from mlpvis_jax.running import processes
from mlpvis_jax.running.outcome import Outcome, describe_weights
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.points import Points
from mlpvis_jax.running.run import Run, snapshot
from mlpvis_jax.show.writers import Writer, tell


class GroupFiles:
    """Writes the files of a group of runs.

    Args:
      checkpoints: of the group.
      plan: what the runs compute.
    """

    def __init__(self, checkpoints: Checkpoints, plan: Plan) -> None:
        self.checkpoints = checkpoints
        self._plan = plan
        self._writes = processes.is_first()
        self._writers: dict[int, list[Writer]] = {}
        self._points: dict[int, Points] = {}

    def open_writers(self, runs: Sequence[Run], stack: ExitStack) -> None:
        """Makes the writers of the runs; leaving the stack closes them."""
        metrics = self._plan.learner.metrics
        for run in runs:
            made = run.writers(run) if self._writes else []
            writers = [stack.enter_context(closing(writer)) for writer in made]
            every_steps = run.config.writers_every_steps
            self._writers[run.number] = writers
            self._points[run.number] = Points(every_steps, metrics, writers, run.progress)

    def begin_run(self, run: Run) -> None:
        """Makes the folder of a run tell what the checkpoint tells, no more and no less."""
        if not self._writes:
            return
        run.folder.write_config(run.config)
        run.folder.write_metrics(run.progress.history)
        if run.progress.stopping.best_epoch:
            self.write_best(run)

    def write_point(self, run: Run, learning_rate: Callable[[], float]) -> None:
        """Writes a point within the epoch where one is due; see `Points`."""
        self._points[run.number].note(run.progress, learning_rate)

    def write_epoch(self, run: Run) -> None:
        """Writes the last record of a run's history down."""
        if not self._writes:
            return
        record = run.progress.history[-1]
        run.folder.append_metrics(record)
        for writer in self._writers[run.number]:
            writer.write(record)

    def write_histograms(self, runs: Sequence[Run], fetch: Callable[[], Sequence[Any]]) -> None:
        """Hands the weights to the writers of the runs whose settings ask for histograms.

        Args:
          runs: those of the group.
          fetch: brings the weights of all runs to the host.
        """
        if not any(run.config.writers_histograms for run in runs):
            return
        for run, weights in zip(runs, fetch(), strict=True):
            is_due = run.config.writers_histograms and run.progress.is_between_epochs
            if is_due and not run.divergence:
                epoch = len(run.progress.history)
                tell(self._writers[run.number], "write_weights", epoch, weights["params"])

    def keep_best(
        self, best: Sequence[tuple[int, Run, bool, bool]], fetch: Callable[[], Sequence[Any]]
    ) -> None:
        """Keeps the weights that are the best of their run so far, and writes them.

        Args:
          best: of each run its index, itself, and whether its weights, and whether its averaged
            weights, are the best so far.
          fetch: brings the weights of all runs to the host.
        """
        if not any(is_best or is_averaged_best for _, _, is_best, is_averaged_best in best):
            return
        weights = fetch()
        # What is fetched may be a view of an array of all runs, which it would keep alive.
        copy = functools.partial(jax.tree.map, np.array)
        for index, run, is_best, is_averaged_best in best:
            if is_best:
                run.progress.best_params = copy(weights[index]["params"])
            if is_averaged_best:
                run.progress.best_averaged = copy(weights[index]["averaged"])
            if is_best or is_averaged_best:
                self.write_best(run)

    def write_best(self, run: Run) -> None:
        """Writes the best weights of a run, and the best averaged ones where there are some."""
        if not self._writes:
            return
        description = self._describe(run)
        save_weights(run.folder.best_weights, run.progress.best_params, description)
        if self._plan.is_averaged:
            save_weights(run.folder.averaged_weights, run.progress.best_averaged, description)

    def _describe(self, run: Run) -> dict[str, Any]:
        return describe_weights(run.config, self._plan.task, run.progress.initial_weights)

    def end_run(
        self, run: Run, state: TrainState, is_culled: bool, results: dict[str, Any]
    ) -> Outcome:
        """Leaves a folder of a run that has ended from which the run can go on by itself.

        Args:
          run: the run.
          state: of the run, on the host.
          is_culled: whether the run could have gone on.
          results: what results.json is to hold; {} of a run that was not tested.
        """
        if run.divergence is None and self._writes:
            description = self._describe(run)
            params = evaluated(state.params, state.opt_state)
            save_weights(run.folder.last_weights, params, description)
            self._save_alone(run, state)
        if results and self._writes:
            run.folder.write_results(results)
            for writer in self._writers[run.number]:
                writer.finish(run.progress.history, results)
        return Outcome.of(run.progress, run.divergence, is_culled, results)

    def save(self, runs: Sequence[Run], states: Sequence[TrainState]) -> None:
        """Begins to write a checkpoint of the group; the states are on the host."""
        numbers, identity = [run.number for run in runs], self._plan.task.identity
        step = max(run.progress.step for run in runs)
        self.checkpoints.save(step, snapshot(numbers, runs, states, identity))

    def _save_alone(self, run: Run, state: TrainState) -> None:
        """Saves a run in its own folder, unless that is where the group is saved."""
        if self.checkpoints.folder == run.folder.checkpoints.absolute():
            return
        with Checkpoints(run.folder.checkpoints) as checkpoints:
            if not checkpoints.has(run.progress.step):
                one = snapshot([0], [run], [state], self._plan.task.identity)
                checkpoints.save(run.progress.step, one)
