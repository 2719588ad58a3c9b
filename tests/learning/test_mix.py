"""Transforms of a batch beside their equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlpvis_jax.learning.mix import cutmix, mixup, mixup_or_cutmix, partners_of

ROWS = {
    "mixup": functools.partial(mixup, alpha=0.5),
    "cutmix": functools.partial(cutmix, alpha=1.0),
    "mixup_or_cutmix": mixup_or_cutmix,
}


def mixed(row, seed, number=6, size=(9, 8), **options):
    """Images whose pixels are their own number, and how many of them are of each one after it."""
    images = jnp.arange(number, dtype=jnp.float32)[:, None, None, None] * jnp.ones((*size, 1))
    partners = jnp.arange(number)[::-1]
    key = jax.random.key(seed)
    images, targets = row(key, images, jnp.eye(number), partners, jnp.arange(number), **options)
    return np.asarray(images), np.asarray(targets)


@pytest.mark.parametrize("per", ["batch", "image"])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_targets_are_the_shares_of_the_pixels(row, per):
    for seed in range(8):
        images, targets = mixed(row, seed, per=per)
        np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(
            images.mean(axis=(1, 2, 3)), targets @ np.arange(6), rtol=1e-5, atol=1e-6
        )
        assert len(set(targets.max(axis=1).tolist())) == 1 or per == "image"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_each_image_draws_its_own_share(row):
    _, targets = mixed(row, 0, number=32, per="image")
    assert len({round(float(one), 4) for one in targets.max(axis=1)}) > 8


def test_cutmix_replaces_one_box():
    boxes = set()
    for seed in range(20):
        images, _ = mixed(cutmix, seed, number=2, alpha=1.0)
        replaced = images[0, :, :, 0] == 1
        assert set(np.unique(images[0])) <= {0, 1}  # no pixel is blended
        rows, columns = replaced.any(axis=1), replaced.any(axis=0)
        np.testing.assert_array_equal(replaced, rows[:, None] & columns[None])
        for line in (rows, columns):  # without a hole
            assert np.abs(np.diff(line.astype(int))).sum() <= 2
        boxes.add((rows.tobytes(), columns.tobytes()))
    assert len(boxes) > 10


def test_a_box_within_the_image_has_the_drawn_area():
    # Beta(alpha, alpha) of a large alpha is 1/2: a box of sides 1 / sqrt(2), where none is cut off.
    areas = [1 - mixed(cutmix, seed, 2, (64, 64), alpha=1e6)[1][0, 0] for seed in range(40)]
    assert max(areas) == pytest.approx(0.5, abs=0.02)


def test_the_probabilities_say_what_is_drawn():
    def kinds(**options):
        found = {"none": 0, "box": 0, "blend": 0}
        images, targets = mixed(mixup_or_cutmix, 0, number=400, per="image", **options)
        for image, target in zip(images, targets, strict=True):
            values = len(np.unique(image))
            kind = "none" if target.max() == 1 else "blend" if values == 1 else "box"
            found[kind] += 1
        return found

    assert kinds(probability=0.0) == {"none": 400, "box": 0, "blend": 0}
    assert kinds(switch_probability=0.0)["box"] == 0
    found = kinds(switch_probability=1.0)
    assert found["blend"] == 0 and found["box"] > 300  # but for the few boxes without a pixel
    found = kinds(probability=0.5, switch_probability=0.25)
    assert found["blend"] == pytest.approx(150, abs=40)
    assert found["box"] == pytest.approx(50, abs=30)


def test_mixup_mixes_images_and_targets_by_one_share():
    images = jnp.arange(6, dtype=jnp.float32)[:, None, None, None] * jnp.ones((6, 2, 2, 1))
    one_hot = jax.nn.one_hot(jnp.arange(6), 6)
    mask = jnp.asarray([True] * 4 + [False] * 2)
    partners = partners_of(mask)
    assert partners.tolist() == [2, 3, 0, 1, 4, 5]  # padding stays with itself
    places = jnp.arange(6)
    mixed, targets = mixup(jax.random.key(3), images, one_hot, partners, places, alpha=0.5)
    share = float(targets[0, 0])
    assert 0 < share < 1
    np.testing.assert_allclose(targets[1], share * one_hot[1] + (1 - share) * one_hot[3], rtol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets @ np.arange(6), rtol=1e-5)


def test_partners_are_others_and_do_not_depend_on_the_number_of_devices():
    mask = jnp.arange(64) < 51
    partners = np.asarray(partners_of(mask))
    np.testing.assert_array_equal(np.sort(partners), np.arange(64))
    assert (partners[:48] // 3 != np.arange(48) // 3).all()  # three copies of each image
    assert (partners[:51] != np.arange(51)).all()
    shares = mask.reshape(4, 16)
    of_shares = jax.vmap(partners_of)(shares) + 16 * jnp.arange(4)[:, None]
    np.testing.assert_array_equal(partners, of_shares.ravel())


@pytest.mark.slow
def test_mixup_draws_its_share_from_a_beta_distribution():
    def share(key, alpha):
        one_hot = jax.nn.one_hot(jnp.arange(2), 2)
        images = jnp.zeros((2, 1, 1, 1))
        partners, places = jnp.asarray([1, 0]), jnp.arange(2)
        return mixup(key, images, one_hot, partners, places, alpha=alpha)[1][0, 0]

    keys = jax.random.split(jax.random.key(0), 4000)
    for alpha in (0.2, 1.0, 4.0):
        shares = jax.vmap(share, (0, None))(keys, alpha)
        assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    nothing = jax.vmap(share, (0, None))(keys[:50], 0.0)
    assert bool(jnp.isfinite(nothing).all())
