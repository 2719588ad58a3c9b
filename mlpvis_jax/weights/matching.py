"""Which of stored weights a model takes: what fits, what is carried over, what is new."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import Classifier
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.weights.transfer import Arrays, Shapes, block_diagonal, interpolate, token_axes

HEAD = ("head/bias", "head/kernel")
_NAMED = 4  # differences in a message


class Matched(NamedTuple):
    """What a model takes of stored weights.

    Attributes:
      params: arrays by name, in the shapes and types of the model; without the new ones.
      new: names of the model's parameters that stay as they were initialised.
      grid: sides of the square grid of tokens of the weights and of the model; None where the
        arrays fit as they are, or do not tell.
      carried: names of the parameters that were carried over to another grid.
    """

    params: dict[str, np.ndarray]
    new: tuple[str, ...]
    grid: tuple[int, int] | None
    carried: tuple[str, ...]


def match(
    stored: Arrays,
    model: Classifier,
    image_shape: tuple[int, int, int],
    keeps_head: bool,
    resolution: str = "interpolate",
) -> Matched:
    """Fits stored weights to a model of the same kind, for any image size and any classes.

    Args:
      stored: arrays by name.
      model: that is to start from them.
      image_shape: height, width (equal) and channels of its images.
      keeps_head: the classes are those of the weights.
      resolution: "interpolate", or "block_diagonal" as in the Mixer paper's appendix C; see
        `transfer`.

    Raises:
      InputError: the weights are of another model; the message lists what differs.
    """
    wanted = _named_shapes(model, image_shape[0], image_shape[-1])
    new = () if keeps_head else tuple(name for name in HEAD if name in wanted)
    stored = {name: array for name, array in stored.items() if name not in new}
    shapes = {name: leaf.shape for name, leaf in wanted.items() if name not in new}
    found, grid, carried = _carry_over(stored, shapes, model, image_shape, resolution)
    _refuse_other(_shapes(found), shapes)
    params = {name: array.astype(wanted[name].dtype) for name, array in found.items()}
    return Matched(params, new, grid, carried)


def _named_shapes(model: Classifier, image_size: int, channels: int) -> dict[str, Any]:
    return traverse_util.flatten_dict(parameter_shapes(model, image_size, channels), sep="/")


def _carry_over(
    stored: Arrays,
    shapes: Shapes,
    model: Classifier,
    image_shape: tuple[int, int, int],
    resolution: str,
) -> tuple[Arrays, tuple[int, int] | None, tuple[str, ...]]:
    """The stored arrays on the model's grid of tokens, both grids, and the names of the changed."""
    if _shapes(stored) == dict(shapes):
        return stored, None, ()
    patch, (height, _, channels) = model.patch_size, image_shape
    new_side = height // patch

    def shapes_at(side: int) -> dict[str, tuple[int, ...]]:
        at_side = _named_shapes(model, side * patch, channels)
        return {name: leaf.shape for name, leaf in at_side.items() if name in shapes}

    # A probe: what differs between two sizes of one model has an axis of tokens.
    axes = token_axes(shapes, shapes_at(new_side + 1))
    side = _side(stored, axes)
    if side is None or side == new_side:
        return stored, None, ()
    if resolution == "block_diagonal":
        found = _block_diagonal(stored, shapes, axes, side, new_side)
    else:
        _refuse_other(_shapes(stored), shapes_at(side))
        found = interpolate(stored, axes, side, new_side)
    return found, (side, new_side), tuple(sorted(axes))


def _side(stored: Arrays, axes: Mapping[str, Sequence[int]]) -> int | None:
    """The side of the grid of stored weights; None where none of their arrays tells."""
    numbers = {
        stored[name].shape[axis]
        for name, some in axes.items()
        for axis in some
        if name in stored and axis < stored[name].ndim
    }
    if len(numbers) != 1:
        return None
    (number,) = numbers
    side = math.isqrt(number)
    if side**2 != number:
        raise InputError(
            f"the weights are for {number} tokens, which are no square grid, so that they cannot "
            "be carried over to another image size."
        )
    return side


def _block_diagonal(
    stored: Arrays, shapes: Shapes, axes: Mapping[str, Sequence[int]], side: int, new_side: int
) -> Arrays:
    mlps = sorted({name.rsplit("/", 2)[0] for name in axes})
    others = [mlp for mlp in mlps if not mlp.endswith("/token_mixing")]
    if others:
        raise InputError(
            "config.init_from_resolution=block_diagonal is the Mixer paper's, for token MLPs, and "
            f"{others[0]} is none; use interpolate."
        )
    factor, rest = divmod(new_side, side)
    if rest:
        raise InputError(
            f"config.init_from_resolution=block_diagonal needs a multiple of the {side} x {side} "
            f"tokens of the weights, not {new_side} x {new_side}; use interpolate."
        )
    ranks = [
        {name: (len(shape),) for name, shape in some.items()} for some in (_shapes(stored), shapes)
    ]
    _refuse_other(*ranks)
    bias = f"{mlps[0]}/Dense_0/bias"
    (hidden,), (given,) = stored[bias].shape, shapes[bias]
    if given != factor**2 * hidden:
        raise InputError(
            f"config.init_from_resolution=block_diagonal makes the token MLPs {factor**2} times as "
            f"wide; set config.model.tokens_hidden_dim={factor**2 * hidden}, not {given}."
        )
    return block_diagonal(stored, mlps, side, factor)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _refuse_other(found: Shapes, wanted: Shapes) -> None:
    """Raises InputError, which lists what differs, where the weights are of another model."""
    differing = list(_of_blocks(found, wanted)) or list(_of_arrays(found, wanted))
    if differing:
        more = len(differing) - _NAMED
        listed = "; ".join(differing[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(f"the weights are of another model: {listed}.")


def _of_blocks(found: Shapes, wanted: Shapes) -> Iterator[str]:
    """How kind and number of the blocks differ."""
    theirs, ours = _blocks(found), _blocks(wanted)
    for kind in sorted(theirs.keys() | ours.keys()):
        if theirs.get(kind, 0) != ours.get(kind, 0):
            yield (
                f"they have {theirs.get(kind, 0)} blocks {kind}, and the model {ours.get(kind, 0)}"
            )


def _blocks(shapes: Shapes) -> dict[str, int]:
    names = {name.partition("/")[0] for name in shapes}
    kinds = [match[1] for name in names if (match := re.fullmatch(r"(\w+)_\d+", name))]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def _of_arrays(found: Shapes, wanted: Shapes) -> Iterator[str]:
    """How the arrays differ; those of equal blocks in one line."""
    lines: dict[str, None] = {}
    for name in sorted(found.keys() | wanted.keys()):
        shown = re.sub(r"^(\w+)_\d+/", r"\1_*/", name)
        if name not in found:
            lines[f"they lack {shown}"] = None
        elif name not in wanted:
            lines[f"the model has no {shown}"] = None
        elif found[name] != wanted[name]:
            lines[f"{shown} is {list(found[name])}, and the model's {list(wanted[name])}"] = None
    yield from lines
