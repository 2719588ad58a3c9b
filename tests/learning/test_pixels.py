"""Operations on pixels against Pillow's, which torchvision's policies call, at every strength."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mlpvis_jax.learning import auto_augment as module
from mlpvis_jax.learning import colour, pixels
from mlpvis_jax.learning.policies import (
    OPERATIONS,
    Ranges,
    apply_operations,
    rand_augment,
    trivial_augment,
)

apply_operations = jax.jit(apply_operations, static_argnames="ranges")
STEPS = np.arange(31) / 30
SIZE = 24
RAND = Ranges(0.3, (150 / 331 * SIZE, 150 / 331 * SIZE), 30.0, 0.9, 4.0)
WIDE = Ranges(0.99, (32.0, 32.0), 135.0, 0.99, 6.0)


def transform(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def pillow(name, image, strength, to):
    """The operation as torchvision's policies apply it to an image of Pillow."""
    enhance = 1 + to.enhancement * strength
    size = abs(strength)
    return {
        "identity": lambda: image,
        "shear_x": lambda: transform(image, 1, to.shear * strength, 0, 0, 1, 0),
        "shear_y": lambda: transform(image, 1, 0, 0, to.shear * strength, 1, 0),
        "translate_x": lambda: transform(image, 1, 0, -int(to.translation[0] * strength), 0, 1, 0),
        "translate_y": lambda: transform(image, 1, 0, 0, 0, 1, -int(to.translation[1] * strength)),
        "rotate": lambda: image.rotate(to.rotation * strength, Image.Resampling.NEAREST),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(enhance),
        "color": lambda: ImageEnhance.Color(image).enhance(enhance),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(enhance),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(enhance),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(to.posterized_bits * size)),
        "solarize": lambda: ImageOps.solarize(image, 255 * (1 - size)),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
    }[name]()


@pytest.fixture(scope="module")
def photograph():
    """A smooth image with noise, whose channels do not fill the range of values."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    smooth = np.stack([60 + 120 * x, 200 - 90 * y, 30 + 140 * x * y], axis=-1)
    return (smooth + generator.integers(0, 30, smooth.shape)).astype(np.uint8)


@pytest.mark.parametrize("ranges", [RAND, WIDE], ids=["RandAugment", "TrivialAugmentWide"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows_at_every_strength_and_in_both_directions(name, ranges, photograph):
    strengths = np.concatenate([STEPS, -STEPS]).astype(np.float32)
    images = jnp.broadcast_to(photograph.astype(np.float32), (len(strengths), *photograph.shape))
    operations = np.full(len(strengths), OPERATIONS.index(name), np.int32)
    found = np.asarray(apply_operations(images, operations, strengths, ranges))
    image = Image.fromarray(photograph)
    theirs = [pillow(name, image, float(strength), ranges) for strength in strengths]
    differences = np.abs(found - np.stack([np.asarray(one) for one in theirs]))
    if name == "autocontrast":  # a value that is whole, but for Pillow's rounding
        assert differences.max() <= 1 and (differences > 0).mean() < 0.001
        return
    differs = (differences > 0).mean(axis=(1, 2, 3))
    if name in ("brightness", "color", "contrast", "sharpness"):
        # A mixture of two values may be whole, but for rounding.
        assert differences.max() <= 1 and differs.max() < 0.2 and differs.mean() < 0.02
    elif name in ("shear_x", "shear_y", "rotate"):
        # At few strengths points of the input are on the edge between two pixels.
        assert (differs > 0).sum() <= 10 and differs.max() < 0.15
    else:
        assert differences.max() == 0


@pytest.mark.parametrize("value", [0, 7, 255])
def test_an_image_of_one_value_survives_the_tables(value):
    images = np.full((1, 5, 5, 3), value, np.float32)
    for table in (pixels.autocontrast_table(images), pixels.equalize_table(images)):
        np.testing.assert_array_equal(pixels.look_up(images, table), images)


def test_images_of_one_batch_take_operations_of_their_own(photograph):
    images = jnp.stack([photograph.astype(np.float32)] * len(OPERATIONS))
    strengths = np.full(len(OPERATIONS), 0.5, np.float32)
    together = apply_operations(images, np.arange(len(OPERATIONS)), strengths, RAND)
    for index in range(len(OPERATIONS)):
        alone = apply_operations(images[:1], np.array([index]), strengths[:1], RAND)
        np.testing.assert_array_equal(alone[0], together[index], OPERATIONS[index])


def test_the_policies_draw_every_operation_and_no_strength_leaves_images_alone(photograph):
    keys = jax.random.split(jax.random.key(0), 400)
    images = jnp.broadcast_to(photograph.astype(np.float32), (400, *photograph.shape))
    for policy in (rand_augment, trivial_augment):
        found = np.asarray(jax.jit(policy, static_argnums=2)(keys, images, SIZE))
        assert len(np.unique(found.reshape(400, -1), axis=0)) > 50
        assert found.min() >= 0 and found.max() <= 255 and (found == np.floor(found)).all()
    # At strength 0, autocontrast and equalize alone change an image; each has a chance of 1 / 14.
    still = jax.jit(trivial_augment, static_argnums=2)(keys, images, SIZE, strength=0.0)
    still = (np.asarray(still) == images).all((1, 2, 3))
    assert 0.78 < still.mean() < 0.93


def test_auto_augment_applies_the_pairs_of_the_paper(photograph):
    # Each image is what Pillow makes of it by a pair, of which each operation may be left out.
    image = Image.fromarray(photograph)
    outcomes, unchanged = [], 0.0
    for pair in module._POLICY:
        results = [image]
        for name, _, magnitude in pair:
            signed = [sign * magnitude / 9 for sign in (1, -1)]
            results += [pillow(name, one, s, RAND) for one in results for s in signed]
        outcomes.append(np.stack([np.asarray(one) for one in results]).astype(np.float32))
        kept = [1 - chance * (name != "color" or number > 0) for name, chance, number in pair]
        unchanged += kept[0] * kept[1] / 25
    assert len(module._POLICY) == 25
    keys = jax.random.split(jax.random.key(3), 1000)
    images = jnp.broadcast_to(photograph.astype(np.float32), (1000, *photograph.shape))
    apply = jax.jit(module.auto_augment, static_argnums=2)
    found = np.asarray(apply(keys, images, SIZE, strength=1.0))
    is_still = (found == photograph).all((1, 2, 3))
    assert is_still.mean() == pytest.approx(unchanged, abs=0.04)
    every, of_pair = np.concatenate(outcomes), np.repeat(np.arange(25), 9)
    seen = set()
    for one in np.unique(found[~is_still], axis=0):
        differences = np.abs(every - one).mean((1, 2, 3))
        assert differences.min() < 4  # equalize makes more of a rounding before it
        seen |= set(of_pair[differences == differences.min()])
    assert seen == set(range(25))
    still = apply(keys, images, SIZE, strength=0.0)
    assert not (np.asarray(still) == photograph).all()  # some have no strength


def test_grey_images_are_taken_too():
    number = len(OPERATIONS)
    images = jnp.float32(np.random.default_rng(0).integers(0, 256, (number, 9, 9, 1)))
    strengths = np.full(number, 0.9, np.float32)
    found = apply_operations(images, np.arange(number), strengths, RAND)
    colour = apply_operations(jnp.repeat(images, 3, -1), np.arange(number), strengths, RAND)
    np.testing.assert_array_equal(jnp.repeat(found, 3, -1), colour)


def test_of_four_channels_none_is_taken_for_the_light_of_the_others():
    images = jax.random.randint(jax.random.key(0), (2, 5, 5, 4), 0, 256).astype(jnp.float32)
    np.testing.assert_array_equal(pixels.grey(images), images)
    np.testing.assert_array_equal(colour.luminance(images), images)
    turned = colour.colour_jitter(
        jax.random.split(jax.random.key(1), 2),
        images,
        5,
        brightness=0.0,
        contrast=0.0,
        saturation=0.9,
        hue=0.3,
    )
    np.testing.assert_allclose(turned, images, atol=1e-4)
