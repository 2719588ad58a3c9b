"""Paired tests of runs: may it be chance that one gets more of the same test images right?"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlpvis_jax.data import identity
from mlpvis_jax.errors import InputError
from mlpvis_jax.pictures.statistics import PairedTest, holm, mcnemar
from mlpvis_jax.report.evaluation import digest_of_weights, predicted_with, report_folder
from mlpvis_jax.report.folder import read_facts
from mlpvis_jax.report.measured import classifier_of, images_of, probabilities_of
from mlpvis_jax.report.page import Section, Table
from mlpvis_jax.report.predictions import PREDICTIONS, LabelledPredictions
from mlpvis_jax.report.runs import ComparedRun
from mlpvis_jax.running.evaluation import Tested


class PairOfRuns(NamedTuple):
    """The run of the highest test accuracy against another one.

    Attributes:
      best, other: names of the runs.
      test: McNemar's; the best run is its first.
      adjusted: its p-value, adjusted for all tests of the comparison by Holm's method.
    """

    best: str
    other: str
    test: PairedTest
    adjusted: float


def compare_with_best(runs: Sequence[ComparedRun]) -> list[PairOfRuns]:
    """Tests the run of the highest test accuracy against each other one.

    Runs that have not ended are passed over. One whose predictions cannot be had, or are of other
    images, costs a line of warning.
    """
    labels: np.ndarray | None = None
    right: dict[str, np.ndarray] = {}
    for run in runs:
        if run.accuracy is None:
            continue
        try:
            found = predictions_of(run)
        except InputError as error:
            print(f"{run.name} is left out of the paired tests: {error}", file=sys.stderr)
            continue
        labels = found.labels if labels is None else labels
        if np.array_equal(labels, found.labels):
            right[run.name] = found.are_right
        else:
            print(f"{run.name} is left out of the paired tests: other labels.", file=sys.stderr)
    if len(right) < 2:
        return []
    best = max(right, key=lambda name: right[name].sum())
    others = [name for name in right if name != best]
    tests = [mcnemar(right[best], right[name]) for name in others]
    adjusted = holm(np.array([one.p_value for one in tests]))
    return [
        PairOfRuns(best, *of_other)
        for of_other in zip(others, tests, adjusted.tolist(), strict=True)
    ]


def predictions_of(run: ComparedRun) -> LabelledPredictions:
    """Reads the predictions of a run's best weights from its report, or else computes them.

    The report is used if it is of these very weights, with the run's own settings, and of its own
    test set.

    Raises:
      InputError: there are no weights, or the test images cannot be had or are others now.
    """
    place = report_folder(run.folder)
    facts = read_facts(place)
    run.folder.check_weights(run.config)
    if (
        facts.get("weights") == digest_of_weights(run.folder)
        and facts.get("predicted_with") == predicted_with(run.config)
        and identity.is_same_set(facts.get("test", {}), run.data.get("test", {}))
        and (place / PREDICTIONS).exists()
    ):
        return LabelledPredictions.read(place / PREDICTIONS)
    print(f"Predicting with {run.name} ...", flush=True)
    tested = Tested.open(run.config, run.folder)
    if not tested.is_of_run:
        raise InputError(f"the test images of {run.config.data.source} are not what they were.")
    probabilities = probabilities_of(tested, classifier_of(tested), images_of(tested))
    return LabelledPredictions.of(probabilities, np.asarray(tested.task.test.labels))


def sentences(tests: Sequence[PairOfRuns]) -> list[str]:
    """Says in a line each what the tests have found."""
    said = f", adjusted for {len(tests)} tests" if len(tests) > 1 else ""
    return [
        f"{one.best} against {one.other}: {one.test.only_first:,} images that it alone gets right, "
        f"{one.test.only_second:,} that the other alone does; {_equation(one.adjusted)}{said}"
        for one in tests
    ]


def section_of_tests(tests: Sequence[PairOfRuns]) -> Section:
    """Shows the tests, of which there is at least one, as a section of a page."""
    best = tests[0].best
    text = (
        f"{best} gets the most test images right. McNemar's test asks of each other run whether "
        "that may be chance, from the images that one of the two alone gets right, by the binomial "
        "distribution. It says nothing about other seeds; and since the best run was chosen on the "
        "same images, the p-values flatter it."
    )
    columns = ("run", f"#{best} alone is right", "#the run alone is right", "#p", "#p, adjusted")
    rows = [
        (
            one.other,
            f"{one.test.only_first:,}",
            f"{one.test.only_second:,}",
            _p_value(one.test.p_value),
            _p_value(one.adjusted),
        )
        for one in tests
    ]
    caption = f"{best} against each other run; p-values adjusted for all of these tests by Holm."
    return Section("Paired tests", [text, Table(columns, rows, caption)])


def _p_value(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def _equation(value: float) -> str:
    shown = _p_value(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"
