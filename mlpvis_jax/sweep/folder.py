"""A sweep is a folder: its definition, its trials as run folders, and who is working on which.

Every file is written once and as a whole. A group of trials belongs to the process that holds the
lock of the group's folder, which the system gives back however the process ends.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.place import check_kinds
from mlpvis_jax.files.run_folder import RunFolder, read_json, write_json
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.definition import Sweep, Trial, config_of, shape_of

FINISHED, STOPPED, CULLED, DIVERGED = "finished", "stopped early", "culled", "diverged"
WAITING, RUNNING = "waiting", "running"


class SweepFolder:
    """The files of a sweep, under `path`.

    sweep.json                the settings of all trials, the space, the strategy
    trials/NNNN/              the run folder of a trial, as `launch.py` makes it
    trials/NNNN/trial.json    its values, and how it ended; it is there once the trial has ended
    groups/NNNN/group.json    trials that train together
    groups/NNNN/checkpoints/  what they need to go on
    lock                      held while a process chooses what it works on
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.definition = self.path / "sweep.json"
        self.trials = self.path / "trials"
        self.groups = self.path / "groups"
        self.best_config = self.path / "best.json"
        self.table = self.path / "sweep.csv"
        self.events = self.path / "tensorboard"

    def check(self, sweep: Sweep, is_shared: bool = False) -> None:
        """Refuses a folder that holds something else, or that cannot be written.

        Args:
          sweep: to begin here, or to go on with.
          is_shared: through a database.

        Raises:
          InputError: naming the folder and what stands in the way.
        """
        RunFolder(self.path).check_place()
        files = (self.definition, self.best_config, self.table, self.path / "lock")
        check_kinds(files, folders=(self.trials, self.groups, self.events))
        if self.definition.exists():
            sweep.refuse_other(self.read(), f"--workdir={self.path}")
            storage = read_json(self.definition).get("storage")
            if storage is not None and not is_shared:
                raise InputError(
                    f"--workdir={self.path} holds a sweep that is shared through a database; give "
                    f"--storage={storage} as before."
                )
            if storage is None and is_shared:
                raise InputError(
                    f"--workdir={self.path} holds a sweep of this machine alone; go on without "
                    "--storage, or begin one in another folder."
                )
            return
        for taken in (
            *(self.path / name for name in ("config.json", "metrics.jsonl")),
            self.trials,
        ):
            if taken.exists():
                raise InputError(
                    f"--workdir={self.path} holds something else than a sweep ({taken.name}); "
                    "choose another folder."
                )

    def read(self) -> Sweep:
        """The sweep in sweep.json.

        Raises:
          InputError: there is none, or it does not hold a sweep.
        """
        content = read_json(self.definition)
        try:
            return Sweep.read(content["config"], content["sweep"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.definition} holds no sweep ({error!r}).") from None
        except InputError as error:
            raise InputError(f"{self.definition} holds no sweep: {error}") from None

    def write(self, sweep: Sweep, storage: str | None = None) -> None:
        """Writes the definition, and the URL of the database through which it is shared."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.definition, {**sweep.to_json(), "storage": storage})

    def run_folder(self, number: int) -> RunFolder:
        return RunFolder(self.trials / f"{number:04}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other process chooses."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read_outcome(self, number: int) -> dict[str, Any] | None:
        """How a trial ended, or None."""
        path = self.run_folder(number).path / "trial.json"
        return read_json(path) if path.exists() else None

    def write_outcome(self, trial: Trial, outcome: Mapping[str, Any]) -> None:
        content = {"trial": trial.number, "point": trial.point, "values": trial.values, **outcome}
        write_json(self.run_folder(trial.number).path / "trial.json", content)

    def read_history(self, number: int) -> list[Record]:
        """The epochs of a trial that have been written down so far."""
        path = self.run_folder(number).metrics
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def read_groups(self) -> list["Group"]:
        """All groups that were ever formed, in their order."""
        folders = sorted(self.groups.glob("*")) if self.groups.exists() else []
        return [Group.read(folder) for folder in folders if (folder / "group.json").exists()]


@dataclasses.dataclass
class Group:
    """Trials that train together.

    Attributes:
      path: its folder.
      points: of every trial, its number, the index of its point, and its values.
    """

    path: Path
    points: list[dict[str, Any]]
    _lock: TextIO | None = None

    @classmethod
    def read(cls, path: Path) -> "Group":
        return cls(path, read_json(path / "group.json")["trials"])

    @classmethod
    def create(cls, folder: SweepFolder, trials: Sequence[Trial]) -> "Group":
        """Writes a new group; by whoever holds the sweep's lock."""
        number = len(list(folder.groups.glob("*"))) if folder.groups.exists() else 0
        path = folder.groups / f"{number:04}"
        path.mkdir(parents=True)
        points = [
            {"trial": trial.number, "point": trial.point, "values": dict(trial.values)}
            for trial in trials
        ]
        write_json(path / "group.json", {"trials": points})
        return cls(path, points)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def trials(self, sweep: Sweep) -> list[Trial]:
        return [
            Trial(one["trial"], one["point"], one["values"], config_of(sweep.base, one["values"]))
            for one in self.points
        ]

    def take(self) -> bool:
        """Tries to make the group this process's; it is until `release` or the process's end."""
        file = (self.path / "lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._lock = file
        return True

    def take_if(self, is_wanted: Callable[[], bool]) -> bool:
        """Takes the group if it is to be had and is wanted, which is asked again once it is taken.

        Its process may have ended the last trial, and let go of it, since it was asked first.
        """
        if not is_wanted() or not self.take():
            return False
        if not is_wanted():
            self.release()
            return False
        return True

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class Store:
    """Hands out the trials of a sweep to the processes of one machine.

    Args:
      folder: of the sweep, written.
      sweep: what to do.
      suggest: with the outcomes so far, chooses the points that come next, as TPE does; None where
        the sweep itself knows them all.
    """

    def __init__(
        self,
        folder: SweepFolder,
        sweep: Sweep,
        suggest: Callable[[int, list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    ) -> None:
        self._folder = folder
        self._sweep = sweep
        self._suggest = suggest

    def claim(self, most: Callable[[Trial], int]) -> tuple[Group, list[Trial]] | None:
        """A group for this process alone; None if all trials are ended or taken.

        A group whose process has died comes first.

        Args:
          most: trials like this one that can train together.
        """
        with self._folder.locked():
            for group in self._folder.read_groups():
                if group.take_if(lambda: self._is_unfinished(group)):  # noqa: B023
                    return group, group.trials(self._sweep)
            trials = self._next(most)
            if not trials:
                return None
            groups = self._form_groups(trials, most)
            assert groups[0].take()
            return groups[0], groups[0].trials(self._sweep)

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
        """Of each trial that was begun: trial, point, values, state, history and its outcome."""
        found = []
        for group in self._folder.read_groups():
            for one in group.points:
                outcome = self._folder.read_outcome(one["trial"]) or {"state": RUNNING}
                history = self._folder.read_history(one["trial"])
                found.append({**one, **outcome, "history": history})
        return sorted(found, key=lambda row: row["trial"])

    def _is_unfinished(self, group: Group) -> bool:
        return any(self._folder.read_outcome(one["trial"]) is None for one in group.points)

    def _next(self, most: Callable[[Trial], int]) -> list[Trial]:
        """Trials that no group has yet: all that are known, or as many as fit one program."""
        groups = self._folder.read_groups()
        taken = {one["point"] for group in groups for one in group.points}
        free = [index for index in range(self._sweep.num_points) if index not in taken]
        if not free:
            return []
        if self._suggest is None:
            points = {index: self._sweep.point(index) for index in free}
        else:
            first = self._sweep.trials(free[0], next(iter(self._sweep.space.corners())))
            number = max(1, most(first[0]) // len(first))
            points = dict(
                zip(free, self._suggest(min(number, len(free)), self.rows()), strict=False)
            )
        return [trial for index in points for trial in self._sweep.trials(index, points[index])]

    def _form_groups(self, trials: Sequence[Trial], most: Callable[[Trial], int]) -> list[Group]:
        """One group of the first trial's shape; all of them where they were chosen just now."""
        groups = []
        shapes = list(dict.fromkeys(shape_of(trial.config) for trial in trials))
        for shape in shapes if self._suggest else shapes[:1]:
            alike = [trial for trial in trials if shape_of(trial.config) == shape]
            number, seeds = most(alike[0]), len(self._sweep.space.seeds)
            if number > seeds:
                number -= number % seeds  # the seeds of a point stay together
            groups.append(Group.create(self._folder, alike[:number]))
            if self._suggest:
                for start in range(number, len(alike), number):
                    groups.append(Group.create(self._folder, alike[start : start + number]))
        return groups
