"""Keras runs on JAX here; the choice must be made before Keras is first imported."""

import os

os.environ["KERAS_BACKEND"] = "jax"
