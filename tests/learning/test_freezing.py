"""Patterns of names freeze parameters, and derivatives by frozen ones are zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mlpvis_jax.learning.freezing import is_frozen, map_names, stop_gradients

NAMES = ["stem/bias", "Block_0/Dense_0/kernel", "Block_1/Dense_0/kernel", "head/kernel"]


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        ("stem/*", [0]),
        ("stem/*,*Block_*", [0, 1, 2]),
        ("stem/* head/*", [0, 3]),
        ("Block_[1-9]/*", [2]),
        ("*/bias", [0]),
        ("!head/*", [0, 1, 2]),
        ("*Block_* !Block_1/*", [1]),
        ("!Block_1/*, *Block_*", [1]),  # whatever their order
        ("Stem/*", []),
        ("", []),
    ],
)
def test_patterns_freeze(freeze, frozen):
    assert [name for name in NAMES if is_frozen(name, freeze)] == [NAMES[one] for one in frozen]


def test_an_array_in_a_box_has_the_name_of_the_box():
    params = {"head": {"kernel": nn.Partitioned(jnp.ones(2), ("width",)), "bias": jnp.ones(1)}}
    names = []
    map_names(lambda name, leaf: names.append(name), params)
    assert sorted(names) == ["head/bias", "head/kernel"]


def test_derivatives_by_frozen_parameters_are_zero_and_cost_nothing():
    params = {"stem": {"kernel": jnp.full((3, 3), 2.0)}, "head": {"kernel": jnp.ones((3, 2))}}

    def gradients_of(freeze):
        def loss(params):
            params = stop_gradients(params, freeze)
            return (jnp.ones((1, 3)) @ params["stem"]["kernel"] @ params["head"]["kernel"]).sum()

        return jax.grad(loss)

    def products(freeze):
        return str(jax.make_jaxpr(gradients_of(freeze))(params)).count("dot_general")

    gradients = gradients_of("stem/*")(params)
    np.testing.assert_array_equal(gradients["stem"]["kernel"], 0)
    np.testing.assert_array_equal(gradients["head"]["kernel"], 6)  # three ones, times two
    assert products("stem/*") == products("") - 2
