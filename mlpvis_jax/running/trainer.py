"""The training loop: a group of runs from where it is to its end, an epoch of all at a time.

A run of its own is a group of one. Every run has its own history, plateau, early stopping and best
weights. A run that has ended is taken out of the group, and the others go on without it.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.weights import save_weights
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.running.failures import describe_divergence, describe_divergence_of_validation
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.outcome import Outcome, describe_weights, results_of
from mlpvis_jax.running.plan import with_learning_rate
from mlpvis_jax.running.points import Points
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.restore import restore_or_start
from mlpvis_jax.running.run import Observer, Run, snapshot
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.writers import tell


class GroupTrainer:
    """Trains a group of runs.

    Args:
      runs: those that have not ended.
      programs_for: makes the programs for runs with these settings, or finds them made.
      checkpoints: of the group; the newest one is taken up.
      observer: is told of everything.
      interruption: asked between dispatches.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        programs_for: Callable[[Sequence[RunConfig]], Programs],
        checkpoints: Checkpoints,
        observer: Observer,
        interruption: Interruption,
    ) -> None:
        self._programs_for = programs_for
        self._checkpoints = checkpoints
        self._observer = observer
        self._interruption = interruption
        self._programs = programs_for([run.config for run in runs])
        self._runs, self._states = restore_or_start(runs, self._programs, checkpoints, observer)
        for run in self._runs:
            # What the folder tells of the run is what the checkpoint tells, no more and no less.
            run.folder.write_config(run.config)
            run.folder.write_metrics(run.progress.history)
            if run.progress.stopping.best_epoch:
                self._save_best(run)

    def train(self) -> None:
        """Trains until every run has ended.

        Raises:
          RunError: what the observer raises: a divergence, or an interruption.
        """
        self._place(self._states)
        del self._states
        with ExitStack() as stack:
            self._writers = {
                run.number: [stack.enter_context(closing(one)) for one in run.writers(run)]
                for run in self._runs
            }
            self._points = {run.number: self._points_of(run) for run in self._runs}
            self._end_runs()  # where a checkpoint was the last thing that was written
            while self._runs:
                epoch = self._runs[0].progress.epoch
                self._train_epoch()
                self._validate_epoch()
                self._save()
                self._end_runs()
                self._observer.group_epoch_done(epoch)

    def _points_of(self, run: Run) -> Points:
        measured = self._programs.plan.learner.metrics
        writers = self._writers[run.number]
        return Points(run.config.writers_every_steps, measured, writers, run.progress)

    def _place(self, states: Sequence[TrainState]) -> None:
        """Puts the runs' states, which are on the host, on the devices."""
        plan, steps = self._programs.plan, self._programs.steps_per_epoch
        self._state = self._programs.placement.place(states)
        if not self._programs.are_compiled:
            self._observer.compiling()
            self._programs.compile(self._state)
            self._observer.compiled()
        self._numbers = [plan.numbers(run.config, steps) for run in self._runs]

    def _numbers_of_epoch(self) -> list[dict[str, Any]]:
        """The traced settings of each run, with the learning rate that its plateau has left."""
        return [
            with_learning_rate(numbers, run.progress.plateau.learning_rate)
            for run, numbers in zip(self._runs, self._numbers, strict=True)
        ]

    def _train_epoch(self) -> None:
        """Takes what is left of the epoch."""
        programs, runs = self._programs, self._runs
        place, steps_per_epoch = programs.placement.place, programs.steps_per_epoch
        epoch, step = runs[0].progress.epoch, runs[0].progress.step
        seconds, start = runs[0].progress.seconds, time.perf_counter()
        totals = place([run.progress.totals for run in runs])
        dispatches = programs.training.run_epoch(
            len(runs), self._state, totals, place(self._numbers_of_epoch()), epoch,
            step - (epoch - 1) * steps_per_epoch, programs.steps_per_dispatch,
        )  # fmt: skip
        for self._state, totals, totals_before, number in dispatches:
            self._note_totals(totals_before)
            step += number
            for run in runs:
                run.progress.step = step
                run.progress.seconds = seconds + (time.perf_counter() - start) / len(runs)
            if step % steps_per_epoch == 0 or all(run.divergence for run in runs):
                break  # what follows at once, validation, saves
            if self._interruption.received or self._checkpoints.is_due(step):
                self._note_totals(programs.placement.fetch(totals, len(runs)))
                self._save()
        self._note_totals(programs.placement.fetch(totals, len(runs)))
        for run in runs:
            run.progress.seconds = seconds + (time.perf_counter() - start) / len(runs)

    def _note_totals(self, totals: Sequence[EpochTotals]) -> None:
        """Takes the totals of each run, and sees which runs are no longer finite."""
        images = 0
        for index, (run, now) in enumerate(zip(self._runs, totals, strict=True)):
            images += int(now.sums["count"]) - int(run.progress.totals.sums["count"])
            run.progress.totals = now
            self._points[run.number].note(
                run.progress, functools.partial(self._learning_rate, index)
            )
            self._note_divergence(run, describe_divergence(now, run.progress.epoch, run.config))
        self._observer.advance(images, totals)

    def _learning_rate(self, index: int) -> float:
        """That of the last step of a run, by its index."""
        progress = self._runs[index].progress
        share = self._programs.plan.schedule_factor(self._numbers[index], progress.step - 1)
        return progress.plateau.learning_rate * share

    def _note_divergence(self, run: Run, divergence: str | None) -> None:
        if divergence is not None and run.divergence is None:
            run.divergence = divergence
            self._observer.diverged(run)

    def _validate_epoch(self) -> None:
        """Validates, writes down each run's epoch and applies the rules that watch its loss."""
        start = time.perf_counter()
        validated = self._programs.validate(len(self._runs), self._state.params)
        averaged: Sequence[Mapping[str, Any]] = [{}] * len(self._runs)
        if self._programs.plan.is_averaged:
            averaged = self._programs.validate(len(self._runs), self._state.averaged)
        seconds = (time.perf_counter() - start) / len(self._runs)
        plan, best, numbers = self._programs.plan, [], self._numbers
        for index, run in enumerate(self._runs):
            self._note_divergence(
                run,
                describe_divergence_of_validation(
                    validated[index]["loss"], run.progress, run.config
                ),
            )
            if run.divergence:
                continue
            share = plan.schedule_factor(numbers[index], run.progress.step - 1)
            is_best = run.progress.end_epoch(
                plan.learner.metrics, share, validated[index], averaged[index], seconds
            )
            best.append((index, *is_best))
            record = run.progress.history[-1]
            run.folder.append_metrics(record)
            for writer in self._writers[run.number]:
                writer.write(record)
            self._observer.epoch_done(run)
        self._write_weights()
        self._keep_best(best)

    def _write_weights(self) -> None:
        """Hands the weights to the writers of the runs whose settings ask for histograms."""
        if not any(run.config.writers_histograms for run in self._runs):
            return
        params = self._programs.placement.fetch(self._state.params, len(self._runs))
        for run, of_run in zip(self._runs, params, strict=True):
            if run.config.writers_histograms and not run.divergence:
                epoch = len(run.progress.history)
                tell(self._writers[run.number], "write_weights", epoch, of_run)

    def _keep_best(self, best: Sequence[tuple[int, bool, bool]]) -> None:
        """Fetches the weights of the runs, by index, whose weights are the best so far."""
        if not any(is_best or is_averaged_best for _, is_best, is_averaged_best in best):
            return
        state = self._programs.placement.fetch(
            {"params": self._state.params, "averaged": self._state.averaged}, len(self._runs)
        )
        for index, is_best, is_averaged_best in best:
            run = self._runs[index]
            if is_best:
                run.progress.best_params = state[index]["params"]
            if is_averaged_best:
                run.progress.best_averaged = state[index]["averaged"]
            if is_best or is_averaged_best:
                self._save_best(run)

    def _end_runs(self) -> None:
        """Ends the runs that are over or culled, and closes the ranks of the others."""
        over = {run.number for run in self._runs if run.is_over}
        others = [run for run in self._runs if not run.is_over]
        culled: set[int] = set()
        if others and others[0].progress.is_between_epochs:
            culled = self._observer.cull(len(others[0].progress.history), others)
        if not over | culled:
            return
        states = self._programs.placement.fetch(self._state, len(self._runs))
        pairs = list(zip(self._runs, states, strict=True))
        ended = [run for run in self._runs if run.number in over | culled]
        results = self._test([run for run in ended if run.number in over and not run.divergence])
        for run, state in pairs:
            if run.number in over | culled:
                self._end(run, state, run.number in culled, results.get(run.number, {}))
        self._runs = [run for run in others if run.number not in culled]
        if self._runs:
            self._programs = self._programs_for([run.config for run in self._runs])
            self._place([state for run, state in pairs if run.number not in over | culled])

    def _test(self, runs: Sequence[Run]) -> dict[int, dict[str, Any]]:
        """Tests the best weights of runs that are over: what results.json holds, by number."""
        programs = self._programs
        tested = programs.test([run.progress.best_params for run in runs])
        averaged: Sequence[Mapping[str, Any]] = [{}] * len(runs)
        if programs.plan.is_averaged:
            averaged = programs.test([run.progress.best_averaged for run in runs])
        return {
            run.number: results_of(run.progress, tested[index], averaged[index], programs.placement)
            for index, run in enumerate(runs)
        }

    def _end(self, run: Run, state: TrainState, is_culled: bool, results: dict[str, Any]) -> None:
        """Leaves a folder of a run that has ended from which the run can go on by itself."""
        if run.divergence is None:
            description = describe_weights(run.config, self._programs.task)
            save_weights(run.folder.last_weights, state.params, description)
            self._save_alone(run, state)
        if results:
            run.folder.write_results(results)
            for writer in self._writers[run.number]:
                writer.finish(run.progress.history, results)
        self._observer.run_done(run, Outcome.of(run.progress, run.divergence, is_culled, results))

    def _save_alone(self, run: Run, state: TrainState) -> None:
        """Saves a run in its own folder, unless that is where the group is saved."""
        if self._checkpoints.folder == run.folder.checkpoints.absolute():
            return
        with Checkpoints(run.folder.checkpoints) as checkpoints:
            if not checkpoints.has(run.progress.step):
                identity = self._programs.task.identity
                checkpoints.save(run.progress.step, snapshot([0], [run], [state], identity))

    def _save_best(self, run: Run) -> None:
        description = describe_weights(run.config, self._programs.task)
        save_weights(run.folder.best_weights, run.progress.best_params, description)
        if self._programs.plan.is_averaged:
            save_weights(run.folder.averaged_weights, run.progress.best_averaged, description)

    def _save(self) -> None:
        """Saves the group: waits for the devices, but not for the disk.

        After a signal it waits for the disk as well, and the group ends.
        """
        runs = self._runs
        states = self._programs.placement.fetch(self._state, len(runs))
        step = max(run.progress.step for run in runs)
        numbers, identity = [run.number for run in runs], self._programs.task.identity
        self._checkpoints.save(step, snapshot(numbers, runs, states, identity))
        if self._interruption.received:
            self._checkpoints.wait()
            self._observer.interrupted(self._interruption.received, step)
