"""Normalise, resize, flip and zoom, beside the Keras layers given the same amounts."""

import numpy as np
import pytest
from keras import layers
from PIL import Image

from mlpvis_jax.learning import augment

pytestmark = pytest.mark.optimised

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)


def test_normalization():
    images = IMAGES.copy()
    images[..., 2] = 7  # a channel without variance
    layer = layers.Normalization()
    layer.adapt(images)
    ours = augment.measure(images)(images)
    np.testing.assert_allclose(ours[..., :2], np.asarray(layer(images))[..., :2], 1e-4, 1e-5)
    np.testing.assert_allclose(ours[..., 2], 0, atol=1e-3)


@pytest.mark.parametrize("size", [32, 48, 64, 100])
def test_resizing(size):
    images = IMAGES.astype(np.float32)
    theirs = layers.Resizing(size, size)(images)
    np.testing.assert_allclose(augment.resize(images, size), theirs, 1e-5, 1e-3)


@pytest.mark.parametrize("size", [7, 16, 20, 31])
def test_resizing_to_fewer_pixels_is_antialiased(size):
    images = IMAGES.astype(np.float32)
    theirs = layers.Resizing(size, size, antialias=True)(images)
    ours = augment.resize(images, size)
    np.testing.assert_allclose(ours, theirs, 1e-5, 1e-3)
    for image, mine in zip(images, ours, strict=True):
        for channel in range(3):
            picture = Image.fromarray(image[..., channel])
            pillows = picture.resize((size, size), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(mine[..., channel], pillows, 1e-5, 1e-3)


@pytest.mark.parametrize("size", [32, 64])
def test_flip_and_zoom(size):
    images = IMAGES.astype(np.float32)
    number = len(images)
    flips = np.array([False, True, False, True, False, True])
    heights = np.array([0.0, 0.2, -0.2, 0.13, -0.07, 0.2])
    widths = np.array([0.0, -0.2, 0.2, 0.05, -0.19, 0.2])
    shape = (number, size, size, 3)

    theirs = layers.Resizing(size, size)(images)
    flip = layers.RandomFlip("horizontal")
    theirs = flip.transform_images(
        theirs, {"flips": flips[:, None, None, None], "input_shape": shape}, training=True
    )
    zoom = layers.RandomZoom(0.2, 0.2)
    theirs = zoom.transform_images(
        theirs,
        {
            "height_zoom": 1 + heights[:, None].astype(np.float32),
            "width_zoom": 1 + widths[:, None].astype(np.float32),
            "input_shape": shape,
        },
        training=True,
    )
    factors = np.stack([1 + heights, 1 + widths], axis=1).astype(np.float32)
    ours = augment.transform(images, size, flips, factors)
    np.testing.assert_allclose(ours, theirs, 1e-3, 0.02)  # of pixel values up to 255


def test_the_draws_have_the_range_of_the_keras_layer():
    """RandomZoom(0.2, 0.2) draws a factor an image and an axis, uniform in [0.8, 1.2]."""
    drawn = layers.RandomZoom(0.2, 0.2).get_random_transformation(
        np.zeros((4000, 8, 8, 3), np.float32), training=True
    )
    for axis in ("height_zoom", "width_zoom"):
        factors = np.asarray(drawn[axis])
        assert factors.shape[0] == 4000
        assert 0.8 <= factors.min() < 0.805 and 1.195 < factors.max() <= 1.2
