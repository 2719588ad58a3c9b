"""Weights of other people's models and of one's own, in and out of files."""

from mlpvis_jax.weights.formats import StoredWeights, read, write
from mlpvis_jax.weights.pretrained import PRETRAINED, Pretrained, Published, load_pretrained

__all__ = [
    "PRETRAINED",
    "Pretrained",
    "Published",
    "StoredWeights",
    "load_pretrained",
    "read",
    "write",
]
