"""A run of steps, of examples, or of a part of an epoch: where it ends, goes on, and may grow.

The 36 images that are trained on are five steps an epoch, of which the last has four images.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import mixer
from mlpvis_jax.running import solo
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep import loop
from mlpvis_jax.sweep.checking import check_with_data
from mlpvis_jax.sweep.definition import Sweep
from tests import soak, tiny
from tests.running.resume_script import StopAfter

pytestmark = pytest.mark.slow


@pytest.fixture
def train(launch_main, tiny_npz, tmp_path):
    """A function: a run of a duration, or on with it; returns its folder."""

    def train(name, duration, *changes, status=0):
        more = [f"--config.{change}" for change in (f"duration={duration}", *changes)]
        arguments = [*soak.settings(tiny_npz), *more, f"--workdir={tmp_path / name}"]
        assert launch_main(*arguments) == status
        return tmp_path / name

    return train


def assert_same(run, other):
    assert tiny.history(run) == tiny.history(other)
    for name in ("best.safetensors", "last.safetensors"):
        ones = load_file(other / name)
        for key, leaf in load_file(run / name).items():
            np.testing.assert_array_equal(leaf, ones[key])


def test_the_last_epoch_may_be_a_part(train, capsys):
    cosine = ("schedule.name=cosine", "schedule.warmup=3 steps")
    steps = train("steps", "12 steps", *cosine)
    history = tiny.history(steps)
    assert [record["step"] for record in history] == [5, 10, 12]
    results = json.loads((steps / "results.json").read_text())
    assert (results["epochs"], results["duration"]) == (3, "12 steps")
    # Of the last steps of the epochs, from 0: after three of warm-up there are nine of the cosine.
    rates = [0.005 * (1 + np.cos(np.pi * (step - 3) / 9)) / 2 for step in (4, 9, 11)]
    assert [record["learning_rate"] for record in history] == pytest.approx(rates)
    # 2.4 epochs, or 36 + 36 + 8 examples and some of the next eight, are these twelve steps.
    assert_same(train("epochs", "2.4", *cosine, "steps_per_dispatch=8"), steps)
    assert_same(train("examples", "81 examples", *cosine), steps)
    assert "note" not in capsys.readouterr().out
    # Its last epoch has the images of two steps, and they are those of a longer run.
    longer = train("longer", "3 epochs")
    train("rising", "2 steps", "schedule.warmup=2 steps")
    assert "the warm-up, 2 steps, is no shorter than the run" in capsys.readouterr().out
    part = train("part", "12 steps")
    assert tiny.history(part)[:2] == tiny.history(longer)[:2]
    assert tiny.history(part)[2]["train_loss"] != tiny.history(longer)[2]["train_loss"]


@pytest.mark.parametrize(("looks", "step"), [(1, 2), (8, 9), (10, 11), (11, 12)])
def test_it_goes_on_to_the_bit_from_within_any_epoch(train, monkeypatch, capsys, looks, step):
    changes = ("schedule.name=cosine", "schedule.warmup=0.5", "steps_per_dispatch=1")
    straight = train("straight", "12 steps", *changes)
    with monkeypatch.context() as patched:
        patched.setattr(solo, "Interruption", lambda: StopAfter(looks))
        train("pieces", "12 steps", *changes, status=128 + 15)
    assert f"SIGTERM: stopped after step {step}," in capsys.readouterr().err
    assert_same(train("pieces", "12 steps", *changes), straight)


def test_a_run_of_whole_epochs_may_grow_and_one_that_was_cut_may_not(train, capsys):
    straight = train("straight", "20 steps")
    grown = train("grown", "10 steps")
    assert_same(train("grown", "20 steps"), straight)
    assert len(tiny.history(grown)) == 4
    cut = train("cut", "12 steps")
    files = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    train("cut", "20 steps", status=2)
    message = "cut has ended within epoch 3, after step 12, and cannot go on for longer"
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(("looks", "ended"), [(None, 0), (6, 0), (7, 1), (8, 2)])
def test_trials_of_any_duration_train_together(
    launch_main, tiny_npz, tmp_path, train, monkeypatch, looks, ended
):
    """Two of them end within an epoch of the others, which go on from there, and after a signal."""
    changes = ("schedule.name=linear", "writers=")
    durations = ["7 steps", "2 epochs", "12 steps", "56 examples"]
    arguments = [*soak.settings(tiny_npz), *(f"--config.{change}" for change in changes)]
    swept = [f"--sweep.duration={durations}", f"--workdir={tmp_path / 'sweep'}"]
    if looks is not None:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "Interruption", lambda: StopAfter(looks))
            assert launch_main(*arguments, *swept) == 128 + 15
        assert len(list((tmp_path / "sweep/trials").glob("*/results.json"))) == ended
    assert launch_main(*arguments, *swept) == 0
    assert len(list((tmp_path / "sweep/groups").glob("*/group.json"))) == 1
    for number, duration in enumerate(durations):
        trial = tmp_path / f"sweep/trials/{number:04}"
        alone = train(f"alone {number}", duration, *changes)
        found, wanted = tiny.history(trial), tiny.history(alone)
        assert [record["step"] for record in found] == [record["step"] for record in wanted]
        for record, one in zip(found, wanted, strict=True):
            assert record == pytest.approx(one, rel=1e-4)


def test_a_cull_after_the_last_epoch_is_refused(launch_main, tiny_npz, tmp_path, capsys):
    arguments = [*soak.settings(tiny_npz), "--config.duration=12 steps", "--sweep.cull_epochs=3"]
    rates = "--sweep.optimizer.learning_rate=[0.1,0.2]"
    assert launch_main(*arguments, rates, f"--workdir={tmp_path / 'sweep'}") == 2
    message = "between 1 and the epochs of config.duration - 1, which is 2, not 3"
    assert message in capsys.readouterr().err and not (tmp_path / "sweep").exists()


def test_the_longest_trial_of_a_sweep_may_be_that_of_another_batch(tmp_path):
    base = mixer.get_config("digits").to_dict()
    base["data"]["limit"] = 200
    task = Task.read(RunConfig.from_mapping(base), tmp_path)
    assert len(task.training) == 180
    dimensions = {"duration": ["6 steps", "12 steps", "1 epoch"], "batch_size": [32, 90]}
    # Of 180 images, 32 a step are 6 steps an epoch, and 90 a step are 2.
    assert epochs_of(base, dimensions, task) == 6
    assert epochs_of(base, {**dimensions, "batch_size": [32]}, task) == 2
    dimensions["batch_size"] = "integers(32, 90)"
    assert epochs_of(base, {**dimensions, "strategy": "random", "num_trials": 2}, task) == 6


def epochs_of(base, written, task):
    """Of the longest trial of a sweep."""
    return max(length.num_epochs for length in check_with_data(Sweep.read(base, written), task))


def test_a_sweep_tells_of_trials_that_are_all_warmup(launch_main, tiny_npz, tmp_path, capsys):
    def train(warmups):
        space = [f"--sweep.schedule.warmup={warmups}", "--sweep.duration=['5 steps', '9 steps']"]
        workdir = f"--workdir={tmp_path / str(len(warmups))}"
        assert launch_main(*soak.settings(tiny_npz), *space, workdir) == 0
        return capsys.readouterr().out

    assert "trials that are no longer than their warm-up" in train(["4 steps", "1 epoch"])
    assert "no longer than" not in train(["4 steps"])


def test_a_run_that_was_begun_with_the_older_names_goes_on(train, launch_main):
    straight, run = train("straight", "2 epochs"), train("run", "1 epoch")
    config = json.loads((run / "config.json").read_text())
    config["num_epochs"] = len([config.pop("duration")])
    config["schedule"]["warmup_epochs"] = 0.0 * len(config["schedule"].pop("warmup"))
    (run / "config.json").write_text(json.dumps(config))
    results = json.loads((run / "results.json").read_text())
    del results["duration"]
    (run / "results.json").write_text(json.dumps(results))
    assert launch_main(f"--workdir={run}") == 0  # is finished
    assert launch_main(f"--workdir={run}", "--config.duration=2") == 0
    assert_same(run, straight)


def test_steps_are_counted_from_the_number_of_examples(tiny_npz):
    config = tiny.config(tiny_npz, duration="2.1 epochs", **{"schedule.warmup": "44 examples"})
    length = Length.of(config, 36)
    assert (length.steps_per_epoch, length.total_steps, length.warmup_steps) == (5, 11, 6.0)
    assert length.num_epochs == 3
    assert [length.end_of(epoch) for epoch in (1, 2, 3)] == [5, 10, 11]
