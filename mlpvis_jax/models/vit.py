"""The Vision Transformer's block (Dosovitskiy et al., 2021, equations 2 and 3).

U = X + MSA(LN(X))                self-attention across tokens, see `models.attention`
Y = U + W2 gelu(W1 LN(U))         across channels, the same for every token

It is the control of the models without attention: the Mixer's block with self-attention in the
place of the MLP over tokens, in a classifier that is otherwise the same.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.models.attention import SelfAttention
from mlpvis_jax.models.fields import (
    ApproximateGelu,
    ComputeDtype,
    DropoutRate,
    Epsilon,
    NumHeads,
    ParamDtype,
    StochasticDepthRate,
)
from mlpvis_jax.models.layers import (
    Dropout,
    Initializer,
    LayerNorm,
    Mlp,
    StochasticDepth,
    tokens_first,
)
from mlpvis_jax.settings.declared import Channels, Role


class VitBlock(nn.Module):
    """One layer of a Vision Transformer from [batch, tokens, channels] to the same, of `dtype`.

    It has no parameters over tokens, so that any number of them fits. Inputs of another type are
    cast to `dtype` first. Inputs of other axes, of another number of channels than the parameters'
    or of one that the heads do not divide raise an InputError, a ValueError.

    Attributes:
      hidden_dim: hidden width of the MLP over channels.
      num_heads: heads of self-attention; each has channels / num_heads channels.
      dropout_rate: after every Dense layer but the one of queries, keys and values, in [0, 1).
      stochastic_depth_rate: probability of dropping a branch, in [0, 1).
      approximate_gelu: tanh gelu, as the authors' code has it; timm's gelu is exact.
      kernel_init: N(0, 0.02) as in timm, where the authors' code has Glorot's uniform values.
    """

    hidden_dim: Annotated[Channels, Role.SHAPE, "Hidden width of the MLP over channels."]
    num_heads: NumHeads
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: StochasticDepthRate = 0.0
    approximate_gelu: ApproximateGelu = True
    epsilon: Epsilon = 1e-6
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: ComputeDtype = jnp.float32
    param_dtype: ParamDtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def add(inputs: jax.Array, branch: jax.Array) -> jax.Array:
            branch = Dropout(self.dropout_rate)(branch, deterministic)
            return inputs + StochasticDepth(self.stochastic_depth_rate, 1)(branch, deterministic)

        inputs = tokens_first(self, inputs, self.dtype)
        attention = SelfAttention(
            self.num_heads, kernel_init=self.kernel_init, **dtypes, name="self_attention"
        )
        inputs = add(inputs, attention(LayerNorm(self.epsilon, **dtypes)(inputs)))
        mlp = Mlp(
            self.hidden_dim,
            hidden_dropout_rate=self.dropout_rate,
            approximate_gelu=self.approximate_gelu,
            kernel_init=self.kernel_init,
            **dtypes,
            name="channel_mixing",
        )
        mixed = mlp(LayerNorm(self.epsilon, **dtypes)(inputs), deterministic)
        return add(inputs, mixed).swapaxes(0, 1)
