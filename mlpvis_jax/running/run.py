"""A run in training, and the observer of a group of runs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlpvis_jax.files.checkpoint import Snapshot
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.outcome import Outcome
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.writers import RunDescription, Writer, chosen
from mlpvis_jax.weights.initial import InitialWeights


@dataclasses.dataclass
class Run:
    """A run in training.

    Attributes:
      number: of the run in its sweep; 0 of a run of its own.
      config: its settings.
      folder: where its files go.
      writers: make what writes its epochs down, from the first epoch that is to come.
      initial: weights that it starts from, if it is not at random.
      length: how long it is.
      progress: where it stands.
      divergence: what is no longer finite, in words, or None.
    """

    number: int
    config: RunConfig
    folder: RunFolder
    writers: Callable[["Run"], Sequence[Writer]]
    initial: InitialWeights | None = None
    length: Length = dataclasses.field(init=False)
    progress: RunProgress = dataclasses.field(init=False)
    divergence: str | None = None

    @property
    def is_over(self) -> bool:
        """Tells whether nothing is left to train, or nothing can be."""
        return self.progress.is_over(self.length.num_epochs) or self.divergence is not None

    @property
    def end_of_epoch(self) -> int:
        """Gives the step after which the epoch under way ends."""
        return self.length.end_of(self.progress.epoch)


def make_writers(run: Run, names: str, source: str, is_trial: bool = False) -> list[Writer]:
    """Makes the writers of a run, for the epochs and steps that are to come.

    Args:
      run: as it begins or goes on.
      names: of the writers, as a config has them.
      source: the name of the run's data, for titles.
      is_trial: the run is one of a sweep.

    Raises:
      InputError: no such writer, or a package that it needs is not installed.
    """
    description = RunDescription(
        run.folder.path,
        f"{run.config.model.name} on {source}",
        run.config.flat(),
        run.progress.epoch,
        run.progress.step + 1,
        is_trial,
    )
    return [make(description) for make in chosen(names)]


def snapshot(
    numbers: Sequence[int],
    runs: Sequence[Run],
    states: Sequence[TrainState],
    identity: Mapping[str, Any],
) -> Snapshot:
    """Makes the checkpoint of a group of runs, in which each array has a leading axis of the runs.

    Args:
      numbers: by which the runs are found again.
      runs: those of the group; a run of its own is a group of one.
      states: of the runs, on the host.
      identity: of the data that the runs train on.
    """
    pairs = zip(runs, states, strict=True)
    arrays = [run.progress.arrays(state) for run, state in pairs]
    values = {
        "runs": list(numbers),
        "configs": [run.config.to_dict() for run in runs],
        "progress": [run.progress.values() for run in runs],
        "divergences": [run.divergence for run in runs],
        "data": dict(identity),
    }
    return Snapshot(jax.tree.map(lambda *leaves: np.stack(leaves), *arrays), values)


class Observer:
    """Who is told how a group gets on, and decides what differs from group to group."""

    def begins(self, run: Run, before: RunConfig | None) -> None:
        """Hears that a run begins, or goes on with the settings that it had; may refuse them."""

    def compiling(self) -> None:
        """Hears that the programs of the group are about to be compiled."""

    def compiled(self) -> None:
        """Hears that they are."""

    def advance(self, images: int, totals: Sequence[EpochTotals]) -> None:
        """Hears that this many more images have been trained on, over all runs.

        The totals are those of each run in the epoch under way.
        """

    def epoch_done(self, run: Run) -> None:
        """Hears that a run has ended an epoch; the last record of its history is new."""

    def diverged(self, run: Run) -> None:
        """Hears that a run's loss is no longer finite; it ends unless this raises."""

    def cull(self, epoch: int, runs: Sequence[Run]) -> set[int]:
        """Chooses the numbers of the runs that end after an epoch, though they could go on."""
        return set()

    def run_done(self, run: Run, outcome: Outcome) -> None:
        """Hears that a run has ended, and that all its files are written."""

    def group_epoch_done(self, epoch: int) -> None:
        """Hears that all runs of the group have ended an epoch."""

    def interrupted(self, signal_number: int, step: int) -> None:
        """Raises InterruptedRunError; the group is saved."""
