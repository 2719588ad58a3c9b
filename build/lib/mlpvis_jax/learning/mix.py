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

from mlpvis_jax.settings.declared import NotNegative, Role

Mixed = tuple[jax.Array, jax.Array]


def mixup(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    partners: jax.Array,
    *,
    alpha: Annotated[NotNegative, Role.TRACED, "Of the Beta(alpha, alpha) that shares are of."],
) -> Mixed:
    """Mixes each example with its partner, by one share for the batch (Zhang et al., 2018)."""
    # Beta(0, 0) has all its mass at the ends; an alpha just above 0 keeps the draw defined.
    share = jax.random.beta(key, alpha + 1e-6, alpha + 1e-6)
    images = share * images + (1 - share) * images[partners]
    return images, share * targets + (1 - share) * targets[partners]


MIXES: Mapping[str, Callable[..., Mixed]] = {"mixup": mixup}


def partners_of(mask: jax.Array) -> jax.Array:
    """Pairs the first valid example with the last and so on; padding, at the end, with itself."""
    indices = jnp.arange(len(mask))
    return jnp.where(mask, mask.sum() - 1 - indices, indices)
