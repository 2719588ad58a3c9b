"""Parameters under two names: this project's, and those of another program's files.

Reading renames and reorders axes, and writing undoes it; no number is changed. Names and shapes are
compared with those of the model before, and whatever differs is listed in one message.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlpvis_jax.errors import InputError

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]

_LISTED = 6  # of the differences of a kind


class Parameter(NamedTuple):
    """One array of a model in both namings.

    Attributes:
      ours: its name here, such as "head/kernel".
      theirs: its name in the file, such as "head.weight".
      axes: for each axis of ours the one that it is in the file, after the leading ones.
      ones: leading axes of length 1 in the file, which ours has not.
    """

    ours: str
    theirs: str
    axes: tuple[int, ...]
    ones: int = 0

    def their_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Reorders the shape of an array of this project."""
        rest = tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))
        return (1,) * self.ones + rest


def to_ours(arrays: Arrays, table: Iterable[Parameter]) -> dict[str, np.ndarray]:
    """Gives arrays of a file the names and axes of this project."""
    return {one.ours: arrays[one.theirs][(0,) * one.ones].transpose(one.axes) for one in table}


def to_theirs(arrays: Arrays, table: Iterable[Parameter]) -> dict[str, np.ndarray]:
    """Gives arrays of this project the names and axes of a file."""
    return {
        one.theirs: np.ascontiguousarray(
            arrays[one.ours].transpose(np.argsort(one.axes))[(None,) * one.ones]
        )
        for one in table
    }


def check_names(subject: str, found: Shapes, axes: Mapping[str, int]) -> None:
    """Compares names and numbers of axes with those that are wanted.

    Args:
      subject: begins the message, such as "x.npz holds no Mixer of its authors".
      found: shapes by name.
      axes: the wanted names, with the number of axes of each.

    Raises:
      InputError: they differ; it lists how.
    """
    missing = [name for name in axes if name not in found]
    unknown = [name for name in found if name not in axes]
    wrong = [
        f"{name} has the shape {list(found[name])}, and not the number of axes {number}"
        for name, number in axes.items()
        if name in found and len(found[name]) != number
    ]
    wrong += [f"{name} has no numbers" for name, shape in found.items() if 0 in shape]
    parts = [
        f"{what} {_listed(_merged(names))}"
        for what, names in (("it lacks", missing), ("it has no place for", unknown))
        if names
    ]
    _refuse(subject, [*parts, *([_listed(wrong)] if wrong else [])])


def check_shapes(subject: str, found: Shapes, wanted: Shapes) -> None:
    """Compares shapes of arrays that have the right names.

    Raises:
      InputError: they differ; it lists how. `subject` begins the message.
    """
    wrong = _merged(name for name, shape in wanted.items() if tuple(found[name]) != tuple(shape))
    parts = []
    for name, examples in wrong.items():
        one = examples[0]
        parts.append(f"{name} is {list(found[one])}, and should be {list(wanted[one])}")
    _refuse(subject, [_listed(parts)] if parts else [])


def _refuse(subject: str, parts: Sequence[str]) -> None:
    if parts:
        raise InputError(f"{subject}: {'; '.join(parts)}.")


def _merged(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what they look like with a star for the index of a block, if several do."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(re.sub(r"(?<=[._])\d+(?=[./])", "*", name, count=1), []).append(name)
    return {key if len(some) > 1 else some[0]: some for key, some in found.items()}


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = len(words) - _LISTED
    return ", ".join(words[:_LISTED]) + (f" and {more} more" if more > 0 else "")
