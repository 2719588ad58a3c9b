"""Weights of other people's models and of one's own, in and out of files."""

from mlpvis_jax.weights.formats import StoredWeights, read, write

__all__ = ["StoredWeights", "read", "write"]
