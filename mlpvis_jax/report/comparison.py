"""The comparison of runs: a table, their learning curves, and paired tests of their predictions."""

import csv
import io
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.pictures import draw_learning_curves, holm, mcnemar
from mlpvis_jax.pictures.statistics import PairedTest
from mlpvis_jax.report.evaluation import digest_of_weights, report_folder
from mlpvis_jax.report.folder import check_replaceable, read_facts, replace_report
from mlpvis_jax.report.page import Page, Picture, Section, Table, render
from mlpvis_jax.report.predictions import PREDICTIONS, Predictions
from mlpvis_jax.report.runs import SEED, ComparedRun, Group, find_runs, group_by_settings
from mlpvis_jax.report.sections import interval, percent
from mlpvis_jax.running.evaluation import Tested
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
    shown = [Column(name.removeprefix("#"), order, is_text=name[0] != "#") for name, order in columns]
    console.print(fitted(shown, rows, console.width))
    tests = paired_tests(runs)
    for line in _sentences(tests):
        console.print(line, soft_wrap=True, markup=False)
    files = _files(runs, groups, keys, tests, workdirs)
    try:
        replace_report(output, files, {"kind": "comparison", "runs": [run.name for run in runs]})
    except OSError as error:
        print(f"The comparison {output} is left out ({error.strerror or error}).", file=sys.stderr)
    else:
        print(f"Comparison: {output / 'report.html'}")


def paired_tests(
    runs: Sequence[ComparedRun],
) -> list[tuple[ComparedRun, ComparedRun, PairedTest, float]]:
    """Tests the run of the highest test accuracy against each other one.

    Returns:
      The best run, the other one, their test, and its p-value adjusted for all of these tests. A
      run whose predictions cannot be had costs a line of warning.
    """
    ended = [run for run in runs if run.accuracy is not None]
    right: dict[str, np.ndarray] = {}
    labels: np.ndarray | None = None
    for run in ended:
        try:
            found = predictions_of(run)
        except InputError as error:
            print(f"{run.name} is left out of the paired tests: {error}", file=sys.stderr)
            continue
        if labels is None:
            labels = found.labels
        if not np.array_equal(labels, found.labels):
            print(f"{run.name} is left out of the paired tests: other labels.", file=sys.stderr)
            continue
        right[run.name] = found.are_right
    tested = [run for run in ended if run.name in right]
    if len(tested) < 2:
        return []
    best = max(tested, key=lambda run: float(right[run.name].mean()))
    others = [run for run in tested if run is not best]
    tests = [mcnemar(right[best.name], right[run.name]) for run in others]
    adjusted = holm(np.array([one.p_value for one in tests]))
    return [
        (best, run, one, float(p_value))
        for run, one, p_value in zip(others, tests, adjusted, strict=True)
    ]


def predictions_of(run: ComparedRun) -> Predictions:
    """Reads the predictions of a run's best weights from its report, or else computes them.

    The report is used if it is of these very weights and of the run's own test set.

    Raises:
      InputError: there are no weights, or the test images cannot be had or are others now.
    """
    place = report_folder(run.folder)
    facts = read_facts(place)
    run.folder.check_weights(run.config)
    if (
        run.folder.best_weights.exists()
        and facts.get("weights") == digest_of_weights(run.folder)
        and facts.get("test") == run.data.get("test")
        and (place / PREDICTIONS).exists()
    ):
        return Predictions.read(place / PREDICTIONS)
    print(f"Predicting with {run.name} ...", flush=True)
    tested = Tested.open(run.config, run.folder)
    if not tested.is_of_run:
        raise InputError(f"the test images of {run.config.data.source} have changed since it ended.")
    logits = tested.programs.prediction(tested.params)(tested.task.test)
    return Predictions.of(logits, np.asarray(tested.task.test.labels))


def _table_of_groups(
    groups: Sequence[Group], keys: Sequence[str]
) -> tuple[list[tuple[str, int]], list[list[str]]]:
    """Columns with the order in which a narrow terminal leaves them out, and a row a group.

    The title of a column of numbers begins with "#".
    """
    columns = [
        ("runs", 0),
        *((key.rpartition(".")[2], 3) for key in keys),
        ("#test accuracy", 0),
        ("#top 5", 4),
        ("#loss", 2),
        ("#epochs", 2),
        ("#time", 1),
    ]
    rows = []
    for group in groups:
        runs = group.runs
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


def _spread(values: Sequence[float | None], scale: float, unit: str) -> str:
    """The mean and, of several values, their standard deviation; a dash where there is none."""
    known = [value * scale for value in values if value is not None]
    digits = 2 if scale > 1 else 3
    if not known:
        return "–"
    mean = statistics.fmean(known)
    if len(known) == 1:
        return f"{mean:.{digits}f}{unit}"
    return f"{mean:.{digits}f} ± {statistics.stdev(known):.{digits}f}{unit}"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)


def _sentences(tests: Sequence[tuple[ComparedRun, ComparedRun, PairedTest, float]]) -> list[str]:
    return [
        f"{best.name} against {other.name}: {one.only_first:,} images that it alone gets right, "
        f"{one.only_second:,} that the other alone does; p = {_p_value(adjusted)}"
        for best, other, one, adjusted in tests
    ]


def _p_value(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001"


def _files(
    runs: Sequence[ComparedRun],
    groups: Sequence[Group],
    keys: Sequence[str],
    tests: Sequence[tuple[ComparedRun, ComparedRun, PairedTest, float]],
    workdirs: str,
) -> dict[str, bytes]:
    columns, rows = _table_of_groups(groups, keys)
    spread = (
        " Mean and standard deviation over seeds."
        if any(len(group.runs) > 1 for group in groups)
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
        [name for name, _ in columns], rows, f"{differing}{spread} Time is that of training."
    )
    sections = [
        Section("Runs", [overview, each]),
        Section("Learning curves", [_curves(groups)]),
    ]
    if tests:
        sections.append(_section_of_tests(tests))
    page = Page(
        title=f"{len(runs)} runs compared",
        subtitle=workdirs,
        facts={},
        sections=sections,
        footer=f"Made by {', '.join(f'{name} {number}' for name, number in versions().items())}.",
    )
    return {**render(page), "comparison.csv": _csv(runs, keys)}


def _row_of_run(run: ComparedRun) -> list[str]:
    accuracy, number = run.accuracy, run.data.get("test", {}).get("number")
    known = accuracy is not None and number
    return [
        run.name,
        str(run.config.seed),
        percent(accuracy) if accuracy is not None else "not ended",
        interval(round(accuracy * number), number) if accuracy is not None and known else "–",
        _shown(run.results.get("best_epoch")),
        str(len(run.history)),
        format_duration(run.seconds),
    ]


def _curves(groups: Sequence[Group]) -> Picture:
    histories, numbers = {}, {}
    for number, group in enumerate(groups):
        for run in group.runs:
            name = group.name if run is group.runs[0] else run.name
            histories[name], numbers[name] = run.history, number
    return Picture(
        "learning_curves",
        lambda: draw_learning_curves(histories, numbers),
        "Loss and accuracy on the validation set by epoch. Runs that differ in the seed alone have "
        "one colour.",
    )


def _section_of_tests(
    tests: Sequence[tuple[ComparedRun, ComparedRun, PairedTest, float]],
) -> Section:
    best = tests[0][0].name
    text = (
        f"{best} gets the most test images right. McNemar's test asks of each other run whether "
        "that may be chance, from the images that one of the two alone gets right: with fewer than "
        "25 of them by the binomial distribution, otherwise by chi-squared with a correction for "
        "continuity. It says nothing about other seeds."
    )
    columns = (
        *("run", f"#{best} alone is right", "#the run alone is right", "#p"),
        *("#p, adjusted", "test"),
    )
    rows = [
        (
            other.name,
            f"{one.only_first:,}",
            f"{one.only_second:,}",
            _p_value(one.p_value),
            _p_value(adjusted),
            "exact" if one.is_exact else "chi-squared",
        )
        for _, other, one, adjusted in tests
    ]
    caption = f"{best} against each other run; p-values adjusted for all of these tests by Holm."
    return Section("Paired tests", [text, Table(columns, rows, caption)])


def _csv(runs: Sequence[ComparedRun], keys: Sequence[str]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["run", *keys, SEED, *_MEASURED, "seconds"])
    for run in runs:
        flat = run.config.flat()
        measured = [run.results.get(name) for name in _MEASURED]
        values = [flat.get(key) for key in keys]
        writer.writerow([run.name, *values, run.config.seed, *measured, f"{run.seconds:.2f}"])
    return stream.getvalue().encode()
