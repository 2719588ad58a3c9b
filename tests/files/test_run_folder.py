"""The files of a run."""

import json
import math
import os

import pytest

from configs import mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder, read_json, write_json
from mlpvis_jax.settings.config import RunConfig

CONFIG = RunConfig.from_mapping(mixer.get_config().to_dict())


def changed(**groups):
    values = CONFIG.to_dict()
    for name, value in groups.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    return RunConfig.from_mapping(values)


def test_what_is_written_is_read_back(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    folder.check(CONFIG)
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


@pytest.mark.parametrize("name", ["metrics.jsonl", "results.json", "best.safetensors"])
def test_files_of_a_run_without_its_config_are_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"holds a run \({name}\) without its config.json"):
        RunFolder(tmp_path).check(CONFIG)


def test_a_folder_with_other_files_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path)
    folder.check(CONFIG)
    with folder.locked():
        folder.write_config(CONFIG)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_settings_that_differ_are_all_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    other = changed(seed=1, num_epochs=3, optimizer={"b1": 0.5}, checkpoint={"every_steps": 7})
    with pytest.raises(InputError) as caught:
        folder.check(other)
    for part in (
        "config.seed was 0 and is now 1",
        "config.num_epochs was 50 and is now 3; it may only grow",
        "config.optimizer.b1 was 0.9 and is now 0.5",
    ):
        assert part in str(caught.value)
    assert "every_steps" not in str(caught.value)


def test_what_may_differ(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    folder.check(
        changed(
            num_epochs=51,
            steps_per_dispatch=1,
            microbatch_size=4,
            model={"remat": True},
            data={"data_dir": "elsewhere", "cache_dir": "elsewhere"},
            checkpoint={"every_minutes": 1.0, "every_steps": 7},
        )
    )


def test_when_a_run_is_finished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.finished(CONFIG) is None
    for results, expected in (
        ({"epochs": 50, "stopped_early": False}, True),
        ({"epochs": 31, "stopped_early": True}, True),
        ({"epochs": 31, "stopped_early": False}, False),
    ):
        folder.write_results(results)
        assert (folder.finished(CONFIG) == results) == expected


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
