"""A run whose optimiser is schedule-free validates, tests and keeps the average of its weights."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.inference import load
from mlpvis_jax.learning.metrics import no_sums
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.running.task import Task
from tests import soak, tiny

pytestmark = pytest.mark.slow

CHANGES = {
    "optimizer.name": "schedule_free_adamw",
    "optimizer.b1": 0.8,
    "schedule.warmup": "3 steps",
    "duration": "12 steps",
    "averaging.decay": 0.5,
}


def state_of(config, path):
    """The state in a run's checkpoint: what the run goes on from."""
    plan = Plan.of([config], Task.read(config, path))
    like = plan.state_shapes(config)
    sums = no_sums(plan.learner.metrics, plan.learner.num_classes)
    shapes = RunProgress.start(config, like, sums).arrays(like)
    of_one_run = jax.tree.map(lambda one: jax.ShapeDtypeStruct((1, *one.shape), one.dtype), shapes)
    with Checkpoints(RunFolder(path).checkpoints) as checkpoints:
        saved = checkpoints.newest(of_one_run)
    arrays = jax.tree.map(lambda leaf: leaf[0], saved.arrays)
    return RunProgress.of(arrays, saved.values["progress"][0], like)[1]


def test_what_is_kept_is_the_average_and_what_goes_on_are_the_iterates(
    launch_main, tiny_npz, tmp_path
):
    arguments = [*soak.settings(tiny_npz), *(f"--config.{key}={CHANGES[key]}" for key in CHANGES)]
    run = tmp_path / "run"
    assert launch_main(*arguments, f"--workdir={run}") == 0
    config = RunFolder(run).read_config()
    state = state_of(config, run)
    found = load_file(run / "last.safetensors")
    (free,) = [one for one in jax.tree.leaves(state.opt_state, is_leaf=is_free) if is_free(one)]
    for kernel in ("stem", "head"):
        y, z = state.params[kernel]["kernel"], free.z[kernel]["kernel"]
        np.testing.assert_allclose(found[f"{kernel}/kernel"], (y - 0.2 * z) / 0.8, rtol=1e-5)
        assert np.abs(y - found[f"{kernel}/kernel"]).max() > 1e-4
    # The last epoch was the best one, and its loss is that of the weights that are kept.
    last = tiny.history(run)[-1]
    assert json.loads((run / "results.json").read_text())["best_epoch"] == 3
    np.testing.assert_allclose(
        load_file(run / "best.safetensors")["head/kernel"], found["head/kernel"], rtol=1e-6
    )
    assert_loss(run, config, last["validation_loss"])


def is_free(node):
    return hasattr(node, "weight_sum")


def assert_loss(run, config, wanted):
    """The loss of best.safetensors over the validation images, computed here."""
    task = Task.read(config, run)
    images = np.asarray(task.validation.images).reshape(-1, *task.validation.image_shape)
    predicted = np.asarray(load(run).predict(list(images)).probabilities)
    labels = np.asarray(task.validation.labels)
    loss = -np.log(predicted[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(wanted, rel=1e-4)


def test_trials_of_any_betas_are_one_program_and_their_solo_runs(launch_main, tiny_npz, tmp_path):
    changes = {**CHANGES, "writers": ""}
    arguments = [*soak.settings(tiny_npz), *(f"--config.{key}={changes[key]}" for key in changes)]
    swept = {"optimizer.b1": [0.7, 0.9], "optimizer.b2": [0.9, 0.99]}
    sweep = [f"--sweep.{key}={values}" for key, values in swept.items()]
    assert launch_main(*arguments, *sweep, f"--workdir={tmp_path / 'sweep'}") == 0
    assert len(list((tmp_path / "sweep/groups").glob("*/group.json"))) == 1
    for trial in sorted((tmp_path / "sweep/trials").iterdir()):
        alone = tmp_path / f"alone{trial.name}"
        assert launch_main(f"--config={trial / 'config.json'}", f"--workdir={alone}") == 0
        for record, one in zip(tiny.history(trial), tiny.history(alone), strict=True):
            assert record == pytest.approx(one, rel=1e-4)
        for name in ("best", "last", "averaged"):
            ones = load_file(alone / f"{name}.safetensors")
            for key, leaf in load_file(trial / f"{name}.safetensors").items():
                np.testing.assert_allclose(leaf, ones[key], rtol=1e-3, atol=1e-5)
