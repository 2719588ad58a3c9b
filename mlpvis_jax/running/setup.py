"""From settings to what they describe: the model and the hyperparameters."""

import dataclasses
from collections.abc import Callable
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np

import mlpvis_jax
from mlpvis_jax.errors import InputError
from mlpvis_jax.learning import optim
from mlpvis_jax.learning.state import Hyperparameters, Stream, TrainState, random_key
from mlpvis_jax.models import Classifier, create_model
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.running.room import refuse_without_room
from mlpvis_jax.settings.config import ModelConfig, RunConfig


def build_model(config: ModelConfig, num_classes: int) -> Classifier:
    """The model that the settings describe.

    Raises:
      InputError: an unknown preset, a setting that it lacks, a patch that does not divide, more
        parameters than there is room for.
    """
    settings = dataclasses.asdict(config)
    name, image_size = settings.pop("name"), settings.pop("image_size")
    overrides = {key: value for key, value in settings.items() if value is not None}
    model = create_model(name, num_classes, **overrides)
    if image_size % model.patch_size:
        raise InputError(
            f"The patch_size of model {name!r}, {model.patch_size}, does not divide "
            f"config.model.image_size {image_size}; set config.model.patch_size or the size."
        )
    refuse_without_room(model, image_size)
    return model


def initial_state(config: RunConfig, model: Classifier, channels: int) -> TrainState:
    """The state before the first step, a function of the seed."""
    return initialization(config.model.image_size, model, channels)(config.seed)


def initialization(
    image_size: int, model: Classifier, channels: int
) -> Callable[[int], TrainState]:
    """The function from a seed to the state before the first step; it compiles once."""
    images = jnp.zeros((1, image_size, image_size, channels))
    init = jax.jit(model.init)

    def state_of(seed: int) -> TrainState:
        params = init(random_key(seed, Stream.PARAMETERS), images)["params"]
        return TrainState.create(params, optim.adamw(0.0, 0.0))

    return state_of


def initial_hyperparameters(config: RunConfig, model: Classifier) -> Hyperparameters:
    """The numbers that the settings give, as float32, and the seed."""
    return Hyperparameters(
        seed=np.uint32(config.seed),
        learning_rate=np.float32(config.optimizer.learning_rate),
        weight_decay=np.float32(config.optimizer.weight_decay),
        dropout_rate=np.float32(model.dropout_rate),
        stochastic_depth_rate=np.float32(model.stochastic_depth_rate),
        label_smoothing=np.float32(config.optimizer.label_smoothing),
        flip_probability=np.float32(config.augment.flip_probability),
        zoom=np.float32(config.augment.zoom),
    )


def describe_devices(devices: Devices) -> str:
    """Such as "4 x NVIDIA H100 80GB HBM3 (gpu)"."""
    first = devices.devices[0]
    return f"{len(devices)} x {first.device_kind} ({first.platform})"


def versions() -> dict[str, str]:
    """Of this package and of those that decide what it computes."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "mlpvis_jax": mlpvis_jax.__version__,
        **{package: metadata.version(package) for package in packages},
    }
