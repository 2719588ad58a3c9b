"""The training loop: a group of runs from where it is to its end, an epoch of all at a time.

A run of its own is a group of one. Every run has its own history, plateau, early stopping and best
weights. A run that has ended is taken out of the group, and the others go on without it.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.running.failures import describe_divergence, describe_divergence_of_validation
from mlpvis_jax.running.group_files import GroupFiles
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.plan import with_learning_rate
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.restore import restore_or_start
from mlpvis_jax.running.run import Observer, Run
from mlpvis_jax.running.testing import measure_best
from mlpvis_jax.settings.config import RunConfig


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
        self._observer = observer
        self._interruption = interruption
        self._programs = programs_for([run.config for run in runs])
        self._files = GroupFiles(checkpoints, self._programs.plan)
        self._runs, self._states = restore_or_start(runs, self._programs, checkpoints, observer)
        for run in self._runs:
            self._files.begin_run(run)

    def train(self) -> None:
        """Trains until every run has ended.

        Raises:
          RunError: what the observer raises: a divergence, or an interruption.
        """
        self._place(self._states)
        del self._states
        with ExitStack() as stack:
            self._files.open_writers(self._runs, stack)
            self._end_runs()  # where a checkpoint was the last thing that was written
            while self._runs:
                epoch = self._runs[0].progress.epoch
                self._train_epoch()
                self._validate_epoch()
                self._interruption.agree()
                self._save()
                self._end_runs()
                if all(run.progress.is_between_epochs for run in self._runs):
                    self._observer.group_epoch_done(epoch)

    def _place(self, states: Sequence[TrainState]) -> None:
        """Puts the runs' states, which are on the host, on the devices."""
        self._state = self._programs.placement.place(states)
        if not self._programs.are_compiled:
            self._observer.compiling()
            self._programs.compile(self._state)
            self._observer.compiled()
        self._numbers = [self._programs.plan.numbers(run.config) for run in self._runs]

    def _numbers_of_epoch(self) -> list[dict[str, Any]]:
        """The traced settings of each run, with the learning rate that its plateau has left."""
        return [
            with_learning_rate(numbers, run.progress.plateau.learning_rate)
            for run, numbers in zip(self._runs, self._numbers, strict=True)
        ]

    def _train_epoch(self) -> None:
        """Takes what is left of the epoch, or what the first run to end has left of it."""
        programs, runs, place = self._programs, self._runs, self._programs.placement.place
        epoch, step = runs[0].progress.epoch, runs[0].progress.step
        first, end = (epoch - 1) * programs.steps_per_epoch, min(run.end_of_epoch for run in runs)
        seconds, start = runs[0].progress.seconds, time.perf_counter()
        totals = place([run.progress.totals for run in runs])
        dispatches = programs.training.run_epoch(
            len(runs), self._state, totals, place(self._numbers_of_epoch()), epoch,
            range(step - first, end - first), programs.steps_per_dispatch,
        )  # fmt: skip
        for self._state, totals, totals_before, number in dispatches:
            self._note_totals(totals_before)
            step += number
            for run in runs:
                run.progress.step = step
                run.progress.seconds = seconds + (time.perf_counter() - start) / len(runs)
            if step == end or all(run.divergence for run in runs):
                break  # what follows at once, validation, saves
            if self._interruption.agree(self._files.checkpoints.is_due(step)):
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
            self._files.write_point(run, functools.partial(self._learning_rate, index))
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
        """Validates, writes each epoch that ends down and applies the rules that watch its loss."""
        start = time.perf_counter()
        programs, number = self._programs, len(self._runs)
        weights = programs.weights(number, self._state)
        validated = programs.validate(number, weights["params"])
        averaged: Sequence[Mapping[str, Any]] = [{}] * number
        if programs.plan.is_averaged:
            averaged = programs.validate(number, weights["averaged"])
        seconds = (time.perf_counter() - start) / number
        measured, best = programs.plan.learner.metrics, []
        for index, run in enumerate(self._runs):
            if run.progress.step < run.end_of_epoch:  # another run has ended within the epoch
                continue
            loss = validated[index]["loss"]
            what = describe_divergence_of_validation(loss, run.progress, run.config)
            self._note_divergence(run, what)
            if run.divergence:
                continue
            is_best = run.progress.end_epoch(
                measured, self._learning_rate(index), validated[index], averaged[index], seconds
            )
            best.append((index, run, *is_best))
            self._files.write_epoch(run)
            self._observer.epoch_done(run)
        fetch = functools.partial(programs.placement.fetch, weights, number)
        self._files.keep_best(best, fetch)
        self._files.write_histograms(self._runs, fetch)

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
        tested = [run for run in self._runs if run.is_over and not run.divergence]
        results = measure_best(self._programs, tested)
        for run, state in pairs:
            if run.number in over | culled:
                its = results.get(run.number, {})
                outcome = self._files.end_run(run, state, run.number in culled, its)
                self._observer.run_done(run, outcome)
        self._runs = [run for run in others if run.number not in culled]
        if self._runs:
            self._programs = self._programs_for([run.config for run in self._runs])
            self._place([state for run, state in pairs if run.number not in over | culled])

    def _save(self) -> None:
        """Saves the group: waits for the devices, but not for the disk.

        After a signal it waits for the disk as well, and the group ends.
        """
        self._files.save(self._runs, self._programs.placement.fetch(self._state, len(self._runs)))
        if self._interruption.received:
            self._files.checkpoints.wait()
            step = max(run.progress.step for run in self._runs)
            self._observer.interrupted(self._interruption.received, step)
