"""A set that fits: its uint8 images live on the device, and an epoch is a permutation of rows."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mlpvis_jax.errors import InputError

PADDING = -1


@struct.dataclass
class Batch:
    """Some examples; those whose mask is false are padding and count nowhere.

    Attributes:
      images: uint8 [batch, height, width, channels].
      labels: int32 [batch].
      mask: bool [batch].
    """

    images: jax.Array
    labels: jax.Array
    mask: jax.Array


@struct.dataclass
class ResidentSet:
    """All images of a split, uint8 [number, height, width, channels], and labels, int32."""

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def refuse_larger_batch(self, batch_size: int) -> None:
        """Raises InputError where a training batch would be padding for the most part."""
        if batch_size > len(self):
            raise InputError(
                f"config.batch_size is {batch_size:,}, and there are {len(self):,} images to train "
                f"on; it can be {len(self):,} at most."
            )

    def batch(self, rows: jax.Array) -> Batch:
        """Gathers rows, int32 [batch]; PADDING becomes a masked example."""
        mask = rows != PADDING
        rows = jnp.where(mask, rows, 0)
        return Batch(self.images[rows], self.labels[rows], mask)


def rows_in_order(
    number: int, batch_size: int, devices: int, num_microbatches: int = 1
) -> np.ndarray:
    """Every row once, in order, as int32 [steps, devices, rows of a device].

    Batches are padded at their end, so that each device has as many rows, in equal microbatches.
    """
    steps = -(-number // batch_size)
    surplus = -batch_size % (devices * num_microbatches)
    rows = np.full((steps, batch_size + surplus), PADDING, np.int32)
    numbers = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size)
    rows[:, :batch_size] = np.where(numbers < number, numbers, PADDING)
    return rows.reshape(steps, devices, -1)


def shuffle(rows: jax.Array, key: jax.Array, number: int) -> jax.Array:
    """An epoch's order: `rows` with each replaced by its image under a random permutation.

    The permutation depends on the key alone, so the order is the same on any number of devices.
    """
    permutation = jax.random.permutation(key, jnp.arange(number, dtype=jnp.int32))
    return jnp.where(rows == PADDING, PADDING, permutation[rows])
