"""What a schedule-free optimiser evaluates is Optax's own, alone, in a chain and in a partition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.learning.optimizers import OPTIMIZERS, transformation
from mlpvis_jax.learning.schedule_free import evaluated, is_schedule_free
from mlpvis_jax.settings.choice import choose

RANDOM = np.random.default_rng(0)
PARAMS = {
    "stem": {"kernel": jnp.asarray(RANDOM.normal(size=(4, 3)), jnp.float32)},
    "Block_0": {"kernel": jnp.asarray(RANDOM.normal(size=(3, 3)), jnp.float32)},
    "head": {"kernel": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32)},
}
B1, RATES = 0.8, (0.0, 0.01, 0.02, 0.02, 0.01)  # a warm-up, and a cut on a plateau


def gradients_at(params):
    """Of a quadratic loss."""
    return jax.tree.map(lambda leaf: 0.5 * leaf + 0.1, params)


def ours(params=PARAMS, freeze=None, **more):
    """The evaluated parameters after each step, with rates and options that are traced."""
    choice = choose(OPTIMIZERS, "schedule_free_adamw", {"b1": B1}, "config.optimizer")

    @jax.jit
    def descended(rates, numbers):
        now, state, found = params, None, []
        for rate in rates:
            optimizer = transformation(choice, rate, numbers, "all", freeze)
            state = optimizer.init(now) if state is None else state
            updates, state = optimizer.update(gradients_at(now), state, now)
            now = optax.apply_updates(now, updates)
            found.append(evaluated(now, state))
        return found, now

    return descended(list(RATES), {"weight_decay": 0.1, **choice.traced, **more})


def theirs(params):
    """Optax's own loop."""
    state, found = None, []
    for rate in RATES:
        optimizer = optax.contrib.schedule_free_adamw(rate, b1=B1, weight_decay=0.1)
        state = optimizer.init(params) if state is None else state
        updates, state = optimizer.update(gradients_at(params), state, params)
        params = optax.apply_updates(params, updates)
        found.append(optax.contrib.schedule_free_eval_params(state, params))
    return found


def assert_close(found, wanted):
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6),
        found, wanted,
    )  # fmt: skip


def test_the_evaluated_parameters_are_those_of_optaxs_own_loop():
    found, trained = ours()
    assert_close(found, theirs(PARAMS))
    # They are other ones than those that are trained.
    assert not np.allclose(found[-1]["stem"]["kernel"], trained["stem"]["kernel"], rtol=1e-3)


@pytest.mark.parametrize("freeze", ["stem/*", "!head/*"])
def test_they_are_so_where_parameters_are_frozen_and_the_head_has_its_own_rate(freeze):
    found, _ = ours(freeze=freeze, head_learning_rate=0.01, clip_norm=1e6)
    moving = {"Block_0": PARAMS["Block_0"]} if freeze == "stem/*" else {}
    for now, wanted in zip(found, theirs(moving), strict=True):
        assert_close({key: now[key] for key in moving}, wanted)
    jax.tree.map(np.testing.assert_array_equal, found[-1]["stem"], PARAMS["stem"])
    assert not np.allclose(found[-1]["head"]["kernel"], PARAMS["head"]["kernel"])


def test_low_precision_keeps_its_dtype_and_its_state_is_float32():
    low = optax.tree.cast(PARAMS, jnp.bfloat16)
    found, trained = ours(low)
    for tree in (found[-1], trained):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.bfloat16)}
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(
            np.asarray(one, np.float32), other, rtol=0.03, atol=0.01
        ),
        found[-1], theirs(PARAMS)[-1],
    )  # fmt: skip


def test_other_optimisers_evaluate_what_they_train():
    state = optax.adam(0.1).init(PARAMS)
    assert evaluated(PARAMS, state) is PARAMS and not is_schedule_free(state)
    assert is_schedule_free(optax.contrib.schedule_free_sgd(0.1).init(PARAMS))
