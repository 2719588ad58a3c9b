"""The report of an evaluation says what the evaluation, scikit-learn and hand-made cases say."""

import contextlib
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest
import sklearn.metrics

from mlpvis_jax.files.run_folder import RunFolder, read_json
from mlpvis_jax.files.weights import load_weights, read_description, save_weights
from mlpvis_jax.learning.corruptions import corrupt
from mlpvis_jax.pictures import learned
from mlpvis_jax.report import evaluation
from mlpvis_jax.report.measured import Measured, classifier_of
from mlpvis_jax.report.predictions import LabelledPredictions
from mlpvis_jax.report.sections import facts, superclass_accuracy, superclass_counts
from mlpvis_jax.running import evaluation as testing
from mlpvis_jax.running.evaluation import evaluate
from tests import tiny
from tests.report.parsed import ParsedPage

pytestmark = pytest.mark.slow  # `make test` takes less than five minutes

RANDOM = np.random.default_rng(0)
NAMES = np.array(["ant", "bee <b>", "cat"])
LABELS = np.arange(90) % 3
IMAGES = RANDOM.integers(0, 200, (90, 8, 8, 3))
IMAGES[np.arange(90), :, :, LABELS] += 30  # easy to learn in part
IMAGES = IMAGES.astype(np.uint8)


def write(path, images):
    train = {"x_train": IMAGES[:60], "y_train": LABELS[:60]}
    np.savez(path, **train, x_test=images, y_test=LABELS[60:], class_names=NAMES)


@pytest.fixture(scope="module")
def reported(launch_main, tmp_path_factory):
    """A run with its report, and what the evaluation printed."""
    root = tmp_path_factory.mktemp("reported")
    write(root / "set.npz", IMAGES[60:])
    folder = RunFolder(root / "run")
    arguments = tiny.settings(root / "set.npz", duration=2)
    assert launch_main(*arguments, f"--workdir={folder.path}") == 0
    printed = io.StringIO()
    before = {path.name for path in folder.path.iterdir()}
    with contextlib.redirect_stdout(printed):
        flags = "--mode=evaluate", "--corruptions=contrast,saturate"
        assert launch_main(*flags, f"--workdir={folder.path}") == 0
    assert {path.name for path in folder.path.iterdir()} == before | {"report"}
    return folder, printed.getvalue().splitlines()


@pytest.fixture
def copied(reported, tmp_path):
    """The same run, to be changed by a test."""
    shutil.copytree(reported[0].path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_the_predictions_are_those_of_the_evaluation(reported):
    folder, printed = reported
    found = LabelledPredictions.read(folder.path / "report" / "predictions.csv")
    assert found.labels.tolist() == LABELS[60:].tolist()
    told = read_json(folder.path / "report" / "report.json")
    tested = evaluate(folder.read_config(), folder)
    assert told["test_accuracy"] == tested["test_accuracy"] == found.are_right.mean()
    loss = sklearn.metrics.log_loss(
        np.ones(30, int), np.stack([1 - found.label_probabilities, found.label_probabilities], 1),
        labels=[0, 1],
    )  # fmt: skip
    assert loss == pytest.approx(tested["test_loss"], rel=1e-4)
    assert printed[-2:] == [
        f"Report: {folder.path / 'report' / 'report.html'}",
        f"Test accuracy: {round(found.are_right.mean() * 100, 2)}%",
    ]


def test_the_page_is_whole_and_tells_what_was_measured(reported):
    folder, _ = reported
    parsed = ParsedPage((folder.path / "report" / "report.html").read_text())
    parsed.check_self_contained()
    told = read_json(folder.path / "report" / "report.json")
    pictures = {name for name in told["files"] if name.endswith(".png")}
    assert pictures == {
        *("confusion.png", "class_accuracy.png", "reliability.png", "confident_errors.png"),
        *("corruptions.png", "by_depth.png", "receptive_field.png", "MixerBlock_0.png"),
    }
    assert len(parsed.of("img")) == len(parsed.of("source")) == len(pictures)
    assert sorted(told["files"]) == sorted(p.name for p in (folder.path / "report").iterdir())
    assert f"{told['test_accuracy']:.1%}" in parsed.texts and "bee <b>" in parsed.texts
    found = LabelledPredictions.read(folder.path / "report" / "predictions.csv")
    recalls = sklearn.metrics.recall_score(found.labels, found.predictions, average=None)
    rows = {row[0]: row for row in parsed.rows if row[0] in NAMES and len(row) == 6}
    assert [rows[name][2] for name in NAMES] == [f"{one:.1%}" for one in recalls]


def test_the_mixing_is_that_of_mode_mixing(reported, launch_main, capsys):
    folder, _ = reported
    parsed = ParsedPage((folder.path / "report" / "report.html").read_text())
    assert launch_main("--mode=mixing", f"--workdir={folder.path}") == 0
    _, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    shown = [row for row in parsed.rows if row[0] in {row[0] for row in rows}]
    assert [list(row) for row in shown] == rows and rows[-1][0] == "all tokens alike"


def test_corruptions_are_measured_as_a_set_of_corrupted_images(reported, copied, tmp_path):
    told = read_json(reported[0].path / "report" / "report.json")["corruptions"]
    assert list(told) == ["contrast", "saturate"]
    source = tmp_path / "worse.npz"
    write(source, corrupt("contrast", 4, IMAGES[60:]))
    config = copied.read_config()
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, source=f"npz:{source}")
    )
    assert told["contrast"][3] == evaluate(config, copied)["test_accuracy"]


@pytest.mark.slow  # it evaluates once more
def test_the_next_report_replaces_the_first(copied, launch_main, capsys):
    place = copied.path / "report"
    assert launch_main("--mode=evaluate", f"--workdir={copied.path}") == 0
    assert not (place / "corruptions.png").exists() and (place / "confusion.png").exists()
    assert "Corrupted images" not in (place / "report.html").read_text()
    assert launch_main(
        "--mode=evaluate", f"--workdir={copied.path}", f"--output={copied.path.parent / 'other'}"
    ) == 0  # fmt: skip
    assert (copied.path.parent / "other" / "report.html").exists()


@pytest.mark.slow  # it evaluates once more
def test_a_report_that_cannot_be_written_costs_a_line(copied, launch_main, capsys, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation, "replace_report", refuse)
    assert launch_main("--mode=evaluate", f"--workdir={copied.path}") == 0
    out, err = capsys.readouterr()
    assert out.startswith("Test accuracy: ") and out.count("\n") == 1
    assert err == f"The report {copied.path / 'report'} is left out (No space left on device).\n"


def test_weights_that_change_meanwhile_get_no_report(copied, launch_main, capsys, monkeypatch):
    measure = evaluation._measure

    def replace(*arguments):
        measured = measure(*arguments)
        params, _ = load_weights(copied.best_weights, parameters_like(copied))
        params["head"]["bias"] = params["head"]["bias"] + 1
        save_weights(copied.best_weights, params, read_description(copied.best_weights))
        return measured

    monkeypatch.setattr(evaluation, "_measure", replace)
    before = (copied.path / "report" / "report.json").read_text()
    assert launch_main("--mode=evaluate", f"--workdir={copied.path}") == 0
    out, err = capsys.readouterr()
    assert out.startswith("Test accuracy: ")
    assert err.endswith("is left out (the weights have changed meanwhile).\n")
    assert (copied.path / "report" / "report.json").read_text() == before


@pytest.mark.parametrize("place", [(evaluation, "probabilities_of"), (learned, "receptive_fields")])
def test_a_report_for_which_memory_does_not_suffice_costs_a_line(
    copied, launch_main, capsys, monkeypatch, place
):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(*place, fail)
    assert launch_main("--mode=evaluate", f"--workdir={copied.path}") == 0
    out, err = capsys.readouterr()
    assert out.startswith("Test accuracy: ")
    assert "is left out (memory does not suffice for 8 images at a time; set config.batch_" in err


@pytest.mark.slow  # it evaluates once more
def test_weights_that_give_no_numbers_get_no_report(copied, launch_main, capsys):
    params, _ = load_weights(copied.best_weights, parameters_like(copied))
    params["head"]["bias"] = np.full_like(params["head"]["bias"], np.nan)
    save_weights(copied.best_weights, params, read_description(copied.best_weights))
    launch_main("--mode=evaluate", f"--workdir={copied.path}")
    err = capsys.readouterr().err
    assert "is left out (the model gives no finite numbers for 30 images)." in err


def parameters_like(folder):
    return testing.Tested.open(folder.read_config(), folder).params


def test_coarse_labels(reported):
    folder, _ = reported
    tested = testing.Tested.open(folder.read_config(), folder)
    source = dataclasses.replace(tested.task.source, superclasses=("insect", "insect", "mammal"))
    tested = dataclasses.replace(tested, task=dataclasses.replace(tested.task, source=source))
    ones = np.ones(5)
    predictions = LabelledPredictions(
        np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 2, 1]), ones, ones
    )
    results = {"test_accuracy": 0.4, "test_loss": 1.0}
    measured = Measured(tested, classifier_of(tested), results, predictions, {})
    counts, correct, names = superclass_counts(measured)
    assert (counts.tolist(), correct.tolist(), names) == ([3, 2], [2, 1], ["insect", "mammal"])
    text = superclass_accuracy(measured).parts[0]
    # Of three errors, one is an ant that is taken for a bee.
    assert "Of all images, 60.0%" in text and "Of the errors, 33.3% stay within" in text
    assert facts(measured)["test images"] == "5"
    assert superclass_accuracy(dataclasses.replace(measured, tested=plain(tested))) is None


def plain(tested):
    source = dataclasses.replace(tested.task.source, superclasses=None)
    return dataclasses.replace(tested, task=dataclasses.replace(tested.task, source=source))


def test_report_json_is_json(reported):
    text = (reported[0].path / "report" / "report.json").read_text()
    told = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert 0 <= told["expected_calibration_error"] <= 1 and told["kind"] == "evaluation"


@pytest.mark.slow  # it evaluates once more
def test_mirror_images_count_where_the_run_says_so(copied, launch_main):
    arguments = f"--workdir={copied.path}", "--config.average_flips=True"
    assert launch_main("--mode=evaluate", *arguments) == 0
    told = read_json(copied.path / "report" / "report.json")
    found = LabelledPredictions.read(copied.path / "report" / "predictions.csv")
    loss = -np.log(found.label_probabilities).mean()
    assert loss == pytest.approx(told["test_loss"], rel=1e-4)
