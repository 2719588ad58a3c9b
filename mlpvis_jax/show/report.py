"""What a person looks at: progress while a run trains, curves and event files after it.

An epoch's record is a mapping with epoch (from 1), step, train_loss, train_accuracy,
validation_loss, validation_accuracy, validation_top5_accuracy (losses in nats, accuracies as
fractions), learning_rate, seconds and images_per_second.
"""

import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

import rich.console
import rich.progress

from mlpvis_jax.show.drawing import new_figure, save_picture

Record = Mapping[str, Any]

_TAGS = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "validation_top5_accuracy": "validation/top5_accuracy",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
}

# From the Okabe-Ito palette, which people of all kinds of colour vision tell apart.
_TRAIN, _VALIDATION, _TOP5, _FAINT = "#0072B2", "#D55E00", "#E69F00", "#999999"


def print_header(rows: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Prints what a run is about to do, a name and a value a line."""
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}", file=stream or sys.stdout, flush=True)


class Progress:
    """One line an epoch; on a terminal also a bar for the epoch that is under way.

    Use it as a context manager.

    Args:
      num_epochs: at most this many.
      images_per_epoch: training images.
      epochs_done, images_done: where the run stands as this process takes it up.
      stream: standard output by default; a pipe gets the lines alone, without control codes.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        num_epochs: int,
        images_per_epoch: int,
        epochs_done: int = 0,
        images_done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
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
        line = (
            f"{self._title(self._epoch)}: "
            f"loss {record['train_loss']:.3f}, {_percent(record['train_accuracy'])} | "
            f"validation: loss {record['validation_loss']:.3f}, "
            f"{_percent(record['validation_accuracy'])}, "
            f"top-5 {_percent(record['validation_top5_accuracy'])} | "
            f"rate {record['learning_rate']:.2g} | "
            f"{record['seconds']:.3g} s, {record['images_per_second']:,.0f} images/s | "
            f"{format_duration(self._left())} left"
        )
        self._console.print(line, soft_wrap=True, markup=False)
        self._console.file.flush()
        if self._epoch < self._num_epochs:
            self._bar.reset(self._task, description=self._title(), status="")

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


def _percent(fraction: float) -> str:
    return f"{fraction:5.1%}"


def format_duration(seconds: float) -> str:
    """Such as "04:59" or "1:00:07"; "--:--" of a NaN."""
    if not seconds >= 0:
        return "--:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


class EventWriter:
    """Writes records as TensorBoard event files in a folder; a context manager.

    Points that an earlier process wrote for `first_epoch` and later are struck out.
    """

    def __init__(self, folder: Path, first_epoch: int = 1) -> None:
        import tensorboardX

        self._writer = tensorboardX.SummaryWriter(str(folder), purge_step=first_epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, record: Record) -> None:
        """Adds a point to each curve, at x = epoch."""
        for name, tag in _TAGS.items():
            self._writer.add_scalar(tag, record[name], record["epoch"])
        self._writer.flush()


def plot_curves(history: Sequence[Record], path: Path, title: str) -> None:
    """Draws loss and accuracy by epoch, side by side, as a PNG of 1500 x 600 pixels.

    The best epoch (lowest validation loss) is ringed and cuts of the learning rate are marked.
    A picture that cannot be drawn costs a line of warning: see `drawing.save_picture`.
    """
    save_picture(path, _curves, history, title)


def _curves(history: Sequence[Record], title: str) -> Any:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [record["epoch"] for record in history]
    best = min(history, key=lambda record: _or_infinity(record["validation_loss"]))
    figure = new_figure(10, 4, title)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    marker = "o" if len(history) < 10 else ""
    curves = (
        (loss_axes, "train_loss", "train", _TRAIN),
        (loss_axes, "validation_loss", "validation", _VALIDATION),
        (accuracy_axes, "train_accuracy", "train", _TRAIN),
        (accuracy_axes, "validation_accuracy", "validation", _VALIDATION),
        (accuracy_axes, "validation_top5_accuracy", "validation, top 5", _TOP5),
    )
    for axes, name, label, colour in curves:
        values = [record[name] for record in history]
        axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=4)
    ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
    loss_axes.plot(
        best["epoch"],
        best["validation_loss"],
        color=_VALIDATION,
        label=f"best: epoch {best['epoch']}, {best['validation_loss']:.3f}",
        **ring,
    )
    accuracy_axes.plot(
        best["epoch"],
        best["validation_accuracy"],
        color=_VALIDATION,
        label=f"best: {best['validation_accuracy']:.1%}",
        **ring,
    )
    cuts = [
        now["epoch"] - 0.5
        for before, now in itertools.pairwise(history)
        if now["learning_rate"] < before["learning_rate"]
    ]
    for axes in (loss_axes, accuracy_axes):
        for number, cut in enumerate(cuts):
            label = "learning rate cut" if number == 0 else "_"  # named once
            axes.axvline(cut, color=_FAINT, linewidth=0.8, linestyle=":", label=label, zorder=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
        if len(history) == 1:
            axes.set_xlim(0, 2)
    loss_axes.set_ylabel("cross-entropy (nats)")
    accuracy_axes.set_ylabel("accuracy")
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy_axes.set_ylim(bottom=0)
    return figure


def _or_infinity(loss: float) -> float:
    return loss if loss == loss else float("inf")
