"""The evaluation of a run: its best weights are tested, and a report is written of it."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlpvis_jax.errors import InputError, OutOfMemoryError, RunError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.pictures.statistics import reliability
from mlpvis_jax.report.folder import check_replaceable, replace_report
from mlpvis_jax.report.measured import (
    Measured,
    choose_corruptions,
    classifier_of,
    images_at_a_time,
    images_of,
    measure_corruptions,
    probabilities_of,
)
from mlpvis_jax.report.page import Page, render
from mlpvis_jax.report.predictions import PREDICTIONS, LabelledPredictions
from mlpvis_jax.report.sections import SECTIONS, facts, superclass_counts
from mlpvis_jax.running.evaluation import Tested
from mlpvis_jax.running.failures import explain_memory_errors, explain_resource_errors
from mlpvis_jax.running.outcome import versions
from mlpvis_jax.running.placement import Placement
from mlpvis_jax.settings.config import RunConfig


def report_folder(folder: RunFolder) -> Path:
    """Names the folder of a run's report, where the command names no other one."""
    return folder.path / "report"


def evaluate_and_report(
    config: RunConfig,
    folder: RunFolder,
    *,
    output: Path | None = None,
    corruptions: str | None = None,
    placement: Placement | None = None,
) -> dict[str, Any]:
    """Tests the best weights of a run, and writes a report of it.

    A report that cannot be written costs a line of warning, not the results.

    Args:
      config: the settings.
      folder: of the run.
      output: folder of the report; by default report/ in that of the run.
      corruptions: see `measured.choose_corruptions`.
      placement: where the run is computed; by default on all devices of this process.

    Returns:
      test_loss, test_accuracy, and so on.

    Raises:
      InputError: no weights in the folder, those of another model or of other classes, a corruption
        that does not exist, or a folder for the report that holds something else.
    """
    place = report_folder(folder) if output is None else output
    names = choose_corruptions(corruptions)
    check_replaceable(place)
    weights = _digest_or_none(folder)
    with explain_memory_errors(config):  # what cannot be read has a message of its own
        tested = Tested.open(config, folder, placement)
    with explain_resource_errors(config, folder):
        results = tested.results()
    try:
        with explain_resource_errors(config, folder):
            measured = _measure(tested, results, names)
            files = _files(measured)
    except OutOfMemoryError as error:
        of_device = isinstance(error.__cause__, jax.errors.JaxRuntimeError)
        number = images_at_a_time(config)
        advice = f" for {number} images at a time; set config.batch_size below {number}"
        _leave_out(place, f"memory does not suffice{advice if of_device else ''}")
        return results
    except RunError as error:
        _leave_out(place, str(error))
        return results
    # A run that still trains may have replaced its weights meanwhile.
    if weights is None or _digest_or_none(folder) != weights:
        _leave_out(place, "the weights have changed meanwhile")
        return results
    try:
        replace_report(place, files, _numbers(measured, weights))
    except OSError as error:
        _leave_out(place, error.strerror or str(error))
    else:
        print(f"Report: {place / 'report.html'}")
    return results


def _measure(tested: Tested, results: Mapping[str, Any], corruptions: Sequence[str]) -> Measured:
    """Measures what the report is made of, besides the results."""
    classifier = classifier_of(tested)
    probabilities = probabilities_of(tested, classifier, images_of(tested))
    finite = np.isfinite(probabilities).all(axis=-1)
    if not finite.all():
        raise RunError(f"the model gives no finite numbers for {(~finite).sum():,} images")
    corrupted = measure_corruptions(tested, classifier, corruptions)
    predictions = LabelledPredictions.of(probabilities, np.asarray(tested.task.test.labels))
    return Measured(tested, classifier, results, predictions, corrupted)


def _files(measured: Measured) -> dict[str, bytes]:
    """The files of a report by their names; of its sections some are computed here."""
    tested, class_names = measured.tested, measured.class_names
    config, source = tested.config, tested.task.source
    sections = [section for make in SECTIONS if (section := make(measured)) is not None]
    page = Page(
        title=f"{config.model.name} on {source.name}",
        subtitle=(
            f"{tested.folder.path}: best weights of seed {config.seed}, tested on "
            f"{len(measured.predictions.labels):,} images"
            f"{'' if tested.is_of_run else ', which are not those of the run'}"
        ),
        facts=facts(measured),
        sections=sections,
        footer=f"Made by {', '.join(f'{name} {number}' for name, number in versions().items())}.",
    )
    return {**render(page), PREDICTIONS: measured.predictions.to_csv(class_names)}


def digest_of_weights(folder: RunFolder) -> str:
    """Computes a hash of the best weights, by which a report tells which weights it is of.

    Raises:
      InputError: they are missing, or cannot be read.
    """
    try:
        return hashlib.sha256(folder.best_weights.read_bytes()).hexdigest()[:32]
    except OSError as error:
        raise InputError(f"{folder.best_weights} cannot be read ({error.strerror}).") from error


def _digest_or_none(folder: RunFolder) -> str | None:
    try:
        return digest_of_weights(folder)
    except InputError:  # whoever reads them says what is wrong
        return None


def predicted_with(config: RunConfig) -> dict[str, Any]:
    """Lists the settings, besides the weights, on which predictions of the test images depend."""
    others = ("average_flips", "data.framing")
    told = {
        key: value
        for key, value in config.flat().items()
        if key in others or key.startswith("model.")
    }
    return json.loads(json.dumps(told))  # as report.json gives it back


def _numbers(measured: Measured, weights: str) -> dict[str, Any]:
    """What report.json holds besides the list of files."""
    found = measured.predictions
    numbers: dict[str, Any] = {
        "kind": "evaluation",
        "weights": weights,
        "predicted_with": predicted_with(measured.tested.config),
        "test": measured.tested.task.identity["test"],
        **measured.results,
        "expected_calibration_error": reliability(found.confidences, found.are_right).error,
    }
    if measured.superclasses is not None:
        counts, correct, _ = superclass_counts(measured)
        numbers["superclass_accuracy"] = float(correct.sum() / counts.sum())
    if measured.corrupted:
        numbers["corruptions"] = dict(measured.corrupted)
    return {**numbers, "versions": versions()}


def _leave_out(place: Path, reason: str) -> None:
    print(f"The report {place} is left out ({reason}).", file=sys.stderr)
