"""Resizing, flipping and zooming against a plain loop over pixels, and the draws."""

import math

import jax
import numpy as np
import pytest

from mlpvis_jax.learning import augment


def zoomed(image, factors):
    """Bilinear reading at z i + (1 - z)(n - 1)/2, the border mirrored, one pixel at a time."""

    def mirrored(index, size):
        index %= 2 * size
        return index if index < size else 2 * size - 1 - index

    def read(position, size):
        below = math.floor(position)
        share = position - below
        return [(mirrored(below, size), 1 - share), (mirrored(below + 1, size), share)]

    result = np.zeros_like(image)
    height, width = image.shape[:2]
    for y in range(height):
        rows = read(factors[0] * y + (1 - factors[0]) * (height - 1) / 2, height)
        for x in range(width):
            columns = read(factors[1] * x + (1 - factors[1]) * (width - 1) / 2, width)
            result[y, x] = sum(a * b * image[r, c] for r, a in rows for c, b in columns)
    return result


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(4, 12, 12, 3)).astype(np.float32)


def test_zoom_reads_between_pixels_and_mirrors_the_border(images):
    factors = np.array([[0.8, 1.2], [1.2, 0.8], [1.0, 1.0], [0.3, 1.9]], np.float32)
    found = augment.resize_flip_zoom(images, 12, np.zeros(4, bool), factors)
    expected = np.stack([zoomed(*pair) for pair in zip(images, factors, strict=True)])
    np.testing.assert_allclose(found, expected, 1e-4, 2e-5)


def test_a_factor_of_one_is_the_resize_alone(images):
    plain = augment.resize_flip_zoom(images, 24, np.zeros(4, bool), np.ones((4, 2), np.float32))
    np.testing.assert_allclose(plain, augment.resize(images, 24), 1e-5, 1e-5)
    np.testing.assert_allclose(augment.resize(images, 12), images, 1e-6, 1e-6)


def test_resize_is_jax_image_resize(images):
    found = augment.resize(images[:, :, :7], 20)
    expected = jax.image.resize(images[:, :, :7], (4, 20, 20, 3), "bilinear")
    np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


def test_a_flip_mirrors_left_and_right(images):
    flips = np.array([True, False, True, False])
    factors = np.full((4, 2), 0.9, np.float32)
    plain = augment.resize_flip_zoom(images, 12, np.zeros(4, bool), factors)
    mixed = augment.resize_flip_zoom(images, 12, flips, factors)
    np.testing.assert_allclose(mixed[flips], plain[flips][:, :, ::-1], 1e-5, 1e-5)
    np.testing.assert_array_equal(mixed[~flips], plain[~flips])
    # Flipping first and zooming then, as is written, comes to the same.
    first = augment.resize_flip_zoom(images[:, :, ::-1], 12, np.zeros(4, bool), factors)
    np.testing.assert_allclose(mixed[flips], first[flips], 1e-4, 1e-5)


def test_draws_are_even_and_belong_to_the_key():
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, None, :, None], (2000, 8, 1, 1))
    keys = jax.random.split(jax.random.key(0), 2000)
    flipped = np.asarray(augment.flip_zoom(keys, ramp, 8, flip_probability=0.3, zoom=0.0))
    share = (flipped[:, 0, 0, 0] > flipped[:, 0, -1, 0]).mean()
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 2000)
    # On a ramp the slope in the middle of the image is the zoom factor.
    zoomed_ramp = np.asarray(augment.flip_zoom(keys, ramp, 8, flip_probability=0.0, zoom=0.2))
    factors = zoomed_ramp[:, 0, 4, 0] - zoomed_ramp[:, 0, 3, 0]
    assert factors.min() >= 0.7999
    assert factors.max() <= 1.2001
    assert abs(factors.mean() - 1) < 5 * 0.4 / math.sqrt(12 * 2000)
    assert abs(factors.std() - 0.4 / math.sqrt(12)) < 0.01
    again = augment.flip_zoom(keys[5:6], ramp[:1], 8, flip_probability=0.0, zoom=0.2)
    np.testing.assert_allclose(again[0], zoomed_ramp[5], 1e-6)


def test_statistics_are_those_of_all_pixels():
    images = np.random.default_rng(0).integers(0, 256, (5000, 4, 3, 2), np.uint8)
    statistics = augment.channel_statistics(images)
    pixels = images.reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, pixels.mean(axis=0), 1e-6)
    np.testing.assert_allclose(statistics.deviation, pixels.std(axis=0), 1e-6)


def test_a_constant_channel_is_not_divided_by_zero():
    images = np.full((3, 2, 2, 1), 9, np.uint8)
    assert augment.channel_statistics(images).deviation == np.float32(1e-7)
    assert not augment.channel_statistics(images)(images).any()
