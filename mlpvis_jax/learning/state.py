"""What training changes (the state) and what it is told (the hyperparameters)."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from mlpvis_jax.learning import metrics


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32, steps taken.
      params: the model's parameters.
      opt_state: the optimiser's state.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState

    @classmethod
    def create(cls, params: Any, optimizer: optax.GradientTransformation) -> "TrainState":
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params))


@struct.dataclass
class EpochTotals:
    """What an epoch has summed up so far; it goes from dispatch to dispatch.

    Attributes:
      sums: over the examples that were trained on, see `metrics.sums_of`.
      diverged_at: int32, the first step whose loss or gradient was not finite, or -1.
      last_loss: float32, mean loss of the last batch before that.
    """

    sums: metrics.Sums
    diverged_at: jax.Array | np.ndarray
    last_loss: jax.Array | np.ndarray

    @classmethod
    def zero(cls) -> "EpochTotals":
        return cls(metrics.no_sums(), np.full((), -1, np.int32), np.full((), np.nan, np.float32))


@struct.dataclass
class Hyperparameters:
    """Traced numbers: another value is the same program.

    Attributes:
      seed: uint32, of every random draw of the run.
      learning_rate, weight_decay: of AdamW; decay is multiplied by the learning rate.
      dropout_rate, stochastic_depth_rate: in [0, 1).
      label_smoothing: in [0, 1).
      flip_probability: of mirroring an image, in [0, 1].
      zoom: images are scaled by factors in [1 - zoom, 1 + zoom].
    """

    seed: Any
    learning_rate: Any
    weight_decay: Any
    dropout_rate: Any
    stochastic_depth_rate: Any
    label_smoothing: Any
    flip_probability: Any
    zoom: Any


class Stream(enum.IntEnum):
    """What random numbers are drawn for; streams of one seed are independent."""

    PARAMETERS = 0
    ORDER = 1  # by epoch
    STEP = 2  # by step


def random_key(seed: Any, stream: Stream, index: Any = 0) -> jax.Array:
    """The key of one epoch or step of a stream: a function of its arguments alone."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), index)
