"""Keras runs on JAX here; the choice must be made before Keras is first imported."""

import os

import pytest

os.environ["KERAS_BACKEND"] = "jax"


@pytest.fixture(autouse=True)
def _the_same_weights_each_time():
    """Keras draws the seeds of its initializers from Python's generator."""
    import keras

    keras.utils.set_random_seed(0)
