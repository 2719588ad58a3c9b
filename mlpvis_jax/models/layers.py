"""What the blocks share: linear maps, normalisation, gelu, dropout.

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

from mlpvis_jax.models.checks import check_axes, check_stored_size

Dtype = Any
Rate = float | jax.Array
Initializer = nn.initializers.Initializer


def tokens_first(block: nn.Module, inputs: jax.Array, dtype: Dtype) -> jax.Array:
    """Brings the input of a block from [batch, tokens, channels] to [tokens, batch, channels].

    So every product is a plain one, of matrices as they lie in memory. The type is the block's.

    Raises:
      InputError: the input has other axes. From Python it is a ValueError.
    """
    check_axes(block, inputs, ("batch", "tokens", "channels"))
    return jnp.asarray(inputs, dtype).swapaxes(0, 1)


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws uniform 32-bit integers: hashes of each element's index and 64 bits of `key`.

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
    """Computes x Phi(x) (Hendrycks and Gimpel, 2016), with Phi exact or in its tanh form.

    The derivative is given as one expression. Automatic differentiation keeps the factors of it
    one by one, and Flax's exact form goes through erfc; both take twice the time on CPU.
    Inputs of fewer bits than float32 are computed in float32, and the result is rounded once.
    """
    wide = _at_least_float32(inputs)
    if approximate:
        outputs = nn.gelu(wide, approximate=True)
    else:
        outputs = wide * _normal_distribution(wide, narrow=wide.dtype != inputs.dtype)
    return outputs.astype(inputs.dtype)


@gelu.defjvp
def _gelu_jvp(approximate: bool, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (inputs,), (tangent,) = primals, tangents
    wide = _at_least_float32(inputs)
    if wide.dtype != inputs.dtype:
        # Else XLA computes Phi once for both passes and keeps it in between, in float32: twice the
        # bytes of the inputs, which are kept anyway.
        wide = _at_least_float32(jax.lax.optimization_barrier(inputs))
    if approximate:
        _, vjp = jax.vjp(lambda x: nn.gelu(x, approximate=True), wide)
        (derivative,) = vjp(jnp.ones_like(wide))
    else:
        density = jnp.exp(-jnp.square(wide) / 2) * (2 * math.pi) ** -0.5
        distribution = _normal_distribution(wide, narrow=wide.dtype != inputs.dtype)
        derivative = distribution + wide * density
    return gelu(inputs, approximate), derivative.astype(inputs.dtype) * tangent


def _at_least_float32(inputs: jax.Array) -> jax.Array:
    return inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))


def _normal_distribution(inputs: jax.Array, narrow: bool) -> jax.Array:
    # The sum cancels below -3: its error, 3e-8, is within float32's of the largest values, but the
    # small values of narrower types have more digits than that.
    if narrow:
        return 0.5 * jax.lax.erfc(inputs * -(0.5**0.5))
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
    """Tells whether a rate is known to be zero while the program is built."""
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
        check_stored_size(self, "kernel", 0, size, "tokens" if self.first_axis else "channels")
        kernel = self.param("kernel", self.kernel_init, (size, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        inputs, kernel, bias = (jnp.asarray(array, self.dtype) for array in (inputs, kernel, bias))
        merged = merge_other_axes(inputs, self.first_axis)
        if self.first_axis:
            bias = bias.reshape(-1, *(1 for _ in merged.shape[1:]))
            outputs = jnp.tensordot(kernel.T, merged, axes=1) + bias
            return outputs.reshape(self.features, *inputs.shape[1:])
        outputs = merged @ kernel + bias
        return outputs.reshape(*inputs.shape[:-1], self.features)


def merge_other_axes(inputs: jax.Array, first_axis: bool = False) -> jax.Array:
    """Makes a matrix for a product over the last axis, or the first: all others become one.

    For XLA's products of three axes take twice the time. But an axis that is spread over devices,
    by a mesh's explicit axes, cannot be merged with another one: then the array stays as it is.
    """
    if any(axes is not None for axes in jax.typeof(inputs).sharding.spec):
        return inputs
    return jax.lax.collapse(inputs, 1) if first_axis else jax.lax.collapse(inputs, 0, -1)


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
        scale, bias = scale_and_bias(self, inputs.shape[-1], self.param_dtype)
        inputs, scale, bias = (jnp.asarray(array, jnp.float32) for array in (inputs, scale, bias))
        return jnp.asarray(layer_norm(inputs, scale, bias, self.epsilon), self.dtype)


def scale_and_bias(module: nn.Module, channels: int, dtype: Dtype) -> tuple[jax.Array, jax.Array]:
    """Declares the parameters `scale`, ones at first, and `bias`, zeros, of a module: [channels].

    Raises:
      InputError: the module has them already, for another number of channels.
    """
    check_stored_size(module, "scale", 0, channels, "channels")
    scale = module.param("scale", nn.initializers.ones, (channels,), dtype)
    bias = module.param("bias", nn.initializers.zeros, (channels,), dtype)
    return scale, bias


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def layer_norm(inputs: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Normalises the last axis: (x - mean) / sqrt(variance + epsilon) * scale + bias, in float32.

    The derivative is given, so that its transpose, the backward pass, starts from the input and two
    numbers a token; what automatic differentiation keeps instead is several arrays of that size.
    """
    return _normalize(inputs, epsilon)[0] * scale + bias


@layer_norm.defjvp
def _layer_norm_jvp(epsilon: float, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    inputs, scale, bias = primals
    of_inputs, of_scale, of_bias = tangents
    normalized, inverse = _normalize(inputs, epsilon)
    scaled = inverse * of_inputs
    along = (scaled * normalized).mean(axis=-1, keepdims=True)
    of_normalized = scaled - scaled.mean(axis=-1, keepdims=True) - normalized * along
    tangent = of_normalized * scale + normalized * of_scale + of_bias
    return normalized * scale + bias, tangent


def _normalize(inputs: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    """The normalised input, and what its distance from the mean was multiplied by."""
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + epsilon)
    return centred * inverse, inverse


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
