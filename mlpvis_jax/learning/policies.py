"""Random policies over the operations of Pillow: RandAugment and TrivialAugment.

Both draw an operation for each image from the same fourteen, and differ in how strong it is. The
operations and the ranges of their strengths are those of torchvision's RandAugment and
TrivialAugmentWide. AutoAugment, in a file of its own, has one operation more.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from mlpvis_jax.learning import pixels
from mlpvis_jax.learning.pixels import acts_on_pixels
from mlpvis_jax.settings.declared import Role, Share, Within


class Ranges(NamedTuple):
    """What the strength 1 of each operation is.

    Attributes:
      shear: share of the height, or of the width.
      translation: of x and of y, in pixels.
      rotation: degrees.
      enhancement: what is added to the factor 1 of brightness, colour, contrast and sharpness.
      posterized_bits: bits that are taken away.
    """

    shear: float
    translation: tuple[float, float]
    rotation: float
    enhancement: float
    posterized_bits: float


OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("brightness", "color", "contrast", "sharpness"),
    *("posterize", "solarize", "autocontrast", "equalize"),
    "invert",  # which AutoAugment alone has
)
_NUM_DRAWN = OPERATIONS.index("invert")
_DEGENERATE: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "brightness": pixels.black,
    "color": pixels.grey,
    "contrast": pixels.mean_grey,
    "sharpness": pixels.smooth,
}


def apply_operations(
    images: jax.Array, operations: jax.Array, strengths: jax.Array, ranges: Ranges
) -> jax.Array:
    """Applies an operation to each image.

    Args:
      images: float32 [batch, height, width, channels], pixels from 0 to 255, which are rounded: the
        operations are those of 8-bit images.
      operations: int32 [batch], places in OPERATIONS.
      strengths: float32 [batch] in [-1, 1]; for an operation without a direction the sign is
        ignored.
      ranges: what the strength 1 is.

    Returns:
      Images of the same shape.
    """

    def amount(name: str) -> jax.Array:
        """Gives the strength where the operation is this one, and 0 elsewhere."""
        return jnp.where(operations == OPERATIONS.index(name), strengths, 0.0)

    def choose(name: str, chosen: jax.Array, otherwise: jax.Array) -> jax.Array:
        is_chosen = operations == OPERATIONS.index(name)
        return jnp.where(is_chosen.reshape(-1, *(1 for _ in chosen.shape[1:])), chosen, otherwise)

    images = jnp.round(images)  # of `colour_jitter` they need not be whole
    height, width = images.shape[1:3]
    right, down = ranges.translation
    matrices = pixels.shear_matrix(
        ranges.shear * amount("shear_x"), ranges.shear * amount("shear_y")
    )
    translated = pixels.translation_matrix(
        right * amount("translate_x"), down * amount("translate_y")
    )
    rotated = pixels.rotation_matrix(ranges.rotation * amount("rotate"), height, width)
    for name, chosen in (
        *(("translate_x", translated), ("translate_y", translated)),
        ("rotate", rotated),
    ):
        matrices = choose(name, chosen, matrices)
    moved = pixels.affine(images, matrices)

    degenerate = images
    for name, degenerate_of in _DEGENERATE.items():
        degenerate = choose(name, degenerate_of(images), degenerate)
    blended = pixels.blend(degenerate, images, 1 + ranges.enhancement * strengths)

    size = jnp.abs(strengths)
    bits = 8 - jnp.round(ranges.posterized_bits * size)
    tables = pixels.identity_table(images)
    for name, table in (
        ("posterize", pixels.posterize_table(images, bits)),
        ("solarize", pixels.solarize_table(images, 255 * (1 - size))),
        ("autocontrast", pixels.autocontrast_table(images)),
        ("equalize", pixels.equalize_table(images)),
        ("invert", pixels.LEVELS - 1 - pixels.identity_table(images)),
    ):
        tables = choose(name, table, tables)
    looked_up = pixels.look_up(images, tables)

    is_moved = (operations <= OPERATIONS.index("rotate"))[:, None, None, None]
    is_blended = (operations <= OPERATIONS.index("sharpness"))[:, None, None, None]
    return jnp.where(is_moved, moved, jnp.where(is_blended, blended, looked_up))


def usual_ranges(images: jax.Array) -> Ranges:
    """Gives the ranges of RandAugment and AutoAugment for images of this size."""
    height, width = images.shape[1:3]
    return Ranges(0.3, (150 / 331 * width, 150 / 331 * height), 30.0, 0.9, 4.0)


def _draw_and_apply(
    keys: jax.Array, images: jax.Array, strength_of: Callable[[jax.Array], jax.Array], to: Ranges
) -> jax.Array:
    """Applies an operation of equal chance, in a direction of equal chance, to each image."""
    draws = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
    operations = jnp.floor(draws[:, 0] * _NUM_DRAWN).astype(jnp.int32)
    signs = jnp.where(draws[:, 1] < 0.5, -1.0, 1.0)
    return apply_operations(images, operations, signs * strength_of(draws[:, 2]), to)


@acts_on_pixels
def rand_augment(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    num_operations: Annotated[int, Within(1, most=8), Role.SHAPE, "Operations on an image."] = 2,
    strength: Annotated[Share, Role.TRACED, "Of the operations; 0.3: magnitude 9 of 30."] = 0.3,
) -> jax.Array:
    """Applies random operations of one strength, one after another (Cubuk et al., 2020).

    Args:
      keys: one key an image, [batch].
      images: pixels from 0 to 255, float32 [batch, height, width, channels].
      image_size: is not used; the images keep their size.
      num_operations: on each image.
      strength: in [0, 1]; a magnitude M of 30 is M / 30.

    Returns:
      Images of the same shape.
    """
    ranges = usual_ranges(images)
    for index in range(num_operations):
        own = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)  # noqa: B023
        images = _draw_and_apply(own, images, lambda draw: jnp.full_like(draw, strength), ranges)
    return images


@acts_on_pixels
def trivial_augment(
    keys: jax.Array,
    images: jax.Array,
    image_size: int,
    *,
    strength: Annotated[Share, Role.TRACED, "Largest strength; 1 is that of the paper."] = 1.0,
) -> jax.Array:
    """Applies one random operation of a random strength (Mueller and Hutter, 2021).

    Arguments and result are those of `rand_augment`; the strength is uniform in thirty-one steps
    from 0 to `strength`, over the wide ranges.
    """
    ranges = Ranges(0.99, (32.0, 32.0), 135.0, 0.99, 6.0)
    return _draw_and_apply(keys, images, lambda draw: strength * jnp.floor(draw * 31) / 30, ranges)
