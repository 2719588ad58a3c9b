"""Layer-wise decay: timm's multipliers, for every optimiser, frozen layers and a head's rate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.learning.layer_decay import layer_of, scale_by_layer
from mlpvis_jax.learning.optimizers import OPTIMIZERS, transformation
from mlpvis_jax.learning.schedule_free import evaluated
from mlpvis_jax.models import create_model
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.settings.choice import choose

# What timm 1.0's `param_groups_layer_decay` gives a Mixer of three blocks with a decay of 0.5.
TIMM = {
    "stem": 0.0625,
    "MixerBlock_0": 0.125,
    "MixerBlock_1": 0.25,
    "MixerBlock_2": 0.5,
    "pre_head_layer_norm": 0.5,
    "head": 1.0,
}
RANDOM = np.random.default_rng(0)
# A matrix and a bias of each layer; the values are of any size.
PARAMS = {
    layer: {
        "Dense_0": {"kernel": jnp.asarray(RANDOM.normal(size=(4, 3)), jnp.float32)},
        "bias": jnp.asarray(RANDOM.normal(size=3), jnp.float32),
    }
    for layer in TIMM
}


@pytest.mark.parametrize("scan", [False, True])
def test_the_multipliers_are_those_of_timm(scan):
    model = create_model("mixer_s32", 10, num_blocks=3, width=8, scan=scan)
    shapes = parameter_shapes(model, 32, channels=3)
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    scale = scale_by_layer(0.5, model.num_blocks)
    scaled, _ = scale.update(ones, scale.init(ones))
    found = {layer: set() for layer in TIMM}
    for path, leaf in jax.tree_util.tree_leaves_with_path(scaled):
        found[path[0].key] |= set(np.unique(leaf).tolist())
    assert found == {layer: {multiplier} for layer, multiplier in TIMM.items()}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("stem/kernel", 0),
        ("position_table/table", 0),
        ("class_token", 0),
        ("My_Block2_0/Dense_5/kernel", 1),
        ("FNetBlock_11/LayerNorm_1/scale", 12),
        ("pre_head_layer_norm/scale", 12),
        ("pre_head_affine/scale", 12),
        ("head/bias", 13),
    ],
)
def test_the_layer_of_a_name(name, layer):
    assert layer_of(name, 12) == layer


def descend(name, rate, params, freeze=None, **numbers):
    """What is evaluated after three steps of a quadratic loss; all numbers are traced."""
    choice = choose(OPTIMIZERS, name, {}, "config.optimizer")

    @jax.jit
    def descended(params, rate, numbers):
        state = None
        for _ in range(3):
            optimizer = transformation(choice, rate, numbers, "all", freeze, num_blocks=3)
            state = optimizer.init(params) if state is None else state
            gradients = jax.tree.map(lambda leaf: leaf - 0.3, params)
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return evaluated(params, state)

    return descended(params, rate, {"weight_decay": 0.1, **choice.traced, **numbers})


def assert_close(found, wanted):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, wanted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_layer_moves_as_at_a_rate_of_its_own(name):
    found = descend(name, 0.02, PARAMS, layer_decay=0.5)
    for layer, multiplier in TIMM.items():
        wanted = descend(name, 0.02 * multiplier, {layer: PARAMS[layer]})
        assert_close(found[layer], wanted[layer])
        assert not np.allclose(found[layer]["bias"], PARAMS[layer]["bias"], rtol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_with_frozen_layers_and_a_rate_of_the_head(name):
    rates = {"layer_decay": 0.5, "head_learning_rate": 0.05, "clip_norm": 1e6}
    found = descend(name, 0.02, PARAMS, "stem/* MixerBlock_1/*", **rates)
    for layer in ("stem", "MixerBlock_1"):
        jax.tree.map(np.testing.assert_array_equal, found[layer], PARAMS[layer])
    for layer in ("MixerBlock_0", "MixerBlock_2"):
        wanted = descend(name, 0.02 * TIMM[layer], {layer: PARAMS[layer]})
        assert_close(found[layer], wanted[layer])
    assert_close(found["head"], descend(name, 0.05, {"head": PARAMS["head"]})["head"])


def test_an_optimiser_of_ones_own_is_told_that_no_layers_have_rates_of_their_own():
    told = []

    def mine(learning_rate, weight_decay, mask, by_layer):
        told.append(by_layer)
        return optax.sgd(learning_rate)

    choice = choose({"mine": mine}, "mine", {}, "config.optimizer")
    transformation(choice, 0.1, {"weight_decay": 0.0}, "all")
    transformation(choice, 0.1, {"weight_decay": 0.0, "layer_decay": 0.5}, "all", num_blocks=2)
    assert told[0] is None and isinstance(told[1], optax.GradientTransformation)
