"""A run in pieces is the run in one go, to the last bit: three models, one and two devices."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def outcome(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    script = ROOT / "tests/running/resume_script.py"
    done = subprocess.run(
        [sys.executable, script, folder, str(request.param)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder


def test_nothing_differs(outcome):
    report, _ = outcome
    assert set(report["different"]) == {"configs.mixer", "configs.fnet", "configs.gmlp"}
    assert all(not parts for parts in report["different"].values()), report["different"]


def test_they_were_stopped_within_an_epoch(outcome):
    report, _ = outcome
    steps = [int(re.search(r"after step (\d+)", text)[1]) for text in report["stops"]]
    assert steps == [16, 16, 16]  # epochs have six


def test_a_checkpoint_of_two_devices_goes_on_with_one(outcome):
    _, folder = outcome
    metrics = folder / "taken up" / "metrics.jsonl"
    if metrics.exists():  # where there are two
        assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [6, 12]
