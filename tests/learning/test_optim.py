"""AdamW against its equation; the plateau and early-stopping rules on written-out losses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlpvis_jax.learning import optim


def test_adamw_is_its_equation():
    random = np.random.default_rng(0)
    parameter = random.normal(size=5)
    gradients = random.normal(size=(30, 5)) * 1e-4  # small, so that epsilon's place matters
    learning_rate, decay, b1, b2, epsilon = 0.01, 0.3, 0.9, 0.999, 1e-5
    state = optim.adamw(0.0, 0.0).init(jnp.asarray(parameter, jnp.float32))

    @jax.jit
    def step(parameter, state, gradient, learning_rate, decay):
        transformation = optim.adamw(learning_rate, decay, b1, b2, epsilon)
        updates, state = transformation.update(gradient, state, parameter)
        return optax.apply_updates(parameter, updates), state

    ours = jnp.asarray(parameter, jnp.float32)
    m = v = np.zeros(5)
    for t, gradient in enumerate(gradients, 1):
        ours, state = step(ours, state, gradient.astype(np.float32), learning_rate, decay)
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        rate = learning_rate * math.sqrt(1 - b2**t) / (1 - b1**t)
        parameter = (
            parameter - learning_rate * decay * parameter - rate * m / (np.sqrt(v) + epsilon)
        )
    np.testing.assert_allclose(ours, parameter, 2e-5)


def test_the_rate_is_cut_after_patience_and_the_wait_begins_anew():
    plateau = optim.ReduceOnPlateau(1.0, factor=0.5, patience=2, min_delta=0.1)
    rates = []
    for loss in (5.0, 4.95, 4.91, 4.0, 4.0, 4.0, 4.0, 4.0, math.nan):
        plateau.update(loss)
        rates.append(plateau.learning_rate)
    # 4.95 and 4.91 are lower, but by less than min_delta.
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_training_stops_after_patience_without_a_lower_loss():
    stopping = optim.EarlyStopping(patience=2)
    improved, stops = [], []
    for epoch, loss in enumerate((3.0, 2.0, 2.0, 1.99, 5.0, 1.99), 1):
        improved.append(stopping.update(epoch, loss))
        stops.append(stopping.should_stop)
    assert improved == [True, True, False, True, False, False]
    assert stops == [False, False, False, False, False, True]
    assert stopping.best_epoch == 4


def test_the_first_epoch_is_the_best_until_a_loss_is_a_number():
    stopping = optim.EarlyStopping(patience=5)
    assert [stopping.update(epoch, loss) for epoch, loss in ((1, math.nan), (2, math.nan))] == [
        True,
        False,
    ]
    assert stopping.best_epoch == 1
    assert stopping.update(3, 7.0)
    assert stopping.best_epoch == 3
