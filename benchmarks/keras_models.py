"""The Keras example's three classifiers, built in Keras, and their weights in our names."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

GRID = 8  # patches along each side
WIDTH = 256
NUM_BLOCKS = 4
EPSILON = 1e-6


class Positions(layers.Layer):
    """Adds a learned vector to each token."""

    def build(self, shape):
        self.table = self.add_weight(name="table", shape=shape[1:], initializer="glorot_uniform")

    def call(self, tokens):
        return tokens + self.table


def norm(name):
    return layers.LayerNormalization(epsilon=EPSILON, name=name)


def swapped(tokens):
    return ops.transpose(tokens, (0, 2, 1))


def mixer_block(tokens, name, dropout_rate):
    shared_norm = norm(f"{name}-LayerNorm_0")
    for part, width in (("token_mixing", GRID * GRID), ("channel_mixing", WIDTH)):
        branch = shared_norm(tokens)
        branch = swapped(branch) if part == "token_mixing" else branch
        branch = layers.Dense(GRID * GRID, "gelu", name=f"{name}-{part}-Dense_0")(branch)
        branch = layers.Dense(width, name=f"{name}-{part}-Dense_1")(branch)
        branch = layers.Dropout(dropout_rate)(branch)
        tokens = tokens + (swapped(branch) if part == "token_mixing" else branch)
    return tokens


def fnet_block(tokens, name, dropout_rate):
    mixed, _ = ops.fft2((tokens, ops.zeros_like(tokens)))
    tokens = norm(f"{name}-LayerNorm_0")(tokens + mixed)
    branch = layers.Dense(WIDTH, "gelu", name=f"{name}-feed_forward-Dense_0")(tokens)
    branch = layers.Dropout(dropout_rate)(branch)
    branch = layers.Dense(WIDTH, name=f"{name}-feed_forward-Dense_1")(branch)
    return norm(f"{name}-LayerNorm_1")(tokens + branch)


def gmlp_block(tokens, name, dropout_rate):
    normalized = norm(f"{name}-LayerNorm_0")(tokens)
    branch = layers.Dense(2 * WIDTH, "gelu", name=f"{name}-Dense_0")(normalized)
    passed, gate = ops.split(layers.Dropout(dropout_rate)(branch), 2, axis=-1)
    gate = norm(f"{name}-spatial_gating-LayerNorm_0")(gate)
    gate = layers.Dense(
        GRID * GRID, bias_initializer="ones", name=f"{name}-spatial_gating-Dense_0"
    )(swapped(gate))
    return normalized + layers.Dense(WIDTH, name=f"{name}-Dense_1")(passed * swapped(gate))


BLOCKS = {
    "mixer_keras": (mixer_block, "MixerBlock"),
    "fnet_keras": (fnet_block, "FNetBlock"),
    "gmlp_keras": (gmlp_block, "GMlpBlock"),
}


def build(name, preprocessing=(), num_classes=100, dropout_rate=0.2, image_size=64):
    """Builds a Keras model of the given preset's name, images to logits.

    Args:
      preprocessing: Keras layers between the images and the patches.
      image_size: height and width of its input.
    """
    block, block_name = BLOCKS[name]
    images = keras.Input((image_size, image_size, 3))
    tokens = images
    for layer in preprocessing:
        tokens = layer(tokens)
    tokens = ops.image.extract_patches(tokens, 8)
    tokens = layers.Reshape((GRID * GRID, 8 * 8 * 3))(tokens)
    tokens = layers.Dense(WIDTH, name="stem")(tokens)
    if name == "fnet_keras":
        tokens = Positions(name="position_table")(tokens)
    for index in range(NUM_BLOCKS):
        tokens = block(tokens, f"{block_name}_{index}", dropout_rate)
    features = layers.GlobalAveragePooling1D()(tokens)
    features = layers.Dropout(dropout_rate)(features)
    return keras.Model(images, layers.Dense(num_classes, name="head")(features))


def as_params(model, values):
    """Arrays that belong to the model's trainable variables, as a tree with our names."""
    renamed = {"gamma": "scale", "beta": "bias", "table": "embedding"}
    params: dict[str, Any] = {}
    for variable, value in zip(model.trainable_variables, values, strict=True):
        layer, leaf = variable.path.split("/")
        groups = layer.split("-")
        last = renamed.get(leaf, leaf)
        branch = params
        for group in groups:
            branch = branch.setdefault(group, {})
        is_stem = (layer, leaf) == ("stem", "kernel")
        branch[last] = np.reshape(value, (8, 8, 3, WIDTH)) if is_stem else np.asarray(value)
    return params


def randomize(model, seed=0):
    """Gives the model weights that hide nothing: biases and norms are random too."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        noise = random.normal(0, 0.05, variable.shape)
        variable.assign(np.asarray(variable) + noise.astype(np.float32))
