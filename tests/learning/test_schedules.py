"""Schedules beside Optax's own, of fixed lengths; and one program for any length and form."""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.learning.schedules import SCHEDULES, factor
from mlpvis_jax.settings.choice import choose
from mlpvis_jax.settings.declared import Role, Within

WARMUP, TOTAL = 7, 50


def factors(name, warmup=WARMUP, total=TOTAL, **options):
    choice = choose(SCHEDULES, name, options, "config.schedule")
    length = {"warmup_steps": warmup, "total_steps": total}
    numbers = jax.tree.map(np.float32, (length, choice.traced))
    return np.array([factor(choice, np.int32(step), *numbers) for step in range(total + 5)])


def expected(schedule):
    return np.array([schedule(step) for step in range(TOTAL + 5)])


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_is_that_of_optax(final):
    wanted = expected(optax.warmup_cosine_decay_schedule(0.0, 1.0, WARMUP, TOTAL, final))
    np.testing.assert_allclose(factors("cosine", final=final), wanted, atol=1e-6)


@pytest.mark.parametrize("final", [0.0, 0.25])
def test_linear_is_that_of_optax(final):
    rising = optax.linear_schedule(0.0, 1.0, WARMUP)
    falling = optax.linear_schedule(1.0, final, TOTAL - WARMUP)
    wanted = expected(optax.join_schedules([rising, falling], [WARMUP]))
    np.testing.assert_allclose(factors("linear", final=final), wanted, atol=1e-6)


def test_constant_stays_exactly_one_after_the_warmup():
    found = factors("constant")
    np.testing.assert_allclose(found[:WARMUP], np.arange(WARMUP) / WARMUP, atol=1e-7)
    assert (found[WARMUP:] == 1.0).all()
    assert (factors("constant", warmup=0) == 1.0).all()


def test_a_schedule_of_ones_own_may_have_options_named_like_the_length_of_the_run():
    def stairs(progress, *, total_steps: Annotated[float, Within(1), Role.TRACED] = 4.0):
        return 1 - jnp.floor(progress * total_steps) / total_steps

    choice = choose({"stairs": stairs}, "stairs", {"total_steps": 2.0}, "config.schedule")
    length = {"warmup_steps": 0.0, "total_steps": 10.0}
    found = [float(factor(choice, step, length, choice.traced)) for step in (0, 4, 5, 9)]
    assert found == [1.0, 1.0, 0.5, 0.5]


def test_no_length_and_no_form_compiles_anew():
    choice = choose(SCHEDULES, "cosine", {}, "config.schedule")
    traced = []

    @jax.jit
    def compiled(step, length, options):
        traced.append(step)
        return factor(choice, step, length, options)

    for warmup, total, final in ((0, 10, 0.0), (3, 20, 0.1), (5, 30, 0.5)):
        numbers = {"warmup_steps": warmup, "total_steps": total}, {"final": final}
        compiled(np.int32(4), *jax.tree.map(np.float32, numbers))
    assert len(traced) == 1
