"""A run in pieces is the run in one go, to the last bit, as users run it.

Every piece is a process of its own, with XLA's default flags. The run in pieces has a cache of
compiled programs of its own, so that its program is another than that of the run in one go.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.metrics import no_sums
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.running.task import Task
from tests import tiny

pytestmark = pytest.mark.first

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/running/resume_script.py"
# 39 images are 6 steps in 3 dispatches. The rules soon have something to do.
CHANGES = {
    "batch_size": 7,
    "steps_per_dispatch": 2,
    "microbatch_size": 2,
    "model.num_blocks": 2,
    "model.stochastic_depth_rate": 0.2,
    "optimizer.learning_rate": 0.02,
    "reduce_on_plateau.patience": 1,
}


@pytest.fixture(scope="module")
def noise(write_npz):
    """Of three classes, 44 to train on or to validate with."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 54)
    labels[:3] = 0, 1, 2
    return write_npz(random.integers(0, 256, (54, 8, 8, 3)), labels, training=44)


def run(program, arguments, devices, cache):
    """A process; returns its exit status and its standard error."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }
    command = [sys.executable, *program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def left_behind(config, path):
    """All that a run leaves behind, but for what the clock says."""
    folder = RunFolder(path)
    plan = Plan.of([config], Task.read(config, path))
    like = plan.state_shapes(config)
    totals = no_sums(plan.learner.metrics, plan.learner.num_classes)
    shapes = RunProgress.start(config, like, totals).arrays(like)
    of_one_run = jax.tree.map(lambda one: jax.ShapeDtypeStruct((1, *one.shape), one.dtype), shapes)
    with Checkpoints(folder.checkpoints) as checkpoints:
        saved = checkpoints.newest(of_one_run)
    progress = saved.values.pop("progress")[0]
    del saved.values["configs"]
    return {
        "history": tiny.history(path),
        "results": tiny.without_clock(json.loads(folder.results.read_text())),
        "values": saved.values,
        "progress": {
            **progress,
            "history": [tiny.without_clock(one) for one in progress["history"]],
        },
        "arrays": {
            jax.tree_util.keystr(path): (str(leaf.dtype), leaf.tobytes())
            for path, leaf in jax.tree.leaves_with_path(saved.arrays)
        },
        "best": folder.best_weights.read_bytes(),
        "last": folder.last_weights.read_bytes(),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("model", "devices"), [("mixer", 2), ("fnet", 1), ("gmlp", 2)])
def test_a_run_in_pieces_is_the_run_in_one_go(noise, tmp_path, model, devices):
    straight, pieces = tmp_path / "straight", tmp_path / "pieces"

    def train(folder, epochs, program=("launch.py",)):
        arguments = tiny.settings(noise, model, **CHANGES, duration=epochs)
        cache = tmp_path / f"compiled-{folder.name}"
        return run(program, [*arguments, f"--workdir={folder}"], devices, cache)

    status, err = train(straight, 4)
    assert status == 0, err
    # Two epochs; then to the end, but stopped within an epoch, after its fourth step of six.
    status, err = train(pieces, 2)
    assert status == 0, err
    status, err = train(pieces, 4, (SCRIPT, "1"))
    assert status == 128 + signal.SIGTERM, err
    assert re.search(r"SIGTERM: stopped after step (\d+)", err)[1] == "16"
    assert len(tiny.history(pieces)) == 2
    status, err = train(pieces, 4)
    assert status == 0, err

    config = tiny.config(noise, model, **CHANGES, duration=4)
    one, other = left_behind(config, straight), left_behind(config, pieces)
    assert not [name for name in one if one[name] != other[name]]
    assert len(one["history"]) == 4 and one["progress"]["step"] == 24


@pytest.mark.slow
def test_a_checkpoint_of_two_devices_goes_on_with_one(noise, tmp_path):
    """Without dropout, whose masks are those of a device's share: the same, up to rounding."""
    still = {"model.dropout_rate": 0.0, "model.stochastic_depth_rate": 0.0}

    def train(name, epochs, devices):
        changes = {**CHANGES, **still, "duration": epochs}
        arguments = [*tiny.settings(noise, **changes), f"--workdir={tmp_path / name}"]
        status, err = run(["launch.py"], arguments, devices, tmp_path / "compiled")
        assert status == 0, err
        return tiny.history(tmp_path / name)

    both, wanted = train("taken up", 1, devices=2), train("alone", 2, devices=1)
    results = json.loads((tmp_path / "taken up/results.json").read_text())
    assert results["device"].startswith("2 x ")
    history = train("taken up", 2, devices=1)
    assert history[0] == both[0]
    for record, one in zip(history, wanted, strict=True):
        assert record == pytest.approx(one, rel=1e-3)
