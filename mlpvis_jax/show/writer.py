"""What a writer of a run is told, and what it may be asked to write down.

A writer is a class of one's own with the three methods of `Writer`, and those of `WritesMore` that
it wants.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """What a writer knows of a run.

    Attributes:
      folder: of the run.
      title: such as "mixer_keras on cifar100".
      settings: every setting by its key.
      first_epoch: the first epoch that is to be written.
      first_step: the first step that is to be taken, from 1.
      is_trial: the run is one of a sweep, which lists the settings of its trials itself.
    """

    folder: Path
    title: str
    settings: Mapping[str, Any]
    first_epoch: int
    first_step: int = 1
    is_trial: bool = False


class Writer(Protocol):
    """Writes a run's epochs down."""

    def write(self, record: Record) -> None:
        """Takes the record of an epoch."""

    def finish(self, history: Sequence[Record], results: Record) -> None:
        """Takes all records and what results.json holds, at the end of a run that was tested."""

    def close(self) -> None:
        """Closes what the writer has open, when the run stops, finished or not."""


class WritesMore(Writer, Protocol):
    """What a writer may also take; it is not called where it is missing."""

    def write_steps(self, record: Record) -> None:
        """Takes what some steps within an epoch came to.

        The record has the last of the steps (from 1), the metrics of the training examples by
        "train_loss" and so on, and the learning_rate. See `config.writers_every_steps`.
        """

    def write_weights(self, epoch: int, params: Any) -> None:
        """Takes the parameters after an epoch, NumPy arrays by their names in nested dicts.

        See `config.writers_histograms`.
        """


def tell(writers: Iterable[Writer], method: str, *arguments: Any) -> None:
    """Calls a method of `WritesMore` of those writers that have it."""
    for writer in writers:
        getattr(writer, method, lambda *_: None)(*arguments)


def numbers_of(record: Record) -> dict[str, float]:
    """Picks the single numbers of a record; "train_loss" becomes "train/loss"."""
    named = {}
    for name, value in record.items():
        if isinstance(value, int | float) and name not in ("epoch", "step"):
            group, _, rest = name.partition("_")
            is_grouped = group in ("train", "validation", "averaged", "test")
            named[f"{group}/{rest}" if is_grouped else name] = value
    return named


def best_of(history: Sequence[Record], results: Record) -> dict[str, float]:
    """Picks what a run is judged by: its best epoch's validation, and the test, by name."""
    best = history[results["best_epoch"] - 1] if history and results.get("best_epoch") else {}
    found = {f"best/{name}": best.get(name) for name in ("validation_loss", "validation_accuracy")}
    found |= {f"best/{name}": results.get(name) for name in ("test_loss", "test_accuracy")}
    return {name: float(value) for name, value in found.items() if value is not None}


def arrays_of(params: Any, prefix: str = "") -> dict[str, Any]:
    """Lists the arrays of nested dicts by their path, such as "stem/kernel"."""
    if not isinstance(params, Mapping):
        return {prefix: params}
    found: dict[str, Any] = {}
    for name, value in params.items():
        found |= arrays_of(value, f"{prefix}/{name}" if prefix else name)
    return found
