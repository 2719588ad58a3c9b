"""The same run on 1, 2 and 4 devices, up to dropout masks and rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny

pytestmark = [pytest.mark.first, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PLATFORM = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}


@pytest.fixture(scope="module")
def results():
    values = tiny.values("given by the script", batch_size=7, microbatch_size=3)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/running/devices_script.py", json.dumps(values)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **PLATFORM},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", ["2", "4"])
def test_the_run_is_that_of_one_device(results, number):
    alone, together = results["0.0"]["1"], results["0.0"][number]
    np.testing.assert_allclose(together["losses"], alone["losses"], 1e-5)
    for one, other in zip(alone["params"], together["params"], strict=True):
        # Adam divides by the root of squared gradients: rounding grows where they are tiny.
        np.testing.assert_allclose(other, one, 2e-2, 2e-4)
    for name, value in alone["evaluation"].items():
        np.testing.assert_allclose(together["evaluation"][name], value, 1e-3)


def test_masks_are_of_each_microbatch(results):
    losses = [run["losses"][-1] for run in results["0.3"].values()]
    # They are drawn for a part of a batch by its place: here 3 images on one device, 2 on several.
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses, losses[0], 0.1)


def test_devices_hold_the_same_parameters(results):
    assert all(run["copies_agree"] for runs in results.values() for run in runs.values())


def test_every_image_is_counted_once_an_epoch(results):
    assert all(run["images"] == [22, 22, 22] for runs in results.values() for run in runs.values())
