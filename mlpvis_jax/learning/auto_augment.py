"""AutoAugment: the policy that was learned on ImageNet (Cubuk et al., 2019, appendix, table 9)."""

from typing import Annotated

import jax
import jax.numpy as jnp

from mlpvis_jax.learning.pixels import acts_on_pixels
from mlpvis_jax.learning.policies import OPERATIONS, apply_operations, usual_ranges
from mlpvis_jax.settings.declared import Role, Share

_LARGEST = 9  # magnitude, which is the strength 1; those of operations without one are 0 here
# Two operations a row: name, probability, magnitude.
_POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


@acts_on_pixels
def auto_augment(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    strength: Annotated[Share, Role.TRACED, "Of the operations; 1 is that of the paper."] = 1.0,
) -> jax.Array:
    """Applies one of 25 pairs of operations, each with its own probability and magnitude.

    The operations and their ranges are those of torchvision's AutoAugment. As there, an operation
    with a direction takes either with equal chance.

    Args:
      keys: one key an image, [batch].
      images: pixels from 0 to 255, float32 [batch, height, width, channels].
      image_size: is not used; the images keep their size.
      strength: in [0, 1], by which all magnitudes are multiplied.

    Returns:
      Images of the same shape.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(keys)
    pair = jnp.floor(draws[:, 0] * len(_POLICY)).astype(jnp.int32)
    for place in range(2):
        names, probabilities, magnitudes = zip(*(row[place] for row in _POLICY), strict=True)
        places = jnp.array([OPERATIONS.index(name) for name in names])
        is_applied = draws[:, 1 + place] < jnp.array(probabilities)[pair]
        operations = jnp.where(is_applied, places[pair], OPERATIONS.index("identity"))
        signs = jnp.where(draws[:, 3 + place] < 0.5, -1.0, 1.0)
        strengths = strength * signs * jnp.array(magnitudes)[pair] / _LARGEST
        images = apply_operations(images, operations, strengths, usual_ranges(images))
    return images
