"""Random values in every setting: a run starts, or is refused by name, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs import mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning import augment, optim
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.learning.step import make_dispatch, make_step
from mlpvis_jax.models import PRESETS
from mlpvis_jax.running import setup
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from tests.settings.test_config import KEYS

SOURCES = ["digits", "digit", "cifar10:", "folder:/no/such", "npz:/no/such", "tfds:no_such", ""]
VALUES = {
    "model.name": st.sampled_from([*PRESETS, "mixer", ""]),
    "data.source": st.sampled_from(SOURCES),
    "data.data_dir": st.just("/no/such"),
    "data.cache_dir": st.none() | st.just("/dev/null/cache"),
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
    config = RunConfig.from_mapping(values)
    RunFolder(folder).check(config)
    setup.build_model(config.model, num_classes=1)
    task = Task.read(config, folder)
    task.training.refuse_larger_batch(config.batch_size)
    model = setup.build_model(config.model, task.source.num_classes)
    channels = task.channels
    state = jax.eval_shape(lambda: setup.initial_state(config, model, channels))
    normalize = augment.Normalization(np.zeros(channels, np.float32), np.ones(channels, np.float32))

    def apply(params, images, hyperparameters, key):
        return model.apply({"params": params}, images, train=True, rngs={"dropout": key})

    step = make_step(apply, optim.adamw, normalize, config.model.image_size, ())
    rows = jax.ShapeDtypeStruct((2, config.batch_size), jnp.int32)
    told = setup.initial_hyperparameters(config, model)
    # A loop refuses a state that its step gives other shapes or dtypes.
    jax.eval_shape(make_dispatch(step), state, EpochTotals.zero(), task.training, rows, 0, 2, told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "run"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes())
def test_a_run_starts_or_is_refused_by_name(folder, tiny_npz, changed):
    values = mixer.get_config().to_dict()
    values["data"]["source"] = f"npz:{tiny_npz}"
    values["batch_size"] = 8
    values["model"].update(image_size=16, width=8, num_blocks=1)
    for key, value in changed.items():
        *groups, last = key.split(".")
        section = values
        for group in groups:
            section = section[group]
        section[last] = value
    try:
        start(values, folder)
    except InputError as error:
        message = str(error)
        values = [part for value in changed.values() for part in str(value).split(":")]
        named = [*changed, *(key.split(".")[-1] for key in changed), *values]
        assert any(name and name in message for name in named), message
