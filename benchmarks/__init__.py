"""Measurements of speed and memory; README.md says how to read and repeat them."""
