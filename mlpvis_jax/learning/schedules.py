"""How the learning rate goes over a run: a linear warm-up, then one of the SCHEDULES.

A row is a function of the progress after the warm-up, a number in [0, 1], and returns what the
learning rate is multiplied by. Progress and options are traced, so that schedules of any length
and form of one row are one program. (Optax's own schedules refuse a traced length; over an interval
of length 1 they are the same functions.)
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.settings.choice import Choice
from mlpvis_jax.settings.declared import Role, Share

Number = float | jax.Array
Final = Annotated[Share, Role.TRACED, "Share of the learning rate that is left at the end."]


def constant(progress: Number) -> Number:
    """Leaves the learning rate as it is."""
    return jnp.ones_like(progress)


def cosine(progress: Number, *, final: Final = 0.0) -> Number:
    """Follows half a cosine from 1 down to `final` (Loshchilov and Hutter, 2017)."""
    return optax.cosine_decay_schedule(1.0, 1, alpha=final)(progress)


def linear(progress: Number, *, final: Final = 0.0) -> Number:
    """Follows a straight line from 1 down to `final`."""
    return optax.linear_schedule(1.0, final, 1)(progress)


SCHEDULES: Mapping[str, Callable[..., Number]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
}


def factor(
    choice: Choice, step: jax.Array, length: Mapping[str, Number], options: Mapping[str, Number]
) -> jax.Array:
    """Returns what the learning rate of a step is multiplied by, float32.

    Args:
      choice: a row of SCHEDULES with its options.
      step: int32, steps taken before.
      length: of the run, as the numbers warmup_steps and total_steps.
      options: the row's traced options.
    """
    warmup, total = length["warmup_steps"], length["total_steps"]
    progress = jnp.clip((step - warmup) / jnp.maximum(total - warmup, 1), 0, 1)
    rising = jnp.minimum(step / jnp.maximum(warmup, 1), 1)
    return jnp.where(step < warmup, rising, choice(progress, **options))
