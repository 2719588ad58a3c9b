"""Dropout and the random bits it is made of, gelu, normalisation, linear maps, patches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mlpvis_jax.models.layers import (
    Dense,
    Dropout,
    LayerNorm,
    Mlp,
    StochasticDepth,
    gelu,
    random_bits,
)
from mlpvis_jax.models.patches import PatchProjection
from tests.models import references


def dropped(module, inputs, seed):
    @jax.jit
    def apply(inputs, key):
        return module.apply({}, inputs, False, rngs={"dropout": key})

    return np.asarray(apply(inputs, jax.random.key(seed)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate):
    inputs = jnp.full((64, 50, 40), 2.0)
    outputs = dropped(Dropout(rate), inputs, 0)
    kept = outputs != 0
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs((1 - kept.mean()) - rate) < 5 * deviation
    np.testing.assert_allclose(outputs[kept], 2.0 / (1 - rate), 1e-6)


@pytest.mark.parametrize("rate", [0.25, 0.8])
def test_stochastic_depth_drops_whole_branches_and_keeps_the_mean(rate):
    inputs = jnp.ones((4000, 3, 2))
    outputs = dropped(StochasticDepth(rate), inputs, 0)
    assert (outputs.reshape(4000, -1) == outputs[:, :1, 0]).all()
    np.testing.assert_allclose(np.unique(outputs), [0.0, 1 / (1 - rate)], 1e-6)
    deviation = np.sqrt(rate / (1 - rate) / 4000)  # of the mean over examples
    assert abs(outputs.mean() - 1) < 5 * deviation


@pytest.mark.parametrize("layer", [Dropout, StochasticDepth])
def test_a_traced_rate_draws_what_a_plain_one_does(layer):
    inputs = jnp.ones((16, 8, 4))

    @jax.jit
    def traced(rate):
        return layer(rate).apply({}, inputs, False, rngs={"dropout": jax.random.key(3)})

    np.testing.assert_array_equal(traced(0.3), dropped(layer(0.3), inputs, 3))
    np.testing.assert_array_equal(traced(0.0), inputs)


@pytest.mark.parametrize("layer", [Dropout, StochasticDepth])
def test_nothing_is_dropped_outside_of_training_or_at_rate_zero(layer):
    inputs = jnp.ones((4, 3, 2))
    np.testing.assert_array_equal(layer(0.5).apply({}, inputs, True), inputs)
    np.testing.assert_array_equal(layer(0.0).apply({}, inputs, False), inputs)


def test_random_bits_are_even_and_independent():
    size = 1 << 20
    bits = np.stack([random_bits(jax.random.key(seed), (size,)) for seed in range(3)])
    # Each of the 32 bits is one half of the time set: five deviations of a fair coin.
    for position in range(32):
        share = ((bits >> position) & 1).mean(axis=1)
        assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(size)
    # Neighbours along the index, and the same index under another key, do not go together.
    values = bits / 2.0**32 - 0.5
    limit = 5 / np.sqrt(size)
    for shift in (1, 2, 3, 64, 256, 4096, 16384):
        assert abs(np.corrcoef(values[0, :-shift], values[0, shift:])[0, 1]) < limit
        assert abs(np.corrcoef(values[0, :-shift], values[1, shift:])[0, 1]) < limit
    assert np.abs(np.corrcoef(values) - np.eye(3)).max() < limit
    counts = np.bincount(bits[0] >> 24, minlength=256)
    chi_square = ((counts - size / 256) ** 2 / (size / 256)).sum()
    assert 160 < chi_square < 370  # 255 degrees of freedom, about five deviations


def test_random_bits_do_not_depend_on_jit_or_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(lambda key: random_bits(key, (5, 7))))(keys)
    for key, bits in zip(keys, together, strict=True):
        np.testing.assert_array_equal(random_bits(key, (5, 7)), bits)


def test_patches_are_a_strided_convolution():
    images = np.random.default_rng(0).normal(size=(2, 12, 20, 3)).astype("float32")
    module = PatchProjection(4, 5)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    assert variables["params"]["kernel"].shape == (4, 4, 3, 5)
    convolution = nn.Conv(5, (4, 4), strides=(4, 4), padding="VALID")
    expected = convolution.apply(variables, images).reshape(2, 15, 5)
    np.testing.assert_allclose(module.apply(variables, images), expected, 1e-5, 1e-5)


def test_patches_take_the_fans_of_their_matrix():
    module = PatchProjection(8, 256, nn.initializers.glorot_uniform())
    kernel = module.init(jax.random.key(0), np.zeros((1, 64, 64, 3)))["params"]["kernel"]
    limit = np.sqrt(6 / (192 + 256))
    assert 0.99 * limit < np.abs(kernel).max() <= limit


def test_a_patch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="patch_size 5 does not divide images of 12 x 20"):
        PatchProjection(5, 4).init(jax.random.key(0), np.zeros((1, 12, 20, 3)))


def test_dropout_inside_the_mlp_stands_before_its_second_dense():
    module = Mlp(6, hidden_dropout_rate=0.5)
    inputs = np.ones((4, 3))
    variables = module.init(jax.random.key(0), inputs)
    variables["params"]["Dense_1"]["kernel"] = jnp.zeros((6, 3))
    variables["params"]["Dense_1"]["bias"] = jnp.ones(3)
    outputs = module.apply(variables, inputs, False, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(outputs, np.ones((4, 3)))  # nothing is dropped after it


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def assert_same_gradients(function, other, *arguments):
    """Of a weighted sum of the outputs, by each argument; and the outputs themselves."""

    @functools.partial(jax.jit, static_argnums=0)
    def outputs_and_gradients(function, *arguments):
        outputs, pull = jax.vjp(function, *arguments)
        return outputs, pull(jnp.cos(jnp.arange(outputs.size)).reshape(outputs.shape))

    outputs, gradients = outputs_and_gradients(function, *arguments)
    expected, expected_gradients = outputs_and_gradients(other, *arguments)
    np.testing.assert_allclose(outputs, expected, 1e-5, 1e-6)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, 1e-4, 1e-5)


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_and_its_derivative_are_those_of_jax(approximate):
    inputs = jnp.linspace(-6, 6, 241)
    assert_same_gradients(
        lambda x: gelu(x, approximate), lambda x: jax.nn.gelu(x, approximate), inputs
    )

    @jax.jit
    def derivatives(inputs):
        forward = jax.jvp(lambda x: gelu(x, approximate), (inputs,), (jnp.ones_like(inputs),))[1]
        return forward, jax.vmap(jax.grad(lambda x: jax.nn.gelu(x, approximate)))(inputs)

    forward, expected = derivatives(inputs)
    np.testing.assert_allclose(forward, expected, 1e-4, 1e-6)
    assert gelu(inputs.astype(jnp.bfloat16), approximate).dtype == jnp.bfloat16


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_gelu_of_low_precision_is_rounded_once(dtype, approximate):
    inputs = jnp.linspace(-8, 3, 400).astype(dtype)
    exact = np.asarray(inputs, np.float64)
    expected = references.gelu(exact, approximate)
    found = np.asarray(jax.jit(gelu, static_argnums=1)(inputs, approximate), np.float64)
    # tanh is that of float32; below a type's least normal number a result may be zero.
    least = 1e-6 if approximate else float(jnp.finfo(dtype).tiny)
    np.testing.assert_allclose(found, expected, float(jnp.finfo(dtype).eps), least)
    derivative = jax.vmap(jax.grad(lambda x: gelu(x, approximate)))
    slope = jax.jit(derivative)(inputs)
    above, below = (references.gelu(exact + shift, approximate) for shift in (1e-5, -1e-5))
    assert slope.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(slope, np.float64), (above - below) / 2e-5, float(jnp.finfo(dtype).eps), 2e-5
    )
    # It shares nothing with the value that XLA would keep in float32 until the backward pass.
    assert "optimization_barrier" in str(jax.make_jaxpr(derivative)(inputs))
    assert "optimization_barrier" not in str(jax.make_jaxpr(derivative)(exact.astype("float32")))


@pytest.mark.parametrize("epsilon", [1e-12, 0.1])
def test_layer_norm_and_its_gradients_are_those_of_flax(epsilon):
    inputs, scale, bias = 3 * normal(4, 2, 5) + 1, normal(5), normal(5)

    def apply(module):
        return lambda x, scale, bias: module.apply({"params": {"scale": scale, "bias": bias}}, x)

    own, flax = LayerNorm(epsilon), nn.LayerNorm(epsilon)
    assert_same_gradients(apply(own), apply(flax), inputs, scale, bias)
    constant = own.init_with_output(jax.random.key(0), jnp.full((2, 3, 4), 7.0))[0]
    assert np.isfinite(constant).all()


@pytest.mark.parametrize("mean", [0, 100, 1000, 30_000])
def test_layer_norm_is_accurate_far_from_zero(mean):
    inputs = np.asarray(mean + normal(4, 256))
    exact = inputs.astype(np.float64)
    expected = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    outputs = LayerNorm(1e-12).init_with_output(jax.random.key(0), inputs)[0]
    # The mean itself is rounded: 2^-24 of it, in units of the standard deviation, which is one.
    np.testing.assert_allclose(outputs, expected, 1e-5, 1e-5 + mean * 2.0**-22)


def test_layer_norm_computes_in_float32_and_returns_its_dtype():
    inputs = (1000 + normal(2, 3, 64)).astype(jnp.bfloat16)
    outputs, variables = LayerNorm(dtype=jnp.bfloat16).init_with_output(jax.random.key(0), inputs)
    assert outputs.dtype == jnp.bfloat16
    exact = LayerNorm().apply(variables, inputs.astype(jnp.float32))
    np.testing.assert_array_equal(outputs, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("first_axis", [False, True])
def test_dense_maps_one_axis(first_axis):
    module = Dense(7, first_axis, bias_init=nn.initializers.normal())
    inputs = normal(4, 3, 5)
    variables = module.init(jax.random.key(0), inputs)
    assert variables["params"]["kernel"].shape == (4 if first_axis else 5, 7)

    def by_flax(inputs, params):
        moved = inputs.swapaxes(0, 2) if first_axis else inputs
        outputs = nn.Dense(7).apply({"params": params}, moved)
        return outputs.swapaxes(0, 2) if first_axis else outputs

    outputs = module.apply(variables, inputs)
    np.testing.assert_allclose(outputs, by_flax(inputs, variables["params"]), 1e-5, 1e-6)


def test_stochastic_depth_counts_examples_along_its_batch_axis():
    module = StochasticDepth(0.5, batch_axis=1)
    outputs = module.apply({}, jnp.ones((3, 64, 2)), False, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(outputs)) == {0.0, 2.0}
    np.testing.assert_array_equal(outputs, np.broadcast_to(outputs[:1, :, :1], (3, 64, 2)))
