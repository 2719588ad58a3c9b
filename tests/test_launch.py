"""The command line: a run, the same run again, its evaluation, and its default folder."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from mlpvis_jax.files.run_folder import RunFolder
from tests import tiny


def small(source):
    return tiny.settings(source, num_epochs=2, batch_size=18)


@pytest.fixture(scope="module")
def run(launch_main, tiny_npz, tmp_path_factory):
    """The folder of a run, and the lines that it printed."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert launch_main(*small(tiny_npz), f"--workdir={folder.path}") == 0
    return folder, printed.getvalue().splitlines()


def test_its_own_config_runs_it_again(run, launch_main, tmp_path):
    folder, _ = run
    again = RunFolder(tmp_path / "again")
    assert launch_main(f"--config={folder.config}", f"--workdir={again.path}") == 0
    assert tiny.history(again.path) == tiny.history(folder.path)
    assert again.best_weights.read_bytes() == folder.best_weights.read_bytes()


def test_evaluation_gives_what_the_run_gave_and_writes_nothing(run, launch_main, capfd):
    folder, printed = run
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert launch_main("--mode=evaluate", f"--workdir={folder.path}") == 0
    assert capfd.readouterr().out.splitlines() == printed[-2:]
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_a_line_an_epoch_into_a_pipe(run):
    _, printed = run
    epochs = [line for line in printed if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert all("images/s" in line and "\x1b" not in line for line in epochs)


def test_a_run_without_a_folder_makes_a_new_one(launch_main, tiny_npz, tmp_path, monkeypatch):
    config = f"--config={Path('configs/mixer.py').absolute()}"
    monkeypatch.chdir(tmp_path)
    assert launch_main(config, *small(tiny_npz)[1:]) == 0
    names = [path.name for path in (tmp_path / "runs").iterdir() if path.name != "decoded"]
    assert len(names) == 1 and re.fullmatch(r"mixer-\d{8}-\d{6}", names[0])
