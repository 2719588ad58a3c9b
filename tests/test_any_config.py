"""Random values in every setting: a run starts, or is refused by name, and nothing else."""

import jax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs import mixer
from mlpvis_jax.data.resident import rows_in_order
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.evaluation import make_evaluation
from mlpvis_jax.learning.losses import LOSSES
from mlpvis_jax.learning.metrics import METRICS, no_sums
from mlpvis_jax.learning.mix import MIXES
from mlpvis_jax.learning.optimizers import OPTIMIZERS
from mlpvis_jax.learning.schedules import SCHEDULES
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.learning.step import make_dispatch, make_step
from mlpvis_jax.learning.transforms import TRANSFORMS
from mlpvis_jax.models import PRESETS
from mlpvis_jax.running.choices import completed, declarations, differences
from mlpvis_jax.running.feed import EvaluationFeed, ResidentFeed
from mlpvis_jax.running.placement import DataParallel, num_microbatches
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig, closed_settings
from mlpvis_jax.show.writers import WRITERS

KEYS = [
    *declarations(RunConfig.from_mapping(mixer.get_config().to_dict())),
    "augment.flip_zoom.name",
    "mix.mixup.alpha",
    "mix.mixup.name",
    "optimizer.momentum",
    "schedule.final",
]
CLOSED = closed_settings()
SOURCES = ["digits", "digit", "cifar10:", "folder:/no/such", "npz:/no/such", "tfds:no_such", ""]
NO_ROWS = ["mixer", "", "no_such:row", ":"]


def row_of(table):
    return st.sampled_from([*table, *NO_ROWS])


VALUES = {
    "model.name": row_of(PRESETS),
    "optimizer.name": row_of(OPTIMIZERS),
    "schedule.name": row_of(SCHEDULES),
    "loss.name": row_of(LOSSES),
    "augment.flip_zoom.name": row_of(TRANSFORMS),
    "mix.mixup.name": row_of(MIXES),
    "metrics": row_of([*METRICS, " ".join(METRICS)]),
    "writers": row_of([*WRITERS, "tensorboard, curves"]),
    "data.source": st.sampled_from(SOURCES),
    "data.data_dir": st.just("/no/such"),
    "data.cache_dir": st.none() | st.just("/dev/null/cache"),
    "data.validation": st.sampled_from([None, "last:0.1", "stratified:0.2", "val", "last:2", ""]),
}
# Small, so that a model of them fits into memory where it must be made.
ANY = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.floats(-2, 2)
    | st.sampled_from([float("nan"), float("inf"), 1e-30, 1e30, "bfloat16", "float32", "x", [], {}])
)


@st.composite
def changes(draw):
    """One to four settings with new values."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    return {key: draw(VALUES.get(key, ANY)) for key in keys}


def start(values, folder):
    """All of a run's beginning but the compilation: its step is traced on abstract values."""
    config = completed(RunConfig.from_mapping(values))
    RunFolder(folder).check(config, differences)
    task = Task.read(config, folder)
    task.training.refuse_larger_batch(config.batch_size)
    plan = Plan.of([config], task)
    placement = DataParallel.all()
    parts = num_microbatches(placement, config.batch_size, config.microbatch_size)
    step = make_step(plan.learner, placement.axis_names, parts)
    state = plan.state_shapes(config)
    sums = no_sums(plan.learner.metrics, plan.learner.num_classes)
    rows = rows_in_order(len(task.training), config.batch_size, 1, parts)[:, 0]
    numbers = plan.numbers(config)
    # A loop refuses a state that its step gives other shapes or dtypes.
    dispatch = make_dispatch(step, ResidentFeed.batch)
    totals = EpochTotals.zero(sums)
    jax.eval_shape(dispatch, state, totals, task.training, rows, 0, 2, numbers)
    evaluation = make_evaluation(plan.learner, EvaluationFeed.batch, placement.axis_names)
    jax.eval_shape(evaluation, state.params, sums, task.test, rows[:1], 0, 1)


def change(values, key, value):
    """Sets a value; another name takes the options of the row before it away."""
    *groups, last = key.split(".")
    section = values
    for group in groups:
        section = section.setdefault(group, {})
    if last == "name" and groups != ["model"]:
        closed = {name for name in section if f"{'.'.join(groups)}.{name}" in CLOSED}
        for option in section.keys() - closed:
            del section[option]
    section[last] = value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "run"


@settings(suppress_health_check=list(HealthCheck))
@given(changes())
def test_a_run_starts_or_is_refused_by_name(folder, tiny_npz, changed):
    values = mixer.get_config().to_dict()
    values["data"]["source"] = f"npz:{tiny_npz}"
    values["batch_size"] = 8
    values["model"].update(image_size=16, width=8, num_blocks=1)
    for key in sorted(changed, key=lambda key: not key.endswith(".name")):
        change(values, key, changed[key])
    try:
        start(values, folder)
    except InputError as error:
        message = str(error)
        values = [part for value in changed.values() for part in str(value).split(":")]
        # A letter or a digit is in every message, and the word "name", too.
        named = [word for key in changed for word in (f"config.{key}", key.split(".")[-1])]
        named = [word for word in (*named, *values) if len(word) > 4]
        # Another row may miss an option that it needs.
        named += [key.removesuffix("name") for key in changed if key.endswith(".name")]
        if "data.limit" in changed:  # which may leave fewer images than a batch has
            named.append("config.batch_size")
        assert any(name in message for name in named), (changed, message)


@pytest.mark.parametrize(
    "key",
    [
        "model.name",
        "optimizer.name",
        "schedule.name",
        "loss.name",
        "augment.flip_zoom.name",
        "mix.own.name",
        "metrics",
    ],
)
def test_a_path_to_what_is_no_row_is_refused_by_name(key):
    values = mixer.get_config().to_dict()
    change(values, key, "math:pi")
    with pytest.raises(InputError, match=rf"config\.{key}=math:pi"):
        completed(RunConfig.from_mapping(values))
