"""Transforms of a batch, which mix its examples and their targets.

A row of MIXES maps (key, images, targets, partners) to images and targets of the same shapes:
float32 [batch, height, width, channels] and [batch, classes]. Partners are the indices of other
examples, int32 [batch], so that padding is mixed with padding only. A device mixes its share of a
batch as a whole, before it cuts the share into microbatches.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from mlpvis_jax.settings.declared import NotNegative, OneOf, Role, Share

Mixed = tuple[jax.Array, jax.Array]
Number = float | jax.Array
Alpha = Annotated[NotNegative, Role.TRACED, "Of the Beta(alpha, alpha) that shares are of."]
Per = Annotated[
    str, OneOf(("batch", "image")), Role.SHAPE, "Whether a batch or each image draws its own share."
]


def mixup(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    partners: jax.Array,
    *,
    alpha: Alpha,
    per: Per = "batch",
) -> Mixed:
    """Mixes each example with its partner by a share of every pixel (Zhang et al., 2018)."""
    return _mixed(_share(key, alpha, per, images), images, targets, partners)


def cutmix(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    partners: jax.Array,
    *,
    alpha: Alpha,
    per: Per = "batch",
) -> Mixed:
    """Replaces a box of each image by its partner's (Yun et al., 2019).

    The box has the image's proportions and, where it does not reach over an edge, the drawn share
    of its area; targets are mixed by the area that was replaced.
    """
    return _mixed(_outside_of_box(key, alpha, per, images), images, targets, partners)


def mixup_or_cutmix(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    partners: jax.Array,
    *,
    mixup_alpha: Annotated[NotNegative, Role.TRACED, "Of mixup's Beta(alpha, alpha)."] = 0.8,
    cutmix_alpha: Annotated[NotNegative, Role.TRACED, "Of cutmix's Beta(alpha, alpha)."] = 1.0,
    probability: Annotated[Share, Role.TRACED, "Of mixing at all."] = 1.0,
    switch_probability: Annotated[Share, Role.TRACED, "Of cutmix where one mixes."] = 0.5,
    per: Per = "batch",
) -> Mixed:
    """Mixes by mixup or by cutmix, which a batch or each image draws (Touvron et al., 2021).

    Defaults are those with which DeiT and its successors were trained.
    """
    mixup_key, cutmix_key, probability_key, switch_key = jax.random.split(key, 4)
    own = _share(mixup_key, mixup_alpha, per, images)
    outside = _outside_of_box(cutmix_key, cutmix_alpha, per, images)
    is_cutmix = jax.random.bernoulli(switch_key, switch_probability, own.shape)
    is_mixed = jax.random.bernoulli(probability_key, probability, own.shape)
    own = jnp.where(is_mixed, jnp.where(is_cutmix, outside, own), 1.0)
    return _mixed(own, images, targets, partners)


MIXES: Mapping[str, Callable[..., Mixed]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "mixup_or_cutmix": mixup_or_cutmix,
}


def _share(key: jax.Array, alpha: Number, per: str, images: jax.Array) -> jax.Array:
    """Draws what is left of an image, float32 [1 or batch, 1, 1, 1]."""
    number = len(images) if per == "image" else 1
    # Beta(0, 0) has all its mass at the ends; an alpha just above 0 keeps the draw defined.
    return jax.random.beta(key, alpha + 1e-6, alpha + 1e-6, (number, 1, 1, 1))


def _outside_of_box(key: jax.Array, alpha: Number, per: str, images: jax.Array) -> jax.Array:
    """Draws a box and returns 1 outside of it and 0 inside, [1 or batch, height, width, 1]."""
    share_key, row_key, column_key = jax.random.split(key, 3)
    share = _share(share_key, alpha, per, images)
    inside = []
    for axis, axis_key in ((1, row_key), (2, column_key)):
        size = images.shape[axis]
        shape = [1, 1, 1, 1]
        shape[axis] = size
        pixels = jnp.arange(size).reshape(shape)
        half = jnp.sqrt(1 - share) * size / 2
        centre = jax.random.randint(axis_key, share.shape, 0, size)
        inside.append((pixels >= jnp.round(centre - half)) & (pixels < jnp.round(centre + half)))
    return 1.0 - (inside[0] & inside[1])


def _mixed(own: jax.Array, images: jax.Array, targets: jax.Array, partners: jax.Array) -> Mixed:
    """Mixes by the weight of each pixel, and targets by the mean of the weights."""
    share = own.mean(axis=(1, 2, 3))[:, None]
    images = own * images + (1 - own) * images[partners]
    return images, share * targets + (1 - share) * targets[partners]


def partners_of(mask: jax.Array) -> jax.Array:
    """Pairs the first valid example with the last and so on; padding, at the end, with itself."""
    indices = jnp.arange(len(mask))
    return jnp.where(mask, mask.sum() - 1 - indices, indices)
