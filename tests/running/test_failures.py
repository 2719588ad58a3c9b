"""A run that cannot go on: divergence, a full disk, no memory. What is saved stays whole."""

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from mlpvis_jax.errors import StorageError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.plateau import ReduceOnPlateau
from mlpvis_jax.running import programs
from mlpvis_jax.running.failures import explain_resource_errors
from mlpvis_jax.running.trainer import GroupTrainer
from tests import soak, tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(launch_main, tiny_npz, capfd):
    """A function: runs launch.py on a tiny set in a folder; exit status and standard error."""

    def call(folder, *more):
        capfd.readouterr()
        status = launch_main(*tiny.settings(tiny_npz, batch_size=18), f"--workdir={folder}", *more)
        return status, capfd.readouterr().err

    return call


@pytest.mark.slow
def test_divergence_names_the_step_and_keeps_the_last_good_checkpoint(start, tmp_path, monkeypatch):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert start(straight, "--config.duration=3")[0] == 0

    def ruin(self, loss):
        self.learning_rate = 1e38

    with monkeypatch.context() as patched:
        patched.setattr(ReduceOnPlateau, "update", ruin)
        # Saved before the rule is applied, as a wrong rate would be part of the run otherwise.
        patched.setattr(GroupTrainer, "_save", lambda self: None)
        status, err = start(broken, "--config.duration=3")
    assert status == 3
    assert err.count("\n") == 1 and "Traceback" not in err
    assert "Training diverged in epoch 2: the loss or a gradient at step 4 is not a finite" in err
    assert "the loss before it was 0." in err
    assert "config.optimizer.learning_rate (0.005) is too high" in err
    assert len(tiny.history(broken)) == 1
    # The run as it was before goes on.
    assert start(broken, "--config.duration=3")[0] == 0
    assert tiny.history(broken) == tiny.history(straight)


@pytest.mark.slow
def test_a_validation_loss_that_is_not_finite(start, tmp_path, monkeypatch):
    evaluate = programs.EvaluationProgram.__call__

    def overflow(self, num_runs, params):
        return [{**one, "loss": float("inf")} for one in evaluate(self, num_runs, params)]

    monkeypatch.setattr(programs.EvaluationProgram, "__call__", overflow)
    status, err = start(tmp_path / "run")
    assert status == 3
    assert "the validation loss after step 2 is not a finite number" in err


def test_too_high_a_rate_from_the_start(start, tmp_path):
    status, err = start(tmp_path / "run", "--config.optimizer.learning_rate=1e38")
    assert status == 3
    assert "at step 2 is not a finite number" in err and "(1e+38) is too high" in err
    assert tiny.history(tmp_path / "run") == []


def test_no_memory_on_the_device(start, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.\nMore lines."
        )

    monkeypatch.setattr(programs, "TrainingProgram", fail)
    status, err = start(tmp_path / "run")
    assert status == 1
    assert err.count("\n") == 1
    for part in ("Out of memory allocating 123 bytes", "config.microbatch_size", "remat=True"):
        assert part in err


@pytest.mark.slow
def test_a_disk_that_fills_up_within_a_checkpoint(tiny_npz, tmp_path, mounted):
    """A process of its own, for the messages of libraries come from threads, until its end."""
    disk = mounted("size=1500k")
    folder, filling = disk / "run", disk / "filling"
    command = [sys.executable, "launch.py", *soak.settings(tiny_npz), f"--workdir={folder}"]
    command.append(f"--config.data.cache_dir={tmp_path}")

    def run(epochs):
        more = [f"--config.duration={epochs}"]
        return subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True)

    assert run(1).returncode == 0
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    os.truncate(filling, filling.stat().st_size - 60 * 1024)
    done = run(30)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "cannot be written" in done.stderr, done.stderr


def test_a_disk_that_fills_up(start, tmp_path, mounted):
    disk = mounted("size=1500k")
    more = [f"--config.data.cache_dir={tmp_path}", "--config.duration=2"]
    assert start(disk / "run", *more)[0] == 0
    before = tiny.history(disk / "run")
    # Now there is room for nothing more.
    with pytest.raises(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    more[-1] = "--config.duration=4"
    status, err = start(disk / "run", *more)
    assert status == 1
    assert err.count("\n") == 1 and "Traceback" not in err
    assert "cannot be written" in err and str(disk / "run") in err and "MB are free" in err
    assert "give the same command again" in err  # the folder does not have its duration yet
    # Room again: nothing was lost.
    (disk / "filling").unlink()
    assert start(disk / "run", *more)[0] == 0
    assert tiny.history(disk / "run")[:2] == before and len(tiny.history(disk / "run")) == 4


def test_a_limit_on_the_size_of_files_is_a_matter_of_the_disk(tiny_npz, tmp_path):
    config, folder = tiny.config(tiny_npz), RunFolder(tmp_path / "run")
    refused = pytest.raises(StorageError, match="run cannot be written")
    with refused, explain_resource_errors(config, folder):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
