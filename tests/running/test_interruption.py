"""Signals, locks and kills, seen from outside: processes of launch.py on a tiny run."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mlpvis_jax.running.interruption import Interruption
from tests import soak

pytestmark = pytest.mark.first

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(start_python):
    """A function: starts a Python program."""

    def call(*arguments, **options):
        # A process inherits which signals are ignored, and `nohup make test` ignores SIGHUP.
        hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        process = start_python(*arguments, **options)
        signal.signal(signal.SIGHUP, hangup)
        return process

    return call


@pytest.fixture
def command(start, tiny_npz, compiled_quickly):
    """A function: starts a run in a folder, with more arguments."""

    def call(folder, *more):
        arguments = [f"--workdir={folder}", *soak.settings(tiny_npz), *more]
        environment = {**os.environ, **compiled_quickly}
        return start("launch.py", *arguments, cwd=ROOT, env=environment)

    return call


def wait_for_epochs(process, number):
    """Reads its output until that many epochs are done."""
    while number:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        number -= line.startswith("epoch")


def epochs_in(folder):
    return [
        json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_ends(command, tmp_path, number):
    process = command(tmp_path / "run", "--config.duration=1000000")
    wait_for_epochs(process, 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 128 + number
    first, last = err.splitlines()
    assert first == f"{number.name}: saving ..."
    assert last.startswith(f"launch.py: {number.name}: stopped after step ")
    assert last.endswith(f"To go on: python launch.py --workdir={tmp_path / 'run'}")
    done = epochs_in(tmp_path / "run")
    assert done == list(range(1, len(done) + 1)) and len(done) >= 3
    if number not in (signal.SIGTERM, signal.SIGINT):
        return

    # The command that it names goes on; a process that trains keeps others out.
    process = command(tmp_path / "run", "--config.duration=1000000")
    wait_for_epochs(process, 1)
    other = command(tmp_path / "run", "--config.duration=1000000")
    _, err = other.communicate(timeout=600)
    assert other.returncode == 2
    assert f"is in use by process {process.pid} on " in err
    process.kill()
    process.wait()
    more = epochs_in(tmp_path / "run")
    assert more == list(range(1, len(more) + 1)) and len(more) > len(done)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once(start, tmp_path, first):
    script = tmp_path / "stuck.py"
    script.write_text(
        "import time\n"
        "from mlpvis_jax.running.interruption import Interruption\n"
        "import jax\n"
        "def wait(x):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "    return x\n"
        "stuck = jax.jit(lambda x: jax.pure_callback(wait, x, x))\n"
        "with Interruption() as interruption:\n"
        # In native code, where Python calls no handler of a signal.
        "    stuck(jax.numpy.float32(1)).block_until_ready()\n"
    )
    process = start(script, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout.readline() == "ready\n"
    process.send_signal(first)
    assert process.stderr.readline() == f"{first.name}: saving ...\n"
    # A scheduler that repeats itself is patient, and whoever presses Ctrl-C for the first time.
    process.send_signal(signal.SIGTERM if first is signal.SIGINT else signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    # Again and again, because two of one kind that wait at the same time are one.
    for _ in range(200):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.wait(timeout=0.1) == 130
            return
    pytest.fail("it goes on")


def test_a_signal_that_nohup_ignores_stays_ignored():
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruption.received is None
            os.kill(os.getpid(), signal.SIGUSR1)
            assert interruption.received == signal.SIGUSR1
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, ignored)


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_stop_the_run(command, tmp_path):
    process = command(tmp_path / "run", "--config.duration=4")
    assert process.stdout.readline().startswith("model")  # as `head -1` does
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=600) == 0
    assert epochs_in(tmp_path / "run") == [1, 2, 3, 4]
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path, capsys):
    """The short form of `make soak`."""
    assert soak.soak(tmp_path, 4, seed=0, models=soak.MODELS) == 0
    count = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert int(count["kills"]) == 4 and int(count["finished runs"]) >= 1
