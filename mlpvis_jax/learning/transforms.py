"""The table of the transforms of an image, and their application one after another."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mlpvis_jax.learning.augment import Normalization, flip_zoom, resize
from mlpvis_jax.learning.auto_augment import auto_augment
from mlpvis_jax.learning.colour import colour_jitter
from mlpvis_jax.learning.crops import flip, random_crop, random_erasing, random_resized_crop
from mlpvis_jax.learning.policies import rand_augment, trivial_augment
from mlpvis_jax.settings.choice import Choice

# A row maps (keys, images, image_size) to images; see `apply_transforms`.
TRANSFORMS: Mapping[str, Callable[..., jax.Array]] = {
    "flip_zoom": flip_zoom,
    "flip": flip,
    "random_crop": random_crop,
    "random_resized_crop": random_resized_crop,
    "rand_augment": rand_augment,
    "trivial_augment": trivial_augment,
    "auto_augment": auto_augment,
    "colour_jitter": colour_jitter,
    "random_erasing": random_erasing,
}


def apply_transforms(
    transforms: Mapping[str, Choice],
    keys: jax.Array,
    images: jax.Array,
    normalize: Normalization,
    image_size: int,
    numbers: Mapping[str, Any],
) -> jax.Array:
    """Applies the transforms of an image, each image by its own key.

    Those that act on pixels come first, then the images are normalised, and then come the others;
    of each kind the order is that of the config.

    Args:
      transforms: rows of TRANSFORMS with their options, by label.
      keys: one key an image, [batch].
      images: uint8 [batch, height, width, channels].
      normalize: maps pixels to what the other transforms, and the model, are given.
      image_size: height and width of the result; images that no transform resizes are resized last.
      numbers: the traced options of each transform, by label.

    Returns:
      float32 [batch, image_size, image_size, channels].
    """
    images = images.astype(jnp.float32)
    are_pixels = True
    ordered = sorted(transforms.items(), key=lambda item: not _acts_on_pixels(item[1]))
    for index, (label, choice) in enumerate(ordered):
        own = jax.vmap(lambda key: own_key(key, index))(keys)  # noqa: B023
        if are_pixels and not _acts_on_pixels(choice):
            images, are_pixels = normalize(images), False
        images = choice(own, images, image_size, **numbers[label])
    images = normalize(images) if are_pixels else images
    return images if images.shape[1:3] == (image_size, image_size) else resize(images, image_size)


def own_key(key: jax.Array, index: int) -> jax.Array:
    """Gives the key of the function at a place in a list: the first draws from the key itself.

    A function makes further keys of its own by folding in 0, 1, ..., which is also what `split`
    does. The offset keeps the keys of the later functions apart from those of the first.
    """
    return jax.random.fold_in(key, _FURTHER + index) if index else key


_FURTHER = 1 << 16


def _acts_on_pixels(choice: Choice) -> bool:
    function = choice.function
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "acts_on_pixels", False)
