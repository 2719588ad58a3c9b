"""What a sweep found: a ranking on the terminal, a CSV file, pictures, TensorBoard's HPARAMS."""

import csv
import os
import shutil
from collections.abc import Sequence
from typing import Any

from mlpvis_jax.files import config_file
from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.files.command_line import command_line
from mlpvis_jax.files.run_folder import write_json
from mlpvis_jax.running.outcome import CULLED, DIVERGED
from mlpvis_jax.show.event_files import write_hparams
from mlpvis_jax.show.table import Column, console_for, fitted
from mlpvis_jax.show.terminal import print_header
from mlpvis_jax.sweep import importance, pictures, ranking
from mlpvis_jax.sweep.definition import Sweep, config_of
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.live import dimension_columns
from mlpvis_jax.sweep.ranking import Row, percent, short
from mlpvis_jax.sweep.records import RUNNING

_MEASURED = (
    *("state", "epochs", "best_epoch", "validation_loss", "validation_accuracy"),
    *("validation_top5_accuracy", "test_loss", "test_accuracy", "test_top5_accuracy", "seconds"),
)


def finish(folder: SweepFolder, sweep: Sweep, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Writes and prints what the sweep found.

    Returns:
      The best trial's row; None if every trial diverged, and there is no best.json then.
    """
    # Those that go on are of a sweep that another process has meanwhile given more trials.
    rows = [row for row in rows if row["state"] != RUNNING]
    with replacing(folder.table) as partial, partial.open("w", newline="") as file:
        _write_csv(csv.writer(file), sweep, rows)
    ranked = ranking.rank(rows, sweep.settings.objective)
    console = console_for()
    _print_ranked(console, sweep, ranked)
    _print_culled(console, sweep, rows)
    best = ranking.best_trial(ranked, sweep.settings.objective)
    again = {}
    if best is None:
        console.print("Every trial diverged; there is no best one.")
        folder.best_config.unlink(missing_ok=True)
    else:
        if any(row["state"] == DIVERGED for row in ranked[0].rows):
            console.print("At every point a seed diverged; the best trial is one that did not.")
        config = config_of(sweep.base, best["values"])
        write_json(folder.best_config, config.to_dict())
        of_own_model = config_file.command(folder.path, config)
        again = {"best again": of_own_model or command_line(f"--config={folder.best_config}")}
    title = f"{sweep.base['model']['name']} on {sweep.base['data']['source']}: {len(rows)} trials"
    shares, said = importance.described(sweep, rows)
    if said:
        console.print(said, markup=False, soft_wrap=not console.is_terminal)
    dimensions = sweep.space.dimensions
    number = None if best is None else best["trial"]
    drawn = pictures.draw_all(folder.path, rows, number, dimensions, title, shares)
    _write_hparams(folder, rows)
    print_header(
        {
            "folder": str(folder.path),
            "table": str(folder.table),
            "pictures": ", ".join(path.name for path in drawn) or "none",
            "TensorBoard": f"tensorboard --logdir={folder.events} (HPARAMS)",
            **again,
        }
    )
    return None if best is None else dict(best)


def _write_csv(writer: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    keys = [*sweep.space.dimensions, "seed"]
    writer.writerow(["trial", "point", *keys, *_MEASURED, "message"])
    for row in rows:
        values = [row["values"][key] for key in keys]
        measured = [row.get(name) for name in (*_MEASURED, "message")]
        writer.writerow([row["trial"], row["point"], *values, *measured])


def _print_ranked(console: Any, sweep: Sweep, ranked: Sequence[ranking.Ranked]) -> None:
    """Prints a line a point, the best first.

    A mean that lacks seeds, which diverged or were not tested, has their number beside it. Where
    the terminal is too narrow, epochs, state and validation loss are left out, then the dimensions,
    of which the first stay longest.
    """
    seeds = len(sweep.space.seeds)
    keys = list(sweep.space.dimensions)
    columns = [
        *(Column("rank"), Column("trials")),
        *dimension_columns(keys),
        *(Column("epochs", 9), Column("validation\nloss", 7), Column("validation\naccuracy, %")),
        *(Column("test\naccuracy, %"), Column("state", 8, is_text=True)),
    ]
    texts = []
    for place, one in enumerate(ranked, start=1):
        losses = one.measured("validation_loss")
        mean = f"{ranking.mean_and_interval(losses)[0]:.3f}" if losses else ""
        accuracies = [one.measured(f"{part}_accuracy") for part in ("validation", "test")]
        numbers = [row["trial"] for row in one.rows]
        texts.append(
            [
                str(place),
                f"{numbers[0]}" if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)}",
                *[short(one.values[key]) for key in keys],
                ", ".join(str(row.get("epochs", "")) for row in one.rows),
                _over(mean, losses, one),
                *[_over(percent(found), found, one) for found in accuracies],
                one.states,
            ]
        )
    over = f", mean ± 95 % confidence interval over {seeds} seeds" if seeds > 1 else ""
    console.print(f"\nRanked by {sweep.settings.objective} at its best epoch{over}")
    styles = ["bold" if place == 0 else None for place in range(len(texts))]
    console.print(fitted(columns, texts, console.width, styles))


def _over(mean: str, values: Sequence[float], one: ranking.Ranked) -> str:
    """A mean with the number of its seeds, such as "47.70 (2 of 3)", unless it is of all."""
    number = len(one.rows)
    return f"{mean} ({len(values)} of {number})" if 0 < len(values) < number else mean


def _print_culled(console: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    """Who was culled when, a line an epoch."""
    culled = [row for row in rows if row["state"] == CULLED]
    if not culled:
        return
    columns = [
        *(Column("after epoch"), Column("came so far", 1), Column("culled")),
        Column("trials", is_text=True, breaks=True),
    ]
    texts = []
    for epoch in sweep.cull_epochs:
        here = [row["trial"] for row in culled if row["epochs"] == epoch]
        # As `loop` counts: a trial that diverged is worse than all that came so far.
        came = sum(row["epochs"] >= epoch or row["state"] == DIVERGED for row in rows)
        texts.append([str(epoch), str(came), str(len(here)), ", ".join(map(str, here))])
    console.print("\nCulled")
    console.print(fitted(columns, texts, console.width))


def _write_hparams(folder: SweepFolder, rows: Sequence[Row]) -> None:
    """An event file a trial, for TensorBoard's HPARAMS tab; the old ones are replaced."""
    partial = folder.path / "tensorboard.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for row in rows:
        measured = {
            f"best/{name}": float(row[name])
            for name in ("validation_loss", "validation_accuracy", "test_accuracy")
            if row.get(name) is not None
        }
        if measured:
            name = f"trial {row['trial']:04}"
            write_hparams(partial / name, row["values"], measured, row["epochs"])
    shutil.rmtree(folder.events, ignore_errors=True)
    if partial.exists():
        os.replace(partial, folder.events)
