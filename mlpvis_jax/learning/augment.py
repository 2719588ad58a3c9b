"""From stored pixels to what the model sees: normalise, resize, flip, zoom.

Resizing, flipping and zooming are interpolations that act on rows and columns separately, so each
image is multiplied by one small matrix from the left and one from the right; the matrices of the
three are multiplied first. Semantics are those of the Keras layers Normalization, Resizing,
RandomFlip("horizontal") and RandomZoom(height_factor, width_factor) in their default settings, but
for one: resizing to fewer pixels averages over what is left out (antialiasing), as Pillow does, and
as Resizing does where it is given antialias=True.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mlpvis_jax.settings.declared import Rate, Role, Share

# Pixels keep their eight bits where the hardware's default product would round to fewer.
PRECISION = jax.lax.Precision.HIGHEST
SMALLEST_DEVIATION = 1e-7


@struct.dataclass
class Normalization:
    """What pixels are scaled by: by default the statistics of the training images, per channel.

    Attributes:
      mean: float32 [channels], what is subtracted, in units of pixel values (0 to 255).
      deviation: float32 [channels], what is divided by; of the training images it is the population
        standard deviation, and at least 1e-7.
    """

    mean: jax.Array | np.ndarray
    deviation: jax.Array | np.ndarray

    def __call__(self, images: jax.Array) -> jax.Array:
        """Subtracts the mean from pixels [..., channels] and divides by the deviation; float32."""
        return (images.astype(jnp.float32) - self.mean) / self.deviation


def channel_statistics(images: jax.Array | np.ndarray) -> Normalization:
    """Measures uint8 images [number, height, width, channels], exact to rounding."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), 4096):  # a chunk at a time: the set may be a memory map
        chunk = np.asarray(images[start : start + 4096])
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return normalization_of(counts)


def normalization_of(counts: np.ndarray) -> Normalization:
    """Computes the statistics from how often each value of a pixel comes, int64 [channels, 256]."""
    weights = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256.0)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    deviation = np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)
    return Normalization(mean.astype(np.float32), deviation.astype(np.float32))


def resize(images: jax.Array, image_size: int) -> jax.Array:
    """Resizes bilinearly, with half-pixel centres: [batch, h, w, c] to [batch, size, size, c]."""
    rows = resize_matrix(image_size, images.shape[1])
    columns = resize_matrix(image_size, images.shape[2])
    return interpolate(images, rows[None], columns[None])


def flip_zoom(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    flip_probability: Annotated[Share, Role.TRACED, "Of mirroring an image left to right."],
    zoom: Annotated[Rate, Role.TRACED, "Height and width are scaled within [1 - zoom, 1 + zoom]."],
) -> jax.Array:
    """Resizes, then flips left to right and zooms at random, as products of small matrices.

    Args:
      keys: one key an image, [batch].
      images: float [batch, height, width, channels].
      image_size: height and width of the result.
      flip_probability: of mirroring an image, in [0, 1].
      zoom: height and width are scaled by independent factors uniform in [1 - zoom, 1 + zoom].

    Returns:
      float32 [batch, image_size, image_size, channels].
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
    flips = draws[:, 0] < flip_probability
    factors = 1 + zoom * (2 * draws[:, 1:] - 1)
    return resize_flip_zoom(images, image_size, flips, factors)


def resize_flip_zoom(
    images: jax.Array, image_size: int, flips: jax.Array, factors: jax.Array
) -> jax.Array:
    """Resizes, flips and zooms by given amounts.

    Args:
      images: float [batch, height, width, channels].
      flips: bool [batch].
      factors: float [batch, 2], of height and width; above 1 the image shrinks.

    Returns:
      float32 [batch, image_size, image_size, channels].
    """
    rows, columns = (
        jnp.matmul(
            zoom_matrix(factors[:, axis], image_size),
            resize_matrix(image_size, images.shape[1 + axis]),
            precision=PRECISION,
        )
        for axis in (0, 1)
    )
    # Zooming about the centre commutes with mirroring, so the flip may come last.
    columns = jnp.where(flips[:, None, None], columns[:, ::-1], columns)
    return interpolate(images, rows, columns)


def resize_matrix(new_size: int, size: int) -> jax.Array:
    """Weights [new_size, size] of a bilinear resize; antialiased where it shrinks."""
    return jax.image.resize(jnp.eye(size, dtype=jnp.float32), (new_size, size), "bilinear")


def zoom_matrix(factors: jax.Array, size: int) -> jax.Array:
    """Weights [batch, size, size] of a zoom about the centre, the border reflected.

    Output i reads position z i + (1 - z)(size - 1) / 2 between its two neighbours; beyond the
    border the image goes on mirrored, d c b a | a b c d | d c b a. A pixel's weight is therefore
    the sum of a triangle around it and around its two mirror images. For factors below 2.
    """
    factors = factors[:, None, None]
    output = jnp.arange(size, dtype=jnp.float32)[:, None]
    pixel = jnp.arange(size, dtype=jnp.float32)[None, :]
    position = factors * output + (1 - factors) * (size - 1) / 2

    def triangle(centre: jax.Array) -> jax.Array:
        return jnp.maximum(0, 1 - jnp.abs(centre - position))

    return triangle(pixel) + triangle(-1 - pixel) + triangle(2 * size - 1 - pixel)


def interpolate(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Multiplies images [batch, h, w, c] by [batch or 1, H, h] and [batch or 1, W, w]."""
    images = jnp.einsum("bxw,bhwc->bhxc", *_same_batch(columns, images), precision=PRECISION)
    return jnp.einsum("byh,bhxc->byxc", *_same_batch(rows, images), precision=PRECISION)


def _same_batch(matrices: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.broadcast_to(matrices, (images.shape[0], *matrices.shape[1:])), images
