"""What tests of several folders need."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis.internal.conjecture import providers
from matplotlib.figure import Figure

import launch
from tests.server import Server

# Most of the time of these tests is compilation. In this process, where the wiring is tested,
# programs are compiled quickly and run slowly: here, in _compile_quickly, and nowhere else.
# Processes that tests start compile as those of users do, unless they get `compiled_quickly`.
_FLAGS = os.environ.get("XLA_FLAGS")
if jax.__version_info__ < (0, 11):
    # The XLA of JAX 0.10 has two ways to write loops, of which the older compiles in half the time;
    # later ones know the newer alone.
    os.environ["XLA_FLAGS"] = f"{_FLAGS or ''} --xla_cpu_use_fusion_emitters=false".strip()
AS_COMPILED_HERE = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}

# In this process a sweep finds a single device, as every run does.
jax.config.update("jax_num_cpu_devices", 1)
jax.jit(lambda: 0)()  # XLA reads its flags now, and never again
os.environ.pop("XLA_FLAGS", None)
if _FLAGS is not None:
    os.environ["XLA_FLAGS"] = _FLAGS


# `make test` tries the same examples each time, so that no commit fails for what it did not change,
# and `make fuzz` looks for new ones. A busy machine makes no example wrong.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("same")
_constants_of_modules = providers._get_local_constants


def _constants() -> providers.Constants:
    """Hypothesis also draws numbers and words that stand in the modules imported so far.

    Those change with each commit, and with the tests that ran before in the same process.
    """
    is_same = hypothesis.settings.default.derandomize
    return providers._local_constants if is_same else _constants_of_modules()


providers._get_local_constants = _constants


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips slow tests from a time on, where there is one, in seconds since 1970."""
    until = os.environ.get("SLOW_TESTS_UNTIL")
    if until and item.get_closest_marker("slow") and time.time() > float(until):
        pytest.skip("slow, and the time for slow tests is over (SLOW_TESTS_UNTIL)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Whole runs in processes of their own first, so that no worker is left with them at the end.
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    # TFDS leaves a folder behind for every set it prepares.
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Most of the time of these tests is compilation, and many compile the same programs.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    # Half of the compiler's time goes into making programs fast. Where numbers are compared with
    # those of others, they are to be the numbers of fast programs.
    is_quick = request.node.get_closest_marker("optimised") is None
    jax.config.update("jax_disable_most_optimizations", is_quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def as_compiled_here() -> dict[str, str]:
    """The environment of a process whose programs are to be those of this one, bit by bit."""
    return AS_COMPILED_HERE


@pytest.fixture(scope="session")
def compiled_quickly() -> dict[str, str]:
    """The environment of a process that compiles quickly, for none of its bits are compared."""
    return {**AS_COMPILED_HERE, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@pytest.fixture(scope="session")
def launch_main() -> Callable[..., int]:
    """`launch.py` with these arguments, in this process; returns its exit status."""

    def call(*arguments: str) -> int:
        return launch.main(["launch.py", *map(str, arguments)])

    return call


@pytest.fixture(scope="session")
def write_npz(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function: a data set of these images and labels, the first `training` of them to train."""

    def write(images: np.ndarray, labels: np.ndarray, training: int) -> Path:
        path = tmp_path_factory.mktemp("data") / "set.npz"
        images = images.astype(np.uint8)
        train = {"x_train": images[:training], "y_train": labels[:training]}
        np.savez(path, **train, x_test=images[training:], y_test=labels[training:])
        return path

    return write


@pytest.fixture(scope="session")
def tiny_npz(write_npz: Callable[..., Path]) -> Path:
    """Forty training and ten test images, 8 x 8, of two classes that are easy to tell apart."""
    labels = np.arange(50) % 2
    noise = np.random.default_rng(0).integers(0, 100, (50, 8, 8, 3))
    return write_npz(noise + 100 * labels[:, None, None, None], labels, training=40)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures of Matplotlib that are saved meanwhile, by the names of their files."""
    found, save = {}, Figure.savefig

    def keep(figure: Figure, path: Path, **options: Any) -> None:
        found[path.name.removesuffix(".partial")] = figure
        save(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function: a file system of its own with these options; the test is skipped without."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def started() -> Iterator[list[subprocess.Popen]]:
    """A list for processes that a module's tests start; those that still run at its end are killed.

    A test that fails while it waits for one would leave it beside all other tests.
    """
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        with process:  # closes its pipes
            pass


@pytest.fixture(scope="module")
def start_python(started: list[subprocess.Popen]) -> Callable[..., subprocess.Popen]:
    """A function: starts a Python program, by default in the root of the repository."""

    def start(*arguments: Any, **options: Any) -> subprocess.Popen:
        options = {"cwd": Path(launch.__file__).parent, **options}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    return start


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
