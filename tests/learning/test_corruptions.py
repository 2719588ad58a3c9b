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


@pytest.mark.parametrize(
    "name, strength, deviation",
    [
        ("gaussian_noise", 5, 0.1 * 255),
        ("speckle_noise", 5, 0.2 * 128),
        ("shot_noise", 5, np.sqrt(128 / 255 / 50) * 255),
        ("gaussian_noise", 1, 0.04 * 255),
    ],
)
def test_noise_has_its_mean_and_deviation(name, strength, deviation):
    found = corrupt(name, strength, FLAT).astype(float)
    assert found.mean() == pytest.approx(128 - 0.5, abs=0.3)  # half a level is cut off
    assert found.std() == pytest.approx(deviation, rel=0.02)
    assert not np.array_equal(found[0], found[1])


def test_impulses_are_black_or_white():
    found = corrupt("impulse_noise", 5, FLAT)
    assert set(np.unique(found)) == {0, 128, 255}
    for value in (0, 255):
        assert (found == value).mean() == pytest.approx(0.035, abs=0.002)


@pytest.mark.parametrize("strength, sigma", [(1, 0.4), (5, 1.0)])
def test_gaussian_blur_is_scipys(strength, sigma):
    expected = ndimage.gaussian_filter(
        IMAGES.astype(float), (0, sigma, sigma, 0), mode="nearest", truncate=4
    )
    close(corrupt("gaussian_blur", strength, IMAGES), expected)


def test_a_larger_image_is_blurred_as_much_for_its_size():
    large = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    expected = ndimage.gaussian_filter(
        large.astype(float), (0, 2, 2, 0), mode="nearest", truncate=4
    )
    close(corrupt("gaussian_blur", 5, large), expected)


def test_defocus_is_a_disk():
    # Of the strength 5: radius 1.5, which holds the nine nearest pixels, hardly blurred (0.1).
    kernel = np.ones((3, 3)) / 9
    for number, image in enumerate(IMAGES):
        channels = [
            ndimage.convolve(image[..., channel].astype(float), kernel, mode="mirror")
            for channel in range(3)
        ]
        close(corrupt("defocus_blur", 5, IMAGES)[number], np.stack(channels, axis=-1))


def test_zoom_averages_enlarged_images():
    factors = [1, *np.arange(1, 1.26, 0.01)]
    places = [15.5 + (np.arange(32) - 15.5) / factor for factor in factors]
    image = IMAGES[0, :, :, 0].astype(float)
    zoomed = [
        ndimage.map_coordinates(image, np.meshgrid(at, at, indexing="ij"), order=1) for at in places
    ]
    close(corrupt("zoom_blur", 5, IMAGES)[0, :, :, 0], np.mean(zoomed, axis=0))


@pytest.mark.parametrize("strength, size", [(1, 30), (2, 28), (3, 27), (4, 24), (5, 20)])
def test_pixelate_is_pillows_box(strength, size):
    found = corrupt("pixelate", strength, IMAGES)
    for before, after in zip(IMAGES, found, strict=True):
        smaller = Image.fromarray(before).resize((size, size), Image.Resampling.BOX)
        expected = np.asarray(smaller.resize((32, 32), Image.Resampling.BOX), float)
        close(after, expected, levels=2)  # Pillow rounds twice on the way


def test_contrast_moves_towards_the_mean():
    mean = IMAGES.mean(axis=(1, 2), keepdims=True)
    close(corrupt("contrast", 5, IMAGES), (IMAGES - mean) * 0.15 + mean)


def test_brightness_is_of_hsv():
    hsv = rgb_to_hsv(IMAGES / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.3, 0, 1)
    close(corrupt("brightness", 5, IMAGES), hsv_to_rgb(hsv) * 255)


@pytest.mark.parametrize("strength, factor, added", [(2, 0.1, 0), (5, 2.5, 0.2)])
def test_saturation_is_of_hsv(strength, factor, added):
    hsv = rgb_to_hsv(IMAGES / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + added, 0, 1)
    close(corrupt("saturate", strength, IMAGES), hsv_to_rgb(hsv) * 255)
