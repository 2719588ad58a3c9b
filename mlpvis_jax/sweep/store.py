"""Hands out the trials of a sweep to the processes of one machine, by the files of its folder."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from mlpvis_jax.errors import InputError
from mlpvis_jax.running.choices import program_key
from mlpvis_jax.settings.declared import shown
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.definition import Sweep, Trial
from mlpvis_jax.sweep.folder import Group, SweepFolder
from mlpvis_jax.sweep.records import RUNNING
from mlpvis_jax.sweep.space import Point, plain

_TURNS = 4  # in which a strategy that learns chooses, if its points are enough for as many


class Store:
    """Who asks gets a group of trials for itself alone.

    Args:
      folder: of the sweep, written.
      sweep: what to do.
    """

    def __init__(self, folder: SweepFolder, sweep: Sweep) -> None:
        self._folder = folder
        self._sweep = sweep
        self._shape = functools.cache(lambda index: sweep.shape_of_point(sweep.point(index)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self) -> None:
        """Does nothing: the folder has been written."""

    def claim(self, max_trials: Callable[[Trial], int]) -> tuple[Group, list[Trial]] | None:
        """Claims a group for this process alone; None if all trials are ended or taken.

        A group whose process has died comes first.

        Args:
          max_trials: trials like this one that can train together.
        """
        with self._folder.locked():
            while True:
                for group in self._folder.read_groups(self._sweep):
                    if group.take_if(lambda: self._is_unfinished(group)):  # noqa: B023
                        return group, group.trials(self._sweep)
                trials = self._next(max_trials)
                if not trials:
                    return None
                form_groups(self._folder, self._sweep, trials, max_trials)

    def done(self, group: Group) -> None:
        """Gives back a group of which every trial has ended."""
        group.release()

    def epoch_done(self, trial: Trial, history: Sequence[Record]) -> None:
        """Takes note of an epoch; here the trial's own folder has it."""

    def trial_done(
        self, trial: Trial, outcome: Mapping[str, Any], history: Sequence[Record]
    ) -> None:
        """Takes note of a trial's end."""
        self._folder.write_outcome(trial, outcome)

    def rows(self) -> list[dict[str, Any]]:
        """Lists each trial that was begun: trial, point, values, state, history and its outcome."""
        found = []
        for group in self._folder.read_groups(self._sweep):
            for one in group.points:
                outcome = self._folder.read_outcome(one["trial"]) or {"state": RUNNING}
                history = self._folder.read_history(one["trial"])
                found.append({**one, **outcome, "history": history})
        return sorted(found, key=lambda row: row["trial"])

    def _is_unfinished(self, group: Group) -> bool:
        return any(self._folder.read_outcome(one["trial"]) is None for one in group.points)

    def _next(self, max_trials: Callable[[Trial], int]) -> list[Trial]:
        """The trials of points that no group has yet: as many as fit one program, or none."""
        groups = self._folder.read_groups(self._sweep)
        taken = {one["point"] for group in groups for one in group.points}
        free = [index for index in range(self._sweep.num_points) if index not in taken]
        if not free:
            return []
        chosen = (
            None if self._sweep.strategy.knows_points else next(iter(self._sweep.space.corners()))
        )
        first = self._sweep.trials(
            free[0], self._sweep.point(free[0]) if chosen is None else chosen
        )
        number = max(1, max_trials(first[0]) // len(first))
        if self._sweep.strategy.knows_points:
            shape = self._shape(free[0])
            alike = (index for index in free if self._shape(index) == shape)
            points = [
                (index, self._sweep.point(index)) for index in itertools.islice(alike, number)
            ]
        else:
            points = list(zip(free, self._suggest(min(number, len(free))), strict=False))
        return [trial for index, point in points for trial in self._sweep.trials(index, point)]

    def _suggest(self, number: int) -> list[Point]:
        """Asks the strategy for so many points; it may give fewer, but not none.

        Raises:
          InputError: it gives none, or one that is not of the sweep's dimensions.
        """
        place = f"sweep.strategy={self._sweep.settings.strategy}"
        suggested = self._sweep.strategy.suggest(self._sweep, number, self.rows())
        if not suggested:
            raise InputError(f"{place} was asked for {number} new points, and suggests none.")
        keys = self._sweep.space.dimensions.keys()
        for point in suggested:
            if not isinstance(point, Mapping) or point.keys() != keys:
                raise InputError(
                    f"{place} suggests {shown(point)}; a point must be a dict with a value of each "
                    f"dimension: {', '.join(keys)}."
                )
        return [plain(point) for point in suggested]


def points_of_turn(
    sweep: Sweep, first: int, rows: Callable[[], Sequence[Mapping[str, Any]]]
) -> int:
    """Counts the points that may be chosen at once, so that a strategy learns from those before.

    A turn is shared by all that work on the sweep.

    Args:
      sweep: whose strategy chooses.
      first: index of the turn's first point for this process.
      rows: lists all trials so far, see `store.Store.rows`.
    """
    if sweep.strategy.knows_points:
        return sweep.num_points
    before = [row for row in rows() if row["point"] < first]
    under_way = len({row["point"] for row in before if row["state"] == RUNNING})
    learned = len({row["point"] for row in before}) - under_way
    unlearned = getattr(sweep.strategy, "first_points", 1) - learned
    return max(max(sweep.num_points // _TURNS, unlearned) - under_way, 1)


def form_groups(
    folder: SweepFolder, sweep: Sweep, trials: Sequence[Trial], max_trials: Callable[[Trial], int]
) -> list[Group]:
    """Writes groups of trials of one shape, each as large as a program of them can be."""
    groups = []
    shapes = [program_key(trial.config) for trial in trials]
    for shape in dict.fromkeys(shapes):
        alike = [trial for trial, its in zip(trials, shapes, strict=True) if its == shape]
        number, seeds = max_trials(alike[0]), len(sweep.space.seeds)
        if number > seeds:
            number -= number % seeds  # the seeds of a point stay together
        for start in range(0, len(alike), number):
            groups.append(Group.create(folder, alike[start : start + number]))
    return groups
