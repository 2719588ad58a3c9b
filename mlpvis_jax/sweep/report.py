"""What a person looks at: a live table while a sweep trains, and all that it found after it."""

import collections
import csv
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TextIO

import rich.box
import rich.console
import rich.live
import rich.table
import rich.text

from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.files.run_folder import write_json
from mlpvis_jax.show.report import format_duration
from mlpvis_jax.sweep import pictures, ranking
from mlpvis_jax.sweep.culling import score_of
from mlpvis_jax.sweep.definition import Sweep, Trial, config_of
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.ranking import Row, describe_state, percent, short
from mlpvis_jax.sweep.records import CULLED, DIVERGED, FINISHED, RUNNING, STOPPED

_SHOWN = 12  # rows of the live table
_WIDTH_OF_A_FILE = 160  # characters; a pipe has no width of its own
_MEASURED = (
    *("state", "epochs", "best_epoch", "validation_loss", "validation_accuracy"),
    *("validation_top5_accuracy", "test_loss", "test_accuracy", "test_top5_accuracy", "seconds"),
)


class LiveTable:
    """The trials by state, the best so far, images/s and the time left; a context manager.

    On a terminal a table that is redrawn; into a pipe a line an epoch of a group.

    Args:
      sweep: what is trained.
      rows: of the trials that were begun before.
      images_per_epoch: of a trial.
      stream: standard output by default.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        sweep: Sweep,
        rows: Sequence[Row],
        images_per_epoch: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweep = sweep
        self._images_per_epoch = images_per_epoch
        self._clock = clock
        self._console = _console(stream)
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

    def know(self, rows: Sequence[Row]) -> None:
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
                f"epoch {epoch}/{self._sweep.base['num_epochs']} of trials "
                f"{min(self._group)} to {max(self._group)}: {self._summary()}",
                soft_wrap=True,
            )
            self._console.file.flush()

    def _summary(self) -> str:
        states = self._states()
        counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
        speed = self._images / max(self._clock() - self._start, 1e-9)
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
        rows = [row for row in self._rows.values() if row["history"]]
        if not rows:
            return "no epoch yet"
        best = min(rows, key=self._score)
        record = min(best["history"], key=lambda record: record["validation_loss"])
        return (
            f"best: trial {best['trial']}, {record['validation_accuracy']:.1%} "
            f"(loss {record['validation_loss']:.3f})"
        )

    def _score(self, row: Row) -> float:
        return score_of(row["history"], self._sweep.settings.objective)

    def _left(self, speed: float) -> float:
        """Seconds, if every trial that goes on goes to the last epoch, at the pace so far."""
        if not self._images:
            return math.nan
        epochs = self._sweep.base["num_epochs"]
        left = self._states()["waiting"] * epochs + sum(
            epochs - len(row["history"]) for row in self._rows.values() if row["state"] == RUNNING
        )
        return left * self._images_per_epoch / speed

    def _render(self) -> rich.console.Group:
        rows = [row for row in self._rows.values() if row["history"] or row["state"] == RUNNING]
        # The culled below, then by score: the eye looks for the best of those that go on.
        rows.sort(key=lambda row: (row["state"] in (CULLED, DIVERGED), self._score(row)))
        table = _table(
            ["trial", "state", *map(_last_name, self._keys()), "epoch", "loss", "accuracy"]
        )
        for row in rows[:_SHOWN]:
            last = row["history"][-1] if row["history"] else None
            table.add_row(
                str(row["trial"]),
                describe_state(row),
                *[short(row["values"][key]) for key in self._keys()],
                str(last["epoch"]) if last else "",
                f"{last['validation_loss']:.3f}" if last else "",
                f"{last['validation_accuracy']:.1%}" if last else "",
                style="dim" if row["state"] in (CULLED, DIVERGED) else None,
            )
        if len(rows) > _SHOWN:
            table.caption = f"and {len(rows) - _SHOWN} more"
        # Beside the table, whose width is not enough for it.
        return rich.console.Group(rich.text.Text(self._summary(), "bold"), table)

    def _keys(self) -> list[str]:
        keys = list(self._sweep.space.dimensions)
        return [*keys, "seed"] if len(self._sweep.space.seeds) > 1 else keys


def finish(folder: SweepFolder, sweep: Sweep, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Writes and prints what the sweep found.

    Returns:
      The best trial's row; None if every trial diverged.
    """
    with replacing(folder.table) as partial, partial.open("w", newline="") as file:
        _write_csv(csv.writer(file), sweep, rows)
    ranked = ranking.rank(rows, sweep.settings.objective)
    console = _console(None)
    _print_ranked(console, sweep, ranked)
    _print_culled(console, sweep, rows)
    if not ranked or not math.isfinite(ranked[0].score):
        console.print("Every trial diverged; there is no best one.")
        return None
    best = min(ranked[0].rows, key=lambda row: score_of(row["history"], sweep.settings.objective))
    write_json(folder.best_config, config_of(sweep.base, best["values"]).to_dict())
    title = f"{sweep.base['model']['name']} on {sweep.base['data']['source']}: {len(rows)} trials"
    drawn = pictures.draw_all(folder.path, rows, best["trial"], sweep.space.dimensions, title)
    _write_hparams(folder, sweep, rows)
    names = ", ".join(["sweep.csv", *(path.name for path in drawn)])
    console.print(
        f"{folder.path} has {names} and tensorboard/ (its HPARAMS tab).\n"
        f"The best again: python launch.py --config={folder.best_config}",
        soft_wrap=True,
        highlight=False,
    )
    return dict(best)


def _write_csv(writer: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    keys = [*sweep.space.dimensions, "seed"]
    writer.writerow(["trial", "point", *keys, *_MEASURED, "message"])
    for row in rows:
        values = [row["values"][key] for key in keys]
        measured = [row.get(name) for name in (*_MEASURED, "message")]
        writer.writerow([row["trial"], row["point"], *values, *measured])


def _print_ranked(console: Any, sweep: Sweep, ranked: Sequence[ranking.Ranked]) -> None:
    seeds = len(sweep.space.seeds)
    keys = list(sweep.space.dimensions)
    columns = ["rank", "trials", *map(_last_name, keys), "epochs", "loss", "validation, %"]
    table = _table([*columns, "test, %", "state"])
    for place, one in enumerate(ranked, start=1):
        losses = one.measured("validation_loss")
        numbers = [row["trial"] for row in one.rows]
        table.add_row(
            str(place),
            f"{numbers[0]}" if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)}",
            *[short(one.values[key]) for key in keys],
            ", ".join(str(row.get("epochs", "")) for row in one.rows),
            f"{ranking.mean_and_interval(losses)[0]:.3f}" if losses else "",
            percent(one.measured("validation_accuracy")),
            percent(one.measured("test_accuracy")),
            one.states,
            style="bold" if place == 1 else None,
        )
    over = f", mean ± 95 % confidence interval over {seeds} seeds" if seeds > 1 else ""
    console.print(f"\nRanked by {sweep.settings.objective} at its best epoch{over}")
    console.print(table)


def _print_culled(console: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    """Who was culled when, a line an epoch."""
    culled = [row for row in rows if row["state"] == CULLED]
    if not culled:
        return
    table = _table(["after epoch", "came so far", "culled", "trials"])
    table.columns[-1].justify = "left"
    for epoch in sweep.cull_epochs:
        here = [row["trial"] for row in culled if row["epochs"] == epoch]
        came = sum(row["epochs"] >= epoch for row in rows)
        table.add_row(str(epoch), str(came), str(len(here)), ", ".join(map(str, here)))
    console.print("Culled")
    console.print(table)


def _write_hparams(folder: SweepFolder, sweep: Sweep, rows: Sequence[Row]) -> None:
    """An event file a trial, for TensorBoard's HPARAMS tab; the old ones are replaced."""
    import tensorboardX

    partial = folder.path / "tensorboard.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for row in rows:
        measured = {
            f"best/{name}": float(row[name])
            for name in ("validation_loss", "validation_accuracy", "test_accuracy")
            if row.get(name) is not None
        }
        if not measured:
            continue
        values = {
            key: value if isinstance(value, bool | int | float) else str(value)
            for key, value in row["values"].items()
        }
        name = f"trial {row['trial']:04}"
        with tensorboardX.SummaryWriter(str(partial / name)) as writer:
            writer.add_hparams(values, measured, name=".", global_step=row["epochs"])
    shutil.rmtree(folder.events, ignore_errors=True)
    if partial.exists():
        os.replace(partial, folder.events)


def _table(columns: Sequence[str]) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column == "state" else "right")
    return table


def _last_name(key: str) -> str:
    return key.rpartition(".")[2]


def _console(stream: TextIO | None) -> rich.console.Console:
    console = rich.console.Console(file=stream or sys.stdout, highlight=False)
    if console.is_terminal:
        return console
    return rich.console.Console(file=stream or sys.stdout, highlight=False, width=_WIDTH_OF_A_FILE)
