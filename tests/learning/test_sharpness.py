"""Sharpness-aware minimisation beside Optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from mlpvis_jax.learning.sharpness import uphill


def loss(params):
    return jnp.sin(params["a"]).sum() * (params["b"] ** 2).sum()


def test_the_step_is_that_of_optax():
    params = {"a": jnp.asarray([0.3, -1.0, 2.0]), "b": jnp.asarray([[0.5, 1.5]])}
    gradients = jax.grad(loss)(params)
    step = optax.contrib.sam(
        optax.sgd(0.1),
        optax.chain(optax.contrib.normalize(), optax.sgd(0.05)),
        sync_period=2,
        opaque_mode=True,
    )
    wanted, _ = step.update(
        gradients, step.init(params), params, grad_fn=lambda params, _: jax.grad(loss)(params)
    )
    found = jax.grad(loss)(uphill(params, gradients, 0.05))
    for name in params:
        np.testing.assert_allclose(-0.1 * found[name], wanted[name], rtol=1e-5)


def test_the_distance_is_the_radius_and_zero_without_a_slope():
    params = {"a": jnp.zeros(3), "b": jnp.ones((1, 2))}
    moved = uphill(params, {"a": jnp.asarray([3.0, 0, 0]), "b": jnp.asarray([[0.0, 4]])}, 0.5)
    assert moved["a"][0] == pytest.approx(0.3) and moved["b"][0, 1] == pytest.approx(1.4)
    still = uphill(params, jax.tree.map(jnp.zeros_like, params), 0.5)
    jax.tree.map(np.testing.assert_array_equal, still, params)
