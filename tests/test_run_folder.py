"""The files of a run."""

import json
import math

import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.run_folder import RunFolder, read_json, write_json


def test_what_is_written_is_read_back(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    folder.check_free()
    folder.create({"seed": 1})
    folder.append_metrics({"epoch": 1, "loss": 0.5})
    folder.append_metrics({"epoch": 2, "loss": math.nan})
    folder.write_results({"test_loss": math.inf, "versions": {"jax": "1"}})
    assert folder.read_config() == {"seed": 1}
    lines = folder.metrics.read_text().splitlines()
    # JSON has no NaN: other readers would refuse the file.
    assert lines == ['{"epoch": 1, "loss": 0.5}', '{"epoch": 2, "loss": null}']
    assert json.loads(folder.results.read_text()) == {"test_loss": None, "versions": {"jax": "1"}}


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "results.json"])
def test_a_folder_with_a_run_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"holds a run already \({name}\)"):
        RunFolder(tmp_path).check_free()


def test_a_folder_with_other_files_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path)
    folder.check_free()
    folder.create({})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
