"""Groups: one compilation for all of their trials, each of which stands or falls alone."""

import json
import resource
import types

import jax
import numpy as np
import pytest

from mlpvis_jax.running.group_files import GroupFiles
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.sweep import capacity
from mlpvis_jax.sweep.folder import SweepFolder
from tests import soak

RATE = "optimizer.learning_rate"


@pytest.fixture(scope="module")
def settings(write_npz):
    """Arguments of a run on noise, in which every loop has several turns."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (90, 8, 8, 3)), random.integers(0, 3, 90)
    source = write_npz(images, labels, training=80)
    return [*soak.settings(source), "--config.microbatch_size=4"]


def arguments_of(written):
    return [f"--sweep.{key}={value}" for key, value in written.items()]


@pytest.mark.slow
@pytest.mark.parametrize("side_by_side", [1, 4])
def test_a_trial_that_diverges_touches_no_other(
    launch_main, settings, tmp_path, side_by_side, capsys
):
    written = {RATE: [0.01, 1e30], "model.dropout_rate": [0.0, 0.2], "duration": [2]}
    written["side_by_side"] = side_by_side
    assert launch_main(*settings, *arguments_of(written), f"--workdir={tmp_path / 'sweep'}") == 0
    assert "diverged at" in capsys.readouterr().out
    folder = SweepFolder(tmp_path / "sweep")
    states = [folder.read_outcome(number)["state"] for number in range(4)]
    assert states == ["finished", "finished", "diverged", "diverged"]
    message = folder.read_outcome(2)["message"]
    assert "Training diverged in epoch" in message and "learning_rate (1e+30)" in message
    # The others are as they would be without: also that whose rate of dropout is zero, which a solo
    # run leaves out of its program.
    for number, rate in ((0, 0.0), (1, 0.2)):
        changes = ["--config.optimizer.learning_rate=0.01", f"--config.model.dropout_rate={rate}"]
        run = tmp_path / str(number)
        assert launch_main(*settings, *changes, "--config.duration=2", f"--workdir={run}") == 0
        losses = [
            [json.loads(line)["validation_loss"] for line in path.read_text().splitlines()]
            for path in (run / "metrics.jsonl", folder.run_folder(number).metrics)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_where_data_are_swept_those_of_the_config_are_not_read(launch_main, tiny_npz, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(tiny_npz.read_bytes())
    settings = [*soak.settings(tmp_path / "missing.npz"), "--config.duration=12 steps"]
    written = {"data.source": [f"npz:{path}" for path in (tiny_npz, copy)], "cull_epochs": "1 2"}
    folder = SweepFolder(tmp_path / "sweep")
    assert launch_main(*settings, *arguments_of(written), f"--workdir={folder.path}") == 0
    assert [folder.read_outcome(number)["epochs"] for number in range(2)] in ([3, 1], [1, 3])


@pytest.mark.slow
def test_every_trial_diverges(launch_main, settings, tmp_path, capsys):
    written = {RATE: [1e30, 1e31], "duration": [2]}
    assert launch_main(*settings, *arguments_of(written), f"--workdir={tmp_path}/sweep") == 3
    printed = capsys.readouterr()
    assert "Every trial diverged" in printed.out and "because all diverged" in printed.err
    assert not (tmp_path / "sweep/best.json").exists()


@pytest.fixture
def compilations():
    """A list that grows by the seconds of every compilation."""
    found = []

    def note(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.slow
def test_a_group_is_compiled_once_however_many_trials(
    launch_main, settings, tmp_path, compilations, monkeypatch
):
    functions = []
    compile_one = TrialParallel.compile

    def compile_and_note(self, function, *arguments, **options):
        functions.append(function.__name__)
        return compile_one(self, function, *arguments, **options)

    monkeypatch.setattr(TrialParallel, "compile", compile_and_note)
    numbers = {}
    # The first sweep also compiles what is the same in every process, such as random keys.
    for trials in (3, 2, 9):
        rates = [0.001 * number for number in range(1, trials + 1)]
        written = {RATE: rates, "trials_per_program": 16, "duration": [1]}
        del compilations[:], functions[:]
        arguments = [*settings, *arguments_of(written), f"--workdir={tmp_path / str(trials)}"]
        assert launch_main(*arguments) == 0
        assert sorted(functions) == ["dispatch", "evaluation", "evaluation", "order"]
        numbers[trials] = len(compilations)
    assert numbers[2] == numbers[9] > 0


@pytest.mark.slow
def test_groups_of_one_shape_share_the_programs(launch_main, settings, tmp_path, monkeypatch):
    made = []
    prepare = Programs.__init__

    def note(self, configs, *arguments):
        made.append(len(configs))
        prepare(self, configs, *arguments)

    monkeypatch.setattr(Programs, "__init__", note)
    written = {
        **{"model.num_blocks": [1, 2], RATE: [0.001, 0.002, 0.003], "duration": [1]},
        "trials_per_program": 2,
    }
    arguments = [*settings, *arguments_of(written), f"--workdir={tmp_path / 'sweep'}"]
    assert launch_main(*arguments) == 0
    assert made == [2, 2]  # and each trains two groups, of two trials and of one


def test_the_best_weights_of_a_trial_keep_those_of_no_other_in_memory():
    whole = np.zeros((4, 3))
    progress = types.SimpleNamespace(best_params=None, best_averaged=None)
    run = types.SimpleNamespace(progress=progress)
    files = GroupFiles.__new__(GroupFiles)
    files.write_best = lambda run: None
    fetched = [{"params": {"a": rows}, "averaged": {"b": rows}} for rows in whole]
    files.keep_best([(1, run, True, True)], lambda: fetched)
    assert progress.best_params["a"].base is None and progress.best_averaged["b"].base is None


@pytest.mark.parametrize(
    ("limits", "trials"),
    [
        ((1024, 4096), 1280),
        ((1024, resource.RLIM_INFINITY), 21760),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 21760),
        ((100, 100), 1),
    ],
)
def test_as_many_trials_as_files_may_be_open(monkeypatch, limits, trials):
    told = []
    monkeypatch.setattr(capacity.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(capacity.resource, "setrlimit", lambda _, both: told.append(both))
    assert capacity.trials_of_open_files() == trials
    assert all(raised > limits[0] and most == limits[1] for raised, most in told)
    assert len(told) == (limits[0] == 1024)


def test_a_limit_of_open_files_that_stays_is_kept_to(monkeypatch):
    def refuse(*_):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(capacity.resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(capacity.resource, "setrlimit", refuse)
    assert capacity.trials_of_open_files() == 256
