"""What is compiled ahead of time, what is counted of it, and that a file is gone on with."""

import json

import pytest

from benchmarks import ahead_of_time
from benchmarks.accelerators import ACCELERATORS
from benchmarks.ahead_of_time_tables import estimated_bytes

TINY = ("batch_size=8", "model.width=8", "model.num_blocks=1", "model.image_size=64")


def test_least_times_are_of_each_rate_alone():
    # By hand: 197 TFLOP/s, 819 GB/s; a TPU's program is begun once.
    found = ACCELERATORS["v5e"].least_seconds(flop=394e12, moved_bytes=1638e9, kernels=50)
    assert found == pytest.approx({"arithmetic": 2, "traffic": 2, "launches": 0})
    found = ACCELERATORS["h200"].least_seconds(flop=989e9, moved_bytes=9.6e9, kernels=250)
    assert found == pytest.approx({"arithmetic": 1e-3, "traffic": 2e-3, "launches": 5e-4})


def test_the_estimate_is_the_sweeps():
    cell = {"trials": 3, "parameter_bytes": 10, "kept_bytes": 100}
    assert estimated_bytes(cell) == 3 * (6 * 10 + 2 * 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of them"),
        (["--accelerators", "v5e"], "--tpu-python says what compiles for v5e"),
        (["--accelerators", "h200", "v5e", "--tpu-python=x"], "--cuda-python says"),
    ],
)
def test_a_compiler_must_be_given(arguments, message, capsys):
    with pytest.raises(SystemExit):
        ahead_of_time.main(arguments)
    assert message in capsys.readouterr().err


def test_a_compiler_that_is_not_there_fails_alone(tmp_path):
    path = tmp_path / "result.json"
    arguments = ["--accelerators", "v6e", "--tpu-python=/bin/false", "--parts", "chips"]
    results = ahead_of_time.main(
        [*arguments, "--models", "mixer", "--chips", "4", "--out", str(path)]
    )
    (cell,) = results.values()
    assert "ended with status 1" in cell["failed"]
    assert cell["changes"] == ["model.dtype=bfloat16", "batch_size=512"]
    assert json.loads(path.read_text())["results"] == results


@pytest.mark.slow
def test_programs_of_this_cpu(tmp_path, monkeypatch, as_compiled_here):
    path = tmp_path / "result.json"
    for name, value in as_compiled_here.items():  # the worker compiles quickly, too
        monkeypatch.setenv(name, value)
    arguments = ["--accelerators", "cpu", "--parts", "programs", "populations"]
    arguments += ["--models", "fnet", "--programs", "step", "--trials", "2", "--set", *TINY]
    results = ahead_of_time.main([*arguments, "--out", str(path)])
    step, population = results.values()
    # AdamW has two moments for each parameter; the few bytes beside them are the step's numbers.
    batch = 8 * (32 * 32 * 3 + 4 + 1)
    others = step["argument_bytes"] - batch - 3 * step["parameter_bytes"]
    assert 0 < others < 200
    assert step["around_the_steps"] is None
    assert step["microbatches"] == 1
    # The images and labels of 45,000 examples, and two orders of an epoch of 5,625 steps.
    assert population["data_bytes"] == 45_000 * 32 * 32 * 3
    data = population["data_bytes"] + 45_000 * 4 + 2 * 5_625 * 8 * 4
    trials = population["argument_bytes"] - data - 2 * 3 * step["parameter_bytes"]
    assert 0 < trials < 2 * others + 500  # the totals of an epoch, too
    assert 0 < population["step"]["largest_copy"] < population["data_bytes"] / 10
    assert population["kept_bytes"] > population["needed_bytes"] > 0

    # What is done is not compiled again.
    monkeypatch.setattr(ahead_of_time, "start", None)
    again = ahead_of_time.main([*arguments, "--out", str(path)])
    assert again == results
