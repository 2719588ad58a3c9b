"""A sweep is a folder: its definition, its trials as run folders, and who is working on which.

Every file is written once and as a whole. A group of trials belongs to the process that holds the
lock of the group's folder, which the system gives back however the process ends.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.lock import lock
from mlpvis_jax.files.place import check_kinds
from mlpvis_jax.files.run_folder import RunFolder, is_blank, read_json, write_json
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep import records
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.definition import Sweep, Trial, config_of
from mlpvis_jax.sweep.space import SEED
from mlpvis_jax.sweep.storage import Storage, read_storage

if TYPE_CHECKING:
    from mlpvis_jax.files.checkpoint import Checkpoints

# Of a run, and what a sweep would write over or remove; without a sweep.json they are somebody's.
_OTHERS = (
    *("config.json", "metrics.jsonl", "trials", "groups", "tensorboard", "tensorboard.partial"),
    *("best.json", "sweep.csv", "dimensions.png", "parallel_coordinates.png", "heat_map.png"),
    *("importance.png", "learning_curves.png"),
)


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
        # Trials that have ended and groups do not change, and a long sweep has thousands of them.
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._histories: dict[int, list[Record]] = {}
        self._groups: dict[Path, Group] = {}

    def check(self, sweep: Sweep, database: Storage | None = None) -> None:
        """Refuses a folder that holds something else, or that cannot be written.

        Args:
          sweep: to begin here, or to go on with.
          database: through which it is shared.

        Raises:
          InputError: naming the folder and what stands in the way.
        """
        RunFolder(self.path).check_place()
        files = (self.definition, self.best_config, self.table, self.path / "lock")
        check_kinds(files, folders=(self.trials, self.groups, self.events))
        if self.definition.exists():
            sweep.refuse_other(self.read(), f"--workdir={self.path}")
            self._check_storage(read_json(self.definition).get("storage"), database)
            return
        for name in _OTHERS:
            if (self.path / name).exists():
                self._refuse(name)
        if not is_blank(self.path / "lock"):  # a sweep writes nothing into its own
            self._refuse("lock")

    def _refuse(self, name: str) -> NoReturn:
        raise InputError(
            f"--workdir={self.path} holds something else than a sweep ({name}); "
            "choose another folder."
        )

    def _check_storage(self, storage: Any, database: Storage | None) -> None:
        """Raises InputError unless the sweep was begun through this database, or through none."""
        place = f"--workdir={self.path} holds a sweep"
        if storage is None:
            if database is not None:
                raise InputError(
                    f"{place} of this machine alone; go on without --storage, or begin one in "
                    "another folder."
                )
            return
        try:
            before = read_storage(str(storage))
        except InputError:
            raise InputError(
                f'{self.definition}: "storage" is no URL of a database; write there the one that '
                "the sweep is shared through, without its password."
            ) from None
        if database is None:
            raise InputError(
                f"{place} that is shared through a database; give --storage={before.shown} as "
                "before, with its password."
            )
        if before.place != database.place:
            raise InputError(
                f"{place} that is shared through {before.shown}, and --storage={database.shown} is "
                f'another database. If it has moved there, change "storage" in {self.definition}.'
            )

    def read_base(self) -> dict[str, Any]:
        """Reads the config's settings in sweep.json; a model of one's own need not be defined yet.

        Raises:
          InputError: there are none.
        """
        with self._explained():
            return RunConfig.from_mapping(read_json(self.definition).get("config", {})).to_dict()

    def read(self) -> Sweep:
        """Reads the sweep in sweep.json.

        Raises:
          InputError: there is none, or it does not hold a sweep.
        """
        with self._explained():
            content = read_json(self.definition)
            return Sweep.read(content.get("config", {}), content.get("sweep", {}))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(
                f"{self.definition} holds no sweep ({error}). Put back a copy of it, or choose "
                "another folder; the runs in trials/ are whole without it."
            ) from None

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
            lock(file, self.path, waits=True)
            yield

    def read_outcome(self, number: int) -> dict[str, Any] | None:
        """Reads how a trial ended, or None; raises InputError where its file is damaged."""
        if number not in self._outcomes:
            path = self.run_folder(number).path / "trial.json"
            if not path.exists():
                return None
            self._outcomes[number] = records.read_outcome(path)
        return self._outcomes[number]

    def write_outcome(self, trial: Trial, outcome: Mapping[str, Any]) -> None:
        content = {"trial": trial.number, "point": trial.point, "values": trial.values, **outcome}
        write_json(self.run_folder(trial.number).path / "trial.json", content)

    def read_history(self, number: int) -> list[Record]:
        """Reads the epochs of a trial that have been written down so far.

        Raises:
          InputError: the trial has ended, and its file does not have them all.
        """
        if number not in self._histories:
            outcome, path = self.read_outcome(number), self.run_folder(number).metrics
            if outcome is None:
                return records.read_history(path, None)
            self._histories[number] = records.read_history(path, outcome["epochs"])
        return self._histories[number]

    def read_groups(self, sweep: Sweep) -> list["Group"]:
        """Reads all groups that were ever formed, in their order."""
        keys = {*sweep.space.dimensions, SEED}
        found = []
        for path in _numbered(self.groups):
            if path not in self._groups and (path / "group.json").exists():
                members = records.read_members(path / "group.json", keys)
                self._groups[path] = Group(path, members)
            if path in self._groups:
                found.append(self._groups[path])
        return found


def _numbered(folder: Path) -> list[Path]:
    """The folders in it whose names are numbers, by number."""
    found = folder.iterdir() if folder.exists() else ()
    return sorted(
        (path for path in found if path.name.isdecimal()), key=lambda path: int(path.name)
    )


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
    def create(cls, folder: SweepFolder, trials: Sequence[Trial]) -> "Group":
        """Writes a new group; by whoever holds the sweep's lock."""
        number = max((int(path.name) + 1 for path in _numbered(folder.groups)), default=0)
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

    @property
    def has_checkpoint(self) -> bool:
        """Tells whether the group's trials go on from a checkpoint, whole or not."""
        return bool(_numbered(self.checkpoints))

    def open_checkpoints(self, config: RunConfig) -> "Checkpoints":
        """Opens the group's checkpoints; `config` says when the next one is due."""
        from mlpvis_jax.files.checkpoint import Checkpoints  # loads JAX

        advice = "Remove that folder: the trials of its group begin anew."
        return Checkpoints(self.checkpoints, **dataclasses.asdict(config.checkpoint), advice=advice)

    def trials(self, sweep: Sweep) -> list[Trial]:
        with records.explained(self.path / "group.json"):
            return [
                Trial(
                    one["trial"], one["point"], one["values"], config_of(sweep.base, one["values"])
                )
                for one in self.points
            ]

    def take(self) -> bool:
        """Tries to make the group this process's; it is until `release` or the process's end."""
        file = (self.path / "lock").open("a")
        if not lock(file, self.path):
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
        is_kept = False
        try:
            is_kept = is_wanted()
        finally:
            if not is_kept:
                self.release()
        return is_kept

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
