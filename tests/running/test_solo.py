"""A whole run on made-up images: what it writes agrees with what it did."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import load_weights
from mlpvis_jax.learning.plateau import ReduceOnPlateau
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.running import solo
from mlpvis_jax.running.choices import build_model, completed
from mlpvis_jax.running.evaluation import evaluate, normalization_of
from mlpvis_jax.running.placement import DataParallel
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.sections import AveragingConfig
from tests import tiny


@pytest.fixture(scope="module")
def config(write_npz):
    """Forty noisy images of two classes; the learning rate is high so that losses go both ways."""
    labels = np.arange(50) % 2
    noise = np.random.default_rng(0).integers(0, 200, (50, 8, 8, 3))
    path = write_npz(noise + 40 * labels[:, None, None, None], labels, training=40)
    return tiny.config(
        path,
        duration=12,
        batch_size=16,
        steps_per_dispatch=2,
        **{
            "optimizer.learning_rate": 0.1,
            "reduce_on_plateau.patience": 2,
            "early_stopping.patience": 4,
        },
    )


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    results = solo.train(config, folder)
    history = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return folder, results, history


def test_the_learning_rate_follows_the_plateau_rule(run, config):
    _, _, history = run
    plateau = ReduceOnPlateau(0.1, factor=0.5, patience=2, min_delta=1e-4)
    for record in history:
        assert record["learning_rate"] == plateau.learning_rate
        plateau.update(record["validation_loss"])
    assert history[-1]["learning_rate"] < 0.1


def test_training_stopped_where_the_rule_says(run):
    _, results, history = run
    losses = [record["validation_loss"] for record in history]
    best_epoch = 1 + losses.index(min(losses))
    assert results["best_epoch"] == best_epoch
    assert results["epochs"] == len(history) == min(best_epoch + 4, 12)
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    assert [record["step"] for record in history] == [3 * r["epoch"] for r in history]


@pytest.mark.parametrize("which", ["best", "last"])
def test_weights_are_those_of_their_epoch(run, config, which):
    folder, results, history = run
    record = history[results["best_epoch"] - 1 if which == "best" else -1]
    task = Task.read(config, folder.path)
    training, validation = task.training, task.validation
    model = build_model(config.model, task.source.num_classes)
    path = folder.best_weights if which == "best" else folder.last_weights
    shapes = parameter_shapes(model, config.model.image_size, channels=3)
    params, description = load_weights(path, shapes)
    assert (len(training), len(validation)) == (36, 4)
    images = training.images.reshape(-1, 8, 8, 3)
    found = normalization_of(description, 3, path)
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 1, 2)), 1e-6)
    np.testing.assert_allclose(found.deviation, images.std(axis=(0, 1, 2)), 1e-6)
    told = dataclasses.replace(task, test=validation, normalization=found)
    (measured,) = Programs([config], told, DataParallel.all()).test([params])
    assert measured["loss"] == pytest.approx(record["validation_loss"], rel=1e-6)
    assert measured["accuracy"] == record["validation_accuracy"]


def test_evaluating_the_run_gives_its_results_and_writes_nothing(run, config):
    folder, results, _ = run
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    again = evaluate(config, folder)
    assert again == {name: results[name] for name in again}
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before
    assert json.loads(folder.results.read_text())["test_loss"] == results["test_loss"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(bytes(9))])
def test_files_that_a_finished_run_has_lost_are_restored(run, config, tmp_path, damage, capfd):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run[0].path, folder.path)
    lost = (folder.config, folder.metrics, folder.best_weights, folder.last_weights, folder.results)
    before = [path.read_bytes() for path in lost]
    for path, content in zip(lost, before, strict=True):
        damage(path)
        assert folder.finished(config) is None
        path.write_bytes(content)
    for path in lost:
        damage(path)
    with pytest.raises(
        InputError, match=f"To restore them: python launch.py --workdir={folder.path}$"
    ):
        evaluate(config, folder)
    assert solo.train(config, folder) == json.loads(before[-1])
    assert [path.read_bytes() for path in lost] == before
    capfd.readouterr()
    solo.train(config, folder)
    assert "is finished; nothing is changed" in capfd.readouterr().out


def test_epochs_that_the_metrics_of_a_finished_run_have_lost_are_restored(run, config, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run[0].path, folder.path)
    before = folder.metrics.read_bytes()
    assert folder.finished(config) is not None
    for cut in (before[:-20], before[: before.index(b"\n") + 1]):
        folder.metrics.write_bytes(cut)
        assert folder.finished(config) is None
    solo.train(config, folder)
    assert folder.metrics.read_bytes() == before


def test_averaged_weights_that_a_finished_run_has_lost_are_missed(run, config, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run[0].path, folder.path)
    assert folder.finished(config) is not None
    averaged = dataclasses.replace(config, averaging=AveragingConfig(decay=0.9))
    assert folder.finished(averaged) is None
    folder.averaged_weights.write_bytes(folder.best_weights.read_bytes())
    assert folder.finished(averaged) is not None


def test_a_run_that_is_killed_before_its_first_checkpoint_goes_on(
    run, config, tmp_path, monkeypatch
):
    folder = RunFolder(tmp_path / "run")

    def kill(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(solo.Checkpoints, "newest", kill)
        with pytest.raises(KeyboardInterrupt):
            solo.train(config, folder)
    assert folder.checkpoints.is_dir() and folder.read_config() == completed(config)
    results = solo.train(config, folder)
    assert results["test_loss"] == run[1]["test_loss"]


def test_the_same_config_is_the_same_run(run, config, tmp_path):
    _, _, history = run
    folder = RunFolder(tmp_path / "again")
    solo.train(config, folder)
    again = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    for record in (*history, *again):
        del record["seconds"], record["images_per_second"]
    assert again == history
