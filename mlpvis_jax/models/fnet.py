"""The FNet block (Lee-Thorp et al., 2021, section 3.2).

U = LN(X + Re(F_tokens(F_channels(X))))     F is the unnormalised discrete Fourier transform
Y = LN(U + W2 gelu(W1 U))
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mlpvis_jax.models.layers import Dropout, Dtype, Initializer, Mlp, Rate, StochasticDepth

# Above this many tokens the fast transform's n log n wins over products with n x n tables.
LONGEST_MATRIX_TRANSFORM = 1024


def fourier_mixing(inputs: jax.Array) -> jax.Array:
    """Real part of the two-dimensional Fourier transform over tokens and channels.

    Always computed in float32: low-precision transforms fail on sizes that are no power of two.

    Args:
      inputs: real [batch, tokens, channels].

    Returns:
      float32 [batch, tokens, channels], equal to real(fft2(inputs)).
    """
    inputs = inputs.astype(jnp.float32)
    if inputs.shape[1] <= LONGEST_MATRIX_TRANSFORM:
        return fourier_mixing_by_matrices(inputs)
    return jnp.fft.fft2(inputs).real


def fourier_mixing_by_matrices(inputs: jax.Array) -> jax.Array:
    """The same transform by real matrix products, the size of two Dense layers.

    With C = cos(2 pi j k / n) and S = sin(2 pi j k / n), the real part is C_t X C_c - S_t X S_c.
    Columns k and n - k of C are equal and those of S are opposite, so half of each is enough: the
    halves together make one [channels, channels] product, and the other half of the result is the
    mirror image with the sign of the second term turned.
    """
    tokens, channels = inputs.shape[1:]
    cosines = channels // 2 + 1  # columns 0 .. floor(n / 2)
    sines = channels - cosines  # columns 1 .. ceil(n / 2) - 1; column 0 and n / 2 of S are zero
    cosine, sine = _cosine_sine(channels)
    halves = np.concatenate([cosine[:, :cosines], sine[:, 1 : sines + 1]], axis=1)
    token_cosine, token_sine = _cosine_sine(tokens)

    precision = jax.lax.Precision.HIGHEST
    by_channel = jnp.einsum("btc,ck->btk", inputs, halves, precision=precision)
    even, odd = by_channel[..., :cosines], by_channel[..., cosines:]
    even = jnp.einsum("st,btk->bsk", token_cosine, even, precision=precision)
    odd = jnp.einsum("st,btk->bsk", token_sine, odd, precision=precision)
    inner = even[..., 1 : sines + 1]
    return jnp.concatenate(
        [even[..., :1], inner - odd, even[..., sines + 1 :], (inner + odd)[..., ::-1]], axis=-1
    )


def _cosine_sine(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The real and the negated imaginary part of the DFT matrix, float32 [size, size]."""
    # The product of indices is reduced modulo size first, which keeps the angles exact.
    angles = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


class FNetBlock(nn.Module):
    """One FNet layer on [batch, tokens, channels]; it has no weights over tokens.

    Attributes:
      hidden_dim: hidden width of the feed-forward sublayer.
      dropout_rate: after the second Dense, in [0, 1).
      stochastic_depth_rate: probability of dropping the feed-forward branch, in [0, 1).
      dropout_after_gelu: dropout stands between gelu and the second Dense instead, as in the
        Keras example.
      epsilon: of both LayerNorms.
    """

    hidden_dim: int
    dropout_rate: Rate = 0.0
    stochastic_depth_rate: Rate = 0.0
    dropout_after_gelu: bool = False
    approximate_gelu: bool = True
    epsilon: float = 1e-12
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(self.epsilon, dtype=self.dtype, param_dtype=self.param_dtype)

        mixed = fourier_mixing(inputs).astype(self.dtype)
        inputs = norm()(inputs + StochasticDepth(self.stochastic_depth_rate)(mixed, deterministic))
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
        return norm()(inputs + StochasticDepth(self.stochastic_depth_rate)(branch, deterministic))
