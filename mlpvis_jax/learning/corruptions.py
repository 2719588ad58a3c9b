"""Images made worse in known ways, in five strengths: how robust is what a model has learned?

The corruptions and the numbers of their strengths are those of CIFAR-10-C and CIFAR-100-C
(Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019; the authors' make_cifar_c.py), as batched array programs. Lengths are
meant for images of 32 pixels, and scale with the height of others. Left out are those that need
other programs' code or other pictures: glass and motion blur, snow, frost, fog, spatter, elastic
transforms and JPEG. The zoom takes the whole image about its centre, and does not cut to whole
pixels first.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.learning.augment import PRECISION

STRENGTHS = (1, 2, 3, 4, 5)
_SIDE = 32  # pixels of the images that lengths are meant for
_PIXELS_AT_A_TIME = 1 << 24  # in float32, of all images and channels


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A row of CORRUPTIONS.

    Attributes:
      apply: (a key for each image, images float32 [batch, height, width, channels] in [0, 1], the
        numbers of a strength) -> images, which may leave [0, 1].
      numbers: (height in pixels, width, strength from 1) -> a tree of arrays, or a number.
      is_of_colour: grey images stay as they are, and are left out.
    """

    apply: Callable[[jax.Array, jax.Array, Any], jax.Array]
    numbers: Callable[[int, int, int], Any]
    is_of_colour: bool = False


def corrupt(name: str, strength: int, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Corrupts images; each image's random draws depend on its place, the seed and the name alone.

    Args:
      name: of a row of CORRUPTIONS.
      strength: 1 to 5.
      images: uint8 [number, height, width, channels].
      seed: of the random draws.

    Returns:
      uint8 images of the same shape; fractions are cut off, as in CIFAR-10-C.
    """
    corruption = CORRUPTIONS[name]
    _, height, width, channels = images.shape
    numbers = corruption.numbers(height, width, strength)
    key = jax.random.fold_in(jax.random.key(seed), list(CORRUPTIONS).index(name))
    at_a_time = max(1, _PIXELS_AT_A_TIME // (height * width * channels))
    parts = [
        np.asarray(
            _corrupt(corruption.apply, key, start, images[start : start + at_a_time], numbers)
        )
        for start in range(0, len(images), at_a_time)
    ]
    return np.concatenate(parts)


def corruptions_for(channels: int) -> list[str]:
    """Lists the names of the corruptions that change images of so many channels."""
    return [name for name, one in CORRUPTIONS.items() if channels == 3 or not one.is_of_colour]


@functools.partial(jax.jit, static_argnums=0)
def _corrupt(
    apply: Callable[..., jax.Array], key: jax.Array, first: int, images: jax.Array, numbers: Any
) -> jax.Array:
    places = first + jnp.arange(len(images))
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
    corrupted = apply(keys, images.astype(jnp.float32) / 255, numbers)
    # What is whole but for rounding stays whole.
    return jnp.floor(jnp.clip(corrupted, 0, 1) * 255 + 1e-3).astype(jnp.uint8)


def _normal(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(key, shape[1:]))(keys)


def gaussian_noise(keys: jax.Array, images: jax.Array, scale: Any) -> jax.Array:
    """Adds normal noise of a standard deviation."""
    return images + scale * _normal(keys, images.shape)


def speckle_noise(keys: jax.Array, images: jax.Array, scale: Any) -> jax.Array:
    """Adds normal noise whose standard deviation is a share of the pixel's value."""
    return images + images * scale * _normal(keys, images.shape)


def shot_noise(keys: jax.Array, images: jax.Array, photons: Any) -> jax.Array:
    """Counts photons: a Poisson draw of each value, of which 1 is worth `photons`."""
    draw = jax.vmap(lambda key, image: jax.random.poisson(_with_threefry(key), image * photons))
    return draw(keys, images) / photons


def _with_threefry(key: jax.Array) -> jax.Array:
    """The key for the generator that Poisson draws need, whichever one is the default."""
    data = jax.random.key_data(key)
    return jax.random.wrap_key_data(data[..., :2], impl="threefry2x32")


def impulse_noise(keys: jax.Array, images: jax.Array, amount: Any) -> jax.Array:
    """Sets a share of the values to 0 or to 1 (salt and pepper), each as likely."""
    shape = images.shape[1:]
    share = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)
    return jnp.where(share < amount, jnp.where(share < amount / 2, 0.0, 1.0), images)


def mapped(keys: jax.Array, images: jax.Array, maps: Any) -> jax.Array:
    """Averages linear maps of rows and columns: blurs and changes of size.

    Args:
      keys: unused.
      images: float32 [batch, height, width, channels].
      maps: over rows, float32 [maps, height, height], and over columns, [maps, width, width].
    """

    def add(total: jax.Array, one: Any) -> tuple[jax.Array, None]:
        rows, columns = one
        return total + jnp.einsum(
            "ij,bjkc,lk->bilc", rows, images, columns, precision=PRECISION
        ), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(images), maps)
    return total / len(maps[0])


def defocus_blur(keys: jax.Array, images: jax.Array, kernel: Any) -> jax.Array:
    """Convolves with a disk, float32 [side, side]; at the edges the image is mirrored."""
    reach = kernel.shape[0] // 2
    beside = (reach, reach)
    padded = jnp.pad(images, ((0, 0), beside, beside, (0, 0)), mode="reflect")
    channels = images.shape[-1]
    kernels = jnp.broadcast_to(kernel[:, :, None, None], (*kernel.shape, 1, channels))
    return jax.lax.conv_general_dilated(
        padded, kernels, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels, precision=PRECISION,
    )  # fmt: skip


def contrast(keys: jax.Array, images: jax.Array, factor: Any) -> jax.Array:
    """Moves every value towards the mean of its channel."""
    means = images.mean(axis=(1, 2), keepdims=True)
    return (images - means) * factor + means


def brightness(keys: jax.Array, images: jax.Array, added: Any) -> jax.Array:
    """Adds to the value of a colour (the V of HSV); hue and saturation stay."""
    value = images.max(axis=-1, keepdims=True)
    brighter = jnp.minimum(value + added, 1)
    return jnp.where(value > 0, images * brighter / jnp.maximum(value, 1e-6), brighter)


def saturate(keys: jax.Array, images: jax.Array, factor_and_added: Any) -> jax.Array:
    """Scales the saturation of a colour (the S of HSV) and adds to it; hue and value stay."""
    factor, added = factor_and_added
    value = images.max(axis=-1, keepdims=True)
    span = value - images.min(axis=-1, keepdims=True)
    saturation = span / jnp.maximum(value, 1e-6)
    changed = jnp.clip(saturation * factor + added, 0, 1)
    # How far each channel is below the value, as a share; a grey has the hue of red.
    below = jnp.where(span > 0, (value - images) / jnp.maximum(span, 1e-6), jnp.array([0.0, 1, 1]))
    return value * (1 - changed * below)


def _of(*values: Any) -> Callable[[int, int, int], Any]:
    """The numbers of five strengths that the size of an image does not change."""
    return lambda height, width, strength: jax.tree.map(np.float32, values[strength - 1])


def _per_axis(of_axis: Callable[[int, int], np.ndarray]) -> Callable[[int, int, int], Any]:
    """Maps of both axes, from (length, strength) -> float [maps, length, length]."""
    return lambda height, width, strength: (
        of_axis(height, strength).astype(np.float32),
        of_axis(width, strength).astype(np.float32),
    )


def _gaussian_map(length: int, strength: int) -> np.ndarray:
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[strength - 1] * length / _SIDE
    reach = int(4 * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    found = np.zeros((length, length))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        places = np.arange(length)
        np.add.at(found, (places, np.clip(places + offset, 0, length - 1)), weight)
    return found[None]


def _zoom_maps(length: int, strength: int) -> np.ndarray:
    most = (0.06, 0.11, 0.16, 0.21, 0.26)[strength - 1]
    factors = [1.0, *np.arange(1, 1 + most, 0.01)]  # the image itself counts once more
    centre = (length - 1) / 2
    found = np.zeros((len(factors), length, length))
    for number, factor in enumerate(factors):
        places = centre + (np.arange(length) - centre) / factor
        left = np.clip(np.floor(places).astype(int), 0, max(length - 2, 0))
        found[number, np.arange(length), left] += 1 - (places - left)
        found[number, np.arange(length), np.minimum(left + 1, length - 1)] += places - left
    return found


def _box_map(before: int, after: int) -> np.ndarray:
    """Pillow's resizing by means of boxes: float [after, before]."""
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    distance = (np.arange(before) + 0.5 - centres[:, None]) / reach
    weights = ((distance > -0.5) & (distance <= 0.5)).astype(float)
    return weights / weights.sum(axis=1, keepdims=True)


def _pixelate_map(length: int, strength: int) -> np.ndarray:
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[strength - 1]
    fewer = max(1, int(length * share))
    return (_box_map(fewer, length) @ _box_map(length, fewer))[None]


def _disk(height: int, width: int, strength: int) -> np.ndarray:
    sizes = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    radius, sigma = (number * height / _SIDE for number in sizes[strength - 1])
    soft = max(1, math.ceil(height / _SIDE))  # reach of the blur of the disk's edge
    reach = min(math.ceil(radius) + soft, height - 1, width - 1)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    blur = np.exp(-0.5 * (np.arange(-soft, soft + 1) / sigma) ** 2)
    for axis in (0, 1):
        disk = np.apply_along_axis(np.convolve, axis, disk, blur, "same")
    return (disk / disk.sum()).astype(np.float32)


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, _of(0.04, 0.06, 0.08, 0.09, 0.1)),
    "shot_noise": Corruption(shot_noise, _of(500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(impulse_noise, _of(0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle_noise": Corruption(speckle_noise, _of(0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian_blur": Corruption(mapped, _per_axis(_gaussian_map)),
    "defocus_blur": Corruption(defocus_blur, _disk),
    "zoom_blur": Corruption(mapped, _per_axis(_zoom_maps)),
    "pixelate": Corruption(mapped, _per_axis(_pixelate_map)),
    "contrast": Corruption(contrast, _of(0.75, 0.5, 0.4, 0.3, 0.15)),
    "brightness": Corruption(brightness, _of(0.05, 0.1, 0.15, 0.2, 0.3)),
    "saturate": Corruption(
        saturate,
        _of((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        is_of_colour=True,
    ),
}
