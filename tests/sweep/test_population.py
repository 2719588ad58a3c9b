"""A trial of a population is the solo run with its config: by number of devices, alone or not."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import mixer
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.running import solo as solo_run
from mlpvis_jax.running.choices import declarations
from mlpvis_jax.running.task import Task
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.settings.declared import Role
from mlpvis_jax.settings.override import override_all
from mlpvis_jax.sweep import capacity, pictures
from mlpvis_jax.sweep.definition import Sweep
from tests import soak, tiny

pytestmark = pytest.mark.optimised

ROOT = Path(__file__).parents[2]
RATE = "optimizer.learning_rate"
# Every number in which trials of one program may differ, and each of these rules ends a trial.
EVERY_NUMBER = {
    RATE: "log_uniform(0.003, 0.1)",
    "optimizer.weight_decay": "uniform(0, 0.1)",
    "optimizer.clip_norm": "uniform(0.5, 2)",
    "schedule.warmup": "uniform(0, 1)",
    "averaging.decay": "uniform(0.5, 0.9)",
    "loss.label_smoothing": "uniform(0, 0.3)",
    "model.dropout_rate": [0.1, 0.3],
    "model.stochastic_depth_rate": "uniform(0, 0.3)",
    "augment.flip_zoom.flip_probability": "uniform(0, 1)",
    "augment.flip_zoom.zoom": "uniform(0, 0.3)",
    "reduce_on_plateau.factor": "uniform(0.2, 0.6)",
    "reduce_on_plateau.patience": "integers(1, 3)",
    "reduce_on_plateau.min_delta": "uniform(0, 0.1)",
    "early_stopping.patience": "integers(1, 4)",
    "duration": [3, 5, 6],
    "seed": [0, 7],
}
NUM_TRIALS = 4


@pytest.fixture(scope="module")
def settings(write_npz):
    """Arguments of a run on noise, whose validation loss goes up and down."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (90, 8, 8, 3)), random.integers(0, 3, 90)
    source = write_npz(images, labels, training=80)
    return [*soak.settings(source), "--config.microbatch_size=4"]


@pytest.fixture(scope="module")
def base(settings):
    values = mixer.get_config().to_dict()
    texts = [argument.removeprefix("--config.").partition("=") for argument in settings[1:]]
    override_all(values, {key: text for key, _, text in texts})
    return values


def arguments_of(written):
    return [f"--sweep.{key}={value}" for key, value in written.items()]


@pytest.fixture(scope="module")
def every_number():
    # Two points: three trials are stopped early, one is not, and two have their rate lowered.
    chosen = {"strategy": "random", "num_trials": NUM_TRIALS, "suggestion_seed": 229}
    return {**EVERY_NUMBER, **chosen}


@pytest.fixture(scope="module")
def solo(base, every_number, tmp_path_factory):
    """The folders of the solo runs."""
    sweep = Sweep.read(base, every_number)
    folder = tmp_path_factory.mktemp("solo")
    for index in range(sweep.num_points):
        for trial in sweep.trials(index, sweep.point(index)):
            solo_run.train(trial.config, RunFolder(folder / f"{trial.number:04}"))
    return folder


def assert_same_run(run, other, exact=True):
    history, wanted = tiny.history(run), tiny.history(other)
    assert len(history) == len(wanted)
    for record, one in zip(history, wanted, strict=True):
        assert record == (one if exact else pytest.approx(one, rel=2e-3, abs=1e-5))
    for name in ("best.safetensors", "last.safetensors", "averaged.safetensors"):
        weights, ones = load_file(run / name), load_file(other / name)
        assert weights.keys() == ones.keys()
        for key in weights:
            np.testing.assert_allclose(
                weights[key], ones[key], rtol=0, atol=0 if exact else 2e-2, err_msg=key
            )
    results, ones = (json.loads((path / "results.json").read_text()) for path in (run, other))
    for name in ("best_epoch", "epochs", "stopped_early", "parameters"):
        assert results[name] == ones[name]
    for name in ("test_loss", "test_accuracy", "averaged_test_loss"):
        assert results[name] == (ones[name] if exact else pytest.approx(ones[name], rel=2e-3))
    assert (run / "config.json").read_text() == (other / "config.json").read_text()


@pytest.mark.slow
def test_all_numbers_that_may_differ_do(base, every_number, solo):
    sweep = Sweep.read(base, every_number)
    (trial, *_) = sweep.trials(0, sweep.point(0))
    declared = declarations(trial.config).items()
    free = {key for key, one in declared if one.role in (Role.TRACED, Role.RULE)}
    # The rate of the head, and weights to start from, have a sweep of their own: test_start.py. And
    # so have sharpness and the decay by layer, to rounding, in test_seams.py.
    elsewhere = {"optimizer.head_learning_rate", "init_from", "init_from_resolution"}
    elsewhere |= {"optimizer.sharpness_radius", "optimizer.layer_decay"}
    assert EVERY_NUMBER.keys() == free - elsewhere
    for key in EVERY_NUMBER:
        points = [sweep.point(index) for index in range(sweep.num_points)]
        assert key == "seed" or len({point[key] for point in points}) > 1, key
    results = [json.loads(path.read_text()) for path in solo.glob("*/results.json")]
    assert {result["stopped_early"] for result in results} == {True, False}
    assert len({result["epochs"] for result in results}) > 1
    rates = [[record["learning_rate"] for record in tiny.history(run)] for run in solo.glob("*")]
    assert any(of_run[-1] < of_run[0] for of_run in rates)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "side_by_side"),
    # One after another, by the same instructions where XLA leaves every loop a loop: it writes one
    # of a single turn into its surroundings, and here is none. Side by side, by vmap, to rounding.
    [
        (1, None),
        (3, None),
        (2, 2),
    ],
)
def test_a_trial_is_the_solo_run(
    launch_main,
    settings,
    every_number,
    solo,
    tmp_path,
    monkeypatch,
    as_compiled_here,
    devices,
    side_by_side,
):
    monkeypatch.setattr(pictures, "draw_all", lambda *_: [])  # of sixteen dimensions
    arguments = [*settings, *arguments_of(every_number), f"--workdir={tmp_path / 'sweep'}"]
    if side_by_side is not None:
        arguments.append(f"--sweep.side_by_side={side_by_side}")
    if devices == 1:
        assert launch_main(*arguments) == 0
    else:
        environment = {**os.environ, **as_compiled_here, "JAX_NUM_CPU_DEVICES": str(devices)}
        command = [sys.executable, "launch.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f" {devices} x cpu" in done.stdout
    for number in range(NUM_TRIALS):
        run = tmp_path / f"sweep/trials/{number:04}"
        assert_same_run(run, solo / f"{number:04}", exact=side_by_side is None)


class Device:
    """Of an accelerator with so much memory."""

    platform = "gpu"

    def __init__(self, memory):
        self.memory = memory

    def memory_stats(self):
        return {"bytes_limit": self.memory, "bytes_in_use": 0}


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_as_many_trials_as_there_is_memory_for(base, tmp_path, number):
    sweep = Sweep.read(base, {RATE: [0.1]})
    (trial,) = sweep.trials(0, sweep.point(0))
    task = Task.read(trial.config, tmp_path)

    def fit(memory, config=trial.config, vmapped_trials=None):
        devices = (Device(memory),) * number
        return capacity.trials_that_fit(config, task, devices, vmapped_trials)

    assert fit(memory=1) == number  # one at least; XLA may do with less
    assert fit(memory=1 << 50) == capacity.MAX_TRIALS * number
    some = [fit(memory=memory) for memory in (1 << 20, 1 << 21, 1 << 22)]
    assert number < some[0] < some[1] < some[2] < capacity.MAX_TRIALS * number
    assert some[2] == pytest.approx(4 * some[0], abs=8 * number)
    options = {**trial.config.model.options, "width": 64}
    changed = dataclasses.replace(trial.config.model, options=options)
    wide = dataclasses.replace(trial.config, model=changed)
    assert fit(memory=1 << 22, config=wide) < some[2]
    parts = dataclasses.replace(trial.config, microbatch_size=2)
    assert fit(memory=1 << 20, config=parts) > some[0]
    assert fit(memory=1 << 20, vmapped_trials=1) > some[0]


def test_trials_are_dealt_to_devices_in_turn():
    devices = (Device(0),) * 3
    trials = TrialParallel.with_capacity(devices, 7)
    assert (trials.slots, trials.vmapped_trials, trials.capacity, trials.rounds) == (3, 3, 9, 1)
    trials = TrialParallel.with_capacity(devices, 7, vmapped_trials=2)
    assert (trials.slots, trials.capacity, trials.rounds) == (4, 12, 2)
    for number, blocks in ((7, [2, 1, 1]), (6, [1, 1, 1]), (2, [1, 1, 0]), (1, [1, 0, 0])):
        assert trials._blocks_in_use(number).tolist() == blocks
    alone = TrialParallel.with_capacity(devices[:1], 7, vmapped_trials=2)
    blocks = alone._blocks_in_use(7)
    assert (alone.slots, blocks.shape, int(blocks)) == (8, (), 4)
