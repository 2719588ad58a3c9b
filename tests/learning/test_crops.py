"""Flips, crops, erased rectangles and colours, against Pillow, the standard library and counts."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.learning import crops
from mlpvis_jax.learning.augment import Normalization, interpolate
from mlpvis_jax.learning.colour import colour_jitter, turn_hue
from mlpvis_jax.learning.transforms import TRANSFORMS, apply_transforms
from mlpvis_jax.settings.choice import Choice, choose_each

KEYS = jax.random.split(jax.random.key(0), 256)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(256, 12, 10, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [7, 12, 31])
@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 10.0, 12.0), (1.3, 2.6, 5.5, 8.25), (6.0, 9.5, 4.0, 2.5)]
)
def test_a_crop_that_is_resized_is_pillows(images, box, size):
    left, top, width, height = box
    rows = crops.crop_matrix(jnp.float32([top]), jnp.float32([height]), size, 12)
    columns = crops.crop_matrix(jnp.float32([left]), jnp.float32([width]), size, 10)
    found = interpolate(images[:1], rows, columns)[0]
    for channel in range(3):
        image = Image.fromarray(images[0, ..., channel])
        corners = (left, top, left + width, top + height)
        theirs = image.resize((size, size), Image.Resampling.BILINEAR, corners)
        np.testing.assert_allclose(found[..., channel], theirs, 1e-3, 1e-4)


def test_crops_have_the_areas_and_shapes_that_are_asked_for():
    draws = np.random.default_rng(0).random((5000, 2)).astype(np.float32)
    height, width = np.asarray(crops._rectangles(draws, 0.1, 0.3, 2.0, 1000, 1000)).T
    area, shape = height * width / 1e6, width / height
    assert abs(area.min() - 0.1) < 1e-3 and abs(area.max() - 0.3) < 1e-3
    assert abs(shape.min() - 0.5) < 1e-2 and abs(shape.max() - 2) < 1e-2
    assert abs(np.median(shape) - 1) < 0.05  # a tall one is as likely as a broad one


def test_a_random_resized_crop_of_all_is_a_resize(images):
    found = crops.random_resized_crop(KEYS, images[:, :10], 10, smallest=1.0, ratio=1.0)
    np.testing.assert_allclose(found, images[:, :10], 1e-4, 1e-5)


@pytest.mark.parametrize("reflect", [False, True])
def test_a_random_crop_is_one_of_the_padded_image(images, reflect):
    found = np.asarray(crops.random_crop(KEYS, images, 12, padding=2.0, reflect=reflect))
    mode = "reflect" if reflect else "constant"
    seen = set()
    for image, crop in zip(images, found, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode=mode)
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if (padded[y : y + 12, x : x + 10] == crop).all()
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 25


def test_a_flip_has_its_probability(images):
    found = np.asarray(crops.flip(KEYS, images, 12, probability=0.3))
    flipped = (found == images[:, :, ::-1]).all((1, 2, 3))
    assert (flipped | (found == images).all((1, 2, 3))).all()
    assert 0.2 < flipped.mean() < 0.4


def test_erasing_takes_one_rectangle(images):
    images = np.ones((256, 20, 20, 1), np.float32)
    found = np.asarray(
        crops.random_erasing(KEYS, images, 20, probability=0.5, smallest=0.1, largest=0.3)
    )[..., 0]
    erased = (found == 0).any((1, 2))
    assert 0.4 < erased.mean() < 0.6
    for image in found[erased]:
        rows, columns = np.where(image == 0)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (image == 0).sum() == height * width  # a whole rectangle
        assert 0.05 < height * width / 400 < 0.36


def test_a_hue_is_turned_as_the_standard_library_says():
    colours = np.random.default_rng(0).random((3, 4, 5, 3)).astype(np.float32) * 255
    colours[0, 0] = 100  # grey has no hue
    turns = np.array([0.1, -0.4, 0.5], np.float32)
    found = np.asarray(turn_hue(colours, turns))
    for index, turn in enumerate(turns):
        for old, new in zip(
            colours[index].reshape(-1, 3), found[index].reshape(-1, 3), strict=True
        ):
            hue, saturation, value = colorsys.rgb_to_hsv(*(old / 255))
            expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
            np.testing.assert_allclose(new / 255, expected, atol=2e-5)


def test_colour_jitter_without_ranges_changes_nothing():
    colours = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)).astype(np.float32)
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    found = colour_jitter(KEYS[:8], colours, 6, **off)
    np.testing.assert_allclose(found, colours, atol=1e-3)
    brighter = colour_jitter(KEYS[:8], colours, 6, **{**off, "brightness": 0.5})
    ratio = np.asarray(brighter).mean((1, 2, 3)) / colours.mean((1, 2, 3))
    assert 0.4 < ratio.min() < 0.8 and ratio.max() > 1.05
    # As in torchvision, factors of a range above 1 are even from 0, and do not pile up there.
    darker = colour_jitter(
        KEYS, np.full((256, 2, 2, 3), 50, np.float32), 2, **{**off, "brightness": 2}
    )
    assert (np.asarray(darker).max((1, 2, 3)) < 1).mean() < 0.05


def test_no_transform_draws_what_another_one_draws():
    """A transform makes keys of its own from the one that it is given, also by `split`."""
    given = []

    def spy(keys, images, image_size):
        given.append(keys)
        return images

    images = np.zeros((4, 6, 6, 3), np.uint8)
    chosen = {label: Choice(spy, {}, {}) for label in ("first", "second", "third")}
    normalize = Normalization(np.zeros(3, np.float32), np.ones(3, np.float32))
    apply_transforms(chosen, KEYS[:4], images, normalize, 6, {label: {} for label in chosen})
    used = [jax.random.key_data(keys)[0] for keys in given]
    for keys in given:
        used.extend(jax.random.key_data(jax.random.split(keys[0], 64)))
        used.extend(
            jax.random.key_data(jax.random.fold_in(keys[0], index)) for index in range(64, 128)
        )
    assert len({tuple(np.asarray(one).tolist()) for one in used}) == len(used)


def test_transforms_of_pixels_come_before_the_normalisation():
    images = np.full((4, 6, 6, 3), 200, np.uint8)
    jitter = functools.partial(colour_jitter, brightness=0.9)
    chosen = choose_each(
        {**TRANSFORMS, "own_jitter": jitter},
        {"flip": {}, "own_jitter": {}, "rand_augment": {"strength": 0.0}},
        "config.augment",
    )
    numbers = {label: choice.traced for label, choice in chosen.items()}
    normalize = Normalization(np.float32([200.0] * 3), np.float32([1.0] * 3))
    found = apply_transforms(chosen, KEYS[:4], images, normalize, 6, numbers)
    assert found.shape == (4, 6, 6, 3)
    assert np.abs(found).max() > 20 and np.min(found) >= -200 and np.max(found) <= 55
