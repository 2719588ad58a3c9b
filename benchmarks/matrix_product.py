"""The rate of a large matrix product: what the machine can do at best, by the same library.

It is a chain of square products, x <- x W, in one loop on the device. W is scaled so that x stays
of size one. The precision of a product is JAX's default for the type, as in the models.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.device_loop import DeviceLoop


def default_size() -> int:
    """Chooses a size that keeps the device busy, and is done soon."""
    return 2048 if jax.default_backend() == "cpu" else 8192


def make_measurement(size: int, dtype: str) -> Callable[[float], float]:
    """Compiles the chain.

    Args:
      size: rows and columns.
      dtype: float32 or bfloat16.

    Returns:
      A function from about how long to measure, in seconds, to the rate in FLOP/s.
    """
    first, second = jax.random.split(jax.random.key(0))
    values = jax.random.normal(first, (size, size), jnp.float32).astype(dtype)
    matrix = (jax.random.normal(second, (size, size), jnp.float32) * size**-0.5).astype(dtype)
    loop = DeviceLoop(lambda index, values, matrix: values @ matrix, values, matrix)
    return lambda seconds: 2.0 * size**3 / loop.seconds_per_iteration(seconds)
