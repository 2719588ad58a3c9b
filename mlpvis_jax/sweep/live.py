"""What a person looks at while a sweep trains: its trials by state, and the best of them."""

import collections
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TextIO

import rich.console
import rich.live
import rich.text

from mlpvis_jax.running.outcome import CULLED, DIVERGED, FINISHED, STOPPED
from mlpvis_jax.show.table import Column, console_for, fitted
from mlpvis_jax.show.terminal import format_duration
from mlpvis_jax.sweep.culling import expected_epochs, score_of
from mlpvis_jax.sweep.definition import Sweep, Trial
from mlpvis_jax.sweep.ranking import Row, describe_state, short
from mlpvis_jax.sweep.records import RUNNING

_SHOWN = 12  # rows of the live table


class LiveTable:
    """The trials by state, the best so far, images/s and the time left; a context manager.

    On a terminal a table that is redrawn; into a pipe a line an epoch of a group.

    Args:
      sweep: what is trained.
      rows: of the trials that were begun before.
      images_per_epoch: of a trial.
      num_epochs: of the longest trial.
      stream: standard output by default.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        sweep: Sweep,
        rows: Sequence[Row],
        images_per_epoch: int,
        num_epochs: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweep = sweep
        self._images_per_epoch = images_per_epoch
        self._num_epochs = num_epochs
        self._clock = clock
        self._console = console_for(stream)
        self._compiling_since: float | None = None
        self._rows = {row["trial"]: dict(row) for row in rows}
        self._images = 0
        self._start = clock()
        self._live = rich.live.Live(
            get_renderable=self._render, console=self._console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        self._start = self._clock()
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def merge_rows(self, rows: Sequence[Row]) -> None:
        """Takes what other processes have done."""
        for row in rows:
            mine = self._rows.get(row["trial"], row)
            if len(row["history"]) >= len(mine["history"]):
                self._rows[row["trial"]] = dict(row)

    def group_begins(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            row = {"trial": trial.number, "point": trial.point, "values": dict(trial.values)}
            self._rows.setdefault(trial.number, {**row, "history": []})["state"] = RUNNING
        self._group = [trial.number for trial in trials]

    def compiling(self) -> None:
        """Says, until `compiled` is called, that programs are compiled, and for how long."""
        self._compiling_since = self._clock()

    def compiled(self) -> None:
        """Takes the time of the compilation out of that which images/s are counted over."""
        assert self._compiling_since is not None, "not compiling"
        self._start += self._clock() - self._compiling_since
        self._compiling_since = None

    def advance(self, images: int) -> None:
        self._images += images

    def epoch_done(self, trial: Trial, history: Sequence[Row]) -> None:
        self._rows[trial.number]["history"] = list(history)

    def trial_done(self, trial: Trial, outcome: Mapping[str, Any], history: Sequence[Row]) -> None:
        self._rows[trial.number].update(outcome, history=list(history))

    def group_epoch_done(self, epoch: int) -> None:
        """Prints the line of a pipe."""
        if not self._console.is_terminal:
            self._console.print(
                f"epoch {epoch}/{self._num_epochs} of trials "
                f"{min(self._group)} to {max(self._group)}: {self._summary()}",
                soft_wrap=True,
            )
            self._console.file.flush()

    def _summary(self) -> str:
        states = self._states()
        counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
        now = self._clock()
        if self._compiling_since is not None:
            return f"{counts} | {self._best()} | compiling, {now - self._compiling_since:.0f} s"
        if not self._images:
            return f"{counts} | {self._best()}"
        speed = self._images / max(now - self._start, 1e-9)
        return (
            f"{counts} | {self._best()} | {speed:,.0f} images/s | "
            f"{format_duration(self._left(speed))} left"
        )

    def _states(self) -> dict[str, int]:
        counts = collections.Counter(row["state"] for row in self._rows.values())
        waiting = max(self._sweep.num_trials - len(self._rows), 0)
        order = (RUNNING, FINISHED, STOPPED, CULLED, DIVERGED)
        return {"waiting": waiting, **{state: counts[state] for state in order}}

    def _best(self) -> str:
        rows = [row for row in self._rows.values() if math.isfinite(self._score(row))]
        if not rows:
            return "no best yet"
        best = min(rows, key=self._score)
        record = min(best["history"], key=lambda record: record["validation_loss"])
        return (
            f"best: trial {best['trial']}, {record['validation_accuracy']:.1%} "
            f"(loss {record['validation_loss']:.3f})"
        )

    def _score(self, row: Row) -> float:
        return score_of(row, self._sweep.settings.objective)

    def _left(self, speed: float) -> float:
        """Seconds at the pace so far, if as many trials are culled as the settings say."""
        settings, last = self._sweep.settings, self._num_epochs
        running = [row for row in self._rows.values() if row["state"] == RUNNING]
        done = [0] * self._states()["waiting"] + [len(row["history"]) for row in running]
        epochs = sum(
            expected_epochs(one, last, self._sweep.cull_epochs, settings.cull_factor)
            for one in done
        )
        return epochs * self._images_per_epoch / speed

    def _render(self) -> rich.console.Group:
        rows = [row for row in self._rows.values() if row["history"] or row["state"] == RUNNING]
        # The culled below, then by score: the eye looks for the best of those that go on.
        rows.sort(key=lambda row: (row["state"] in (CULLED, DIVERGED), self._score(row)))
        columns = [
            Column("trial"),
            Column("state", 8, is_text=True),
            *dimension_columns(self._keys()),
            *(Column("epoch", 9), Column("validation\nloss", 7), Column("validation\naccuracy")),
        ]
        texts = []
        for row in rows[:_SHOWN]:
            last = row["history"][-1] if row["history"] else None
            texts.append(
                [
                    *(str(row["trial"]), describe_state(row)),
                    *[short(row["values"][key]) for key in self._keys()],
                    str(last["epoch"]) if last else "",
                    f"{last['validation_loss']:.3f}" if last else "",
                    f"{last['validation_accuracy']:.1%}" if last else "",
                ]
            )
        styles = ["dim" if row["state"] in (CULLED, DIVERGED) else None for row in rows[:_SHOWN]]
        table = fitted(columns, texts, self._console.width, styles)
        more = f"and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        # Beside the table, whose width is not enough for it.
        return rich.console.Group(rich.text.Text(self._summary(), "bold"), table, more)

    def _keys(self) -> list[str]:
        keys = list(self._sweep.space.dimensions)
        return [*keys, "seed"] if len(self._sweep.space.seeds) > 1 else keys


def dimension_columns(keys: Sequence[str]) -> list[Column]:
    """Names a column a dimension, by the last word of its key where no other key ends in that."""
    names = [key.rpartition(".")[2] for key in keys]
    titles = [
        name if names.count(name) == 1 else key for key, name in zip(keys, names, strict=True)
    ]
    return [Column(title, min(order, 6)) for order, title in enumerate(titles, start=1)]
