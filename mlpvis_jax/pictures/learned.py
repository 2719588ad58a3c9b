"""What the mixing of a trained classifier has learned: all measures and pictures of it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.inference import TrainedClassifier
from mlpvis_jax.learning import augment
from mlpvis_jax.models import Classifier, FNetBlock, GMlpBlock, ResMlpBlock
from mlpvis_jax.pictures.depth import draw_by_depth
from mlpvis_jax.pictures.kernels import draw_kernels
from mlpvis_jax.pictures.mixing import (
    Grid,
    Kernels,
    Measures,
    grid_of,
    measure,
    order_in_pairs,
    token_kernels,
    uniform,
)
from mlpvis_jax.pictures.receptive_field import (
    draw_receptive_fields,
    field_distance,
    receptive_fields,
)

IMAGES = 32  # over which the receptive fields are means
_TOGETHER = 8  # of them at most, for derivatives take more memory than predictions
_MOST_PAIRS = 128  # of hidden units in a picture


class Learned(NamedTuple):
    """The mixing across tokens of a classifier's weights.

    Attributes:
      model: the linen module.
      grid: rows and columns of its tokens.
      kernels: of each block by name; {} of a block whose weights no reader knows.
      measures: of the same.
      fields: receptive field of each layer by name, [height, width]; {} without images.
      sizes: their mean distances, in patches.
      unknown: why there are no kernels, in a sentence; or "".
    """

    model: Classifier
    grid: Grid
    kernels: Mapping[str, Kernels]
    measures: Mapping[str, Measures]
    fields: Mapping[str, np.ndarray]
    sizes: Mapping[str, float]
    unknown: str

    @classmethod
    def of(cls, classifier: TrainedClassifier, images: np.ndarray | None) -> "Learned":
        """Measures a classifier.

        Args:
          classifier: the weights.
          images: uint8 [number, height, width, channels] as it was trained on, which the receptive
            fields are means over; None leaves them out.
        """
        model = classifier.model
        grid = grid_of(model, classifier.image_size)
        kernels, unknown = {}, ""
        try:
            kernels = token_kernels(model, classifier.params, grid)
        except InputError as error:
            unknown = str(error)
        fields = {}
        if images is not None:
            normalised = classifier.normalization(jnp.asarray(images))
            resized = augment.resize(normalised, classifier.image_size)
            together = min(_TOGETHER, classifier.batch_size)
            fields = receptive_fields(model, classifier.params, np.asarray(resized), together)
        return cls(
            model,
            grid,
            kernels,
            {name: measure(one, grid) for name, one in kernels.items()},
            fields,
            {name: field_distance(field, model.patch_size) for name, field in fields.items()},
            unknown,
        )

    def pictures_of_weights(self) -> dict[str, Callable[[], Any]]:
        """Gives what draws the weights of each block, by the name of the picture.

        FNet's, which are the same in all blocks, are one picture.
        """
        kind, columns = self.model.block, self.grid[1]
        if issubclass(kind, FNetBlock) and self.kernels:
            units = next(iter(self.kernels.values())).units
            title = "FNet: the transform's basis functions, cos(2 pi j k / n)"
            return {
                "basis_functions": functools.partial(draw_kernels, units, self.grid, title, columns)
            }
        of_tokens = issubclass(kind, GMlpBlock | ResMlpBlock)
        draw = self._draw_units_of_tokens if of_tokens else self._draw_hidden_units
        return {name: functools.partial(draw, name) for name in self.kernels}

    def _draw_units_of_tokens(self, name: str) -> Any:
        written = "token's gate" if issubclass(self.model.block, GMlpBlock) else "token"
        title = f"{name}: the weights of each {written}, where the token is"
        return draw_kernels(self.kernels[name].units, self.grid, title, self.grid[1])

    def _draw_hidden_units(self, name: str) -> Any:
        units = self.kernels[name].units
        title = f"{name}: the hidden units across tokens, in pairs of opposite phase"
        ordered = units[order_in_pairs(units, self.grid)]
        if len(ordered) > 2 * _MOST_PAIRS:  # whole pairs are left out, evenly over the frequencies
            pairs = ordered[: len(ordered) // 2 * 2].reshape(-1, 2, ordered.shape[-1])
            chosen = np.linspace(0, len(pairs) - 1, _MOST_PAIRS).round().astype(int)
            ordered = pairs[chosen].reshape(-1, ordered.shape[-1])
            title = f"{title}; {len(ordered)} of {len(units)}"
        return draw_kernels(ordered, self.grid, title)

    def pictures_of_measures(self) -> dict[str, Callable[[], Any]]:
        """Gives what draws the receptive fields, and all measures by depth, by picture's name."""
        found: dict[str, Callable[[], Any]] = {}
        if self.measures or self.sizes:
            found["by_depth"] = functools.partial(
                draw_by_depth, self.measures, self.grid, self.sizes
            )
        if self.fields:
            found["receptive_field"] = functools.partial(draw_receptive_fields, self.fields)
        return found

    def table(self) -> tuple[Sequence[str], list[list[str]]]:
        """Writes the measures as a table: its headers, and a row of texts for each layer."""
        titles = ("layer", "entropy (nats)", "mean distance (tokens)", "receptive field (patches)")
        rows = []
        for name in dict.fromkeys([*self.sizes, *self.measures]):
            measured = self.measures.get(name)
            texts = ["", ""] if measured is None else [_number(value) for value in measured]
            rows.append([name, *texts, _number(self.sizes[name]) if name in self.sizes else ""])
        if self.measures:
            rows.append(["all tokens alike", *map(_number, uniform(self.grid)), ""])
        return titles, rows


def _number(values: float | np.ndarray) -> str:
    known = np.asarray(values)[~np.isnan(values)]  # a token that reads nothing has no measure
    return f"{known.mean():.2f}" if known.size else "none"
