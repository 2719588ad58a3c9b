"""The command line: a run, the same run again, its evaluation, and its default folder."""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mlpvis_jax.files.run_folder import RunFolder
from tests import tiny


def small(source):
    return tiny.settings(source, duration=2, batch_size=18)


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
    assert not (folder.path / "begun_with.py").exists()  # that is for models that are not ours
    again = RunFolder(tmp_path / "again")
    assert launch_main(f"--config={folder.config}", f"--workdir={again.path}") == 0
    assert tiny.history(again.path) == tiny.history(folder.path)
    assert again.best_weights.read_bytes() == folder.best_weights.read_bytes()


def test_evaluation_gives_what_the_run_gave_and_writes_its_report_alone(run, launch_main, capfd):
    folder, printed = run
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert launch_main("--mode=evaluate", f"--workdir={folder.path}") == 0
    report = folder.path / "report"
    assert capfd.readouterr().out.splitlines() == [
        f"Report: {report / 'report.html'}",
        printed[-1],  # no top 5 of two classes
    ]
    after = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert {
        path: time for path, time in after.items() if report not in (path, path.parent)
    } == before


def test_a_line_an_epoch_into_a_pipe(run):
    _, printed = run
    epochs = [line for line in printed if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert all("images/s" in line and "\x1b" not in line for line in epochs)


def test_the_end_names_the_files_and_the_commands(run):
    folder, printed = run
    names = ("folder", "best epoch", "picture", "evaluate", "predict", "go on")
    last = {line[:12].strip(): line[12:] for line in printed[-1 - len(names) : -1]}
    assert printed[-1].startswith("Test accuracy: ") and tuple(last) == names
    assert last["folder"] == str(folder.path) and Path(last["picture"]) == folder.curves
    assert last["best epoch"].startswith("2 of 2") or last["best epoch"].startswith("1 of 2")
    assert last["evaluate"] == f"python launch.py --workdir={folder.path} --mode=evaluate"
    images = "--mode=predict '--images=*.png'"
    assert last["predict"] == f"python launch.py --workdir={folder.path} {images}"
    assert last["go on"] == f"python launch.py --workdir={folder.path} '--config.duration=4 epochs'"


@pytest.mark.slow
def test_the_backend_that_a_notebook_sets(tiny_npz, tmp_path):
    """It names a module for its own processes, which need not be there in this one."""
    folder = RunFolder(tmp_path / "run")
    subprocess.run(
        [sys.executable, "launch.py", *small(tiny_npz), f"--workdir={folder.path}"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        check=True,
    )
    assert folder.results.exists() and folder.curves.exists()


def test_no_picture_ends_a_run(launch_main, tiny_npz, tmp_path, monkeypatch, capfd):
    folder = RunFolder(tmp_path / "run")

    def fail(*arguments, **options):
        assert folder.results.exists()  # the test comes first
        raise ValueError("Key backend: no valid value")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert launch_main(*small(tiny_npz), f"--workdir={folder.path}") == 0
    out, err = capfd.readouterr()
    assert "Test accuracy" in out
    reason = "ValueError: Key backend: no valid value"
    assert err.splitlines() == [f"The picture {folder.curves} is left out ({reason})."]


@pytest.mark.parametrize("where", ["in its folder", "before there is one"])
def test_what_nobody_foresaw_keeps_its_traceback(
    launch_main, tiny_npz, tmp_path, monkeypatch, capfd, where
):
    def fail(*arguments, **options):
        if where == "in its folder":
            (tmp_path / "run").mkdir()
        raise ArithmeticError("two\nlines")

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr("mlpvis_jax.running.task.open_data", fail)
    assert launch_main(*small(tiny_npz), f"--workdir={tmp_path / 'run'}") == 1
    (path,) = tmp_path.glob("*/error-*.txt")
    assert path.parent.name == ("run" if where == "in its folder" else "temporary")
    expected = f"ArithmeticError: two lines. This was not foreseen; the traceback is in {path}"
    assert capfd.readouterr() == ("", f"launch.py: {expected}\n")
    kept = path.read_text()
    assert kept.startswith("Traceback (most recent call last):") and "open_data(config)" in kept


def test_what_nobody_foresaw_where_nothing_can_be_written(
    launch_main, tiny_npz, monkeypatch, capfd
):
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/dev/null/no folder")
        patch.setattr("mlpvis_jax.command.program.RunConfig", None)
        assert launch_main(*small(tiny_npz)) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("launch.py: AttributeError: ")
    assert err.endswith("there is no folder to write the traceback to.\n") and err.count("\n") == 1


def test_ctrl_c_before_there_is_something_to_save(
    launch_main, tiny_npz, monkeypatch, tmp_path, capfd
):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlpvis_jax.running.task.open_data", interrupt)
    assert launch_main(*small(tiny_npz), f"--workdir={tmp_path / 'run'}") == 130
    assert capfd.readouterr() == ("", "")


def test_a_run_without_a_folder_makes_a_new_one(launch_main, tiny_npz, tmp_path, monkeypatch):
    config = f"--config={Path('configs/mixer.py').absolute()}"
    monkeypatch.chdir(tmp_path)
    assert launch_main(config, *small(tiny_npz)[1:]) == 0
    names = [path.name for path in (tmp_path / "runs").iterdir() if path.name != "decoded"]
    assert len(names) == 1 and re.fullmatch(r"mixer-\d{8}-\d{6}-[0-9a-f]{4}", names[0])
