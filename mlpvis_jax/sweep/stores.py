"""Who hands out the trials of a sweep to the processes that work on it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.choice import find
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.database import DatabaseStore
from mlpvis_jax.sweep.definition import Sweep, Trial
from mlpvis_jax.sweep.folder import Group, SweepFolder
from mlpvis_jax.sweep.storage import OwnStorage, Storage
from mlpvis_jax.sweep.store import Store
from mlpvis_jax.sweep.strategies import make

_NEEDED = ("__enter__", "begin", "claim", "done", "epoch_done", "trial_done", "rows")


class TrialStore(Protocol):
    """Hands out trials, and takes note of what becomes of them; a context manager.

    `store.Store` does so for the processes of one machine, `database.DatabaseStore` for several.
    """

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def begin(self) -> None:
        """Writes the sweep down, once all is known to be good."""

    def claim(self, max_trials: Callable[[Trial], int]) -> tuple[Group, list[Trial]] | None:
        """Gives a group to this process alone; None if all trials are ended or taken."""

    def done(self, group: Group) -> None:
        """Takes back a group of which every trial has ended."""

    def epoch_done(self, trial: Trial, history: Sequence[Record]) -> None:
        """Takes note of an epoch of a trial."""

    def trial_done(
        self, trial: Trial, outcome: Mapping[str, Any], history: Sequence[Record]
    ) -> None:
        """Takes note of a trial's end."""

    def rows(self) -> list[dict[str, Any]]:
        """Lists each trial that was begun: its values, its history and how it ended."""


def open_store(folder: SweepFolder, sweep: Sweep, storage: Storage | None) -> TrialStore:
    """Opens the store of a sweep.

    Raises:
      InputError: a database that cannot be reached, a strategy that it does not know, or a store of
        the user's own that is none.
    """
    if storage is None:
        return Store(folder, sweep)
    if isinstance(storage, OwnStorage):
        found = find({}, storage.shown, "--storage")
        return make(found, f"--storage={storage.shown}", _NEEDED, folder, sweep)
    if not sweep.strategy.knows_points and sweep.settings.strategy != "tpe":
        raise InputError(
            f"--sweep.strategy={sweep.settings.strategy} chooses points from results, which "
            "through a database only tpe does; give no --storage, or another strategy."
        )
    return DatabaseStore(folder, sweep, storage)
