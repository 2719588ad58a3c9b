"""The gMLP block and its spatial gating unit (Liu et al., 2021, equations 1 to 4), and aMLP.

Z = gelu(U LN(X));  [Z1, Z2] = Z;  Y = X + V (Z1 * (W LN(Z2) + b))     W acts across tokens

aMLP (section 4 and the pseudo-code of its tiny attention) adds one head of self-attention to the
gate: Y = X + V (Z1 * (W LN(Z2) + b + A(LN(X)))), see `models.attention`.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.models.attention import SelfAttention
from mlpvis_jax.models.fields import (
    ApproximateGelu,
    ComputeDtype,
    DropoutRate,
    Epsilon,
    ParamDtype,
    StochasticDepthRate,
)
from mlpvis_jax.models.layers import (
    Dense,
    Dropout,
    Dtype,
    Initializer,
    LayerNorm,
    StochasticDepth,
    gelu,
    tokens_first,
)
from mlpvis_jax.settings.declared import Channels, NotNegative, Role


class SpatialGatingUnit(nn.Module):
    """Gates one half of the channels by a linear map of the other half across tokens.

    With W near zero and b at one, the paper's initial values, the unit begins as the identity.
    """

    epsilon: float = 1e-6
    kernel_init: Initializer = nn.initializers.normal(1e-6)
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, passed: jax.Array, gate: jax.Array, attended: jax.Array | None = None
    ) -> jax.Array:
        """Maps the two halves, [tokens, batch, channels] each, to one of the same shape.

        What aMLP's tiny attention gives, `attended`, is added to the gate.
        """
        gate = LayerNorm(self.epsilon, dtype=self.dtype, param_dtype=self.param_dtype)(gate)
        gate = Dense(
            len(gate),
            first_axis=True,
            kernel_init=self.kernel_init,
            bias_init=nn.initializers.ones,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )(gate)
        return passed * (gate if attended is None else gate + attended)


class GMlpBlock(nn.Module):
    """One gMLP layer from [batch, tokens, channels] to the same shape, of type `dtype`.

    Inputs of another type are cast to `dtype` first. Inputs of other axes or of another number of
    tokens or channels than the parameters' raise an InputError, a ValueError.

    Attributes:
      hidden_dim: channels before the split (d_ffn in the paper), even.
      dropout_rate: after gelu, in [0, 1).
      stochastic_depth_rate: probability of dropping the branch, in [0, 1).
      normalized_skip: the skip connection carries LN(X) instead of X, as in the Keras example.
      gate_epsilon: of the LayerNorm before W; None: `epsilon`. In timm's gMLP it is 1e-5, and
        `epsilon`, of all others, 1e-6.
      gate_kernel_init: initialiser of W.
      attention_dim: channels of the one head of self-attention that makes gMLP an aMLP, 64 in the
        paper; None: no attention.
    """

    hidden_dim: Annotated[Channels, Role.SHAPE, "Channels before the split, even."]
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: StochasticDepthRate = 0.0
    normalized_skip: Annotated[bool, Role.SHAPE, "The skip connection carries LN(X)."] = False
    approximate_gelu: ApproximateGelu = False
    epsilon: Epsilon = 1e-6
    gate_epsilon: Annotated[
        NotNegative | None, Role.SHAPE, "Epsilon of the gate's LayerNorm; None: as all others."
    ] = None
    attention_dim: Annotated[
        Channels | None, Role.SHAPE, "Channels of aMLP's one head of attention; None: no attention."
    ] = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    gate_kernel_init: Initializer = nn.initializers.normal(1e-6)
    dtype: ComputeDtype = jnp.float32
    param_dtype: ParamDtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % 2:
            raise InputError(
                "hidden_dim of a GMlpBlock is split in two and must be even, not "
                f"{self.hidden_dim}."
            )

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        def dense(features: int) -> Dense:
            return Dense(
                features,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )

        inputs = tokens_first(self, inputs, self.dtype)
        normalized = LayerNorm(self.epsilon, dtype=self.dtype, param_dtype=self.param_dtype)(inputs)
        halves = jnp.split(dense(self.hidden_dim)(normalized), 2, axis=-1)
        passed, gate = (
            Dropout(self.dropout_rate)(gelu(half, self.approximate_gelu), deterministic)
            for half in halves
        )
        attended = None
        if self.attention_dim is not None:
            attended = SelfAttention(
                1,
                self.attention_dim,
                self.hidden_dim // 2,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name="tiny_attention",
            )(normalized)
        branch = SpatialGatingUnit(
            self.epsilon if self.gate_epsilon is None else self.gate_epsilon,
            kernel_init=self.gate_kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="spatial_gating",
        )(passed, gate, attended)
        branch = dense(inputs.shape[-1])(branch)
        branch = StochasticDepth(self.stochastic_depth_rate, 1)(branch, deterministic)
        outputs = (normalized if self.normalized_skip else inputs) + branch
        return outputs.swapaxes(0, 1)
