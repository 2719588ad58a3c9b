"""The files of a run."""

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from configs import mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.files import lock
from mlpvis_jax.files.checkpoint import Checkpoints, Snapshot
from mlpvis_jax.files.recipe import find_file
from mlpvis_jax.files.run_folder import RunFolder, read_json, write_json
from mlpvis_jax.running.choices import differences
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.folder import SweepFolder

CONFIG = RunConfig.from_mapping(mixer.get_config().to_dict())


def changed(**groups):
    values = CONFIG.to_dict()
    for name, value in groups.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    return RunConfig.from_mapping(values)


def test_what_is_written_is_read_back(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    folder.check(CONFIG, differences)
    with folder.locked():
        folder.write_config(CONFIG)
        folder.append_metrics({"epoch": 1, "loss": 0.5})
        folder.append_metrics({"epoch": 2, "loss": math.nan})
        folder.write_results({"test_loss": math.inf, "versions": {"jax": "1"}})
    assert folder.read_config() == CONFIG
    # JSON has no NaN: other readers would refuse the file.
    lines = ['{"epoch": 1, "loss": 0.5}', '{"epoch": 2, "loss": null}']
    assert folder.metrics.read_text().splitlines() == lines
    assert json.loads(folder.results.read_text()) == {"test_loss": None, "versions": {"jax": "1"}}
    folder.write_metrics([{"epoch": 1, "loss": 0.5}])
    assert folder.metrics.read_text().splitlines() == lines[:1]


@pytest.mark.parametrize("name", ["curves.png", "lock"])
def test_files_of_no_run_are_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds a file {name} that is of no run"):
        RunFolder(tmp_path).check(CONFIG, differences)


@pytest.mark.parametrize("kind", [RunFolder, SweepFolder])
def test_a_file_system_without_locks_is_refused_by_a_line(tmp_path, monkeypatch, kind):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with (
        pytest.raises(InputError, match="cannot be locked .No locks available., and without"),
        kind(tmp_path).locked(),
    ):
        pass


@pytest.mark.parametrize(
    ("epochs", "kept", "is_lost"),
    [
        (0, (), False),
        (2, ("best_weights",), False),  # killed before its first checkpoint was whole
        (3, (), True),
        (None, ("best_weights",), True),  # shared without the rest
        (None, ("config",), False),
        (1, ("results",), True),
    ],
)
def test_what_a_run_without_its_checkpoints_has_written_is_not_written_over(
    tmp_path, epochs, kept, is_lost
):
    folder = RunFolder(tmp_path)
    if epochs is not None:
        folder.write_metrics([{"epoch": number + 1} for number in range(epochs)])
    for name in kept:
        getattr(folder, name).write_text("{}")
    assert folder.has_lost_checkpoints() == is_lost
    (folder.checkpoints / "12").mkdir(parents=True)
    assert not folder.has_lost_checkpoints()


def test_event_files_of_no_run_do_not_become_those_of_one(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    RunFolder(tmp_path).check(CONFIG, differences)
    (tmp_path / "tensorboard" / "events.out.tfevents.1.mine").write_text("mine")
    with pytest.raises(InputError, match="holds a folder tensorboard that is of no run"):
        RunFolder(tmp_path).check(CONFIG, differences)


def test_a_run_that_was_killed_before_its_config_can_begin_again(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.locked():
        pass
    folder.check(CONFIG, differences)


@pytest.mark.parametrize("name", ["metrics.jsonl", "results.json", "best.safetensors"])
def test_files_of_a_run_without_its_config_are_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"holds a run \({name}\) without its config.json"):
        RunFolder(tmp_path).check(CONFIG, differences)


def test_a_folder_with_other_files_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path)
    folder.check(CONFIG, differences)
    with folder.locked():
        folder.write_config(CONFIG)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_settings_that_differ_are_all_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    other = changed(seed=1, duration=3, optimizer={"b1": 0.5}, checkpoint={"every_steps": 7})
    with pytest.raises(InputError) as caught:
        folder.check(other, differences)
    for part in (
        "config.seed was 0 and is now 1",
        "config.duration was '50 epochs' and is now '3 epochs'; it may only grow",
        "config.optimizer.b1 was 0.9 and is now 0.5",
    ):
        assert part in str(caught.value)
    assert "every_steps" not in str(caught.value)


def test_what_may_differ(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    folder.check(
        changed(
            duration=51,
            steps_per_dispatch=1,
            microbatch_size=4,
            model={"remat": True},
            data={"data_dir": "elsewhere", "cache_dir": "elsewhere"},
            checkpoint={"every_minutes": 1.0, "every_steps": 7},
            writers="",
        ),
        differences,
    )


def test_when_a_run_is_finished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.finished(CONFIG) is None
    tested = {"test_loss": 0.3, "test_accuracy": 0.5}
    for results, expected in (
        ({**tested, "epochs": 50, "stopped_early": False}, True),
        ({**tested, "epochs": 50, "duration": "50 epochs", "stopped_early": False}, True),
        ({**tested, "epochs": 50, "duration": "17599 steps", "stopped_early": False}, False),
        ({**tested, "epochs": 31, "stopped_early": True}, True),
        ({**tested, "epochs": 31, "stopped_early": False}, False),
        ({"epochs": 50, "stopped_early": False}, False),
        ({**tested, "test_accuracy": "high", "epochs": 50}, False),
    ):
        folder.write_results(results)
        assert (folder.finished(CONFIG) == results) == expected
    for damaged in ("", "{", "[1]", "\0\0", "[" * 100_000):
        folder.results.write_text(damaged)
        assert folder.finished(CONFIG) is None


def test_a_folder_where_a_file_belongs_and_the_reverse(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folders = ("tensorboard", "checkpoints")
    files = ("lock", "config.json", "metrics.jsonl", "results.json", "curves.png")
    for name in (*folders, *files, "best.safetensors", "last.safetensors"):
        path = folder.path / name
        wrong = [lambda path: path.symlink_to(path), lambda path: path.symlink_to("nowhere")]
        wrong += [os.mkfifo, Path.touch if name in folders else Path.mkdir]
        for make in wrong:
            make(path)
            kind = "folder" if name in folders else "file"
            with pytest.raises(InputError, match=rf"{name} must be a {kind}, and something else"):
                folder.check(CONFIG, differences)
            path.rmdir() if path.is_dir() else path.unlink()
    folder.check(CONFIG, differences)


def test_settings_that_are_lost_come_from_the_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    arrays = {"weights": np.zeros(3)}
    with Checkpoints(folder.checkpoints) as checkpoints:
        checkpoints.save(1, Snapshot(arrays, {"configs": [changed(seed=1).to_dict()]}))
        checkpoints.save(2, Snapshot(arrays, {"configs": [CONFIG.to_dict()]}))
    for lost in (None, "", "\0" * 1000):
        if lost is not None:
            folder.config.write_text(lost)
        folder.metrics.write_text("{}\n")
        assert folder.holds_run() and folder.read_config() == CONFIG
        folder.check(CONFIG, differences)
        with pytest.raises(InputError, match="config.seed was 0 and is now 1"):
            folder.check(changed(seed=1), differences)
    # Of a newest one that is damaged, the one before.
    (folder.checkpoints / "2" / "values" / "metadata").write_text("{")
    assert folder.read_config() == changed(seed=1)


def test_settings_that_cannot_be_read_are_not_taken_for_lost(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)

    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert folder.holds_run()
    with pytest.raises(InputError, match="config.json cannot be read as JSON .*Permission denied"):
        folder.check(CONFIG, differences)


@pytest.mark.parametrize("made", [False, True])
def test_a_run_that_was_killed_before_its_settings_were_there(tmp_path, made):
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.config.touch()
        if made:
            folder.checkpoints.mkdir()
    folder.check(CONFIG, differences)


def test_one_process_at_a_time(tmp_path):
    with RunFolder(tmp_path).locked():
        refusal = pytest.raises(InputError, match=rf"in use by process {os.getpid()} on")
        with refusal, RunFolder(tmp_path).locked():
            pass
    with RunFolder(tmp_path).locked():  # what a process leaves behind is no lock
        pass


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("begun_as", "program"),
    [
        ("launch.py", "python launch.py"),
        ("/a checkout/launch.py", "python '/a checkout/launch.py'"),
        ("/usr/bin/pytest", "python launch.py"),
        ("/some/where/bin/mlpvis", "mlpvis"),
    ],
)
def test_a_command_is_that_of_the_program_that_runs(tmp_path, monkeypatch, begun_as, program):
    monkeypatch.setattr("sys.argv", [begun_as, "--config=mixer"])
    command = RunFolder(tmp_path / "a run").command(CONFIG, "--mode=evaluate")
    assert command == f"{program} '--workdir={tmp_path}/a run' --mode=evaluate"


def test_where_no_recipes_are_those_of_the_package_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--config=mixr is no file; there are fnet, gmlp, mixer"):
        find_file("--config", "mixr", "configs")
