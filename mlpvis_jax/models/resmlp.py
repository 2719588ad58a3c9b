"""The ResMLP block (Touvron et al., 2021, equations 1 to 3).

Z = X + g1 * (A Aff(X))              across tokens, the same for every channel
Y = Z + g2 * C gelu(B Aff(Z))        across channels, the same for every token
Aff(X) = a * X + b                   in the place of LayerNorm: a, b, g1, g2 are of each channel

The factors g1 and g2, LayerScale, begin near zero. In the paper's equations they have a shift, too,
which the authors' code has not.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.models.fields import (
    ApproximateGelu,
    ComputeDtype,
    DropoutRate,
    ParamDtype,
    StochasticDepthRate,
)
from mlpvis_jax.models.layers import (
    Dense,
    Dropout,
    Dtype,
    Initializer,
    Mlp,
    StochasticDepth,
    scale_and_bias,
    tokens_first,
)
from mlpvis_jax.settings.declared import Channels, Positive, Role


class Affine(nn.Module):
    """Scales and shifts each channel, without the statistics of a LayerNorm.

    It has the fields of LayerNorm, in whose place it stands; `epsilon` has no effect. Parameters
    are `scale` and `bias`, as in a LayerNorm.
    """

    epsilon: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [..., channels] to the same shape."""
        scale, bias = scale_and_bias(self, inputs.shape[-1], self.param_dtype)
        inputs, scale, bias = (jnp.asarray(array, self.dtype) for array in (inputs, scale, bias))
        return inputs * scale + bias


class LayerScale(nn.Module):
    """Multiplies each channel of a branch by a factor, near zero at first (CaiT: Touvron, 2021)."""

    initial_value: float
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, branch: jax.Array) -> jax.Array:
        """Maps [..., channels] to the same shape."""
        init = nn.initializers.constant(self.initial_value)
        scale = self.param("scale", init, branch.shape[-1:], self.param_dtype)
        return branch * jnp.asarray(scale, self.dtype)


class ResMlpBlock(nn.Module):
    """One ResMLP layer from [batch, tokens, channels] to the same shape, of type `dtype`.

    Inputs of another type are cast to `dtype` first. Inputs of other axes or of another number of
    tokens or channels than the parameters' raise an InputError, a ValueError.

    Attributes:
      hidden_dim: hidden width of the MLP over channels.
      dropout_rate: in the MLP over channels, after gelu and after the second Dense, in [0, 1).
      stochastic_depth_rate: probability of dropping a branch, in [0, 1).
      layer_scale: initial value of g1 and g2. In the authors' code it is 0.1 for 12 layers, 1e-5
        for 24, and 1e-6 for 36 and for the big model.
      approximate_gelu: tanh gelu; the authors' is exact.
      kernel_init: N(0, 0.02), as in the authors' code.
    """

    hidden_dim: Annotated[Channels, Role.SHAPE, "Hidden width of the MLP over channels."]
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: StochasticDepthRate = 0.0
    layer_scale: Annotated[
        Positive, Role.SHAPE, "Initial value of the factors that scale each branch."
    ] = 0.1
    approximate_gelu: ApproximateGelu = False
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: ComputeDtype = jnp.float32
    param_dtype: ParamDtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def add(inputs: jax.Array, branch: jax.Array) -> jax.Array:
            branch = LayerScale(self.layer_scale, **dtypes)(branch)
            return inputs + StochasticDepth(self.stochastic_depth_rate, 1)(branch, deterministic)

        inputs = tokens_first(self, inputs, self.dtype)
        across_tokens = Dense(
            len(inputs),
            first_axis=True,
            kernel_init=self.kernel_init,
            **dtypes,
            name="token_mixing",
        )
        inputs = add(inputs, across_tokens(Affine(**dtypes)(inputs)))
        across_channels = Mlp(
            self.hidden_dim,
            hidden_dropout_rate=self.dropout_rate,
            approximate_gelu=self.approximate_gelu,
            kernel_init=self.kernel_init,
            **dtypes,
            name="channel_mixing",
        )
        mixed = across_channels(Affine(**dtypes)(inputs), deterministic)
        mixed = Dropout(self.dropout_rate)(mixed, deterministic)
        return add(inputs, mixed).swapaxes(0, 1)
