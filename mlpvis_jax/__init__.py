"""Attention-free image classifiers in JAX and Flax: MLP-Mixer, FNet and gMLP."""

__version__ = "0.1.0"
