"""What the three blocks share: patches, the position table, the two-layer perceptron, dropout.

Shapes are written [batch, tokens, channels]. A rate may be a Python number or a traced one: a
Python zero leaves the layer out of the program, anything else is part of it as a value, so
that changing it compiles nothing.
"""

import functools
import math
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


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def gelu(inputs: jax.Array, approximate: bool) -> jax.Array:
    """x Phi(x) (Hendrycks and Gimpel, 2016), with the exact normal distribution or its tanh form.

    The derivative is given as one expression. Automatic differentiation keeps the factors of it
    one by one, and Flax's exact form goes through erfc; both take twice the time on CPU.
    """
    if approximate:
        return nn.gelu(inputs, approximate=True)
    return inputs * _normal_distribution(inputs)


@gelu.defjvp
def _gelu_jvp(approximate: bool, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (inputs,), (tangent,) = primals, tangents
    if approximate:
        _, vjp = jax.vjp(lambda x: nn.gelu(x, approximate=True), inputs)
        (derivative,) = vjp(jnp.ones_like(inputs))
    else:
        density = jnp.exp(-jnp.square(inputs) / 2) * (2 * math.pi) ** -0.5
        derivative = _normal_distribution(inputs) + inputs * density
    return gelu(inputs, approximate), derivative * tangent


def _normal_distribution(inputs: jax.Array) -> jax.Array:
    return 0.5 + 0.5 * jax.lax.erf(inputs * 0.5**0.5)


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

    `rate` is the probability of dropping, in [0, 1), possibly traced; `batch_axis` counts examples.
    """

    rate: Rate
    batch_axis: int = 0

    @nn.compact
    def __call__(self, branch: jax.Array, deterministic: bool) -> jax.Array:
        if deterministic or is_zero(self.rate):
            return branch
        mask_shape = tuple(
            size if axis == self.batch_axis else 1 for axis, size in enumerate(branch.shape)
        )
        return _keep_or_drop(self.make_rng("dropout"), branch, self.rate, mask_shape)


def is_zero(rate: Rate) -> bool:
    """Whether a rate is known to be zero while the program is built."""
    return isinstance(rate, int | float) and rate == 0


class Dense(nn.Module):
    """A linear map of one axis, as one plain matrix product over all others.

    The last axis, or the first: a product over the first axis of [tokens, batch, channels] needs
    no transposed copy of its input, where one over the middle axis of three does.

    Parameters are `kernel` [inputs, features] and `bias` [features], as in Flax's Dense.
    """

    features: int
    first_axis: bool = False
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        size = inputs.shape[0 if self.first_axis else -1]
        kernel = self.param("kernel", self.kernel_init, (size, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        inputs, kernel, bias = (jnp.asarray(array, self.dtype) for array in (inputs, kernel, bias))
        if self.first_axis:
            columns = kernel.T @ inputs.reshape(size, -1) + bias[:, None]
            return columns.reshape(self.features, *inputs.shape[1:])
        rows = inputs.reshape(-1, size) @ kernel + bias
        return rows.reshape(*inputs.shape[:-1], self.features)


class LayerNorm(nn.Module):
    """Zero mean and unit variance of each token's channels, then a scale and a bias for each.

    Statistics are float32 whatever the dtype. Parameters are `scale` and `bias`, as in Flax's.
    """

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [..., channels] to the same shape."""
        shape = inputs.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        inputs, scale, bias = (jnp.asarray(array, jnp.float32) for array in (inputs, scale, bias))
        return jnp.asarray(layer_norm(inputs, scale, bias, self.epsilon), self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(inputs: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Normalises the last axis: (x - mean) / sqrt(variance + epsilon) * scale + bias, in float32.

    The backward pass is given, so that it starts from the input and two numbers a token; what
    automatic differentiation keeps instead is several arrays of the input's size.
    """
    return _layer_norm_forward(inputs, scale, bias, epsilon)[0]


def _layer_norm_forward(
    inputs: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, tuple]:
    mean = inputs.mean(axis=-1, keepdims=True)
    variance = jnp.square(inputs).mean(axis=-1, keepdims=True) - jnp.square(mean)
    inverse = jax.lax.rsqrt(jnp.maximum(variance, 0.0) + epsilon)
    return (inputs - mean) * inverse * scale + bias, (inputs, mean, inverse, scale)


def _layer_norm_backward(epsilon: float, kept: tuple, gradient: jax.Array) -> tuple:
    inputs, mean, inverse, scale = kept
    normalized = (inputs - mean) * inverse
    scaled = gradient * scale
    along = (scaled * normalized).mean(axis=-1, keepdims=True)
    of_inputs = inverse * (scaled - scaled.mean(axis=-1, keepdims=True) - normalized * along)
    batch = tuple(range(inputs.ndim - 1))
    return of_inputs, (gradient * normalized).sum(axis=batch), gradient.sum(axis=batch)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


class Mlp(nn.Module):
    """Dense, gelu, Dense back to the width of the input: W2 gelu(W1 x + b1) + b2.

    Attributes:
      hidden_dim: width between the two Dense layers.
      first_axis: it acts on the first axis of its input instead of the last.
      hidden_dropout_rate: dropout between gelu and the second Dense (the Keras example's FNet).
      approximate_gelu: the tanh form of gelu instead of the exact one.
    """

    hidden_dim: int
    first_axis: bool = False
    hidden_dropout_rate: Rate = 0.0
    approximate_gelu: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        """Maps an array to one of the same shape."""

        def dense(features: int) -> Dense:
            return Dense(
                features,
                self.first_axis,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )

        hidden = gelu(dense(self.hidden_dim)(inputs), self.approximate_gelu)
        hidden = Dropout(self.hidden_dropout_rate)(hidden, deterministic)
        return dense(inputs.shape[0 if self.first_axis else -1])(hidden)


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
