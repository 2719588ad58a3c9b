"""The exponential average of the weights."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from mlpvis_jax.learning.state import TrainState


def average(params: Any, state: TrainState, numbers: Mapping[str, Any]) -> Any:
    """Computes the exponential average of the weights after a step; {} where none is kept.

    Early on it forgets faster, so that the initial weights do not stay in it: at step t the decay
    is at most (1 + t) / (10 + t).

    Args:
      params: those that would be evaluated after the step.
      state: before the step, with the average so far.
      numbers: the traced settings; `averaging` is among them where an average is kept.
    """
    if "averaging" not in numbers:
        return state.averaged
    decay = jnp.minimum(numbers["averaging"]["decay"], (1 + state.step) / (10 + state.step))
    return optax.incremental_update(params, state.averaged, 1 - decay)
