"""Arrays of another program's model, taken over into this project's and handed back."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from flax import traverse_util

from mlpvis_jax.errors import InputError
from mlpvis_jax.weights.architecture import (
    Family,
    build,
    computes_otherwise,
    describe,
    parameters,
    shapes_of,
)
from mlpvis_jax.weights.naming import (
    Arrays,
    Parameter,
    check_names,
    check_shapes,
    to_ours,
    to_theirs,
)
from mlpvis_jax.weights.stored import StoredWeights


class Renaming(Protocol):
    """A parameter's row, from its module's name, its own and its number of axes."""

    def __call__(self, module: str, name: str, axes: int, /) -> Parameter: ...


class Layout(NamedTuple):
    """How another program stores and computes the models of a family.

    Attributes:
      format: the name of its format, a key of FORMATS.
      family: of the models.
      rename: gives a parameter's name and axes in the file; {} is the index of a block.
      computes: fields of the model, with the values that make it compute what theirs does.
    """

    format: str
    family: Family
    rename: Renaming
    computes: Mapping[str, Any]

    def parameters(self, num_blocks: int) -> list[Parameter]:
        """Lists the parameters of a model with so many blocks."""
        return parameters(self.family, num_blocks, self.rename)

    def count_blocks(self, names: Iterable[str]) -> int:
        """Counts the blocks of which there are arrays, at least one."""
        module, kind = next(row for row in self.family.modules.items() if "{}" in row[0])
        name, axes = next(iter(kind.items()))
        before = self.rename(module, name, axes).theirs.partition("{}")[0]
        found = (re.match(rf"{re.escape(before)}(\d+)[./]", name) for name in names)
        return max(1, len({match[1] for match in found if match}))


def from_foreign(path: Path, arrays: Arrays, layout: Layout) -> StoredWeights:
    """Takes over the arrays of a file.

    Args:
      path: of the file, for messages.
      arrays: all of them, by their names.
      layout: of the file.

    Returns:
      The parameters, and the "model" in the description.

    Raises:
      InputError: the arrays are not those of a model of the family; it lists what differs.
    """
    subject = f"{path} holds no {layout.family.name} of the format {layout.format}"
    num_blocks, found = layout.count_blocks(arrays), _shapes(arrays)
    table = layout.parameters(num_blocks)
    check_names(subject, found, {one.theirs: one.ones + len(one.axes) for one in table})
    named = to_ours(arrays, table)
    model, wanted = _model_of(subject, layout, num_blocks, named, layout.computes)
    check_shapes(subject, found, {one.theirs: one.their_shape(wanted[one.ours]) for one in table})
    return StoredWeights(traverse_util.unflatten_dict(named, sep="/"), {"model": model})


def to_foreign(params: Any, description: Mapping[str, Any], layout: Layout) -> Arrays:
    """Gives parameters the names and layouts of another program's file.

    Args:
      params: nested dict of arrays.
      description: of them; if it tells the model, that has to compute what theirs does.
      layout: of the file.

    Raises:
      InputError: the other program has no place for them, or would compute something else; it
        lists what differs.
    """
    subject = f"The format {layout.format} cannot hold these parameters"
    named = {
        name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()
    }
    num_blocks = layout._replace(rename=unchanged).count_blocks(named)
    table = layout.parameters(num_blocks)
    check_names(subject, _shapes(named), {one.ours: len(one.axes) for one in table})
    # What shapes do not tell has no effect on them.
    computes = {**dict.fromkeys(layout.family.unstored, 1), **layout.computes}
    _, wanted = _model_of(subject, layout, num_blocks, named, computes)
    check_shapes(subject, _shapes(named), wanted)
    needed = {**layout.computes, **_assumed(subject, layout, num_blocks, named)}
    differing = computes_otherwise(description.get("model"), needed)
    if differing:
        raise InputError(
            f"The format {layout.format} has no place for how this model computes: "
            f"{', '.join(differing)}. To write its parameters all the same, leave 'model' out of "
            "the description."
        )
    return to_theirs(named, table)


def unchanged(module: str, name: str, axes: int) -> Parameter:
    """Leaves a parameter its name and its axes."""
    return Parameter(f"{module}/{name}", f"{module}/{name}", tuple(range(axes)))


def _assumed(subject: str, layout: Layout, num_blocks: int, named: Arrays) -> dict[str, Any]:
    """The options that no shape tells, as whoever reads the file takes them from the preset."""
    try:
        model, _ = _model_of(subject, layout, num_blocks, named, layout.computes)
    except InputError:  # no preset has these sizes, so that the reader has to be told
        return {}
    options = build(model, num_classes=1).block_options
    return {option: options[option] for option in layout.family.unstored}


def _model_of(
    subject: str, layout: Layout, num_blocks: int, named: Arrays, computes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The model, as a config's `model`, and the shapes of its parameters."""
    shapes = _shapes(named)
    channels, classes = shapes["stem/kernel"][2], shapes["head/bias"][0]
    try:
        model = {**describe(layout.family, num_blocks, shapes, computes), **computes}
        wanted = shapes_of(build(model, classes), model["image_size"], channels)
    except InputError as error:
        raise InputError(f"{subject}: {error}".rstrip(".") + ".") from error
    return model, wanted


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}
