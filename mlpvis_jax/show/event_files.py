"""TensorBoard event files: epochs, points within them, settings, weights."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.show.drawing import in_utf8
from mlpvis_jax.show.writer import Record, RunDescription, arrays_of, best_of, numbers_of

_BEST = ("best/validation_loss", "best/validation_accuracy", "best/test_accuracy")


class EventFiles:
    """TensorBoard event files in the run's folder `tensorboard`; see `WritesMore`.

    An epoch's points have the epoch for their step. Points within epochs, which have the training
    step, are a run of their own in TensorBoard: the folder `tensorboard/steps`. Points that an
    earlier process wrote for `first_epoch`, or `first_step`, and later are struck out.
    """

    def __init__(self, run: RunDescription) -> None:
        self._run = run
        folder = run.folder / "tensorboard"
        self._events = _File(folder, run.first_epoch)
        self._steps: _File | None = None
        self._events.add_text("settings", _as_table(run.settings))
        if not run.is_trial:
            values = {key: plain(value) for key, value in run.settings.items()}
            self._events.begin_session(values, _BEST)

    def write(self, record: Record) -> None:
        self._events.add_scalars(numbers_of(record), record["epoch"])

    def write_steps(self, record: Record) -> None:
        if self._steps is None:
            self._steps = _File(self._run.folder / "tensorboard" / "steps", self._run.first_step)
        self._steps.add_scalars(numbers_of(record), record["step"])

    def write_weights(self, epoch: int, params: Any) -> None:
        for name, array in arrays_of(params).items():
            self._events.add_histogram(f"weights/{name}", array, epoch)

    def finish(self, history: Sequence[Record], results: Record) -> None:
        best = best_of(history, results)
        if not self._run.is_trial:
            self._events.add_scalars(best, results.get("epochs", len(history)))
            self._events.end_session()

    def close(self) -> None:
        for file in filter(None, (self._events, self._steps)):
            file.close()


def write_hparams(
    folder: Path, values: Mapping[str, Any], measured: Mapping[str, float], epochs: int
) -> None:
    """Writes a run that has ended into an event file, for TensorBoard's HPARAMS tab.

    Args:
      folder: of the event file, which is made.
      values: settings by key.
      measured: what the run came to, by tag.
      epochs: of the run.
    """
    file = _File(folder, None)
    file.begin_session({key: plain(value) for key, value in values.items()}, list(measured))
    file.add_scalars(measured, epochs)
    file.end_session()
    file.close()


def plain(value: Any) -> Any:
    """Makes a word of what is no number, as TensorBoard leaves out a None."""
    return value if isinstance(value, bool | int | float) else in_utf8(str(value))


def _as_table(settings: Mapping[str, Any]) -> str:
    rows = [f"| {key} | `{in_utf8(str(value))}` |" for key, value in settings.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


class _File:
    """An event file; what an earlier one of the folder holds from a step on is struck out."""

    def __init__(self, folder: Path, first: int | None) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        # Not SummaryWriter, whose thread and exit handler print tracebacks where a disk is full.
        self._events = EventsWriter(str(folder / "events"))
        if first is not None:
            start = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(step=first, wall_time=time.time(), session_log=start))

    def add_scalars(self, numbers: Mapping[str, float], step: int) -> None:
        from tensorboardX.summary import scalar

        for name, value in numbers.items():
            self._add(scalar(name, value), step)
        self._events.flush()

    def add_text(self, tag: str, text: str) -> None:
        from tensorboardX.summary import text as summary

        self._add(summary(tag, text), 0)

    def add_histogram(self, tag: str, array: Any, step: int) -> None:
        from tensorboardX.summary import histogram

        values = np.asarray(array, np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            self._add(histogram(tag, values, bins=64), step)

    def begin_session(self, values: Mapping[str, Any], tags: Sequence[str]) -> None:
        """Says what settings a run has, and what it is judged by."""
        from tensorboardX.summary import hparams

        experiment, start, self._end = hparams(dict(values), dict.fromkeys(tags, 0.0))
        self._add(experiment, 0)
        self._add(start, 0)
        self._events.flush()

    def end_session(self) -> None:
        self._add(self._end, 0)
        self._events.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # each epoch is on disk, or its error is known
            self._events.close()

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._events.write_event(Event(step=step, wall_time=time.time(), summary=summary))
