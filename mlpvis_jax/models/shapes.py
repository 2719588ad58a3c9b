"""The parameters of a model as shapes and types: nothing is computed or compiled."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def parameter_shapes(model: nn.Module, image_size: int, channels: int) -> Any:
    """Describes a model's parameters for square images of `image_size` pixels a side.

    Returns:
      A nested dict of jax.ShapeDtypeStruct, as a model's "params"; {} of a model without any.

    Raises:
      InputError: the model cannot take images of this size.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images).get("params", {})
