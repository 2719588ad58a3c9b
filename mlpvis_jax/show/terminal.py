"""What a person looks at while a run trains: a line an epoch, and a bar.

An epoch's record is a mapping with epoch (from 1), step, train_loss, train_accuracy,
validation_loss, validation_accuracy, validation_top5_accuracy (losses in nats, accuracies as
fractions), learning_rate, seconds and images_per_second.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TextIO

import rich.console
import rich.progress

Record = Mapping[str, Any]


class Metric(Protocol):
    """How a metric is printed; a row of `learning.metrics.METRICS`."""

    @property
    def label(self) -> str: ...
    @property
    def text(self) -> Callable[[Any], str]: ...


def print_header(rows: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Prints what a run is about to do, a name and a value a line."""
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}", file=stream or sys.stdout, flush=True)


class Progress:
    """One line an epoch; on a terminal also a bar for the epoch that is under way.

    Use it as a context manager.

    Args:
      metrics: how the metrics are printed, in their order, by name.
      num_epochs: at most this many.
      images_per_epoch: training images.
      epochs_done, images_done: where the run stands as this process takes it up.
      stream: standard output by default; a pipe gets the lines alone, without control codes.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        num_epochs: int,
        images_per_epoch: int,
        epochs_done: int = 0,
        images_done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._num_epochs = num_epochs
        self._images_per_epoch = images_per_epoch
        self._clock = clock
        self._console = rich.console.Console(file=stream or sys.stdout, highlight=False)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[status]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._epoch = epochs_done
        self._images = images_done  # of the epoch under way
        self._watched = 0  # images done while the clock ran
        self._start = clock()
        self._task = self._bar.add_task(
            self._title(), total=images_per_epoch, completed=images_done, status=""
        )

    def __enter__(self) -> Self:
        self._start = self._clock()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, images: int) -> None:
        """Takes the number of images of the epoch that are done."""
        new = images - self._images
        self._images = images
        self._watched += new
        seconds = max(self._clock() - self._start, 1e-9)
        status = f"{self._watched / seconds:,.0f} images/s, {format_duration(self._left())} left"
        self._bar.update(self._task, completed=images, status=status)

    def epoch_done(self, record: Record) -> None:
        """Prints the epoch's line."""
        self.advance(self._images_per_epoch)
        self._epoch, self._images = record["epoch"], 0
        averaged = self._measured(record, "averaged")
        averaged = averaged and f"averaged weights: {averaged} | "
        line = (
            f"{self._title(self._epoch)}: "
            f"{self._measured(record, 'train')} | "
            f"validation: {self._measured(record, 'validation')} | "
            f"{averaged}rate {record['learning_rate']:.2g} | "
            f"{record['seconds']:.3g} s, {record['images_per_second']:,.0f} images/s | "
            f"{format_duration(self._left())} left"
        )
        self._console.print(line, soft_wrap=True, markup=False)
        self._console.file.flush()
        if self._epoch < self._num_epochs:
            self._bar.reset(self._task, description=self._title(), status="")

    def _measured(self, record: Record, part: str) -> str:
        """Such as "loss 0.298, 91.7%, top-5 100.0%": the metrics that the record has of a part."""
        values = {name: record.get(f"{part}_{name}") for name in self._metrics}
        return ", ".join(
            f"{self._metrics[name].label} {self._metrics[name].text(value)}".strip()
            for name, value in values.items()
            if value is not None
        )

    def note(self, text: str) -> None:
        """Prints a line about the run as a whole."""
        self._console.print(text, soft_wrap=True, markup=False)

    def _title(self, epoch: int | None = None) -> str:
        digits = len(str(self._num_epochs))
        return f"epoch {epoch or self._epoch + 1:>{digits}}/{self._num_epochs}"

    def _left(self) -> float:
        """Seconds to the end of the last epoch, at the pace so far."""
        left = (self._num_epochs - self._epoch) * self._images_per_epoch - self._images
        elapsed = self._clock() - self._start
        return elapsed / self._watched * left if self._watched else float("nan")


def format_duration(seconds: float) -> str:
    """Such as "04:59" or "1:00:07"; "--:--" of a NaN."""
    if not seconds >= 0:
        return "--:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
