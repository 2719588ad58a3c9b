"""Transforms of a batch, which mix its examples and their targets.

A row of MIXES maps (key, images, targets, partners, places) to images and targets of the same
shapes: float32 [batch, height, width, channels] and [batch, classes]. Partners are the indices of
other examples, int32 [batch], so that padding is mixed with padding only. A device mixes its share
of a batch as a whole, before it cuts the share into microbatches. The key is that of the step, the
same on all devices, and places are the examples' places in the whole batch, int32 [batch]: what is
drawn from the two does not depend on the number of devices.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from mlpvis_jax.settings.declared import NotNegative, OneOf, Role, Share

Mixed = tuple[jax.Array, jax.Array]
_BLOCK = 16  # examples
MOST_REPEATS = _BLOCK // 2  # copies of an image that do not become each other's partners
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
    places: jax.Array,
    *,
    alpha: Alpha,
    per: Per = "batch",
) -> Mixed:
    """Mixes each example with its partner by a share of every pixel (Zhang et al., 2018)."""
    return _mixed(_share(_keys(key, per, places), alpha), images, targets, partners)


def cutmix(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    partners: jax.Array,
    places: jax.Array,
    *,
    alpha: Alpha,
    per: Per = "batch",
) -> Mixed:
    """Replaces a box of each image by its partner's (Yun et al., 2019).

    The box has the image's proportions and, where it does not reach over an edge, the drawn share
    of its area; targets are mixed by the area that was replaced.
    """
    return _mixed(
        _outside_of_box(_keys(key, per, places), alpha, images), images, targets, partners
    )


def mixup_or_cutmix(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    partners: jax.Array,
    places: jax.Array,
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
    keys = _keys(key, per, places)
    mixup_keys, cutmix_keys, probability_keys, switch_keys = _split(keys, 4)
    own = _share(mixup_keys, mixup_alpha)
    outside = _outside_of_box(cutmix_keys, cutmix_alpha, images)
    is_cutmix = _uniform(switch_keys) < switch_probability
    is_mixed = _uniform(probability_keys) < probability
    own = jnp.where(is_mixed, jnp.where(is_cutmix, outside, own), 1.0)
    return _mixed(own, images, targets, partners)


MIXES: Mapping[str, Callable[..., Mixed]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "mixup_or_cutmix": mixup_or_cutmix,
}


def _keys(key: jax.Array, per: str, places: jax.Array) -> jax.Array:
    """Gives a key to each image, [batch], or one to all, [1]."""
    if per == "batch":
        return key[None]
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


def _split(keys: jax.Array, number: int) -> jax.Array:
    """Makes further keys of each key, [number, batch or 1]."""
    return jax.vmap(lambda key: jax.random.split(key, number), out_axes=1)(keys)


def _uniform(keys: jax.Array) -> jax.Array:
    """Draws evenly from [0, 1), float32 [batch or 1, 1, 1, 1]."""
    return jax.vmap(lambda key: jax.random.uniform(key, (1, 1, 1)))(keys)


def _share(keys: jax.Array, alpha: Number) -> jax.Array:
    """Draws what is left of an image, float32 [batch or 1, 1, 1, 1]."""
    # Beta(0, 0) has all its mass at the ends; an alpha just above 0 keeps the draw defined.
    alpha = alpha + 1e-6
    return jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, (1, 1, 1)))(keys)


def _outside_of_box(keys: jax.Array, alpha: Number, images: jax.Array) -> jax.Array:
    """Draws a box and returns 1 outside of it and 0 inside, [batch or 1, height, width, 1]."""
    share_keys, row_keys, column_keys = _split(keys, 3)
    share = _share(share_keys, alpha)
    inside = []
    for axis, axis_keys in ((1, row_keys), (2, column_keys)):
        size = images.shape[axis]
        shape = [1, 1, 1, 1]
        shape[axis] = size
        pixels = jnp.arange(size).reshape(shape)
        half = jnp.sqrt(1 - share) * size / 2
        centre = jnp.floor(_uniform(axis_keys) * size)
        inside.append((pixels >= jnp.round(centre - half)) & (pixels < jnp.round(centre + half)))
    return 1.0 - (inside[0] & inside[1])


def _mixed(own: jax.Array, images: jax.Array, targets: jax.Array, partners: jax.Array) -> Mixed:
    """Mixes by the weight of each pixel, and targets by the mean of the weights."""
    share = own.mean(axis=(1, 2, 3))[:, None]
    images = own * images + (1 - own) * images[partners]
    return images, share * targets + (1 - share) * targets[partners]


def partners_of(mask: jax.Array) -> jax.Array:
    """Gives each example the one half a block of sixteen further on, cyclically in the block.

    Padding, at the end, stays with itself. Where a device's share of the batch is a multiple of
    sixteen, the partners do not depend on the number of devices; and up to `MOST_REPEATS` copies,
    which repeated augmentation puts side by side, are mixed with other images. In what is left of
    a share beyond its last whole block, a copy may be mixed with another.
    """
    places = jnp.arange(len(mask))
    place_in_block = places % _BLOCK
    size = jnp.clip(mask.sum() - (places - place_in_block), 1, _BLOCK)
    partner = places - place_in_block + (place_in_block + size // 2) % size
    return jnp.where(mask, partner, places)
