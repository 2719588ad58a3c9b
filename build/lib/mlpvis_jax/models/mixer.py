"""The MLP-Mixer block (Tolstikhin et al., 2021, equation 1).

U = X + (W2 gelu(W1 LN(X)^T))^T      across tokens, the same for every channel
Y = U + W4 gelu(W3 LN(U))            across channels, the same for every token
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.models.fields import (
    ApproximateGelu,
    ComputeDtype,
    DropoutRate,
    Epsilon,
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


class MixerBlock(nn.Module):
    """One Mixer layer from [batch, tokens, channels] to the same shape, of type `dtype`.

    Inputs of another type are cast to `dtype` first. Inputs of other axes or of another number of
    tokens or channels than the parameters' raise an InputError, a ValueError.

    Attributes:
      tokens_hidden_dim: hidden width of the MLP over tokens (D_S in the paper).
      channels_hidden_dim: hidden width of the MLP over channels (D_C).
      dropout_rate: after each MLP, in [0, 1).
      stochastic_depth_rate: probability of dropping a branch, in [0, 1).
      shared_norm: one LayerNorm serves both halves, as in the Keras example.
      approximate_gelu: tanh gelu, as the authors' code has it.
    """

    tokens_hidden_dim: Annotated[Channels, Role.SHAPE, "Hidden width of the MLP over tokens."]
    channels_hidden_dim: Annotated[Channels, Role.SHAPE, "Hidden width of the MLP over channels."]
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: StochasticDepthRate = 0.0
    shared_norm: Annotated[bool, Role.SHAPE, "One LayerNorm serves both halves."] = False
    approximate_gelu: ApproximateGelu = True
    epsilon: Epsilon = 1e-6
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: ComputeDtype = jnp.float32
    param_dtype: ParamDtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        def mlp(hidden_dim: int, name: str, over_tokens: bool) -> Mlp:
            return Mlp(
                hidden_dim,
                first_axis=over_tokens,
                approximate_gelu=self.approximate_gelu,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )

        def norm(index: int) -> LayerNorm:
            return LayerNorm(
                self.epsilon,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"LayerNorm_{index}",
            )

        def add(inputs: jax.Array, branch: jax.Array) -> jax.Array:
            branch = Dropout(self.dropout_rate)(branch, deterministic)
            return inputs + StochasticDepth(self.stochastic_depth_rate, 1)(branch, deterministic)

        tokens_norm = norm(0)
        channels_norm = tokens_norm if self.shared_norm else norm(1)

        inputs = tokens_first(self, inputs, self.dtype)
        mixed = mlp(self.tokens_hidden_dim, "token_mixing", True)(tokens_norm(inputs))
        inputs = add(inputs, mixed)
        mixed = mlp(self.channels_hidden_dim, "channel_mixing", False)(channels_norm(inputs))
        return add(inputs, mixed).swapaxes(0, 1)
