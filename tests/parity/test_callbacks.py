"""Reduce on plateau and early stopping, beside the Keras callbacks on the same losses."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpvis_jax.learning import plateau as rules

pytestmark = pytest.mark.optimised

# Validation losses of the 50 epochs of configs/mixer.py on CIFAR-100, seed 0.
RECORDED = [
    3.40819, 3.19504, 2.99431, 2.93772, 2.78407, 2.84238, 2.79540, 2.74085, 2.61699, 2.71362,
    2.68823, 2.71606, 2.67209, 2.58111, 2.64057, 2.60379, 2.54186, 2.58029, 2.52586, 2.57829,
    2.47927, 2.50003, 2.59400, 2.48429, 2.45367, 2.48957, 2.54556, 2.40460, 2.42998, 2.44638,
    2.39230, 2.39631, 2.45851, 2.45703, 2.43440, 2.35449, 2.33645, 2.43335, 2.38033, 2.36482,
    2.39594, 2.44979, 2.23635, 2.22642, 2.27359, 2.22509, 2.24071, 2.18576, 2.18671, 2.18596,
]  # fmt: skip


class Model:
    """What the callbacks touch of a Keras model; its weights are the number of the epoch."""

    def __init__(self, learning_rate):
        self.optimizer = keras.optimizers.SGD(learning_rate)
        self.metrics = []
        self.stop_training = False
        self.weights = None

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def run_keras(losses, factor, plateau_patience, min_delta, stopping_patience):
    """Learning rate after each epoch, the epoch whose weights remain, the last epoch."""
    model = Model(0.004)
    plateau = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor, plateau_patience, mode="min", min_delta=min_delta
    )
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=stopping_patience, mode="min", restore_best_weights=True
    )
    for callback in (stopping, plateau):
        callback.set_model(model)
        callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(losses, 1):
        model.weights = epoch
        for callback in (stopping, plateau):
            callback.on_epoch_end(epoch - 1, {"val_loss": loss})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    stopping.on_train_end()
    return rates, model.weights, len(rates)


def run_ours(losses, factor, plateau_patience, min_delta, stopping_patience):
    plateau = rules.ReduceOnPlateau(0.004, factor, plateau_patience, min_delta)
    stopping = rules.EarlyStopping(stopping_patience)
    rates = []
    for epoch, loss in enumerate(losses, 1):
        stopping.update(epoch, loss)
        plateau.update(loss)
        rates.append(plateau.learning_rate)
        if stopping.should_stop:
            break
    return rates, stopping.best_epoch, len(rates)


def assert_same(*arguments):
    their_rates, *theirs = run_keras(*arguments)
    our_rates, *ours = run_ours(*arguments)
    np.testing.assert_allclose(our_rates, their_rates, 1e-6)  # Keras keeps the rate as float32
    assert ours == theirs


@pytest.mark.parametrize("stopping_patience", [3, 10, 50])
@pytest.mark.parametrize("plateau_patience", [1, 5])
def test_recorded_losses(plateau_patience, stopping_patience):
    assert_same(RECORDED, 0.5, plateau_patience, 1e-4, stopping_patience)


@settings(max_examples=200)
@given(
    # Steps of a quarter, exact in float32, in which Keras compares; and a NaN after the first.
    losses=st.lists(st.integers(0, 12).map(lambda n: n / 4) | st.just(np.nan), max_size=40),
    first=st.integers(0, 12).map(float),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    plateau_patience=st.integers(1, 6),
    min_delta=st.sampled_from([0.0, 0.125, 0.25, 1.0]),
    stopping_patience=st.integers(1, 12),
)
def test_random_losses(losses, first, factor, plateau_patience, min_delta, stopping_patience):
    assert_same([first, *losses], factor, plateau_patience, min_delta, stopping_patience)
