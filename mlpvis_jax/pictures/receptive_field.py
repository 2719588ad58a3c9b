"""The effective receptive field: which pixels a token depends on (Luo et al., 2016)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.models import Classifier
from mlpvis_jax.pictures.theme import empty_figure, shades

_MOST_PANELS = 12


def receptive_fields(
    model: Classifier, params: Mapping[str, Any], images: np.ndarray, batch_size: int = 8
) -> dict[str, np.ndarray]:
    """Finds which pixels the central token depends on, after the stem and each block.

    A pixel's share is that of the sum of the squared derivatives of all channels of the token by
    all channels of the pixel, the mean over the images. The sum over the token's channels is
    estimated without bias by a product with random signs (Hutchinson, 1990), which takes one
    backward pass an image.

    Args:
      model: the classifier.
      params: its parameters.
      images: normalised, float [number, height, width, channels].
      batch_size: images that are computed at a time.

    Returns:
      Of each layer by its name, from the stem to the last block, float64 [height, width] with the
      sum 1 (NaN where the token depends on no pixel).
    """
    names = ["stem", *model.block_names]
    rows, columns = (size // model.patch_size for size in images.shape[1:3])
    centre = rows // 2 * columns + columns // 2

    @jax.jit
    def squares(params: Any, images: jax.Array, key: jax.Array) -> jax.Array:
        def central(images: jax.Array) -> jax.Array:
            outputs: Any = model.apply({"params": params}, images, method="features")
            return jnp.stack([outputs[name][:, centre].astype(jnp.float32) for name in names])

        tokens, pull_back = jax.vjp(central, images)
        signs = jax.random.rademacher(key, tokens.shape[1:], jnp.float32)
        layers = jnp.eye(len(names))[:, :, None, None] * signs
        # One layer after the other, which takes no more memory than one does.
        (gradients,) = jax.lax.map(pull_back, layers)
        return jnp.square(gradients.astype(jnp.float32)).sum(axis=(1, 4))

    key = jax.random.key(0)
    total = np.zeros((len(names), *images.shape[1:3]))
    for start in range(0, len(images), batch_size):
        batch = jnp.asarray(images[start : start + batch_size], jnp.float32)
        total += np.asarray(squares(params, batch, jax.random.fold_in(key, start)))
    sums = total.sum(axis=(1, 2), keepdims=True)
    fields = np.divide(total, sums, out=np.full_like(total, np.nan), where=sums > 0)
    return dict(zip(names, fields, strict=True))


def field_distance(field: np.ndarray, patch_size: int) -> float:
    """Computes the mean distance of a receptive field's pixels from the middle of the token.

    Args:
      field: [height, width], with the sum 1.
      patch_size: height and width of a patch, pixels.

    Returns:
      The distance in patches. A token that sees no more than its own patch is not at 0: the pixels
      of a square have a mean distance of 0.38 times its side from the middle.
    """
    places = [
        (np.arange(size) + 0.5) / patch_size - (size // patch_size // 2 + 0.5)
        for size in field.shape
    ]
    return float((field * np.hypot(places[0][:, None], places[1][None])).sum())


def draw_receptive_fields(fields: Mapping[str, np.ndarray]) -> Any:
    """Draws the effective receptive field of the central token after each layer.

    Of more than twelve layers, twelve are drawn, the first and the last among them.

    Args:
      fields: what `receptive_fields` returns.

    Returns:
      A Matplotlib Figure.
    """
    picked = np.linspace(0, len(fields) - 1, min(len(fields), _MOST_PANELS)).round().astype(int)
    names = [list(fields)[index] for index in picked]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = empty_figure(7.4, 0.5 + 2.0 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        # The square root, as in Luo et al.'s pictures, shows the faint outskirts.
        axes.imshow(np.sqrt(fields[name]), cmap=shades(), vmin=0, interpolation="nearest")
        axes.set_title(name)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
    figure.supxlabel(
        "pixels that the central token depends on: root of the mean squared derivative", fontsize=9
    )
    return figure
