"""Self-attention across tokens (Vaswani et al., 2017, section 3.2).

[Q, K, V] = X W_in                      of each head its own channels
Y = [softmax(Q K^T / sqrt(d)) V]_heads W_out      d channels a head; the softmax is over tokens of K
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.models.layers import Dense, Dtype, Initializer


class SelfAttention(nn.Module):
    """Lets every token read all others, with weights that are computed from the tokens.

    It has no parameters over tokens, so that any number of them fits. The softmax is float32
    whatever the dtype. Parameters are two Dense layers: `query_key_value`, whose kernel has the
    columns of all queries, then of all keys, then of all values, and `projection`.

    Attributes:
      num_heads: heads, each of which has its own weights between tokens.
      head_dim: channels of a query, a key and a value of one head; None: those of the input
        divided by `num_heads`.
      features: channels of the output; None: those of the input.
    """

    num_heads: int
    head_dim: int | None = None
    features: int | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [tokens, batch, channels] to [tokens, batch, self.features].

        Raises:
          InputError: the heads do not divide the channels. From Python it is a ValueError.
        """

        def dense(features: int, name: str) -> Dense:
            return Dense(
                features,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )

        tokens, batch, channels = inputs.shape
        head_dim = self.head_dim or channels // self.num_heads
        width = self.num_heads * head_dim
        joint = dense(3 * width, "query_key_value")(inputs)  # refuses other channels first
        if self.head_dim is None and channels % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide {channels} channels; set num_heads or "
                "the width, so that it does."
            )
        query, key, value = (
            part.reshape(tokens, batch, self.num_heads, head_dim).swapaxes(0, 1)
            for part in jnp.split(joint, 3, axis=-1)
        )
        read = jax.nn.dot_product_attention(query, key, value)  # scaled by 1 / sqrt(head_dim)
        read = read.swapaxes(0, 1).reshape(tokens, batch, width)
        return dense(channels if self.features is None else self.features, "projection")(read)
