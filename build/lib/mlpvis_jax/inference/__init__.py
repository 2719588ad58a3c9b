"""A trained classifier as something to use: `load` it, `predict` with it, ask for its features."""

from mlpvis_jax.inference.exported import ExportedClassifier, load_exported
from mlpvis_jax.inference.predictions import Predictions
from mlpvis_jax.inference.trained import TrainedClassifier, load

__all__ = ["ExportedClassifier", "Predictions", "TrainedClassifier", "load", "load_exported"]
