"""AdamW in Keras's form by its equation; the others are Optax's own, with traced rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.learning.optimizers import OPTIMIZERS, adamw, matrices, transformation
from mlpvis_jax.settings.choice import choose

PARAMS = {
    "kernel": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32),
    "bias": jnp.asarray([0.5, -1.0, 2.0]),
    "stem": jnp.asarray(np.random.default_rng(4).normal(size=(2, 2, 1, 3)), jnp.float32),
}
GRADIENTS = [
    jax.tree.map(lambda leaf, seed=seed: jnp.asarray(
        np.random.default_rng(seed).normal(size=leaf.shape), jnp.float32
    ), PARAMS)
    for seed in (1, 2, 3)
]  # fmt: skip


def descend(optimizer):
    params, state = PARAMS, optimizer.init(PARAMS)
    for gradients in GRADIENTS:
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_adamw_follows_its_equation():
    rate, decay, b1, b2, epsilon = 0.01, 0.1, 0.8, 0.9, 1e-3
    found = descend(adamw(rate, decay, b1=b1, b2=b2, epsilon=epsilon))
    for name, start in PARAMS.items():
        p, m, v = np.asarray(start, np.float64), 0.0, 0.0
        for t, gradients in enumerate(GRADIENTS, start=1):
            g = np.asarray(gradients[name], np.float64)
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            step = np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + epsilon * np.ones(()))
            p = p - rate * decay * p - rate * step
        np.testing.assert_allclose(found[name], p, rtol=2e-5)


OPTAX = {
    "lion": lambda: optax.lion(0.01, weight_decay=0.1),
    "sgd": lambda: optax.chain(optax.add_decayed_weights(0.0), optax.sgd(0.01, momentum=0.9)),
    "muon": lambda: optax.contrib.muon(
        0.01, weight_decay=0.1, adam_weight_decay=0.1, adam_learning_rate=0.002
    ),
    "schedule_free_adamw": lambda: optax.contrib.schedule_free_adamw(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTAX)
def test_the_others_are_those_of_optax(name):
    choice = choose(OPTIMIZERS, name, {}, "config.optimizer")
    decay = 0.0 if name == "sgd" else 0.1
    numbers = {"weight_decay": decay, **choice.traced}

    @jax.jit
    def traced(rate, numbers):  # both as they come in a training step
        return descend(transformation(choice, rate, numbers, "all"))

    found, wanted = traced(0.01, numbers), descend(OPTAX[name]())
    for key in PARAMS:
        np.testing.assert_allclose(found[key], wanted[key], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_do_not_decay_where_matrices_alone_do(name):
    choice = choose(OPTIMIZERS, name, {}, "config.optimizer")

    def decayed(decay, weight_decay):
        numbers = {"weight_decay": weight_decay, **choice.traced}
        return descend(transformation(choice, 0.01, numbers, decay))

    none = decayed("all", 0.0)
    every, some = decayed("all", 0.5), decayed("matrices", 0.5)
    assert matrices(PARAMS) == {"kernel": True, "bias": False, "stem": True}
    np.testing.assert_array_equal(some["bias"], none["bias"])
    assert not np.allclose(every["bias"], none["bias"])
    for key in ("kernel", "stem"):
        np.testing.assert_allclose(some[key], every[key], rtol=1e-5)
        assert not np.allclose(some[key], none[key], rtol=1e-4)


def test_gradients_are_clipped_by_their_global_norm():
    choice = choose(OPTIMIZERS, "sgd", {"momentum": 0.0}, "config.optimizer")
    numbers = {"weight_decay": 0.0, "clip_norm": 0.5}
    optimizer = transformation(choice, 1.0, numbers, "all")
    updates, _ = optimizer.update(GRADIENTS[0], optimizer.init(PARAMS), PARAMS)
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(GRADIENTS[0])))
    assert norm > 0.5
    for key in PARAMS:
        np.testing.assert_allclose(updates[key], -GRADIENTS[0][key] * 0.5 / norm, rtol=1e-5)


# Parameters of the names that a classifier's have.
CLASSIFIER = {
    "stem": {"kernel": PARAMS["kernel"], "bias": PARAMS["bias"]},
    "Block_0": {"Dense_0": {"kernel": 2 * PARAMS["kernel"]}},
    "head": {"kernel": PARAMS["kernel"] - 1, "bias": PARAMS["bias"] + 1},
}


def descend_classifier(name, numbers, freeze, steps=3, decay="all"):
    """Parameters after steps of a quadratic loss, whose gradients are the parameters."""
    choice = choose(OPTIMIZERS, name, {}, "config.optimizer")

    @jax.jit
    def descended(numbers):
        rate = 0.01
        params, state = CLASSIFIER, None
        for _ in range(steps):
            optimizer = transformation(choice, rate, numbers, decay, freeze)
            state = optimizer.init(params) if state is None else state
            updates, state = optimizer.update(params, state, params)
            params = optax.apply_updates(params, updates)
        return params

    return descended({"weight_decay": 0.1, **choice.traced, **numbers})


@pytest.mark.parametrize("decay", ["all", "matrices"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_parameters_neither_move_nor_decay_and_the_others_move_as_without_them(name, decay):
    found = descend_classifier(name, {}, "stem/*, *Block_*", decay=decay)
    free = descend_classifier(name, {}, None, decay=decay)
    for part in ("stem", "Block_0"):
        jax.tree.map(np.testing.assert_array_equal, found[part], CLASSIFIER[part])
    for key, leaf in found["head"].items():
        np.testing.assert_allclose(leaf, free["head"][key], rtol=1e-6)
        assert not np.allclose(leaf, CLASSIFIER["head"][key])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_head_moves_at_its_own_rate(name):
    found = descend_classifier(name, {"head_learning_rate": 0.03}, None, steps=1)
    slow = descend_classifier(name, {}, None, steps=1)
    for part, factor in (("stem", 1), ("Block_0", 1), ("head", 3)):
        moves, wanted = (
            jax.tree.map(lambda now, before: now - before, tree[part], CLASSIFIER[part])
            for tree in (found, slow)
        )
        jax.tree.map(
            lambda move, one, factor=factor: np.testing.assert_allclose(
                move, factor * one, rtol=1e-3, atol=1e-7
            ),
            moves, wanted,
        )  # fmt: skip


def test_gradients_of_frozen_parameters_do_not_count_in_the_global_norm():
    choice = choose(OPTIMIZERS, "sgd", {"momentum": 0.0}, "config.optimizer")
    numbers = {"weight_decay": 0.0, "clip_norm": 0.5, "head_learning_rate": 2.0}
    optimizer = transformation(choice, 1.0, numbers, "all", "stem/*")
    updates, _ = optimizer.update(CLASSIFIER, optimizer.init(CLASSIFIER), CLASSIFIER)
    free = jax.tree.leaves({**CLASSIFIER, "stem": {}})
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in free))
    assert norm > 0.5
    for part, rate in (("stem", 0.0), ("Block_0", 1.0), ("head", 2.0)):
        jax.tree.map(
            lambda update, one, rate=rate: np.testing.assert_allclose(
                update, -rate * one * 0.5 / norm, rtol=1e-5
            ),
            updates[part], CLASSIFIER[part],
        )  # fmt: skip
