"""What a module is given, compared with what it was made for."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.errors import InputError


def check_axes(module: nn.Module, inputs: jax.Array, axes: tuple[str, ...]) -> None:
    """Raises InputError, a ValueError, where an input does not have exactly these axes."""
    if jnp.ndim(inputs) != len(axes):
        raise InputError(
            f"The input of {type(module).__name__} must have the axes [{', '.join(axes)}]; "
            f"its shape is {list(jnp.shape(inputs))}."
        )


def check_stored_size(module: nn.Module, name: str, axis: int, size: int, unit: str) -> None:
    """Raises InputError, a ValueError, where a parameter was made for another size of the input."""
    if not module.has_variable("params", name):
        return
    # An initialiser may have put the array in a box, which is a tree of one leaf.
    (stored,) = jax.tree.leaves(module.get_variable("params", name))
    if stored.ndim > axis and stored.shape[axis] != size:
        path, stored_size = "/".join((*module.path, name)), stored.shape[axis]
        side = math.isqrt(stored_size)
        square = unit == "tokens" and side**2 == stored_size
        grid = f" ({side} x {side} of a square image)" if square else ""
        raise InputError(
            f"The parameter {path!r} is for {stored_size} {unit}{grid}, "
            f"and the input has {size} {unit}."
        )
