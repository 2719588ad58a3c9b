"""What a sweep is told, as a file and on the command line; what it refuses before any training."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import fnet, gmlp, mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.state import Hyperparameters
from mlpvis_jax.running.placement import Devices, Trials
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.definition import FREE, Sweep, shape_of
from mlpvis_jax.sweep.folder import SweepFolder
from tests.settings.test_config import KEYS

RATE, DECAY, BLOCKS = "optimizer.learning_rate", "optimizer.weight_decay", "model.num_blocks"


def sweep_of(written, **changes):
    config = ConfigDict(mixer.get_config("digits"))
    config.update_from_flattened_dict(changes)
    return Sweep.read(config.to_dict(), written)


def trials_of(sweep):
    points = map(sweep.point, range(sweep.num_points))
    return [trial for index, point in enumerate(points) for trial in sweep.trials(index, point)]


def test_trials_are_numbered_by_point_and_seed():
    sweep = sweep_of({RATE: [0.1, 0.2], "seed": "seeds(3)"}, seed=4)
    trials = trials_of(sweep)
    assert [trial.number for trial in trials] == list(range(6)) and sweep.num_trials == 6
    assert [trial.point for trial in trials] == [0, 0, 0, 1, 1, 1]
    assert [trial.config.seed for trial in trials] == [4, 5, 6, 4, 5, 6]
    assert [trial.config.optimizer.learning_rate for trial in trials] == [0.1] * 3 + [0.2] * 3
    assert trials[5].values == {RATE: 0.2, "seed": 6}


def test_settings_of_the_base_are_those_of_all_trials():
    sweep = sweep_of({RATE: [0.1, 0.2]}, **{"optimizer.b1": 0.5})
    assert {trial.config.optimizer.b1 for trial in trials_of(sweep)} == {0.5}


def test_text_of_the_command_line_and_values_of_a_file_are_the_same_sweep():
    values = {RATE: [0.1, 0.2], BLOCKS: [1, 2], "cull_epochs": [2, 5], "num_trials": 3}
    assert sweep_of(values) == sweep_of({key: str(value) for key, value in values.items()})
    assert sweep_of({RATE: [0.1], "cull_epochs": 5}).cull_epochs == (5,)
    assert sweep_of({RATE: [0.1]}).cull_epochs == ()


def test_numpys_numbers_are_numbers():
    rates = np.array([0.25, 0.5])
    assert sweep_of({RATE: rates}) == sweep_of({RATE: list(rates)}) == sweep_of({RATE: [0.25, 0.5]})


def test_some_trials_of_a_large_grid():
    lists = {key: list(range(1, 1001)) for key in (BLOCKS, "batch_size", "num_epochs")}
    sweep = sweep_of({**lists, "num_trials": 2})
    assert [trial.values["num_epochs"] for trial in trials_of(sweep)] == [1, 2]


def test_what_is_written_down_reads_back():
    written = {RATE: "log_uniform(1e-4, 1e-2)", BLOCKS: [1, 2], "seed": "seeds(2)"}
    sweep = sweep_of({**written, "strategy": "random", "num_trials": 8, "cull_epochs": "1 3"})
    content = json.loads(json.dumps(sweep.to_json()))
    assert Sweep.read(content["config"], content["sweep"]) == sweep


def test_trials_that_differ_in_numbers_alone_are_of_one_shape():
    assert set(KEYS) >= FREE
    config = sweep_of({RATE: [0.1]}).trials(0, {RATE: 0.1})[0].config
    for key in FREE - {"seed"}:
        now = config.flat()[key]
        other = 0.25 if isinstance(now, float | None) else now + 1
        (changed,) = sweep_of({key: [other]}).trials(0, {key: other})
        assert changed.config != config and shape_of(changed.config) == shape_of(config), key
        assert sweep_of({key: [other]}).shape_of_point({key: other}) == "[]"
    for key, other in ((BLOCKS, 3), ("batch_size", 64), ("model.dtype", "bfloat16")):
        sweep = sweep_of({key: [other]})
        (changed,) = sweep.trials(0, {key: other})
        assert shape_of(changed.config) != shape_of(config), key
        assert sweep.shape_of_point({key: other}) != sweep.shape_of_point({key: 2}), key


def test_every_number_that_the_step_is_given_may_differ_between_trials():
    free = {key.rpartition(".")[2] for key in FREE}
    assert {field.name for field in dataclasses.fields(Hyperparameters)} <= free


def test_a_sweep_goes_on_as_itself_or_with_more_trials():
    written = {RATE: "uniform(0.1, 0.2)", "strategy": "random"}
    before = sweep_of({**written, "num_trials": 4})
    sweep_of({**written, "num_trials": 4}).refuse_other(before, "here")
    grown = sweep_of({**written, "num_trials": 6, "trials_per_program": 2})
    grown.refuse_other(before, "here")
    assert trials_of(grown)[:4] == trials_of(before)
    for other, part in (
        (sweep_of({**written, "num_trials": 3}), "may only grow"),
        (sweep_of({**written, "num_trials": 4, "suggestion_seed": 1}), "sweep.suggestion_seed"),
        (sweep_of({**written, "num_trials": 4, RATE: "uniform(0.1, 0.3)"}), f"sweep.{RATE}"),
        (sweep_of({**written, "num_trials": 4, BLOCKS: [1]}), f"sweep.{BLOCKS}"),
        (sweep_of({**written, "num_trials": 4}, num_epochs=9), "config.num_epochs"),
        (sweep_of({**written, "num_trials": 4}, batch_size=16), "config.batch_size"),
    ):
        with pytest.raises(InputError) as caught:
            other.refuse_other(before, "here")
        assert "here holds another sweep" in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize("path", sorted(Path("configs/sweeps").glob("*.py")), ids=str)
@pytest.mark.parametrize("recipe", [mixer, fnet, gmlp])
def test_the_sweeps_of_the_project_go_with_every_model(path, recipe):
    import runpy

    sweep = Sweep.read(recipe.get_config().to_dict(), runpy.run_path(str(path))["get_sweep"]())
    assert len({shape_of(trial.config) for trial in trials_of(sweep)}) == 1


def test_the_sweep_in_the_documentation_is_one():
    (snippet,) = re.findall(r"```python\n(.*?)```", Path("docs/sweeps.md").read_text(), re.DOTALL)
    found = {}
    exec(compile(snippet, "docs/sweeps.md", "exec"), found)
    sweep = Sweep.read(mixer.get_config().to_dict(), found["get_sweep"]())
    assert (sweep.num_trials, sweep.num_points, sweep.cull_epochs) == (36, 12, (5, 10))


# Bad input, through launch.py.

MIXER = "--config=configs/mixer.py:digits"


@pytest.fixture
def refused(launch_main, capsys, tmp_path, monkeypatch):
    """A function: these arguments are refused with a message that has all of these parts."""

    def must_not_happen(*arguments, **options):
        raise AssertionError("this must not happen with bad input")

    monkeypatch.setattr(Devices, "compile", must_not_happen)
    monkeypatch.setattr(Trials, "compile", must_not_happen)
    monkeypatch.setattr(SweepFolder, "write", must_not_happen)

    def check(*arguments, parts):
        if not any(argument.startswith("--workdir") for argument in arguments):
            arguments = (*arguments, f"--workdir={tmp_path / 'sweep'}")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        status = launch_main(*arguments)
        out, err = capsys.readouterr()
        assert (status, out) == (2, "") and err.count("\n") == 1, err
        assert err.startswith("launch.py: ") and err.endswith((".\n", "?\n", ")\n"))
        assert all(part in err for part in parts), err
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    return check


RANDOM = ["--sweep.strategy=random", "--sweep.num_trials=2"]
COMMAND_LINES = {
    "no dimension": (["--sweep.num_trials=4"], ["no dimension"]),
    "no key": (["--sweep.optimizer.learning_rat=[1]"], ["sweep.optimizer.learning_rat", "mean"]),
    "a group": (["--sweep.optimizer=[1]"], ["sweep.optimizer", "group"]),
    "a folder": (["--sweep.data.cache_dir=['a']"], ["sweep.data.cache_dir", "same for all"]),
    "a refused value": (["--sweep.model.dropout_rate=[0.1, 1.5]"], ["model.dropout_rate", "1.5"]),
    "a refused end": (
        ["--sweep.model.dropout_rate=uniform(0, 1)", *RANDOM],
        ["model.dropout_rate", "below 1"],
    ),
    "parts of blocks": ([f"--sweep.{BLOCKS}=uniform(1, 4)", *RANDOM], [BLOCKS, "whole number"]),
    "a refused seed": (["--sweep.seed=[-1]", f"--sweep.{RATE}=[1]"], ["seed", "-1"]),
    "a number for a word": (["--sweep.data.source=[3]"], ["data.source", "3"]),
    "no model": (["--sweep.model.name=['mixer_keras', 'mixr']"], ["point", "mixr", "mixer_keras"]),
    "no data": (["--sweep.data.source=['digits', 'npz:/no']"], ["point", "npz:/no"]),
    "a patch": (["--sweep.model.patch_size=[2, 3]"], ["point", "patch_size=3"]),
    "upside down": ([f"--sweep.{RATE}=uniform(1, 0.1)"], [f"sweep.{RATE}", "upside down"]),
    "log across zero": ([f"--sweep.{DECAY}=log_uniform(-1, 1)"], [f"sweep.{DECAY}", "above 0"]),
    "a grid of a range": ([f"--sweep.{RATE}=uniform(0.1, 1)"], [f"sweep.{RATE}", "random"]),
    "no number of trials": (
        [f"--sweep.{RATE}=uniform(0.1, 1)", "--sweep.strategy=random"],
        ["sweep.num_trials"],
    ),
    "more than the grid": ([f"--sweep.{RATE}=[1, 2]", "--sweep.num_trials=3"], ["3", "2 trials"]),
    "seeds that do not divide": (
        [f"--sweep.{RATE}=[1, 2]", "--sweep.seed=seeds(2)", "--sweep.num_trials=3"],
        ["sweep.num_trials", "multiple of the 2 seeds"],
    ),
    "no strategy": ([f"--sweep.{RATE}=[1]", "--sweep.strategy=best"], ["sweep.strategy", "tpe"]),
    "no objective": ([f"--sweep.{RATE}=[1]", "--sweep.objective=loss"], ["sweep.objective"]),
    "a late cull": ([f"--sweep.{RATE}=[1]", "--sweep.cull_epochs=60"], ["cull_epochs", "59"]),
    "no epochs": ([f"--sweep.{RATE}=[1]", "--sweep.cull_epochs=a"], ["cull_epochs", "'a'"]),
    "a factor of one": ([f"--sweep.{RATE}=[1]", "--sweep.cull_factor=1"], ["cull_factor", "1"]),
    "no file": (["--sweep=configs/sweeps/no.py"], ["configs/sweeps/no.py", "lr_wd.py"]),
    "no value": ([f"--sweep.{RATE}"], [f"--sweep.{RATE} needs a value"]),
    "evaluation": ([f"--sweep.{RATE}=[1]", "--mode=evaluate"], ["--mode=evaluate", "one run"]),
    "a billion seeds": ([f"--sweep.{RATE}=[1]", "--sweep.seed=seeds(1e9)"], ["1e9", "1,000"]),
    "a billion trials": (
        [
            f"--sweep.{RATE}=uniform(0, 1)",
            "--sweep.strategy=random",
            "--sweep.num_trials=1000000000",
        ],
        ["1,000,000,000 trials", "at most 10,000", "sweep.num_trials"],
    ),
    "a grid of a billion": (
        [f"--sweep.{key}={list(range(1, 1001))}" for key in (BLOCKS, "batch_size", "num_epochs")],
        ["1,000,000,000 trials", "at most 10,000"],
    ),
    "a long list": ([f"--sweep.{BLOCKS}={list(range(1, 1002))}"], [BLOCKS, "1,000 values"]),
    "a list of lists": ([f"--sweep.{BLOCKS}=[[1]]"], [f"sweep.{BLOCKS}", "[1] is neither"]),
    "a deep list": ([f"--sweep.{BLOCKS}={'[' * 100_000}"], [f"sweep.{BLOCKS}", "must be a list"]),
    "digits": ([f"--sweep.{RATE}=[1{'0' * 4000}]"], [f"sweep.{RATE}", "many digits"]),
    "digits of a range": (
        [f"--sweep.{RATE}=uniform(0, 1{'0' * 400})"],
        [f"sweep.{RATE}", "many digits"],
    ),
    "too wide": ([f"--sweep.{RATE}=log_uniform(1e-300, 1e300)", *RANDOM], [RATE, "too wide"]),
    "epochs of digits": ([f"--sweep.{RATE}=[1]", f"--sweep.cull_epochs={'1' * 5000}"], ["epochs"]),
    "storage alone": (["--storage=postgresql://a/b"], ["--storage", "--sweep"]),
}


@pytest.mark.parametrize("arguments, parts", COMMAND_LINES.values(), ids=COMMAND_LINES)
def test_command_lines(refused, arguments, parts):
    refused(MIXER, *arguments, parts=parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("def get_sweep():\n    return {}\n", ["mine.py", "not an empty one"]),
        ("def get():\n    return {}\n", ["mine.py", "get_sweep"]),
        ("def get_sweep():\n    return 1 / 0\n", ["mine.py, line 2", "ZeroDivisionError"]),
        ("def get_sweep():\n    return {'seed': 3}\n", ["sweep.seed", "3"]),
        ("def get_sweep():\n    return {'num_trials': 'x', 'seed': [1]}\n", ["num_trials", "'x'"]),
        ("def get_sweep():\n    return {3: [1]}\n", ["keys of a sweep", "3"]),
        ("def get_sweep():\n    return {('seed',): [1]}\n", ["keys of a sweep", "('seed',)"]),
        ("def get_sweep():\n    return {'seed': range(10**20)}\n", ["sweep.seed", "1,000 values"]),
        ("def get_sweep():\n    return {'seed': [10**5000]}\n", ["sweep.seed", "many digits"]),
        ("def get_sweep():\n    return {'seed': 10**5000}\n", ["sweep.seed", "must be a list"]),
        ("def get_sweep():\n    return {'seed': {1, 2}}\n", ["sweep.seed", "must be a list"]),
        ("def get_sweep():\n    return {'seed': b'ab'}\n", ["sweep.seed", "must be a list"]),
        ("def get_sweep():\n    return {'seed': lambda: 0}\n", ["sweep.seed", "must be a list"]),
        ("def get_sweep():\n    return {'seed': [object()]}\n", ["sweep.seed", "neither"]),
        ("def get_sweep():\n    return {'strategy': ['grid']}\n", ["sweep.strategy", "'grid'"]),
        ("def get_sweep():\n    return {'strategy': {}}\n", ["sweep.strategy", "neither"]),
    ],
)
def test_files(refused, tmp_path, text, parts):
    (tmp_path / "mine.py").write_text(text)
    refused(MIXER, f"--sweep={tmp_path / 'mine.py'}", parts=parts)


def test_folders(refused, tmp_path):
    config = RunConfig.from_mapping(mixer.get_config("digits").to_dict())
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / "config.json").write_text(json.dumps(config.to_dict()))
    dimension = f"--sweep.{RATE}=[0.1, 0.2]"
    refused(MIXER, dimension, f"--workdir={run.path}", parts=["--workdir", "config.json"])

    other = tmp_path / "other"
    other.mkdir()
    (other / "sweep.json").write_text(json.dumps(sweep_of({RATE: [0.1]}).to_json()))
    refused(MIXER, dimension, f"--workdir={other}", parts=["another sweep", f"sweep.{RATE}"])
    (other / "sweep.json").write_text("{}")
    refused(MIXER, dimension, f"--workdir={other}", parts=["sweep.json", "no sweep"])


def test_tpe_without_optuna(refused, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    arguments = [f"--sweep.{RATE}=uniform(0.1, 1)", "--sweep.num_trials=2", "--sweep.strategy=tpe"]
    refused(MIXER, *arguments, parts=["Optuna", "pip install 'mlpvis_jax[sweep]'"])
