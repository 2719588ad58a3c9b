"""Derivatives of both modes and of the second order, beside those that JAX finds by itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from mlpvis_jax.models import FNetBlock, GMlpBlock, MixerBlock, ResMlpBlock, VitBlock
from mlpvis_jax.models.fnet import fourier_mixing
from mlpvis_jax.models.layers import gelu, layer_norm


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain_layer_norm(inputs, scale, bias):
    return jax.nn.standardize(inputs, axis=-1, epsilon=0.1) * scale + bias


FUNCTIONS = {
    "layer_norm": (
        lambda *given: layer_norm(*given, 0.1),
        plain_layer_norm,
        (normal(3, 2, 5), normal(5), normal(5)),
    ),
    "gelu": (
        lambda inputs: gelu(inputs, False),
        lambda inputs: jax.nn.gelu(inputs, approximate=False),
        (normal(3, 4),),
    ),
    "approximate gelu": (
        lambda inputs: gelu(inputs, True),
        lambda inputs: jax.nn.gelu(inputs, approximate=True),
        (normal(3, 4),),
    ),
    "fourier_mixing": (
        fourier_mixing,
        lambda inputs: jnp.fft.fft2(inputs, axes=(0, 2)).real,
        (normal(4, 2, 5),),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_a_plain_function(name):
    ours, plain, given = FUNCTIONS[name]

    def loss(function, *given):
        return jnp.sin(0.1 * function(*given)).sum()

    arguments = tuple(range(len(given)))
    tangents = tuple(normal(*array.shape, seed=1) for array in given)
    outputs, linear = jax.linearize(ours, *given)
    expected, expected_tangent = jax.jvp(plain, given, tangents)
    np.testing.assert_allclose(outputs, expected, 1e-5, 1e-5)
    np.testing.assert_allclose(linear(*tangents), expected_tangent, 1e-4, 1e-5)
    for transform in (jax.jacfwd, jax.jacrev, jax.hessian):
        found, wanted = (
            transform(functools.partial(loss, function), arguments)(*given)
            for function in (ours, plain)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-3, 2e-5), found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [
        *(MixerBlock(3, 4), FNetBlock(4, epsilon=0.1), GMlpBlock(4)),
        *(GMlpBlock(4, attention_dim=3), ResMlpBlock(4), VitBlock(4, 2)),
        FNetBlock(4, mixing="attention", num_heads=2, epsilon=0.1),
    ],
    ids=lambda b: type(b).__name__,
)
def test_derivatives_of_blocks_are_their_differences(block):
    inputs = normal(2, 3, 4)
    shapes = jax.eval_shape(block.init, jax.random.key(0), inputs)
    params = jax.tree.map(lambda leaf: 0.5 * normal(*leaf.shape, seed=2), shapes)
    apply = jax.jit(lambda inputs: block.apply(params, inputs))
    check_grads(apply, (inputs,), order=2, modes=("fwd", "rev"), atol=0.05, rtol=0.05, eps=1e-2)
    hessian = jax.hessian(lambda inputs: apply(inputs).sum())(inputs)
    assert np.isfinite(hessian).all() and hessian.shape == inputs.shape * 2
