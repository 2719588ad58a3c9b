"""Corruptions against SciPy, Pillow, Matplotlib's HSV and the moments of the noises."""

import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

from mlpvis_jax.learning.corruptions import CORRUPTIONS, STRENGTHS, corrupt, corruptions_for

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
IMAGES[1] = 128
IMAGES[2] = np.arange(32)[:, None] * 8
FLAT = np.full((64, 32, 32, 3), 128, np.uint8)


def close(found, expected, levels=1):
    """Expected are float values in [0, 255]; cutting off may go either way at a whole number."""
    difference = np.abs(found.astype(float) - np.floor(np.clip(expected, 0, 255)))
    assert difference.max() <= levels


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_stay_what_they_are_in_shape_and_kind(name):
    given = IMAGES.copy()
    found = [corrupt(name, strength, given) for strength in STRENGTHS]
    assert all(one.dtype == np.uint8 and one.shape == IMAGES.shape for one in found)
    assert np.array_equal(given, IMAGES)
    assert len({one.tobytes() for one in found}) == len(STRENGTHS)
    assert np.array_equal(found[-1], corrupt(name, 5, IMAGES))
    # An image is corrupted in the same way, whatever comes after it.
    assert np.array_equal(found[-1][:2], corrupt(name, 5, IMAGES[:2]))


def test_grey_images_have_no_saturation():
    assert corruptions_for(3) == list(CORRUPTIONS)
    assert set(CORRUPTIONS) - set(corruptions_for(1)) == {"saturate"}
    grey = IMAGES[:, :8, :8, :1]
    for name in corruptions_for(1):
        assert corrupt(name, 5, grey).shape == grey.shape


# What the authors' make_cifar_c.py has for the strengths 1 to 5.
NUMBERS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}


def strengths_of(*names):
    """Each strength of the corruptions, with its number."""
    rows = [(name, *row) for name in names for row in enumerate(NUMBERS[name], 1)]
    return pytest.mark.parametrize("name, strength, number", rows)


@strengths_of("gaussian_noise", "shot_noise", "speckle_noise")
def test_noise_has_its_mean_and_deviation(name, strength, number):
    deviation = {
        "gaussian_noise": number * 255,
        "shot_noise": np.sqrt(128 / 255 / number) * 255,
        "speckle_noise": number * 128,
    }[name]
    found = corrupt(name, strength, FLAT).astype(float)
    assert found.mean() == pytest.approx(128 - 0.5, abs=0.3)  # half a level is cut off
    assert found.std() == pytest.approx(deviation, rel=0.02)
    assert not np.array_equal(found[0], found[1])


@strengths_of("impulse_noise")
def test_impulses_are_black_or_white(name, strength, number):
    found = corrupt(name, strength, FLAT)
    assert set(np.unique(found)) == {0, 128, 255}
    for value in (0, 255):
        assert (found == value).mean() == pytest.approx(number / 2, abs=0.002)


@strengths_of("gaussian_blur")
def test_gaussian_blur_is_scipys(name, strength, number):
    expected = ndimage.gaussian_filter(
        IMAGES.astype(float), (0, number, number, 0), mode="nearest", truncate=4
    )
    close(corrupt(name, strength, IMAGES), expected)


def test_a_larger_image_is_blurred_as_much_for_its_size():
    large = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    expected = ndimage.gaussian_filter(
        large.astype(float), (0, 2, 2, 0), mode="nearest", truncate=4
    )
    close(corrupt("gaussian_blur", 5, large), expected)


@strengths_of("defocus_blur")
def test_defocus_is_a_blurred_disk(name, strength, number):
    radius, sigma = number
    offsets = np.arange(-4, 5)
    disk = (np.hypot(*np.meshgrid(offsets, offsets)) <= radius).astype(float)
    weights = np.exp(-0.5 * (np.arange(-1, 2) / sigma) ** 2)
    kernel = ndimage.convolve(disk, np.outer(weights, weights), mode="constant")
    kernel /= kernel.sum()
    found = corrupt(name, strength, IMAGES)
    for image, corrupted in zip(IMAGES, found, strict=True):
        channels = [
            ndimage.convolve(image[..., channel].astype(float), kernel, mode="mirror")
            for channel in range(3)
        ]
        close(corrupted, np.stack(channels, axis=-1))


@strengths_of("zoom_blur")
def test_zoom_averages_enlarged_images(name, strength, number):
    factors = [1, *np.arange(1, number, 0.01)]
    places = [15.5 + (np.arange(32) - 15.5) / factor for factor in factors]
    image = IMAGES[0, :, :, 0].astype(float)
    zoomed = [
        ndimage.map_coordinates(image, np.meshgrid(at, at, indexing="ij"), order=1) for at in places
    ]
    close(corrupt(name, strength, IMAGES)[0, :, :, 0], np.mean(zoomed, axis=0))


@pytest.mark.parametrize("strength, size", [(1, 30), (2, 28), (3, 27), (4, 24), (5, 20)])
def test_pixelate_is_pillows_box(strength, size):
    found = corrupt("pixelate", strength, IMAGES)
    for before, after in zip(IMAGES, found, strict=True):
        smaller = Image.fromarray(before).resize((size, size), Image.Resampling.BOX)
        expected = np.asarray(smaller.resize((32, 32), Image.Resampling.BOX), float)
        close(after, expected, levels=2)  # Pillow rounds twice on the way


@strengths_of("contrast")
def test_contrast_moves_towards_the_mean(name, strength, number):
    mean = IMAGES.mean(axis=(1, 2), keepdims=True)
    close(corrupt(name, strength, IMAGES), (IMAGES - mean) * number + mean)


@strengths_of("brightness")
def test_brightness_is_of_hsv(name, strength, number):
    hsv = rgb_to_hsv(IMAGES / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + number, 0, 1)
    close(corrupt(name, strength, IMAGES), hsv_to_rgb(hsv) * 255)


@strengths_of("saturate")
def test_saturation_is_of_hsv(name, strength, number):
    factor, added = number
    hsv = rgb_to_hsv(IMAGES / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + added, 0, 1)
    close(corrupt(name, strength, IMAGES), hsv_to_rgb(hsv) * 255)
