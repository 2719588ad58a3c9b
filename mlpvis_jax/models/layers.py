"""What the three blocks share: patches, the position table, the two-layer perceptron, dropout.

Shapes are written [batch, tokens, channels]. A rate may be a Python number or a traced one: a
Python zero leaves the layer out of the program, anything else is part of it as a value, so
that changing it compiles nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Dtype = Any
Rate = float | jax.Array
Initializer = nn.initializers.Initializer


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform 32-bit integers: a hash of each element's index and 64 bits drawn from `key`.

    One multiply-xorshift hash an element (the constants are the published `lowbias32` mix by
    Chris Wellons) is a fraction of the work of Threefry's twenty rounds, and being a function of
    the index alone it fuses into the product that uses it: the mask is never stored. It serves
    masks, where a coin for each element is all that is asked; everything else uses jax.random.

    Returns:
      uint32 of the given shape, the same under jit, vmap and scan.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    size = 1
    index = jnp.zeros(shape, jnp.uint32)
    for axis in reversed(range(len(shape))):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(size & 0xFFFFFFFF)
        size *= shape[axis]
    bits = index + first
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = bits ^ second  # between the rounds, so that two masks are no shifted copies
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)


def _keep_or_drop(key: jax.Array, inputs: jax.Array, rate: Rate, mask_shape: tuple) -> jax.Array:
    """Zeroes with probability `rate` and divides the rest by 1 - rate, so the mean stays."""
    rate = jnp.asarray(rate, jnp.float32)
    threshold = (rate * 2.0**32).astype(jnp.uint32)
    keep = random_bits(key, mask_shape) >= threshold
    scale = (1.0 / (1.0 - rate)).astype(inputs.dtype)
    return jnp.where(keep, inputs * scale, jnp.zeros((), inputs.dtype))


class Dropout(nn.Module):
    """Dropout (Srivastava et al., 2014) whose rate, in [0, 1), may be a traced number."""

    rate: Rate

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool) -> jax.Array:
        if deterministic or is_zero(self.rate):
            return inputs
        return _keep_or_drop(self.make_rng("dropout"), inputs, self.rate, inputs.shape)


class StochasticDepth(nn.Module):
    """Drops the whole branch of an example (Huang et al., 2016), dividing what stays by 1 - rate.

    `rate` is the probability of dropping, in [0, 1), possibly traced.
    """

    rate: Rate

    @nn.compact
    def __call__(self, branch: jax.Array, deterministic: bool) -> jax.Array:
        if deterministic or is_zero(self.rate):
            return branch
        mask_shape = branch.shape[:1] + (1,) * (branch.ndim - 1)
        return _keep_or_drop(self.make_rng("dropout"), branch, self.rate, mask_shape)


def is_zero(rate: Rate) -> bool:
    """Whether a rate is known to be zero while the program is built."""
    return isinstance(rate, int | float) and rate == 0


class Dense(nn.Dense):
    """Flax's Dense, on the leading axes as one: [..., channels] to [..., features].

    The result is the same; but the backward pass of a product with three axes is compiled with
    more copies on CPU, which made a training step up to 1.7 times slower.
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:
        rows = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return rows.reshape(*inputs.shape[:-1], self.features)


class Mlp(nn.Module):
    """Dense, gelu, Dense back to the width of the input: W2 gelu(W1 x + b1) + b2.

    Attributes:
      hidden_dim: width between the two Dense layers.
      hidden_dropout_rate: dropout between gelu and the second Dense (the Keras example's FNet).
      approximate_gelu: the tanh form of gelu instead of the exact one.
    """

    hidden_dim: int
    hidden_dropout_rate: Rate = 0.0
    approximate_gelu: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        """Maps [..., channels] to the same shape."""
        options = {
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        hidden = Dense(self.hidden_dim, **options)(inputs)
        hidden = nn.gelu(hidden, approximate=self.approximate_gelu)
        hidden = Dropout(self.hidden_dropout_rate)(hidden, deterministic)
        return Dense(inputs.shape[-1], **options)(hidden)


class PatchProjection(nn.Module):
    """Cuts images into square patches and projects each linearly to `width` channels.

    It is a convolution whose stride is its kernel, computed as one matrix product; the kernel is
    stored as a convolution's, [patch, patch, channels, width], as the published Mixer's is. Tokens
    run over the grid row by row.
    """

    patch_size: int
    width: int
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps [batch, height, width, channels] to [batch, tokens, self.width].

        Raises:
          ValueError: the patch does not divide the images' height and width.
        """
        batch, height, width, channels = images.shape
        size = self.patch_size
        if height % size or width % size:
            raise ValueError(f"patch_size {size} does not divide images of {height} x {width}.")
        pixels = size * size * channels

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype) -> jax.Array:
            # Fans are those of the matrix; an initialiser would take a convolution's otherwise.
            return self.kernel_init(key, (pixels, self.width), dtype).reshape(shape)

        kernel = self.param("kernel", init, (size, size, channels, self.width), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), self.param_dtype)
        patches = images.reshape(batch, height // size, size, width // size, size, channels)
        patches = jnp.asarray(patches.swapaxes(2, 3).reshape(batch, -1, pixels), self.dtype)
        matrix = jnp.asarray(kernel.reshape(pixels, self.width), self.dtype)
        return patches @ matrix + jnp.asarray(bias, self.dtype)


class PositionTable(nn.Module):
    """Adds a learned vector to each token."""

    table_init: Initializer
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        table = self.param("embedding", self.table_init, tokens.shape[1:], self.param_dtype)
        return tokens + jnp.asarray(table, self.dtype)
