"""What training changes: the state of a run, and the totals of its epoch."""

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
      averaged: an exponential average of the parameters; {} where none is asked for.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    averaged: Any

    @classmethod
    def create(
        cls, params: Any, optimizer: optax.GradientTransformation, is_averaged: bool = False
    ) -> "TrainState":
        """Makes the state before the first step."""
        averaged = params if is_averaged else {}
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params), averaged)


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
    def zero(cls, no_sums: metrics.Sums) -> "EpochTotals":
        """Makes the totals of no step."""
        return cls(no_sums, np.full((), -1, np.int32), np.full((), np.nan, np.float32))


class Stream(enum.IntEnum):
    """What random numbers are drawn for; streams of one seed are independent."""

    PARAMETERS = 0
    ORDER = 1  # by epoch
    STEP = 2  # by step
    MIX = 3  # by step


def random_key(seed: Any, stream: Stream, index: Any = 0) -> jax.Array:
    """Makes the key of one epoch or step of a stream: a function of its arguments alone."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), index)
