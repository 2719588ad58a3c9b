"""What a person looks at while a run trains: a line an epoch, and a bar.

An epoch's record is a mapping with epoch (from 1), step, train_loss, train_accuracy,
validation_loss, validation_accuracy, validation_top5_accuracy (losses in nats, accuracies as
fractions), learning_rate, seconds and images_per_second.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self, TextIO

import rich.console
import rich.progress
import rich.text

from mlpvis_jax.show.fitting import Part, fit, name_and_value, width_of

_WIDE = 100  # characters of a terminal that has room for a long bar
Record = Mapping[str, Any]


class Metric(Protocol):
    """How a metric is printed; a row of `learning.metrics.METRICS`."""

    @property
    def label(self) -> str: ...
    @property
    def text(self) -> Callable[[Any], str]: ...


def print_header(rows: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Prints a name and a value a line: what a run is about to do, or what it has left."""
    console = rich.console.Console(file=stream or sys.stdout, highlight=False)
    for line in name_and_value(rows, width_of(console)):
        print(line, file=stream or sys.stdout, flush=True)


def print_places(rows: Mapping[str, str]) -> None:
    """Prints where files were written; beside results that go into a pipe, on standard error."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None: it is closed
    print_header(rows, sys.stdout if is_terminal else sys.stderr)


class _Status(rich.progress.ProgressColumn):
    """Text that is asked for whenever the bar is drawn."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        return rich.text.Text(self._text(), no_wrap=True)


class Progress:
    """One line an epoch; on a terminal also a bar for the epoch that is under way.

    Where the terminal is too narrow for all of an epoch's line, these are left out, one after
    another: images/s, seconds, the learning rate, the averaged weights, the metrics besides loss
    and accuracy, and the time left.

    Use it as a context manager.

    Args:
      metrics: how the metrics are printed, in their order, by name.
      num_epochs: at most so many; the last one may be a part.
      images_per_epoch: training images.
      epochs_done, images_done: where the run stands as this process takes it up.
      stream: standard output by default; a pipe gets the lines alone, without control codes.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        num_epochs: float,
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
        self._bar_width = 24 if self._console.width >= _WIDE else 10
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=self._bar_width),
            _Status(self._status),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._epoch = epochs_done
        self._images = images_done  # of the epoch under way
        self._watched = 0  # images done while the clock ran
        self._running: Mapping[str, Any] = {}
        self._compiling_since: float | None = None
        self._start = clock()
        self._task = self._bar.add_task(
            self._title(), total=self._images_of_epoch(), completed=images_done
        )

    def __enter__(self) -> Self:
        self._start = self._clock()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def compiling(self) -> None:
        """Says, until `compiled` is called, that programs are compiled, and for how long."""
        self._compiling_since = self._clock()
        if not self._console.is_terminal:
            self.note("compiling the programs")

    def compiled(self) -> None:
        """Says how long the compilation took; it does not count for the time that is left."""
        assert self._compiling_since is not None, "not compiling"
        seconds = self._clock() - self._compiling_since
        self._compiling_since = None
        self._start += seconds
        self.note(f"compiled in {seconds:.3g} s")

    def advance(self, images: int, running: Mapping[str, Any] | None = None) -> None:
        """Takes the number of images of the epoch that are done, and the metrics over them."""
        new = images - self._images
        self._images = images
        self._watched += new
        self._running = running or {}
        self._bar.update(self._task, completed=images)

    def epoch_done(self, record: Record) -> None:
        """Prints the epoch's line."""
        self.advance(self._images_of_epoch())
        self._epoch, self._images = record["epoch"], 0
        line = fit(self._parts(record), width_of(self._console))
        self._console.print(line, soft_wrap=True, markup=False)
        self._console.file.flush()
        if self._epoch < self._num_epochs:
            total = self._images_of_epoch()
            self._bar.reset(self._task, total=total, description=self._title())

    def _parts(self, record: Record) -> list[Part]:
        """What an epoch's line says, from left to right."""
        main = [name for name in self._metrics if name in ("loss", "accuracy")]
        others = [name for name in self._metrics if name not in main]
        averaged = self._measured(record, "averaged_", self._metrics)
        return [
            Part(f"{self._title(self._epoch)}:"),
            Part(f"train {self._measured(record, 'train_', self._metrics)}", separator=" "),
            Part(f"validation {self._measured(record, 'validation_', main)}"),
            Part(self._measured(record, "validation_", others), 2, ", "),
            Part(averaged and f"averaged weights {averaged}", 3),
            Part(f"learning rate {record['learning_rate']:.2g}", 4),
            Part(f"{record['seconds']:.3g} s", 5),
            Part(f"{record['images_per_second']:,.0f} images/s", 6, ", "),
            Part(f"{format_duration(self._left())} left", 1),
        ]

    def _measured(self, record: Record, prefix: str, names: Iterable[str]) -> str:
        """Such as "loss 0.298, 91.7%, top-5 100.0%": what the record has of these metrics."""
        values = {name: record.get(f"{prefix}{name}") for name in names}
        return ", ".join(
            f"{self._metrics[name].label} {self._metrics[name].text(value)}".strip()
            for name, value in values.items()
            if value is not None
        )

    def _status(self) -> str:
        """What stands beside the bar."""
        if self._compiling_since is not None:
            return f"compiling, {self._clock() - self._compiling_since:.0f} s"
        if self._epoch >= self._num_epochs:
            return "testing"
        if not self._watched:
            return ""
        seconds = max(self._clock() - self._start, 1e-9)
        parts = [
            Part(self._measured(self._running, "", self._metrics), 1),
            Part(f"{self._watched / seconds:,.0f} images/s", 2),
            Part(f"{format_duration(self._left())} left", separator=", "),
        ]
        return fit(parts, self._console.width - len(self._title()) - self._bar_width - 3)

    def note(self, text: str) -> None:
        """Prints a line about the run as a whole."""
        is_terminal = self._console.is_terminal
        self._console.print(text, soft_wrap=not is_terminal, markup=False)
        self._console.file.flush()

    def _title(self, epoch: int | None = None) -> str:
        last = math.ceil(self._num_epochs)
        return f"epoch {epoch or self._epoch + 1:>{len(str(last))}}/{last}"

    def _images_of_epoch(self) -> int:
        """Images of the epoch under way, which may be a part."""
        return round(min(self._num_epochs - self._epoch, 1) * self._images_per_epoch)

    def _left(self) -> float:
        """Seconds to the end of the last epoch, at the pace so far."""
        left = (self._num_epochs - self._epoch) * self._images_per_epoch - self._images
        elapsed = self._clock() - self._start
        return elapsed / self._watched * max(left, 0) if self._watched else float("nan")


def format_duration(seconds: float) -> str:
    """Writes seconds as "04:59" or "1:00:07", and a NaN as "--:--"."""
    if not seconds >= 0:
        return "--:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
