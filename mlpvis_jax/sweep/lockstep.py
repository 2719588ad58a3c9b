"""A group of trials from where it is to its end, an epoch of all of them at a time.

Every trial has its own history, plateau, early stopping and best weights, by the rules of a solo
run. One that has ended is taken out, and the others go on without it.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from mlpvis_jax.errors import InterruptedRunError
from mlpvis_jax.files.checkpoint import Checkpoints, Snapshot
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import save_weights
from mlpvis_jax.learning.state import TrainState
from mlpvis_jax.running.failures import describe_divergence
from mlpvis_jax.running.interruption import Interruption
from mlpvis_jax.running.loop import describe_weights, results_of
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.running.position import Position, arrays_of
from mlpvis_jax.running.task import Task
from mlpvis_jax.show import report
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.definition import Trial
from mlpvis_jax.sweep.population import Population
from mlpvis_jax.sweep.records import CULLED, DIVERGED, FINISHED, STOPPED

_VALIDATED = ("validation_loss", "validation_accuracy", "validation_top5_accuracy")


class Watcher(Protocol):
    """Who is told how a group gets on."""

    def advance(self, images: int) -> None:
        """So many more images have been trained on, over all trials."""

    def epoch_done(self, trial: Trial, history: Sequence[Record]) -> None:
        """A trial has ended an epoch; the last record is new."""

    def trial_done(self, trial: Trial, outcome: dict[str, Any], history: Sequence[Record]) -> None:
        """A trial has ended, and all its files are written."""

    def group_epoch_done(self, epoch: int) -> None:
        """All trials of the group have ended an epoch."""


@dataclasses.dataclass
class Member:
    """A trial in training.

    Attributes:
      trial: what it is.
      folder: of its run.
      position: where it stands.
      divergence: what went wrong, or None.
    """

    trial: Trial
    folder: RunFolder
    position: Position
    divergence: str | None = None

    @property
    def is_over(self) -> bool:
        over = self.position.is_over(self.trial.config.num_epochs)
        return over or self.divergence is not None


class Lockstep:
    """Trains a group.

    Args:
      build: makes the programs for so many of these trials, or finds them made.
      trials: of the group, those that have not ended.
      folders: of their runs, in the same order.
      checkpoints: of the group.
      devices: where it runs.
      data: what it trains on.
      cull: after an epoch, the numbers of those among these trials that end there.
      watcher: is told of everything.
      interruption: asked between dispatches.
      to_go_on: the command that takes up the sweep again.
    """

    def __init__(
        self,
        build: Callable[[Sequence[Trial]], Population],
        trials: Sequence[Trial],
        folders: Sequence[RunFolder],
        checkpoints: Checkpoints,
        devices: Devices,
        data: Task,
        cull: Callable[[int, Sequence[Trial]], set[int]],
        watcher: Watcher,
        interruption: Interruption,
        to_go_on: str,
    ) -> None:
        self._build = build
        self._checkpoints = checkpoints
        self._devices = devices
        self._data = data
        self._cull = cull
        self._watcher = watcher
        self._interruption = interruption
        self._to_go_on = to_go_on
        self._population = build(trials)
        states = [self._population.initial_state(trial.config) for trial in trials]
        self._members = [
            Member(trial, folder, Position.start(trial.config, state.params))
            for trial, folder, state in zip(trials, folders, states, strict=True)
        ]
        states = self._restore(states)
        for member in self._members:
            member.folder.write_config(member.trial.config)
            member.folder.write_metrics(member.position.history)
            if member.position.stopping.best_epoch:
                self._save_best(member)
        self._place(states)

    def run(self) -> None:
        """Trains until every trial has ended.

        Raises:
          InterruptedRunError: a signal came; the group is saved.
        """
        with contextlib.ExitStack() as stack:
            self._events = {
                member.trial.number: stack.enter_context(
                    report.EventWriter(member.folder.events, member.position.epoch)
                )
                for member in self._members
            }
            self._take_out_the_ended()  # where a checkpoint was the last thing that was written
            while self._members:
                epoch = self._members[0].position.epoch
                self._train_epoch()
                self._validate_epoch()
                self._save()
                self._take_out_the_ended()
                self._watcher.group_epoch_done(epoch)

    def _place(self, states: Sequence[TrainState]) -> None:
        """Puts the members' states, which are on the host, on the devices."""
        self._population.trials.number = len(states)
        self._state = self._population.trials.place(states)
        self._told = [self._population.hyperparameters(m.trial.config) for m in self._members]

    def _train_epoch(self) -> None:
        """Takes what is left of the epoch."""
        population, members = self._population, self._members
        place, steps_per_epoch = population.trials.place, population.training.steps_per_epoch
        epoch, step = members[0].position.epoch, members[0].position.step
        rates = [np.float32(member.position.plateau.learning_rate) for member in members]
        told = place(
            [
                dataclasses.replace(told, learning_rate=rate)
                for told, rate in zip(self._told, rates, strict=True)
            ]
        )
        done = totals = place([member.position.totals for member in members])
        seconds = members[0].position.seconds
        start = time.perf_counter()
        dispatches = population.training.run_epoch(
            self._state, totals, epoch, step - (epoch - 1) * steps_per_epoch, told
        )
        for self._state, totals, number in dispatches:
            self._look_at(done)
            done = totals
            share = (time.perf_counter() - start) / len(members)  # of a trial
            for member in members:
                member.position.step += number
                member.position.seconds = seconds + share
            step += number
            if step % steps_per_epoch == 0 or all(member.divergence for member in members):
                break
            if self._interruption.received or self._checkpoints.is_due(step):
                self._look_at(totals)
                self._save()
        self._look_at(totals)
        for member in members:
            member.position.seconds = seconds + (time.perf_counter() - start) / len(members)

    def _look_at(self, totals: Any) -> None:
        """Fetches totals, and sees how far they are and which are not finite."""
        images = 0
        for member, now in zip(self._members, self._population.trials.fetch(totals), strict=True):
            images += int(now.sums["count"]) - int(member.position.totals.sums["count"])
            member.position.totals = now
            member.divergence = describe_divergence(now, member.position, member.trial.config)
        self._watcher.advance(images)

    def _validate_epoch(self) -> None:
        """Validates, writes down each trial's epoch and applies the rules that watch its loss."""
        start = time.perf_counter()
        validated = self._population.validate(self._state.params)
        share = (time.perf_counter() - start) / len(self._members)
        best = []
        for index, (member, means) in enumerate(zip(self._members, validated, strict=True)):
            member.divergence = member.divergence or describe_divergence(
                means["loss"], member.position, member.trial.config
            )
            if member.divergence:
                continue
            if member.position.end_epoch(means, share):
                best.append(index)
            record = member.position.history[-1]
            member.folder.append_metrics(record)
            self._events[member.trial.number].write(record)
            self._watcher.epoch_done(member.trial, member.position.history)
        if best:
            params = self._population.trials.fetch(self._state.params)
            for index in best:
                self._members[index].position.best_params = params[index]
                self._save_best(self._members[index])

    def _take_out_the_ended(self) -> None:
        """Ends the trials that are over or culled, and closes the ranks of the others."""
        over = {member.trial.number for member in self._members if member.is_over}
        on = [member for member in self._members if not member.is_over]
        culled: set[int] = set()
        if on and int(on[0].position.totals.sums["count"]) == 0:  # between two epochs
            culled = self._cull(len(on[0].position.history), [member.trial for member in on])
        if not over and not culled:
            return
        states = self._population.trials.fetch(self._state)
        pairs = list(zip(self._members, states, strict=True))
        ended = [pair for pair in pairs if pair[0].trial.number in over | culled]
        tested = iter(
            self._population.test(
                [
                    member.position.best_params
                    for member, _ in ended
                    if not member.divergence and member.trial.number in over
                ]
            )
        )
        for member, state in ended:
            if member.divergence:
                self._end(member, DIVERGED, {"message": member.divergence})
                continue
            if member.trial.number in culled:
                outcome, how = {}, CULLED
            else:
                outcome = results_of(member.position, next(tested), self._devices)
                how = STOPPED if outcome["stopped_early"] else FINISHED
            self._write_out(member, state, outcome)
            self._end(member, how, outcome)
        self._members = [member for member in on if member.trial.number not in culled]
        if not self._members:
            return
        left = [state for member, state in pairs if any(member is one for one in self._members)]
        if not self._population.has_room([member.trial.config for member in self._members]):
            self._population = self._build([member.trial for member in self._members])
        self._place(left)

    def _write_out(self, member: Member, state: TrainState, results: dict[str, Any]) -> None:
        """Leaves the trial's folder as a solo run's, from which one can go on.

        Only its picture is left out: the sweep's learning_curves.png shows all trials.
        """
        folder, config, position = member.folder, member.trial.config, member.position
        description = describe_weights(config, self._data)
        save_weights(folder.last_weights, state.params, description)
        with Checkpoints(folder.checkpoints) as checkpoints:
            if not (folder.checkpoints / str(position.step)).exists():
                snapshot = position.snapshot(state, config, self._data.identity)
                checkpoints.save(position.step, snapshot)
        if results:
            folder.write_results(results)

    def _end(self, member: Member, how: str, results: dict[str, Any]) -> None:
        history = member.position.history
        best = member.position.stopping.best_epoch
        at_best = history[best - 1] if history and best else {}
        outcome = {
            "state": how,
            "epochs": len(history),
            "best_epoch": best,
            **{name: at_best.get(name) for name in _VALIDATED},
            **{name: results[name] for name in results if name.startswith("test_")},
            "seconds": sum(record["seconds"] for record in history),
            "message": results.get("message"),
        }
        self._watcher.trial_done(member.trial, outcome, history)

    def _save_best(self, member: Member) -> None:
        description = describe_weights(member.trial.config, self._data)
        save_weights(member.folder.best_weights, member.position.best_params, description)

    def _save(self) -> None:
        """Saves the group; after a signal also waits for the disk, and ends."""
        states = self._population.trials.fetch(self._state)
        snapshots = [
            member.position.snapshot(state, member.trial.config, self._data.identity)
            for member, state in zip(self._members, states, strict=True)
        ]
        arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *[s.arrays for s in snapshots])
        values = {
            "trials": [member.trial.number for member in self._members],
            "divergences": [member.divergence for member in self._members],
            "positions": [snapshot.values for snapshot in snapshots],
        }
        step = max(member.position.step for member in self._members)
        self._checkpoints.save(step, Snapshot(arrays, values))
        if self._interruption.received:
            self._checkpoints.wait()
            number = self._interruption.received
            raise InterruptedRunError(
                f"The sweep is stopped and saved. To go on: {self._to_go_on}", number
            )

    def _restore(self, states: list[TrainState]) -> list[TrainState]:
        """Takes up the newest checkpoint, if there is one, but for trials that ended after it."""
        first = self._members[0].position
        like = arrays_of(states[0], first.totals, first.best_params)

        def stacked(values: dict[str, Any]) -> Any:
            for position in values["positions"]:
                self._data.refuse_other(position["data"], "A group of trials")
            number = len(values["trials"])
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((number, *leaf.shape), leaf.dtype), like
            )

        saved = self._checkpoints.newest(stacked)
        if saved is None:
            return states
        values = saved.values
        wanted = {member.trial.number: member for member in self._members}
        found, members = [], []
        for index, number in enumerate(values["trials"]):
            if number not in wanted:
                continue
            arrays = jax.tree.map(lambda leaf: leaf[index], saved.arrays)  # noqa: B023
            snapshot = Snapshot(arrays, values["positions"][index])
            member = wanted[number]
            member.position, state = Position.of(snapshot, states[0])
            member.divergence = values["divergences"][index]
            members.append(member)
            found.append(state)
        self._members = members
        return found
