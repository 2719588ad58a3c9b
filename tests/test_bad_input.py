"""Whatever is wrong with the input: exit status 2, one message that names the culprit, no more.

Nothing is compiled, and nothing in the folder of the run changes. The table of bad inputs is in
tests/bad_input; table.py there says how to add a row. Here are those that need more than files.
"""

import importlib.util
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.running import task
from mlpvis_jax.running.placement import DataParallel
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.sweep.folder import SweepFolder
from tests.bad_input import command_lines, data, runs, sweeps, values
from tests.bad_input.table import NO_WORKDIR, bad, bare, file, run

ROOT = Path(__file__).parents[1]
TABLE = [row for module in (command_lines, values, data, runs, sweeps) for row in module.ROWS]


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise AssertionError("this must not happen with bad input")

    def no_network(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    for cls, name in (
        (DataParallel, "compile"),
        (TrialParallel, "compile"),
        (RunFolder, "write_config"),
        (SweepFolder, "write"),
    ):
        monkeypatch.setattr(cls, name, refuse)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr("mlpvis_jax.data.tfds_source._can_import_tensorflow", lambda: False)


@pytest.fixture
def refused(launch_main, capsys, tmp_path, monkeypatch):
    """A function: a row of the table is refused as it says."""
    memory = SimpleNamespace(total=2**34, available=2**34)  # however much this machine has
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    def check(row):
        for make in row.make:
            make(tmp_path)
        arguments = shlex.split(row.arguments.replace("{here}", str(tmp_path)))
        if NO_WORKDIR in arguments:
            arguments.remove(NO_WORKDIR)
        elif not any(argument.startswith("--workdir") for argument in arguments):
            arguments.append(f"--workdir={tmp_path / 'run'}")
        before = contents(tmp_path)
        status = launch_main(*arguments)
        out, err = capsys.readouterr()
        assert status == 2, err
        assert out == "" and err.startswith("launch.py: ") and err.endswith((".\n", "?\n", ")\n"))
        assert err.count("\n") == 1 and "Traceback" not in err
        for part in row.parts:
            assert part.replace("{here}", str(tmp_path)) in err, err
        assert contents(tmp_path) == before

    return check


def contents(folder):
    """Every folder and file with its bytes, but of data, which may be decoded before it fails."""
    return {
        path: path.is_file() and (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if not {"tfds", "decoded", "lock"} & set(path.parts)
    }


@pytest.mark.parametrize("row", TABLE, ids=[row.arguments[:90] for row in TABLE])
def test_it_is_refused(refused, row):
    refused(row)


def test_there_are_as_many_as_there_should_be():
    assert len(TABLE) >= 200
    assert len({(row.arguments, row.parts) for row in TABLE}) > 0.9 * len(TABLE)


def test_a_folder_in_use(refused, tmp_path):
    run()(tmp_path)
    with RunFolder(tmp_path / "run").locked():
        refused(bad("", "in use by process", str(os.getpid())))


def test_a_read_only_disk(refused, mounted):
    disk = mounted("ro")
    refused(bad(f"--workdir={disk / 'run'}", str(disk), "read-only"))


def test_an_unusable_model_is_refused_before_a_download(refused, monkeypatch):
    monkeypatch.setattr(task, "open_data", None)  # would fail with another error
    refused(
        bare("--config=configs/mixer.py --config.model.patch_size=7", "7, does not divide"),
    )


def test_a_model_without_room_is_refused_before_data_is_read(refused, monkeypatch):
    monkeypatch.setattr(task, "open_data", None)
    refused(
        bad(
            "--config.model.width=65536 --config.model.channels_hidden_dim=65536",
            "config.model", "width 65,536", "channels_hidden_dim 65,536", "GB of memory; lower one",
        )
    )  # fmt: skip


def test_a_batch_larger_than_the_set(refused, tiny_npz):
    source = f"--config.data.source=npz:{tiny_npz}"  # 36 train, 4 validate
    refused(bad(f"{source} --config.batch_size=37", "config.batch_size is 37", "36 at most"))


def test_a_file_in_the_home_folder(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = file("mine.py", "def get_config(variant):\n    return 1 / 0\n")
    refused(bare("--config=~/mine.py", "{here}/mine.py, line 2: ZeroDivisionError", mine))


def test_tpe_without_optuna(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    refused(
        bad(
            "--sweep.optimizer.learning_rate='uniform(0.1, 1)' --sweep.num_trials=2 "
            "--sweep.strategy=tpe",
            "Optuna",
            "pip install 'mlpvis_jax[sweep]'",
        )
    )


@pytest.mark.parametrize(
    "variable, value, part",
    [
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64 is set, and training is in 32 bits"),
        pytest.param(
            "JAX_DISABLE_JIT",
            "1",
            "JAX_DISABLE_JIT is set, and training is compiled",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "JAX_PLATFORMS",
            "rocket",
            "JAX finds no device with JAX_PLATFORMS='rocket' (Unable to",
            marks=pytest.mark.slow,
        ),
        ("JAX_PLATFORMS", "cuda", "JAX finds no device with JAX_PLATFORMS='cuda' ("),
    ],
)
def test_what_jax_is_told(variable, value, part, tmp_path):
    if value == "cuda" and importlib.util.find_spec("jax_cuda13_plugin"):
        pytest.skip("JAX can use a GPU here")
    mixer = "--config=configs/mixer.py:digits"
    done = subprocess.run(
        [sys.executable, "launch.py", mixer, f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"launch.py: {part}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "argument",
    [
        "--config.model.patch_size=5",
        pytest.param("--config.num_epoch=1", marks=pytest.mark.slow),
        pytest.param("--config.data.source=x", marks=pytest.mark.slow),
    ],
)
def test_as_a_process(argument, tmp_path):
    """What the shell sees: the status, an empty standard output and a single line of error."""
    mixer = "--config=configs/mixer.py:digits"
    done = subprocess.run(
        [sys.executable, "launch.py", mixer, argument, f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
