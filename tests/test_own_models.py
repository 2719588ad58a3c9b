"""A model of the user's own, each time in a process that knows nothing of it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CONFIG = """
from flax import linen as nn
from configs import mixer
from mlpvis_jax.models import PRESETS

class Mean(nn.Module):
    hidden_dim: int
    epsilon: float = 1e-6
    dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    dtype: object = None
    param_dtype: object = None

    @nn.compact
    def __call__(self, tokens, train=False):
        mean = nn.LayerNorm(epsilon=self.epsilon)(tokens).mean(axis=1, keepdims=True)
        return tokens + nn.Dense(tokens.shape[-1])(nn.relu(nn.Dense(self.hidden_dim)(mean)))

def get_config(variant=""):
    config = mixer.get_config()
    config.data.source = "npz:{source}"
    config.batch_size, config.duration, config.model.image_size = 18, "5 epochs", 8
    sizes = dict(patch_size=4, num_blocks=1, width=8)
    if variant == "block":
        config.model.name = "mean"
        PRESETS["mean"] = dict(block=Mean, hidden_dim=8, **sizes)
    elif variant == "preset":
        config.model.name = "mine"
        PRESETS["mine"] = {{**PRESETS["mixer_keras"], **sizes}}
    else:
        PRESETS["mixer_keras"].update(sizes, epsilon=1.0)
    return config
"""


def launch(*arguments):
    done = subprocess.run(
        [sys.executable, "launch.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture
def config_file(tiny_npz, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(CONFIG.format(source=tiny_npz))
    return path


def command_in(message):
    """The arguments of the command that a message ends with."""
    assert message.startswith("launch.py: ") and message.count("\n") == 1
    _, found, command = message.partition(": python launch.py ")
    assert found, message
    return shlex.split(command)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["block", "preset"])
def test_the_folder_names_the_command_that_evaluates_it_and_goes_on(config_file, tmp_path, variant):
    folder = tmp_path / "a folder"
    workdir = f"--workdir={folder}"
    changed = ["--config.optimizer.learning_rate=0.01", "--config.augment.flip_zoom=None"]
    begun = [f"--config={config_file}:{variant}", *changed]
    status, trained, err = launch(*begun, "--config.duration=1", workdir)
    assert status == 0, err
    config_file.unlink()  # the folder has what is needed

    status, out, err = launch(workdir, "--mode=evaluate")
    assert status == 2 and out == []
    status, out, err = launch(*command_in(err))
    assert status == 0, err
    assert out[-1:] == trained[-1:]

    status, _, err = launch(workdir, "--config.duration=2")
    assert status == 2
    needed = command_in(err)
    assert {"--config.duration=2 epochs", *changed} <= set(needed)
    status, out, err = launch(*needed)
    assert status == 0, err
    assert any(line.startswith("goes on") for line in out)
    assert [line[:9] for line in out if line.startswith("epoch")] == ["epoch 2/2"]


@pytest.mark.slow
def test_a_preset_of_ours_that_a_config_changed_is_not_taken_for_ours(config_file, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    status, trained, err = launch(f"--config={config_file}", "--config.duration=1", workdir)
    assert status == 0, err
    for arguments in (
        [workdir, "--mode=evaluate"],
        [f"--config={tmp_path / 'run' / 'config.json'}", workdir, "--mode=evaluate"],
    ):
        status, out, err = launch(*arguments)
        assert status == 2 and "'mixer_keras'" in err
    status, out, err = launch(*command_in(err))
    assert (status, out[-1:]) == (0, trained[-1:]), err


@pytest.mark.slow
def test_a_sweep_and_its_trials(config_file, tmp_path):
    sweep, trial = tmp_path / "sweep", tmp_path / "sweep" / "trials" / "0001"
    begun = [f"--config={config_file}:preset", "--config.duration=1", f"--workdir={sweep}"]
    status, out, err = launch(*begun, "--sweep.optimizer.learning_rate=[0.01, 0.02]")
    assert status == 0, err
    (again,) = (line for line in out if line.startswith("best again"))
    command = shlex.split(again.partition(" launch.py ")[2])
    status, _, err = launch(*command, "--print_config")
    assert status == 0 and f"{sweep}/begun_with.py:preset" in again, err
    status, _, err = launch(f"--workdir={sweep}")
    assert status == 2
    status, out, err = launch(*command_in(err))
    assert status == 0 and "Best: trial" in "\n".join(out), err
    status, _, err = launch(f"--workdir={trial}", "--mode=evaluate")
    assert status == 2
    assert "--config.optimizer.learning_rate=0.02" in command_in(err)
    status, out, err = launch(*command_in(err))
    assert status == 0, err
