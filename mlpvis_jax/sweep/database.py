"""Trials handed out to several machines, through an Optuna study in a PostgreSQL or MySQL database.

An Optuna trial is a point with all its seeds. Whoever asks gets a point for itself alone, and says
every few seconds that it is alive; the points of one that has fallen silent are put back. What the
trials measure is in the database as well, so that each machine can report on all of them; weights
stay with the machine that trained them.

A point may be enqueued twice where two machines see at once that it is missing. The one with the
lower number counts, and who draws the other gives it up.
"""

import contextlib
import functools
import json
import os
import platform
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.sweep import tpe
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.database_url import DatabaseUrl
from mlpvis_jax.sweep.definition import Sweep, Trial
from mlpvis_jax.sweep.folder import Group, SweepFolder
from mlpvis_jax.sweep.held_points import HeldPoints
from mlpvis_jax.sweep.records import RUNNING
from mlpvis_jax.sweep.retry import retry_until_deadline
from mlpvis_jax.sweep.space import Point
from mlpvis_jax.sweep.store import form_groups
from mlpvis_jax.sweep.study import DEFINITION, open_study, shortened

_POINT, _VALUES, _WORKER, _SURPLUS = "point", "values", "worker", "surplus"
_AHEAD = 16  # points: whoever asks for one reads all that wait


class DatabaseStore:
    """Has the methods of `store.Store`; a context manager.

    Args:
      folder: of the sweep on this machine.
      sweep: what to do.
      url: of the database.
      beat_seconds: how often this process says that it is alive; one silent for four times as long
        is taken for dead.

    Raises:
      InputError: no such database, or it holds another sweep of this name.
    """

    def __init__(
        self, folder: SweepFolder, sweep: Sweep, url: DatabaseUrl, beat_seconds: int = 30
    ) -> None:
        self.folder = folder
        self._sweep = sweep
        self._optuna = tpe.optuna()
        self._states = self._optuna.trial.TrialState
        self.beat_seconds = beat_seconds
        self._worker = f"{platform.node()}:{folder.path.absolute()}"
        self.url = url
        # Workers that draw alike would suggest the same; in containers their process ids are alike.
        seed = zlib.crc32(self._worker.encode()) + os.getpid()
        self._study, self._storage = open_study(folder, sweep, url, seed, beat_seconds)
        self._held = HeldPoints(self._storage.record_heartbeat, beat_seconds)
        self._drawn: list[Trial] = []  # of points held by us, and in no group yet
        # When running trials that no worker has were first seen, in seconds.
        self._without_worker: dict[int, float] = {}
        self._kinds = tpe.distributions(sweep)
        self._point = functools.cache(sweep.point)

    def __enter__(self) -> "DatabaseStore":
        self._held.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)

    @retry_until_deadline
    def begin(self) -> None:
        """Writes the sweep into the database, once all is known to be good."""
        self._study.set_user_attr(DEFINITION, json.dumps(self._sweep.to_json()))

    @retry_until_deadline
    def claim(self, max_trials: Callable[[Trial], int]) -> tuple[Group, list[Trial]] | None:
        """Claims a group; see `store.Store.claim`."""
        with self.folder.locked():
            # Before the silent lose their points: this process may have been one of them.
            group = self._take_group()
            if group is None:
                self._fail_the_silent()
            while group is None:
                trials = self._draw(max_trials)
                if not trials:
                    return None
                form_groups(self.folder, self._sweep, trials, max_trials)
                self._drawn.clear()
                group = self._take_group()
            return group, group.trials(self._sweep)

    def _take_group(self) -> Group | None:
        """Takes the first group that may go on and that no process of this folder has."""
        groups = self.folder.read_groups(self._sweep)
        # Points that were given up, and drawn again, are in a later group as well.
        latest = {one["trial"]: group for group in groups for one in group.points}
        for group in groups:
            if any(latest[one["trial"]] is not group for one in group.points):
                continue
            found: dict[int, int] = {}

            def is_ours(group: Group = group, found: dict[int, int] = found) -> bool:
                found.clear()
                found.update(self._identities_of(group))
                return bool(found)

            if group.take_if(is_ours):
                self._held.hold(found)
                return group
        return None

    def _draw(self, max_trials: Callable[[Trial], int]) -> list[Trial]:
        """Draws points until their trials are as many as train together; a next try goes on."""
        drawn, seeds = self._drawn, len(self._sweep.space.seeds)
        while not drawn or len(drawn) + seeds <= max_trials(drawn[0]):
            found = self._take_point()
            if found is None:
                break
            trials = self._sweep.trials(*found)
            if self._tell_of_ended(trials):
                drawn += trials
        return list(drawn)

    def _tell_of_ended(self, trials: Sequence[Trial]) -> bool:
        """Tells of a point's trials that ended here before it was given up; is one of them left?"""
        outcomes = [self.folder.read_outcome(trial.number) for trial in trials]
        for trial, outcome in zip(trials, outcomes, strict=True):
            if outcome is not None and outcome["values"] != trial.values:
                place = self.folder.run_folder(trial.number).path
                raise InputError(f"{place} is of another sweep than --storage={self.url.shown}.")
            if outcome is not None:
                self._tell(trial, outcome, self.folder.read_history(trial.number))
        return None in outcomes

    def done(self, group: Group) -> None:
        group.release()

    def epoch_done(self, trial: Trial, history: Sequence[Record]) -> None:
        # The network may fail for a while; the next epoch, or the end, brings all of them.
        with contextlib.suppress(Exception):
            self._write(trial, "history", [shortened(record) for record in history])

    def trial_done(
        self, trial: Trial, outcome: Mapping[str, Any], history: Sequence[Record]
    ) -> None:
        self._tell(trial, outcome, history)
        self.folder.write_outcome(trial, outcome)

    @retry_until_deadline
    def _tell(self, trial: Trial, outcome: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Tells the database how a trial ended, and its point's score if that was the last one."""
        self._write(trial, "history", [shortened(record) for record in history])
        self._write(trial, "outcome", dict(outcome))
        rows = [row for row in self.rows() if row["point"] == trial.point]
        score = tpe.score_of_point(self._sweep, rows)
        identity = self._held.identity(trial.point)
        if score is not None and identity is not None:
            # Optuna keeps no infinity: what diverged is worse than any loss met in practice.
            value = score if abs(score) < float("inf") else 1e9
            # Another may have ended it, taking us for dead.
            with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
                self._storage.set_trial_state_values(identity, self._states.COMPLETE, [value])
            self._held.let_go([trial.point])

    @retry_until_deadline
    def rows(self) -> list[dict[str, Any]]:
        """Lists the trials that were begun; see `store.Store.rows`."""
        found: dict[int, dict[str, Any]] = {}
        for one in self._living():
            if one.state == self._states.WAITING or _VALUES not in one.user_attrs:
                continue
            point = one.user_attrs[_POINT]
            for number, values in self._sweep.values_of(point, one.user_attrs[_VALUES]).items():
                outcome = one.user_attrs.get(f"outcome {number}", {"state": RUNNING})
                history = one.user_attrs.get(f"history {number}", [])
                row = {"trial": number, "point": point, "values": values, **outcome}
                found.setdefault(number, {**row, "history": history})
        return [found[number] for number in sorted(found)]

    def _write(self, trial: Trial, what: str, content: Any) -> None:
        identity = self._held.identity(trial.point)
        if identity is not None:
            with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
                self._storage.set_trial_user_attr(identity, f"{what} {trial.number}", content)

    def _living(self) -> list[Any]:
        """The database's trials that have not failed."""
        trials = self._study.get_trials(deepcopy=False)
        return [one for one in trials if one.state != self._states.FAIL]

    def _identities_of(self, group: Group) -> dict[int, int]:
        """The database's trials of what is left of a group of this folder, by their points.

        {} where nothing is, or it may not go on: someone has taken its process for dead.
        """
        left = [one for one in group.points if self.folder.read_outcome(one["trial"]) is None]
        points = {one["point"] for one in left}
        if not points:
            return {}
        mine = {
            one.user_attrs[_POINT]: one._trial_id
            for one in self._living()
            # This process may have ended between telling the database and writing it here.
            if one.state in (self._states.RUNNING, self._states.COMPLETE)
            and one.user_attrs.get(_WORKER) == self._worker
        }
        if points <= mine.keys():
            return {point: mine[point] for point in points}
        self._held.let_go(points)  # what is left of them is for others, too
        return {}

    def _fail_the_silent(self) -> None:
        """Takes their points from processes that no longer say that they are alive."""
        self._optuna.storages.fail_stale_trials(self._study)
        # A process may have died before it wrote whose the trial is. Clocks of machines differ:
        # what counts is how long this one has seen it like that.
        now = time.monotonic()
        for one in self._living():
            if one.state != self._states.RUNNING or _WORKER in one.user_attrs:
                self._without_worker.pop(one.number, None)
            elif now - self._without_worker.setdefault(one.number, now) > 8 * self.beat_seconds:
                with contextlib.suppress(Exception):  # another was faster
                    self._study.tell(one.number, state=self._states.FAIL)

    def _enqueue(self) -> bool:
        """Enqueues a few points that no living process has, and that are not done, if there are."""
        present = {one.user_attrs[_POINT] for one in self._living() if _POINT in one.user_attrs}
        lost: dict[int, Point] = {}
        if not self._sweep.strategy.knows_points:
            for one in self._study.get_trials(deepcopy=False):
                known = one.user_attrs
                if one.state == self._states.FAIL and _VALUES in known and _SURPLUS not in known:
                    lost[known[_POINT]] = known[_VALUES]
            lost = {index: point for index, point in lost.items() if index not in present}
        else:
            free = (index for index in range(self._sweep.num_points) if index not in present)
            lost = {index: self._point(index) for index in free}
        shapes = {index: self._sweep.shape_of_point(point) for index, point in lost.items()}
        # Points of one shape come one after another, to be drawn together.
        order = {shape: place for place, shape in enumerate(dict.fromkeys(shapes.values()))}
        ordered = sorted(lost, key=lambda index: (order[shapes[index]], index))
        for index in ordered[:_AHEAD]:
            self._study.enqueue_trial(lost[index], user_attrs={_POINT: index, _VALUES: lost[index]})
        return bool(ordered)

    def _take_point(self) -> tuple[int, Point] | None:
        """A point that is now ours; None if there is none."""
        while True:
            living = self._living()
            if not any(one.state == self._states.WAITING for one in living):
                if self._enqueue():
                    continue
                if self._sweep.strategy.knows_points or len(living) >= self._sweep.num_points:
                    return None
            # Another may take a trial for one of a process that died as it drew: then the next one.
            with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
                if (found := self._ask()) is not None:
                    return found

    def _ask(self) -> tuple[int, Point] | None:
        """The point of the database's next trial, now ours; None if it is one too many."""
        trial = self._study.ask(self._kinds)
        self._storage.record_heartbeat(trial._trial_id)
        if _POINT not in trial.user_attrs:
            if self._sweep.strategy.knows_points or self._is_surplus(trial.number):
                self._give_up(trial)
                return None
            trial.set_user_attr(_POINT, trial.number)
            trial.set_user_attr(_VALUES, tpe.rounded(self._sweep, trial.params))
        index = trial.user_attrs[_POINT]
        same = [one.number for one in self._living() if one.user_attrs.get(_POINT) == index]
        if min(same, default=trial.number) < trial.number:
            self._give_up(trial)
            return None
        trial.set_user_attr(_WORKER, self._worker)
        self._held.hold({index: trial._trial_id})
        return index, trial.user_attrs[_VALUES]

    def _give_up(self, trial: Any) -> None:
        trial.set_user_attr(_SURPLUS, True)
        self._study.tell(trial, state=self._states.FAIL)

    def _is_surplus(self, number: int) -> bool:
        """Whether all the points that are wanted are older than a new trial."""
        older = [one for one in self._living() if one.number < number or _POINT in one.user_attrs]
        points = {one.user_attrs.get(_POINT, one.number) for one in older} - {number}
        return len(points) >= self._sweep.num_points
