"""On JAX's default mesh, whose axes are explicit, blocks and classifiers compute the same."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_two_devices_compute_what_one_does(compiled_quickly):
    # In a process of its own, as the number of devices is fixed when JAX starts.
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.on_mesh"],
        env={**os.environ, **compiled_quickly, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
