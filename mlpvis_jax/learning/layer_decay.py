"""Layer-wise decay of the learning rate: the nearer a layer is to the images, the less it moves."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.learning.freezing import map_names

_BLOCK = re.compile(r".*_(\d+)")


def layer_of(name: str, num_blocks: int) -> int:
    """Counts the layer that a parameter belongs to, as timm does for its Mixers.

    The stem is layer 0, the blocks are 1 to n, and the head is n + 1. What stands before the first
    block belongs to the stem, and the norm after the last block to that block.

    Args:
      name: of the parameter, such as "MixerBlock_0/token_mixing/Dense_0/kernel".
      num_blocks: n.
    """
    first = name.partition("/")[0]
    if first == "head":
        return num_blocks + 1
    if first.startswith("pre_head_"):
        return num_blocks
    block = _BLOCK.fullmatch(first)
    return int(block[1]) + 1 if block else 0


def scale_by_layer(decay: float | jax.Array, num_blocks: int) -> optax.GradientTransformation:
    """Multiplies the updates of layer i by decay^(n + 1 - i): by 1 at the head (Bao et al., 2022).

    Args:
      decay: in (0, 1]; may be traced.
      num_blocks: n, of the classifier.
    """

    def scaled(name: str, update: Any) -> Any:
        factor = jnp.asarray(decay) ** (num_blocks + 1 - layer_of(name, num_blocks))
        return update * factor.astype(update.dtype)

    return optax.stateless(lambda updates, _: map_names(scaled, updates))
