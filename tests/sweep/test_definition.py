"""What a sweep is told, as a file and on the command line; what it refuses before any training."""

import json
import re
import sys
import types
from pathlib import Path

import jax
import pytest

from configs import fnet, gmlp, mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.running.choices import declarations, program_key
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.declared import Role
from mlpvis_jax.settings.override import override_all
from mlpvis_jax.sweep import loop, tpe
from mlpvis_jax.sweep.checking import check_trials
from mlpvis_jax.sweep.definition import Sweep, config_of
from mlpvis_jax.sweep.folder import SweepFolder

RATE, BLOCKS = "optimizer.learning_rate", "model.num_blocks"
# Numbers that the program is given, and rules of the host, of a run with the names in NAMED.
TRACED = {
    "seed",
    RATE,
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "optimizer.head_learning_rate",
    "optimizer.layer_decay",
    "optimizer.sharpness_radius",
    "schedule.warmup",
    "schedule.final",
    "averaging.decay",
    "loss.label_smoothing",
    "model.dropout_rate",
    "model.stochastic_depth_rate",
    "augment.flip_zoom.flip_probability",
    "augment.flip_zoom.zoom",
    "mix.mixup.alpha",
}
RULES = {
    "duration",
    "reduce_on_plateau.factor",
    "reduce_on_plateau.patience",
    "reduce_on_plateau.min_delta",
    "early_stopping.patience",
    "init_from",
    "init_from_resolution",
}
NAMED = {
    "schedule.name": "cosine",
    "mix.mixup.alpha": 0.4,
    "optimizer.clip_norm": 1.0,
    "optimizer.sharpness_radius": 0.05,
    "averaging.decay": 0.5,
    "optimizer.head_learning_rate": 0.01,
    "optimizer.layer_decay": 0.8,
}


def sweep_of(written, **changes):
    return Sweep.read(base_of(changes), written)


def base_of(changes):
    values = mixer.get_config("digits").to_dict()
    override_all(values, {key: str(value) for key, value in changes.items()})
    return values


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
    assert {trial.config.optimizer.options["b1"] for trial in trials_of(sweep)} == {0.5}


def test_text_of_the_command_line_and_values_of_a_file_are_the_same_sweep():
    values = {RATE: [0.1, 0.2], BLOCKS: [1, 2], "cull_epochs": [2, 5], "num_trials": 3}
    assert sweep_of(values) == sweep_of({key: str(value) for key, value in values.items()})
    assert sweep_of({RATE: [0.1], "cull_epochs": 5}).cull_epochs == (5,)
    assert sweep_of({RATE: [0.1]}).cull_epochs == ()
    longer = sweep_of({"duration": [40, 80], "cull_epochs": 70})  # the longest trial decides
    assert longer.cull_epochs == (70,)


def test_a_transform_that_the_config_lacks_may_be_swept():
    for key, values in (
        ("augment.random_crop.reflect", [True, False]),
        ("augment.policy.name", ["rand_augment", "trivial_augment"]),
    ):
        configs = [trial.config.flat() for trial in trials_of(sweep_of({key: values}))]
        assert [config[key] for config in configs] == values


def test_what_is_written_down_reads_back():
    written = {RATE: "log_uniform(1e-4, 1e-2)", BLOCKS: [1, 2], "seed": "seeds(2)"}
    sweep = sweep_of({**written, "strategy": "random", "num_trials": 8, "cull_epochs": "1 3"})
    content = json.loads(json.dumps(sweep.to_json()))
    assert Sweep.read(content["config"], content["sweep"]) == sweep


@pytest.mark.parametrize(
    ("key", "idle"),
    [
        ("cull_factor", {"cull_factor": 3}),
        ("suggestion_seed", {"suggestion_seed": 3}),
        ("trials_per_program", {"trials_per_program": 1, "cull_epochs": "1", "seed": [1, 2]}),
    ],
)
def test_a_sweep_with_idle_settings_does_not_begin_but_goes_on(key, idle, tmp_path, monkeypatch):
    sweep, folder = sweep_of({RATE: [0.1, 0.2], **idle}), SweepFolder(tmp_path / "sweep")
    with pytest.raises(InputError, match=f"sweep.{key} is"):
        loop.run(sweep, folder.path)
    assert not folder.path.exists()
    folder.write(sweep)  # as an older version did
    assert folder.read() == sweep
    monkeypatch.setattr(loop, "check_trials", lambda *_: 1 / 0)  # which comes next
    with pytest.raises(ZeroDivisionError):
        loop.run(sweep, folder.path)


DURATIONS = {"duration", "schedule.warmup"}


@pytest.mark.slow
def test_trials_that_differ_in_numbers_alone_are_of_one_shape():
    config = config_of(base_of(NAMED), {})
    declared = declarations(config)
    assert {key for key, one in declared.items() if one.role is Role.TRACED} == TRACED
    assert {key for key, one in declared.items() if one.role is Role.RULE} == RULES
    assert are_of_one_shape(config, "init_from", None, "runs/first")
    for key in (TRACED | RULES) - {"seed", "init_from", "init_from_resolution"}:
        now = config.flat().get(key, 0.0)
        other = "7 epochs" if key in DURATIONS else 0.25 if isinstance(now, float) else now + 1
        assert are_of_one_shape(config, key, now, other), key
    for key, now, other in (
        (BLOCKS, 2, 3),
        ("batch_size", 32, 64),
        ("model.dtype", "float32", "bfloat16"),
        ("optimizer.sharpness_radius", 0.05, None),
        ("optimizer.clip_norm", 1.0, None),  # which leaves it out of the program
        ("averaging.decay", 0.5, None),
    ):
        assert not are_of_one_shape(config, key, now, other), key


def test_points_are_of_one_shape_where_their_trials_are_of_one_program():
    written = {
        "optimizer.clip_norm": [None, 0.5, 1.0],
        "averaging.decay": [None, 0.9],
        "early_stopping.patience": [None, 3],  # a rule, which no program knows of
    }
    sweep = sweep_of(written)
    points = [sweep.point(index) for index in range(sweep.num_points)]
    programs = [program_key(trial.config) for trial in trials_of(sweep)]
    shapes = list(map(sweep.shape_of_point, points))
    assert len(set(programs)) == 4
    assert len(set(zip(shapes, programs, strict=True))) == len(set(shapes)) == 4


def are_of_one_shape(config, key, now, other):
    """Whether trials with two values of a key are of one program, and may be of one group."""
    sweep = Sweep.read(config.to_dict(), {key: [now, other]})
    points = [sweep.point(0), sweep.point(1)]
    (one,), (changed,) = map(sweep.trials, range(2), points)
    assert one.config != changed.config
    is_one_program = program_key(one.config) == program_key(changed.config)
    assert is_one_program == (sweep.shape_of_point(points[0]) == sweep.shape_of_point(points[1]))
    return is_one_program


def test_every_number_that_the_step_is_given_may_differ_between_trials(tmp_path):
    config = config_of(base_of(NAMED), {})
    plan = Plan.of([config], Task.read(config, tmp_path / "run"))
    leaves, _ = jax.tree_util.tree_flatten_with_path(plan.numbers(config))
    given = {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves}
    steps = {"length.warmup_steps", "length.total_steps"}  # of warmup and duration
    assert given - steps == TRACED - {"schedule.warmup"} and steps < given


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
        (sweep_of({**written, "num_trials": 4}, duration=9), "config.duration"),
        (sweep_of({**written, "num_trials": 4}, batch_size=16), "config.batch_size"),
    ):
        with pytest.raises(InputError) as caught:
            other.refuse_other(before, "here")
        assert "here holds another sweep" in str(caught.value) and part in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(Path("configs/sweeps").glob("*.py")), ids=str)
@pytest.mark.parametrize("recipe", [mixer, fnet, gmlp])
def test_the_sweeps_of_the_project_go_with_every_model(path, recipe):
    import runpy

    sweep = Sweep.read(recipe.get_config().to_dict(), runpy.run_path(str(path))["get_sweep"]())
    assert len({program_key(trial.config) for trial in trials_of(sweep)}) == 1


def test_the_sweep_in_the_documentation_is_one():
    (snippet,) = re.findall(r"```python\n(.*?)```", Path("docs/sweeps.md").read_text(), re.DOTALL)
    found = {}
    exec(compile(snippet, "docs/sweeps.md", "exec"), found)
    sweep = Sweep.read(mixer.get_config().to_dict(), found["get_sweep"]())
    assert (sweep.num_trials, sweep.num_points, sweep.cull_epochs) == (36, 12, (5, 10))


def test_another_suggestion_seed_is_another_search():
    """And not the same one, begun a point later."""
    pytest.importorskip("optuna")
    written = {RATE: "uniform(0.1, 1)", "strategy": "tpe", "num_trials": 4}
    seeds = [
        tpe.sampler(sweep_of({**written, "suggestion_seed": seed}), chosen)._rng.rng.get_state()[1]
        for seed in range(3)
        for chosen in range(3)
    ]
    assert len({tuple(state) for state in seeds}) == 9


def test_every_loss_of_a_sweep_is_tried(monkeypatch, tmp_path):
    own = types.ModuleType("own_losses")
    own.mean = lambda logits, targets: logits.mean()
    monkeypatch.setitem(sys.modules, "own_losses", own)
    names = ["softmax_cross_entropy", "own_losses:mean"]
    sweep = Sweep.read(mixer.get_config("digits").to_dict(), {"loss.name": names})
    with pytest.raises(InputError, match="loss.name=own_losses:mean: .* the loss of each example"):
        check_trials(sweep, SweepFolder(tmp_path / "sweep"))
