"""Operations on pixels as Pillow has them, as programs over a batch: each image by its own amount.

Images are float32 [batch, height, width, channels] that hold whole numbers from 0 to 255; results
are such images again. An amount is float32 [batch]. There are three kinds of operations, and an
image for which an operation is not meant takes the identity of its kind: a map of positions
(`affine`), a mixture with another image (`blend`), and a table of new values (`look_up`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

LEVELS = 256
# Luminance of red, green and blue in units of 2^-16 (ITU-R 601-2), as Pillow converts to "L".
_LUMINANCE = (19595, 38470, 7471)


def acts_on_pixels(transform: Callable) -> Callable:
    """Marks a transform of an image that is given pixels from 0 to 255, before normalisation."""
    transform.acts_on_pixels = True  # type: ignore[attr-defined]
    return transform


def affine(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """Reads each output pixel from the nearest input pixel of an affine map; black is outside.

    Args:
      images: float32 [batch, height, width, channels].
      matrices: float32 [batch, 2, 3]; the point (x, y, 1) of the output, in pixels from the upper
        left corner, is multiplied by it and gives the point of the input.
    """
    batch, height, width, channels = images.shape
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    points = jnp.stack([x, y, jnp.ones_like(x)]).reshape(3, -1)
    # Exact, so that a translation by whole pixels is one; floor takes what is left of an edge.
    sources = jnp.einsum("bij,jp->bip", matrices, points, precision=jax.lax.Precision.HIGHEST)
    columns, rows = (jnp.floor(sources[:, axis]).astype(jnp.int32) for axis in (0, 1))
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = jnp.where(inside, rows * width + columns, 0)
    pixels = jnp.take_along_axis(images.reshape(batch, -1, channels), index[..., None], axis=1)
    return jnp.where(inside[..., None], pixels, 0.0).reshape(images.shape)


def shear_matrix(along_x: jax.Array, along_y: jax.Array) -> jax.Array:
    """Shears about the upper left corner, as torchvision's policies do: [batch, 2, 3]."""
    one, zero = jnp.ones_like(along_x), jnp.zeros_like(along_x)
    return _matrix((one, along_x, zero), (along_y, one, zero))


def translation_matrix(right: jax.Array, down: jax.Array) -> jax.Array:
    """Moves the image by whole pixels: [batch, 2, 3]."""
    one, zero = jnp.ones_like(right), jnp.zeros_like(right)
    return _matrix((one, zero, -jnp.trunc(right)), (zero, one, -jnp.trunc(down)))


def rotation_matrix(degrees: jax.Array, height: int, width: int) -> jax.Array:
    """Rotates counter-clockwise about the centre: [batch, 2, 3]."""
    angle = -jnp.deg2rad(degrees)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return _matrix(
        (cosine, sine, x - cosine * x - sine * y), (-sine, cosine, y + sine * x - cosine * y)
    )


def _matrix(*rows: tuple[jax.Array, ...]) -> jax.Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def blend(degenerate: jax.Array, images: jax.Array, factors: jax.Array) -> jax.Array:
    """Goes from a degenerate image (factor 0) to the image (1) and beyond: PIL.Image.blend."""
    mixed = degenerate + factors[:, None, None, None] * (images - degenerate)
    return jnp.floor(jnp.clip(mixed, 0, LEVELS - 1))


def black(images: jax.Array) -> jax.Array:
    """Gives the degenerate image of PIL.ImageEnhance.Brightness."""
    return jnp.zeros_like(images)


def grey(images: jax.Array) -> jax.Array:
    """Gives the degenerate image of PIL.ImageEnhance.Color; a grey image is its own."""
    return jnp.broadcast_to(_luminance(images), images.shape)


def mean_grey(images: jax.Array) -> jax.Array:
    """Gives the degenerate image of PIL.ImageEnhance.Contrast: the rounded mean luminance."""
    mean = jnp.floor(_luminance(images).mean(axis=(1, 2, 3), keepdims=True) + 0.5)
    return jnp.broadcast_to(mean, images.shape)


def smooth(images: jax.Array) -> jax.Array:
    """Gives the degenerate image of PIL.ImageEnhance.Sharpness: 3 x 3, 5 in the centre, over 13."""
    height, width = images.shape[1:3]
    total = 4 * images[:, 1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total += images[:, row : height - 2 + row, column : width - 2 + column]
    smoothed = jnp.floor(total / 13 + 0.5)
    return images.at[:, 1:-1, 1:-1].set(smoothed)  # the border stays as it is


def _luminance(images: jax.Array) -> jax.Array:
    if images.shape[-1] != 3:  # of other channels than red, green and blue each is grey
        return images
    weighted = (images.astype(jnp.int32) * jnp.array(_LUMINANCE)).sum(axis=-1, keepdims=True)
    return ((weighted + 0x8000) >> 16).astype(jnp.float32)


def look_up(images: jax.Array, tables: jax.Array) -> jax.Array:
    """Replaces each value by that of a table for its image and channel.

    Args:
      images: float32 [batch, height, width, channels].
      tables: float32 [batch, channels, 256].
    """
    batch, *_, channels = images.shape
    # One flat gather: of an axis alone, XLA's is several times slower on a CPU.
    offsets = LEVELS * jnp.arange(batch * channels).reshape(batch, 1, 1, channels)
    return tables.reshape(-1)[images.astype(jnp.int32) + offsets]


def identity_table(images: jax.Array) -> jax.Array:
    """Gives the table that changes nothing, float32 [batch, channels, 256]."""
    shape = (images.shape[0], images.shape[-1], LEVELS)
    return jnp.broadcast_to(jnp.arange(LEVELS, dtype=jnp.float32), shape)


def solarize_table(images: jax.Array, thresholds: jax.Array) -> jax.Array:
    """Inverts the values from a threshold on: PIL.ImageOps.solarize."""
    table = identity_table(images)
    return jnp.where(table < thresholds[:, None, None], table, LEVELS - 1 - table)


def posterize_table(images: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the highest bits of a value, a number from 0 to 8: PIL.ImageOps.posterize."""
    unit = 2.0 ** (8 - jnp.trunc(bits))[:, None, None]
    return jnp.floor(identity_table(images) / unit) * unit


def autocontrast_table(images: jax.Array) -> jax.Array:
    """Stretches each channel from its least and largest value to 0 and 255: PIL.ImageOps."""
    low, high = (of(images, axis=(1, 2))[..., None] for of in (jnp.min, jnp.max))
    table = identity_table(images)
    stretched = jnp.floor((table - low) * (LEVELS - 1) / jnp.maximum(high - low, 1) + 1e-4)
    return jnp.where(high > low, jnp.clip(stretched, 0, LEVELS - 1), table)


def equalize_table(images: jax.Array) -> jax.Array:
    """Makes the values of each channel equally frequent: PIL.ImageOps.equalize."""
    batch, *_, channels = images.shape
    offsets = LEVELS * jnp.arange(batch * channels).reshape(batch, 1, 1, channels)
    index = (images.astype(jnp.int32) + offsets).reshape(-1)
    counts = jnp.zeros(batch * channels * LEVELS, jnp.int32).at[index].add(1)
    counts = counts.reshape(batch, channels, LEVELS)
    of_largest = jnp.take_along_axis(
        counts, images.max(axis=(1, 2)).astype(jnp.int32)[..., None], axis=-1
    )
    step = (counts.sum(axis=-1, keepdims=True) - of_largest) // (LEVELS - 1)
    before = jnp.cumsum(counts, axis=-1) - counts
    table = jnp.minimum((before + step // 2) // jnp.maximum(step, 1), LEVELS - 1)
    return jnp.where(step > 0, table.astype(jnp.float32), identity_table(images))
