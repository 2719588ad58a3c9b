"""Random changes of brightness, contrast, saturation and hue."""

from typing import Annotated

import jax
import jax.numpy as jnp

from mlpvis_jax.learning.pixels import acts_on_pixels
from mlpvis_jax.settings.declared import NotNegative, Role, Within

# Luminance of red, green and blue (ITU-R 601-2).
_LUMINANCE = (0.299, 0.587, 0.114)
_Range = Annotated[NotNegative, Role.TRACED, "The factor is in [1 - range, 1 + range]."]


@acts_on_pixels
def colour_jitter(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    brightness: _Range = 0.4,
    contrast: _Range = 0.4,
    saturation: _Range = 0.4,
    hue: Annotated[
        float, Within(0, most=0.5), Role.TRACED, "Share of the colour circle to turn by, at most."
    ] = 0.0,
) -> jax.Array:
    """Changes brightness, contrast, saturation and hue at random, in this order.

    The four changes are those of torchvision's ColorJitter, which also draws their order. Grey
    images have no saturation and no hue.

    Args:
      keys: one key an image, [batch].
      images: pixels from 0 to 255, float32 [batch, height, width, channels].
      image_size: is not used; the images keep their size.
      brightness, contrast, saturation: ranges of the three factors.
      hue: largest turn of the colour circle, whose circumference is 1.

    Returns:
      Images of the same shape, no longer whole numbers.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (4,)))(keys)

    def factors(index: int, width: jax.Array | float) -> jax.Array:
        least = jnp.maximum(0, 1 - width)
        return (least + (1 + width - least) * draws[:, index])[:, None, None, None]

    images = _mix(0.0, images, factors(0, brightness))
    mean = luminance(images).mean(axis=(1, 2, 3), keepdims=True)
    images = _mix(mean, images, factors(1, contrast))
    images = _mix(luminance(images), images, factors(2, saturation))
    if images.shape[-1] != 3:
        return images
    return turn_hue(images, hue * (2 * draws[:, 3] - 1))


def _mix(degenerate: jax.Array | float, images: jax.Array, factors: jax.Array) -> jax.Array:
    return jnp.clip(degenerate + factors * (images - degenerate), 0, 255)


def luminance(images: jax.Array) -> jax.Array:
    """Computes the luminance of red, green and blue [..., 3] as [..., 1].

    Of other channels each is a grey image, and its own luminance.
    """
    if images.shape[-1] != 3:
        return images
    return (images * jnp.array(_LUMINANCE)).sum(axis=-1, keepdims=True)


def turn_hue(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Adds to the hue of each pixel; saturation and value stay as they are.

    Args:
      images: float32 [batch, height, width, 3].
      turns: float32 [batch], in units of the whole circle.
    """
    red, green, blue = jnp.moveaxis(images, -1, 0)
    value, least = images.max(axis=-1), images.min(axis=-1)
    chroma = value - least
    safe = jnp.where(chroma > 0, chroma, 1.0)
    sixth = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turns[:, None, None]

    def channel(offset: float) -> jax.Array:
        # Red, green and blue of a hue are one trapezium, at three places of the circle.
        place = (offset + sixth) % 6
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)
