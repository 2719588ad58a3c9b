"""The command line: a run, the same run again, its evaluation, and its default folder."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from mlpvis_jax.files.run_folder import RunFolder

SMALL = [
    "--config=configs/mixer.py",
    "--config.num_epochs=2",
    "--config.batch_size=18",
    "--config.model.image_size=8",
    "--config.model.patch_size=4",
    "--config.model.num_blocks=1",
    "--config.model.width=8",
]


def history(folder):
    """The lines of metrics.jsonl, without what the clock says."""
    clock = {"seconds", "images_per_second"}
    lines = map(json.loads, folder.metrics.read_text().splitlines())
    return [{key: line[key] for key in line.keys() - clock} for line in lines]


@pytest.fixture(scope="module")
def run(launch_main, tiny_npz, tmp_path_factory):
    """The folder of a run, and the lines that it printed."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        source = f"--config.data.source=npz:{tiny_npz}"
        assert launch_main(*SMALL, source, f"--workdir={folder.path}") == 0
    return folder, printed.getvalue().splitlines()


def test_its_own_config_runs_it_again(run, launch_main, tmp_path):
    folder, _ = run
    assert not (folder.path / "begun_with.py").exists()  # that is for models that are not ours
    again = RunFolder(tmp_path / "again")
    assert launch_main(f"--config={folder.config}", f"--workdir={again.path}") == 0
    assert history(again) == history(folder)
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
    assert launch_main(config, *SMALL[1:], f"--config.data.source=npz:{tiny_npz}") == 0
    names = [path.name for path in (tmp_path / "runs").iterdir() if path.name != "decoded"]
    assert len(names) == 1 and re.fullmatch(r"mixer-\d{8}-\d{6}", names[0])
