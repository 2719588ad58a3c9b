"""Transforms that choose a part of an image: flips, crops and erased rectangles."""

from typing import Annotated

import jax
import jax.numpy as jnp

from mlpvis_jax.learning.augment import interpolate
from mlpvis_jax.settings.declared import NotNegative, Positive, Role, Share

_Smallest = Annotated[Share, Role.TRACED, "Least share of the image's area."]
_Largest = Annotated[Share, Role.TRACED, "Largest share of the image's area."]
_Ratio = Annotated[
    Positive, Role.TRACED, "Width by height is within [1 / ratio, ratio], evenly in its logarithm."
]


def flip(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    probability: Annotated[Share, Role.TRACED, "Of mirroring an image left to right."] = 0.5,
) -> jax.Array:
    """Mirrors images left to right at random.

    Args:
      keys: one key an image, [batch].
      images: float32 [batch, height, width, channels].
      image_size: is not used; the images keep their size.
      probability: of mirroring an image, in [0, 1].

    Returns:
      Images of the same shape.
    """
    flips = jax.vmap(jax.random.uniform)(keys) < probability
    return jnp.where(flips[:, None, None, None], images[:, :, ::-1], images)


def random_crop(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    padding: Annotated[NotNegative, Role.TRACED, "Pixels added to each side, at most."] = 4.0,
    reflect: Annotated[bool, Role.SHAPE, "Mirror the border, rather than add zeros."] = False,
) -> jax.Array:
    """Pads each side and crops the old size at a random place: a shift by whole pixels.

    Images are normalised here, so that zeros are the mean of the training images, or a middle grey
    with config.data.normalization=half_range. Arguments and result are those of `flip`.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    most = jnp.floor(padding)
    shifts = jnp.floor(draws * (2 * most + 1)) - most
    for axis, shift in ((1, shifts[:, 0]), (2, shifts[:, 1])):
        images = _shifted(images, shift.astype(jnp.int32), axis, reflect)
    return images


def _shifted(images: jax.Array, shift: jax.Array, axis: int, reflect: bool) -> jax.Array:
    """Reads pixel i + shift at pixel i; beyond the border zeros, or c b | a b c d | c b."""
    size = images.shape[axis]
    places = jnp.arange(size) + shift[:, None]
    inside = (places >= 0) & (places < size)
    if reflect:
        period = max(2 * (size - 1), 1)
        places = places % period
        places = jnp.minimum(places, period - places)
    shape = [-1, 1, 1, 1]
    shape[axis] = size
    found = jnp.take_along_axis(images, jnp.clip(places, 0, size - 1).reshape(shape), axis)
    return found if reflect else jnp.where(inside.reshape(shape), found, 0.0)


def random_resized_crop(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    smallest: _Smallest = 0.08,
    ratio: _Ratio = 4 / 3,
) -> jax.Array:
    """Crops a rectangle of random area and shape and resizes it (Szegedy et al., 2015).

    The rectangle is not rounded to whole pixels, and where it would be longer than the image it is
    cut, rather than drawn again. The resize is bilinear, antialiased where the rectangle shrinks.

    Args:
      keys: one key an image, [batch].
      images: float32 [batch, height, width, channels].
      image_size: height and width of the result.
      smallest: least share of the image's area.
      ratio: width by height of the rectangle is within [1 / ratio, ratio].

    Returns:
      float32 [batch, image_size, image_size, channels].
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (4,)))(keys)
    height, width = images.shape[1:3]
    lengths = _rectangles(draws[:, :2], smallest, 1.0, ratio, height, width)
    starts = draws[:, 2:] * (jnp.array([height, width]) - lengths)
    rows = crop_matrix(starts[:, 0], lengths[:, 0], image_size, height)
    columns = crop_matrix(starts[:, 1], lengths[:, 1], image_size, width)
    return interpolate(images, rows, columns)


def crop_matrix(starts: jax.Array, lengths: jax.Array, new_size: int, size: int) -> jax.Array:
    """Gives the weights [batch, new_size, size] of a bilinear resize of [start, start + length].

    They are those of PIL.Image.resize with that box: a triangle whose half width is one output
    pixel, and one input pixel at least, normalised to what lies inside the image.
    """
    scale = (lengths / new_size)[:, None, None]
    centres = starts[:, None, None] + (jnp.arange(new_size)[:, None] + 0.5) * scale
    pixels = jnp.arange(size) + 0.5
    weights = jnp.maximum(0, 1 - jnp.abs(pixels - centres) / jnp.maximum(scale, 1))
    return weights / weights.sum(axis=-1, keepdims=True)


def random_erasing(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    probability: Annotated[Share, Role.TRACED, "Of erasing a part of an image."] = 0.25,
    smallest: _Smallest = 0.02,
    largest: _Largest = 1 / 3,
    ratio: _Ratio = 10 / 3,
) -> jax.Array:
    """Replaces a random rectangle by zeros (Zhong et al., 2017); see `random_crop`.

    A rectangle that would be longer than the image is cut, rather than drawn again. Arguments and
    result are those of `flip`, and `smallest`, `largest` and `ratio` bound the rectangle.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(keys)
    height, width = images.shape[1:3]
    lengths = jnp.round(_rectangles(draws[:, :2], smallest, largest, ratio, height, width))
    starts = jnp.floor(draws[:, 2:4] * (jnp.array([height, width]) - lengths + 1))
    rows, columns = (
        _is_within(jnp.arange(size), starts[:, axis], lengths[:, axis])
        for axis, size in enumerate((height, width))
    )
    is_erased = rows[:, :, None] & columns[:, None, :] & (draws[:, 4] < probability)[:, None, None]
    return jnp.where(is_erased[..., None], 0.0, images)


def _is_within(places: jax.Array, starts: jax.Array, lengths: jax.Array) -> jax.Array:
    return (places >= starts[:, None]) & (places < (starts + lengths)[:, None])


def _rectangles(
    draws: jax.Array,
    smallest: jax.Array | float,
    largest: jax.Array | float,
    ratio: jax.Array | float,
    height: int,
    width: int,
) -> jax.Array:
    """Draws height and width of a rectangle for each image, float32 [batch, 2]."""
    area = height * width * (smallest + draws[:, 0] * (largest - smallest))
    shape = jnp.exp(jnp.log(ratio) * (2 * draws[:, 1] - 1))  # width by height
    lengths = jnp.stack([jnp.sqrt(area / shape), jnp.sqrt(area * shape)], axis=-1)
    return jnp.minimum(lengths, jnp.array([height, width], jnp.float32))
