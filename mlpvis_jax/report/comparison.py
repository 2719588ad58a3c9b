"""The comparison of runs: a table, their learning curves, and paired tests of their predictions."""

import csv
import io
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.inference.predictions import percent
from mlpvis_jax.pictures import draw_learning_curves
from mlpvis_jax.report.folder import check_replaceable, replace_report
from mlpvis_jax.report.page import Page, Picture, Section, Table, render
from mlpvis_jax.report.paired import PairOfRuns, compare_with_best, section_of_tests, sentences
from mlpvis_jax.report.runs import SEED, ComparedRun, Group, find_runs, group_by_settings
from mlpvis_jax.report.sections import interval
from mlpvis_jax.running.outcome import versions
from mlpvis_jax.show.table import Column, console_for, fitted
from mlpvis_jax.show.terminal import format_duration

_MEASURED = (
    *("test_accuracy", "test_top5_accuracy", "test_loss", "best_epoch", "epochs", "parameters"),
    "device",
)


def compare(workdirs: str, output: Path) -> None:
    """Compares runs: prints a table and paired tests, and writes them with the learning curves.

    Args:
      workdirs: patterns of the runs' folders, with commas between them.
      output: folder of the comparison.

    Raises:
      InputError: fewer than two runs, runs of different test sets, or a folder for the comparison
        that holds something else.
    """
    check_replaceable(output)
    runs = find_runs(workdirs)
    groups, keys = group_by_settings(runs)
    columns, rows = _table_of_groups(groups, keys)
    console = console_for()
    shown = [
        Column(name.removeprefix("#"), order, is_text=name[0] != "#") for name, order in columns
    ]
    console.print(fitted(shown, rows, console.width))
    if any(len(group.one_of_each_seed) > 1 for group in groups):
        console.print("Of several runs: mean ± standard deviation over seeds.")
    tests = compare_with_best(runs)
    for line in sentences(tests):
        console.print(line, soft_wrap=True, markup=False)
    files = _files(runs, groups, keys, tests, workdirs)
    try:
        replace_report(output, files, {"kind": "comparison", "runs": [run.name for run in runs]})
    except OSError as error:
        print(f"The comparison {output} is left out ({error.strerror or error}).", file=sys.stderr)
    else:
        print(f"Comparison: {output / 'report.html'}")


def _table_of_groups(
    groups: Sequence[Group], keys: Sequence[str]
) -> tuple[list[tuple[str, int]], list[list[str]]]:
    """Columns with the order in which a narrow terminal leaves them out, and a row a group.

    The title of a column of numbers begins with "#".
    """
    columns = [
        ("runs", 0),
        *((title, 3) for title in _titles(keys)),
        ("#test accuracy", 0),
        ("#top 5", 4),
        ("#loss", 2),
        ("#epochs", 2),
        ("#time", 1),
    ]
    rows = []
    for group in groups:
        runs = group.one_of_each_seed
        epochs = sorted({len(run.history) for run in runs})
        rows.append(
            [
                group.name,
                *(_shown(value) for value in group.values.values()),
                _spread([run.accuracy for run in runs], 100, "%"),
                _spread([run.results.get("test_top5_accuracy") for run in runs], 100, "%"),
                _spread([run.results.get("test_loss") for run in runs], 1, ""),
                " to ".join(map(str, sorted({epochs[0], epochs[-1]}))),
                format_duration(statistics.fmean(run.seconds for run in runs)),
            ]
        )
    return columns, rows


def _titles(keys: Sequence[str]) -> list[str]:
    """The last word of each key, such as "width" or "model" of model.name; whole if it is twice."""
    short = [key.removesuffix(".name").rpartition(".")[2] for key in keys]
    return [word if short.count(word) == 1 else key for word, key in zip(short, keys, strict=True)]


def _spread(values: Sequence[float | None], scale: float, unit: str) -> str:
    """The mean and, of several values, their standard deviation; a dash where there is none.

    Where some runs have no value, it says of how many runs it is.
    """
    known = [value * scale for value in values if value is not None]
    digits = 2 if scale > 1 else 3
    if not known:
        return "-"
    of_all = f" ({len(known)} of {len(values)})" if len(known) < len(values) else ""
    mean = statistics.fmean(known)
    if len(known) == 1:
        return f"{mean:.{digits}f}{unit}{of_all}"
    return f"{mean:.{digits}f} ± {statistics.stdev(known):.{digits}f}{unit}{of_all}"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "-" if value is None else str(value)


def _files(
    runs: Sequence[ComparedRun],
    groups: Sequence[Group],
    keys: Sequence[str],
    tests: Sequence[PairOfRuns],
    workdirs: str,
) -> dict[str, bytes]:
    columns, rows = _table_of_groups(groups, keys)
    spread = (
        " Mean and standard deviation over seeds."
        if any(len(group.one_of_each_seed) > 1 for group in groups)
        else ""
    )
    differing = (
        f"The runs differ in {', '.join(keys)}." if keys else "The runs differ in the seed alone."
    )
    each = Table(
        ("run", "#seed", "#test accuracy", "#95% interval", "#best epoch", "#epochs", "#time"),
        [_row_of_run(run) for run in runs],
        f"All {len(runs)} runs",
        is_closed=len(runs) > 12,
    )
    overview = Table(
        [name for name, _ in columns],
        rows,
        f"{differing}{spread} Time is that of the epochs, validation included.",
    )
    sections = [
        Section("Runs", [overview, each]),
        Section("Learning curves", _curves(groups)),
    ]
    if tests:
        sections.append(section_of_tests(tests))
    page = Page(
        title=f"{len(runs)} runs compared",
        subtitle=workdirs,
        facts={},
        sections=sections,
        footer=f"Made by {', '.join(f'{name} {number}' for name, number in versions().items())}.",
    )
    return {**render(page), "comparison.csv": _csv(groups, keys)}


def _row_of_run(run: ComparedRun) -> list[str]:
    accuracy, number = run.accuracy, run.data.get("test", {}).get("number")
    known = accuracy is not None and number
    return [
        run.name,
        str(run.config.seed),
        percent(accuracy) if accuracy is not None else "not ended",
        interval(round(accuracy * number), number) if accuracy is not None and known else "-",
        _shown(run.results.get("best_epoch")),
        str(len(run.history)),
        format_duration(run.seconds),
    ]


def _curves(groups: Sequence[Group]) -> list[Picture]:
    histories, numbers = {}, {}
    for number, group in enumerate(groups):
        for run in group.runs:
            name = group.name if run is group.runs[0] else run.name
            histories[name], numbers[name] = run.history, number
    by_epoch = Picture(
        "learning_curves",
        lambda: draw_learning_curves(histories, numbers),
        "Loss and accuracy on the validation set by epoch. Runs that differ in the seed alone have "
        "one colour.",
    )
    by_time = Picture(
        "learning_curves_by_time",
        lambda: draw_learning_curves(histories, numbers, by_time=True),
        "The same by the minutes of the epochs, validation included, on the devices of each run.",
    )
    return [by_epoch, by_time]


def _csv(groups: Sequence[Group], keys: Sequence[str]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["run", *keys, SEED, *_MEASURED, "seconds"])
    for group in groups:
        for run in group.runs:
            measured = [run.results.get(name) for name in _MEASURED]
            values = [group.values[key] for key in keys]
            writer.writerow([run.name, *values, run.config.seed, *measured, f"{run.seconds:.2f}"])
    return stream.getvalue().encode(errors="surrogateescape")
