"""Who writes a run's epochs down besides metrics.jsonl: event files, curves, Weights & Biases.

A row of WRITERS makes a writer of a run that has begun; a run's config lists those it wants, and
may name one of the user's own as MODULE:NAME.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.choice import find
from mlpvis_jax.show.curves import plot_curves

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """What a writer knows of a run.

    Attributes:
      folder: of the run.
      title: such as "mixer_keras on cifar100".
      settings: every setting by its key.
      first_epoch: the first epoch that is to be written.
    """

    folder: Path
    title: str
    settings: Mapping[str, Any]
    first_epoch: int


class Writer(Protocol):
    """Writes a run's epochs down."""

    def write(self, record: Record) -> None:
        """Takes the record of an epoch."""

    def finish(self, history: Sequence[Record], results: Record) -> None:
        """Takes all records and what results.json holds, at the end of a run that was tested."""

    def close(self) -> None:
        """Is called when the run stops, finished or not."""


class EventFiles:
    """TensorBoard event files in the run's folder `tensorboard`; see `Writer`.

    Points that an earlier process wrote for `first_epoch` and later are struck out.
    """

    def __init__(self, run: RunDescription) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder = run.folder / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        # Not SummaryWriter, whose thread and exit handler print tracebacks where a disk is full.
        self._events = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(
            Event(step=run.first_epoch, wall_time=time.time(), session_log=start)
        )

    def write(self, record: Record) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in numbers_of(record).items():
            self._events.write_event(
                Event(step=record["epoch"], wall_time=time.time(), summary=scalar(name, value))
            )
        self._events.flush()

    def finish(self, history: Sequence[Record], results: Record) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):  # each epoch is on disk, or its error is known
            self._events.close()


class Curves:
    """The picture `curves.png`, drawn when the run ends; see `Writer`."""

    def __init__(self, run: RunDescription) -> None:
        self._run = run

    def write(self, record: Record) -> None:
        pass

    def finish(self, history: Sequence[Record], results: Record) -> None:
        plot_curves(history, self._run.folder / "curves.png", self._run.title)

    def close(self) -> None:
        pass


class WeightsAndBiases:
    """A run of Weights & Biases, taken up again under the same id; see `Writer`.

    What their environment variables say holds: WANDB_PROJECT, WANDB_MODE=offline, and so on.
    """

    @staticmethod
    def check() -> None:
        """Raises InputError where the package is not installed."""
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise InputError(
                "config.writers names wandb, which is not installed: pip install "
                "'mlpvis_jax[wandb]'."
            ) from error

    def __init__(self, run: RunDescription) -> None:
        import wandb

        name = run.folder.absolute().name
        self._run = wandb.init(
            dir=str(run.folder), id=name, name=name, resume="allow", config=dict(run.settings)
        )

    def write(self, record: Record) -> None:
        self._run.log(numbers_of(record), step=record["epoch"])

    def finish(self, history: Sequence[Record], results: Record) -> None:
        self._run.summary.update(numbers_of(results))

    def close(self) -> None:
        self._run.finish()


WRITERS: Mapping[str, Callable[[RunDescription], Writer]] = {
    "tensorboard": EventFiles,
    "curves": Curves,
    "wandb": WeightsAndBiases,
}


def chosen(names: str) -> list[Callable[[RunDescription], Writer]]:
    """Finds the writers of a config, such as "tensorboard curves"; "" for none.

    Raises:
      InputError: no such writer, or a package that it needs is not installed.
    """
    words = names.replace(",", " ").split()
    found = [find(WRITERS, name, "config.writers") for name in words]
    for writer in found:
        getattr(writer, "check", lambda: None)()  # of those that need another package
    return found


def numbers_of(record: Record) -> dict[str, float]:
    """Picks the single numbers of a record; "train_loss" becomes "train/loss"."""
    named = {}
    for name, value in record.items():
        if isinstance(value, int | float) and name not in ("epoch", "step"):
            group, _, rest = name.partition("_")
            is_grouped = group in ("train", "validation", "averaged", "test")
            named[f"{group}/{rest}" if is_grouped else name] = value
    return named
