"""The FNet block (Lee-Thorp et al., 2021, section 3.2).

U = LN(X + Re(F_tokens(F_channels(X))))     F is the unnormalised discrete Fourier transform
Y = LN(U + W2 gelu(W1 U))

The hybrid models of section 4 have self-attention in the place of the transform in their last two
blocks, U = LN(X + MSA(X)), see `models.attention`; with it in all blocks it is BERT's encoder.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mlpvis_jax.errors import InputError
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
    merge_other_axes,
    tokens_first,
)
from mlpvis_jax.settings.declared import Channels, OneOf, Role

# Above this many tokens the fast transform's n log n wins over products with n x n tables.
LONGEST_MATRIX_TRANSFORM = 1024
_MIXINGS = ("fourier", "attention")


def fourier_mixing(inputs: jax.Array) -> jax.Array:
    """Computes the real part of the two-dimensional Fourier transform over tokens and channels.

    Always computed in float32: low-precision transforms fail on sizes that are no power of two.

    Args:
      inputs: real [tokens, batch, channels].

    Returns:
      float32 [tokens, batch, channels], equal to real(fft2(inputs, axes=(0, 2))).
    """
    # The transform is symmetric, so it is its own transpose. This is the one function of JAX that
    # takes that, and can be batched and differentiated in both modes; the map that it would invert
    # to find derivatives by the map's own arguments is not used, as there are none.
    return jax.lax.custom_linear_solve(
        lambda outputs: outputs,
        inputs.astype(jnp.float32),
        solve=lambda _, inputs: _transform(inputs),
        symmetric=True,
    )


def _transform(inputs: jax.Array) -> jax.Array:
    if not isinstance(inputs.shape[0], int):  # a symbol of `jax.export`
        return fourier_mixing_by_whole_tables(inputs)
    # What is folded cannot be spread over devices, by a mesh's explicit axes, where that is uneven.
    along_tokens, _, along_channels = jax.typeof(inputs).sharding.spec
    is_whole = along_tokens is None and along_channels is None
    if is_whole and len(inputs) <= LONGEST_MATRIX_TRANSFORM:
        return fourier_mixing_by_matrices(inputs)
    return jnp.fft.fft2(inputs, axes=(0, 2)).real


def fourier_mixing_by_matrices(inputs: jax.Array) -> jax.Array:
    """Computes the same transform by four real matrix products, less work than a Dense layer's.

    With C = cos(2 pi j k / n) and S = sin(2 pi j k / n), the real part is C_t X C_c - S_t X S_c.
    Rows j and n - j of C are equal and those of S are opposite. So C needs only the sums of
    entries j and n - j of X, and S their differences, along tokens and along channels: a quarter
    of X each. As C and S are symmetric, tokens k and n - k of the two terms are equal and opposite
    too, and only half of them is computed.
    """
    token_cosine, token_sine = _cosine_sine(inputs.shape[0])
    channel_cosine, channel_sine = _cosine_sine(inputs.shape[2])
    token_sums, token_differences = _fold(inputs, axis=0)
    even, _ = _fold(token_sums, axis=2)
    _, odd = _fold(token_differences, axis=2)
    even = _product(token_cosine, even, channel_cosine, first=0)
    odd = _product(token_sine, odd, channel_sine, first=1)
    pairs = len(odd)
    middle = even[1 : pairs + 1]
    mirrored = jnp.flip(middle + odd, axis=0)
    return jnp.concatenate([even[:1], middle - odd, even[pairs + 1 :], mirrored])


def fourier_mixing_by_whole_tables(inputs: jax.Array) -> jax.Array:
    """Computes the same transform as C_t X C_c - S_t X S_c, nothing folded.

    It is slower, and serves programs that `jax.export` makes for any number of tokens, where the
    fast transform is not to be had and sizes cannot be halved.
    """
    precision = jax.lax.Precision.HIGHEST
    pairs = zip(_cosine_sine(inputs.shape[0]), _cosine_sine(inputs.shape[2]), strict=True)
    cosines, sines = (
        jnp.einsum(
            "jkd,dc->jkc",
            jnp.einsum("jt,tkd->jkd", of_tokens, inputs, precision=precision),
            of_channels,
            precision=precision,
        )
        for of_tokens, of_channels in pairs
    )
    return cosines - sines


def _fold(inputs: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Sums and differences of entries j and n - j; entries that are their own mirror stay sums."""
    size = inputs.shape[axis]
    pairs = (size - 1) // 2  # j = 1 .. pairs
    first, ahead, own, behind = jnp.split(inputs, [1, pairs + 1, size - pairs], axis)
    mirrored = jnp.flip(behind, axis)
    return jnp.concatenate([first, ahead + mirrored, own], axis), ahead - mirrored


def _product(
    token_table: np.ndarray, inputs: jax.Array, channel_table: np.ndarray, first: int
) -> jax.Array:
    """Tables times what was folded: [rows, batch, columns] to [rows, batch, channels].

    `first` is the entry that the folded ones begin with: 0 for sums, 1 for differences.
    """
    rows, batch, columns = inputs.shape
    token_table = token_table[first : first + rows, first : first + rows]
    channel_table = channel_table[first : first + columns]
    channels = channel_table.shape[1]
    precision = jax.lax.Precision.HIGHEST
    outputs = jnp.matmul(merge_other_axes(inputs), channel_table, precision=precision)
    outputs = merge_other_axes(outputs.reshape(rows, batch, channels), first_axis=True)
    outputs = jnp.tensordot(token_table, outputs, axes=1, precision=precision)
    return outputs.reshape(rows, batch, channels)


def _cosine_sine(size: Any) -> tuple[Any, Any]:
    """The real and the negated imaginary part of the DFT matrix, float32 [size, size].

    They are NumPy's; where the size is a symbol of `jax.export`, they are computed in the program.
    """
    numpy = np if isinstance(size, int) else jnp
    # The product of indices is reduced modulo size first, which keeps the angles exact.
    angles = 2 * np.pi * (numpy.outer(numpy.arange(size), numpy.arange(size)) % size) / size
    return numpy.cos(angles).astype(np.float32), numpy.sin(angles).astype(np.float32)


class FNetBlock(nn.Module):
    """One FNet layer from [batch, tokens, channels] to the same shape, of type `dtype`.

    It has no weights over tokens, so that any number of them fits. Inputs of another type are cast
    to `dtype` first. Inputs of other axes or of another number of channels than the parameters'
    raise an InputError, a ValueError.

    Attributes:
      hidden_dim: hidden width of the feed-forward sublayer.
      dropout_rate: after the second Dense, in [0, 1).
      stochastic_depth_rate: probability of dropping a branch, in [0, 1).
      dropout_after_gelu: dropout stands between gelu and the second Dense instead, as in the
        Keras example.
      mixing: "fourier", or "attention" for self-attention in its place. `Classifier` sets it for
        the last blocks of a hybrid: see its `attention_blocks`.
      num_heads: of self-attention; each has channels / num_heads channels.
      epsilon: of both LayerNorms.
    """

    hidden_dim: Annotated[Channels, Role.SHAPE, "Hidden width of the feed-forward sublayer."]
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: StochasticDepthRate = 0.0
    dropout_after_gelu: Annotated[
        bool, Role.SHAPE, "Dropout between gelu and the second Dense, not after it."
    ] = False
    mixing: Annotated[
        str, OneOf(_MIXINGS), Role.SHAPE, "Across tokens: the transform, or self-attention."
    ] = "fourier"
    num_heads: NumHeads = 12
    approximate_gelu: ApproximateGelu = True
    epsilon: Epsilon = 1e-12
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: ComputeDtype = jnp.float32
    param_dtype: ParamDtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixing not in _MIXINGS:
            known = ", ".join(_MIXINGS)
            raise InputError(f"mixing of a FNetBlock must be one of {known}, not {self.mixing!r}.")

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        def norm() -> LayerNorm:
            return LayerNorm(self.epsilon, dtype=self.dtype, param_dtype=self.param_dtype)

        def stochastic_depth(branch: jax.Array) -> jax.Array:
            return StochasticDepth(self.stochastic_depth_rate, 1)(branch, deterministic)

        inputs = tokens_first(self, inputs, self.dtype)
        mixed = self._mix(inputs)
        inputs = norm()(inputs + stochastic_depth(mixed))
        branch = Mlp(
            self.hidden_dim,
            hidden_dropout_rate=self.dropout_rate if self.dropout_after_gelu else 0.0,
            approximate_gelu=self.approximate_gelu,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="feed_forward",
        )(inputs, deterministic)
        branch = Dropout(0.0 if self.dropout_after_gelu else self.dropout_rate)(
            branch, deterministic
        )
        outputs = norm()(inputs + stochastic_depth(branch))
        return outputs.swapaxes(0, 1)

    def _mix(self, inputs: jax.Array) -> jax.Array:
        if self.mixing == "fourier":
            return fourier_mixing(inputs).astype(self.dtype)
        return SelfAttention(
            self.num_heads,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="self_attention",
        )(inputs)
