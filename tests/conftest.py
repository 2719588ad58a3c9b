"""What tests of several folders need."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import launch


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    # TFDS leaves a folder behind for every set it prepares.
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))


@pytest.fixture(scope="session")
def launch_main() -> Callable[..., int]:
    """`launch.py` with these arguments, in this process; returns its exit status."""

    def call(*arguments: str) -> int:
        for name in ("config", "workdir", "mode"):
            flags.FLAGS[name].unparse()
        return launch.main(["launch.py", *map(str, arguments)])

    return call


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty training and ten test images, 8 x 8, of two classes that are easy to tell apart."""
    random = np.random.default_rng(0)
    labels = np.arange(50) % 2
    images = random.integers(0, 100, (50, 8, 8, 3)) + 100 * labels[:, None, None, None]
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    np.savez(
        path,
        x_train=images[:40].astype(np.uint8),
        y_train=labels[:40],
        x_test=images[40:].astype(np.uint8),
        y_test=labels[40:],
    )
    return path
