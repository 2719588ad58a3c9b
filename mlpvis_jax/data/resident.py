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


class Trainable:
    """A set that batches are taken from."""

    def __len__(self) -> int:
        raise NotImplementedError

    def refuse_larger_batch(self, batch_size: int) -> None:
        """Raises InputError where a training batch would be padding for the most part."""
        if batch_size > len(self):
            raise InputError(
                f"config.batch_size is {batch_size:,}, and there are {len(self):,} images to train "
                f"on; it can be {len(self):,} at most."
            )


@struct.dataclass
class ResidentSet(Trainable):
    """All images of a split, and their labels.

    Attributes:
      images: uint8 [number, height * width * channels]. Flat, because a TPU lays out an array of
        four dimensions with the number innermost, and copies all of it to gather one batch.
      labels: int32 [number].
      image_shape: height, width, channels.
    """

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray
    image_shape: tuple[int, int, int] = struct.field(pytree_node=False)

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> "ResidentSet":
        """Makes a set of uint8 images [number, height, width, channels], which are not copied."""
        _, height, width, channels = images.shape
        return cls(images.reshape(len(images), -1), labels, (height, width, channels))

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice | np.ndarray) -> "ResidentSet":
        """Takes some of the examples; a slice of them is not copied."""
        return ResidentSet(self.images[rows], self.labels[rows], self.image_shape)

    def batch(self, rows: jax.Array) -> Batch:
        """Gathers rows, int32 [batch]; PADDING becomes a masked example."""
        mask = rows != PADDING
        rows = jnp.where(mask, rows, 0)
        images = self.images[rows].reshape(-1, *self.image_shape)
        return Batch(images, self.labels[rows], mask)


def rows_in_order(
    number: int, batch_size: int, num_shards: int, num_microbatches: int = 1
) -> np.ndarray:
    """Lists every row once, in order, as int32 [steps, shards, rows of a shard].

    Batches are padded at their end, so that each shard has as many rows, in equal microbatches.
    """
    steps = -(-number // batch_size)
    surplus = -batch_size % (num_shards * num_microbatches)
    rows = np.full((steps, batch_size + surplus), PADDING, np.int32)
    numbers = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size)
    rows[:, :batch_size] = np.where(numbers < number, numbers, PADDING)
    return rows.reshape(steps, num_shards, -1)


def shuffle(rows: jax.Array, key: jax.Array, number: int, repeats: int = 1) -> jax.Array:
    """Makes an epoch's order: `rows` with each replaced by its image under a random permutation.

    The permutation depends on the key alone, so the order is the same on any number of devices.
    With `repeats`, each image comes that many times in a row, in an epoch of the same length, which
    so has a share of the images only.
    """
    permutation = jax.random.permutation(key, jnp.arange(number, dtype=jnp.int32))
    return jnp.where(rows == PADDING, PADDING, permutation[rows // repeats])
