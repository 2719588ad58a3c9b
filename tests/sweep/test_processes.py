"""Sweeps as processes: killed at any moment, stopped, and shared by several of them."""

import json
import random
import re
import signal
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from mlpvis_jax.sweep.folder import SweepFolder
from tests import soak, tiny

pytestmark = pytest.mark.first

ROOT = Path(__file__).parents[2]
NUM_TRIALS = 6


@pytest.fixture(scope="module")
def start(tiny_npz, start_python):
    """A function: starts a sweep of six trials, in groups of two, two of which are culled."""

    def begin(folder, *more):
        arguments = [
            *soak.settings(tiny_npz),
            "--config.duration=5",
            "--sweep.optimizer.learning_rate=[0.001, 0.0001, 0.003, 0.0003, 0.01, 0.00003]",
            *("--sweep.trials_per_program=2", "--sweep.cull_epochs=2"),
        ]
        return start_python("launch.py", f"--workdir={folder}", *arguments, *more)

    return begin


def finish(process, timeout=600):
    """What it printed; it must end well."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out


def state_of(path):
    """All that a sweep leaves behind, but for times."""
    folder, found = SweepFolder(path), {}
    for number in range(NUM_TRIALS):
        run = folder.run_folder(number)
        outcome = folder.read_outcome(number)
        results = json.loads(run.results.read_text()) if run.results.exists() else {}
        found[number] = {
            "outcome": tiny.without_clock(outcome),
            "history": tiny.history(run.path),
            "results": tiny.without_clock(results),
            "config": run.config.read_text(),
            "weights": [
                {key: leaf.tolist() for key, leaf in load_file(weights).items()}
                for weights in (run.best_weights, run.last_weights)
            ],
            "checkpoints": sorted(one.name for one in run.checkpoints.glob("[0-9]*")),
        }
    return {**found, "best": json.loads(folder.best_config.read_text())}


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """The state of a sweep that nothing happened to."""
    path = tmp_path_factory.mktemp("sweep") / "undisturbed"
    finish(start(path))
    return state_of(path)


def epochs_in(path):
    """Lines of metrics that the sweep's trials have written."""
    return sum(one.read_text().count("\n") for one in path.glob("trials/*/metrics.jsonl"))


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_nothing_had_been(start, undisturbed, tmp_path):
    path, draw = tmp_path / "sweep", random.Random(0)
    kills = 0
    for _ in range(4):  # after as many new epochs, not seconds, which mean another place every time
        enough = epochs_in(path) + draw.randrange(4)
        process = start(path)
        wait_for(process, lambda enough=enough: epochs_in(path) >= enough)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    finish(start(path))
    assert kills >= 2
    assert state_of(path) == undisturbed
    for number in range(NUM_TRIALS):
        epochs = [record["epoch"] for record in SweepFolder(path).read_history(number)]
        assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.slow
def test_a_signal_saves_and_the_folder_alone_goes_on(start, start_python, undisturbed, tmp_path):
    path = tmp_path / "sweep"
    process = start(path)
    wait_for(process, lambda: len(list(path.glob("trials/*/metrics.jsonl"))) > 2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == (
        f"launch.py: The sweep is stopped and saved. To go on: python launch.py --workdir={path}"
    )
    done = [SweepFolder(path).read_outcome(number) for number in range(NUM_TRIALS)]
    assert None in done
    again = start_python("launch.py", f"--workdir={path}")
    assert "goes on" in finish(again)
    assert state_of(path) == undisturbed


def groups_in(printed):
    """The groups of the epochs that a process has printed, by their first trial."""
    return re.findall(r"^epoch \d+/5 of trials (\d+) to", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("strategy", "workers"),
    [
        ("grid", 2),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("random", 3), ("tpe", 2))),
    ],
)
def test_workers_share_a_folder_without_overlap(start, tmp_path, strategy, workers):
    path = tmp_path / "sweep"
    drawn = "--sweep.optimizer.learning_rate=log_uniform(1e-5, 1e-2)"
    more = [drawn, f"--sweep.strategy={strategy}", f"--sweep.num_trials={NUM_TRIALS}"]
    processes = [start(path, *(more if strategy != "grid" else [])) for _ in range(workers)]
    trained = [groups_in(finish(process, timeout=300)) for process in processes]
    firsts = [first for one in trained for first in set(one)]
    assert sorted(firsts) == ["0", "2", "4"]  # each group by one process
    folder = SweepFolder(path)
    for number in range(NUM_TRIALS):
        outcome = folder.read_outcome(number)
        assert outcome["state"] in ("finished", "culled")
        assert len(folder.read_history(number)) == outcome["epochs"]
    values = {json.dumps(folder.read_outcome(number)["values"]) for number in range(NUM_TRIALS)}
    assert len(values) == NUM_TRIALS
