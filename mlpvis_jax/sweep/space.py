"""The space of a sweep: a dimension for each setting that varies, as a list of values or a range.

A dimension is written the same in a sweep file and on the command line:

    [4, 8]                       each of these
    uniform(0.0, 0.4)            a number between the two
    log_uniform(1e-4, 1e-2)      likewise, but evenly over orders of magnitude
    integers(2, 8)               a whole number, both ends included
    seeds(3)                     of `seed` only: every point is trained that often

A point is a value of each dimension but the seed, whose values every point is trained with.
"""

import ast
import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.declared import shown

SEED = "seed"
MOST_VALUES = 1000  # of a list
# Significant ones of a number that is drawn, so that a person can read it. A range that is narrow
# beside its ends takes more, for at least some hundreds of numbers to lie in it.
_DIGITS = 4
_MOST_SHUFFLED = 100_000  # points; of more, one hardly comes twice


@dataclasses.dataclass(frozen=True)
class Values:
    """A list, in the order given."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """Gives the value at a share in [0, 1) of the dimension."""
        return self.values[int(share * len(self.values))]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Lists the values, or the ends of a range."""
        return self.values

    @property
    def checked(self) -> tuple[Any, ...]:
        """Lists the values that a config is made of to see whether it refuses them."""
        return self.values

    def to_json(self) -> Any:
        return list(self.values)


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`."""

    low: float
    high: float
    is_log: bool

    def at(self, share: float) -> float:
        if self.is_log:
            value = self.low * math.exp(share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return self.rounded(value)

    def rounded(self, value: float) -> float:
        """Rounds a number to as many significant digits as a drawn one has, within the range."""
        largest = max(abs(self.low), abs(self.high))
        narrowness = math.ceil(math.log10(largest / (self.high - self.low)))
        digits = max(_DIGITS, _DIGITS - 2 + narrowness)
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    @property
    def extremes(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    @property
    def checked(self) -> tuple[Any, ...]:
        return self.extremes

    def to_json(self) -> Any:
        return f"{'log_uniform' if self.is_log else 'uniform'}({self.low!r}, {self.high!r})"


@dataclasses.dataclass(frozen=True)
class Integers:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    def at(self, share: float) -> int:
        return self.low + int(share * (self.high - self.low + 1))

    @property
    def extremes(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    @property
    def checked(self) -> tuple[Any, ...]:
        """Lists all numbers, or the first of very many: one between the ends may be refused."""
        return tuple(range(self.low, self.high + 1)[:MOST_VALUES])

    def to_json(self) -> Any:
        return f"integers({self.low}, {self.high})"


Dimension = Values | Range | Integers
Point = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Space:
    """Dimensions by the keys of the settings, and the seeds of every point."""

    dimensions: Mapping[str, Dimension]
    seeds: tuple[int, ...]

    @property
    def grid_size(self) -> int | None:
        """Counts the points of the grid; None where a dimension is a range."""
        if any(not isinstance(dimension, Values) for dimension in self.dimensions.values()):
            return None
        return math.prod(len(dimension.extremes) for dimension in self.dimensions.values())

    def grid_point(self, index: int) -> Point:
        """Gives the point of an index below `grid_size`; the last dimension changes fastest."""
        point: Point = {}
        for key, dimension in reversed(list(self.dimensions.items())):
            index, place = divmod(index, len(dimension.extremes))
            point[key] = dimension.extremes[place]
        return {key: point[key] for key in self.dimensions}

    def random_point(self, index: int, seed: int) -> Point:
        """Draws the index-th of a sequence of random points; it depends on nothing else.

        Where all dimensions are lists, no point comes again before all have come.
        """
        size = self.grid_size
        if size is not None and size <= _MOST_SHUFFLED:
            turn, place = divmod(index, size)
            return self.grid_point(int(_shuffled(size, seed, turn)[place]))
        shares = np.random.default_rng([seed, index]).random(len(self.dimensions))
        pairs = zip(self.dimensions.items(), shares, strict=True)
        return {key: dimension.at(float(share)) for (key, dimension), share in pairs}

    def corners(self, most: int = 4096) -> Iterator[Point]:
        """Lists every combination of extreme values, or the first `most` of them."""
        keys = list(self.dimensions)
        extremes = (dimension.extremes for dimension in self.dimensions.values())
        for values in itertools.islice(itertools.product(*extremes), most):
            yield dict(zip(keys, values, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Writes the space as `read` takes it."""
        dimensions = {key: value.to_json() for key, value in self.dimensions.items()}
        return {**dimensions, SEED: list(self.seeds)}


def read(written: Mapping[str, Any], seed: int) -> Space:
    """Reads the space of dimensions as they are written.

    Args:
      written: a list, or text such as "uniform(0.0, 0.4)", for each key.
      seed: of the config, where the seed is no dimension; seeds(3) counts on from it.

    Raises:
      InputError: it is empty, or a dimension is no list and no range.
    """
    dimensions = {key: _dimension(key, value, seed) for key, value in written.items()}
    if not dimensions:
        raise InputError(
            "The sweep has no dimension; give one, such as "
            "--sweep.optimizer.learning_rate='[0.001, 0.003]'."
        )
    seeds = dimensions.pop(SEED, Values((seed,)))
    if not isinstance(seeds, Values):
        raise InputError("sweep.seed must be seeds(NUMBER) or a list of whole numbers.")
    return Space(dimensions, seeds.values)


def _dimension(key: str, written: Any, seed: int) -> Dimension:
    place = f"sweep.{key}"
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", written)
        if match:
            return _range(place, written[:200], match[1], match[2], seed)
        written = _literal(written)
    if isinstance(written, np.ndarray):
        written = written.tolist()
    if isinstance(written, str | bytes) or not isinstance(written, Sequence):
        raise InputError(
            f"{place} must be a list such as [4, 8], or uniform(LOW, HIGH), "
            f"log_uniform(LOW, HIGH) or integers(LOW, HIGH), not {shown(written)}."
        )
    values = [_plain(value) for value in itertools.islice(written, MOST_VALUES + 1)]
    if not values:
        raise InputError(f"{place} has no values.")
    if len(values) > MOST_VALUES:
        raise InputError(
            f"{place} has more than {MOST_VALUES:,} values; give fewer, or a range such as "
            "uniform(LOW, HIGH) or integers(LOW, HIGH)."
        )
    refuse_odd(place, values)
    for number, value in enumerate(values):
        if any(_are_one(value, other) for other in values[:number]):
            raise InputError(f"{place} has {value!r} twice.")
    return Values(tuple(values))


def plain(point: Mapping[str, Any]) -> Point:
    """Converts the NumPy numbers of a point, which a user's own strategy may give, to Python's."""
    return {key: _plain(value) for key, value in point.items()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _are_one(value: Any, other: Any) -> bool:
    """Whether two values are the same setting: 1 and 1.0 are, and 1 and True are not."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


@functools.lru_cache
def _shuffled(size: int, seed: int, turn: int) -> np.ndarray:
    return np.random.default_rng([seed, turn]).permutation(size)


def refuse_odd(place: str, written: Any) -> None:
    """Raises InputError unless it is a number, a word, True, False or None, or a list of these."""
    for value in written if isinstance(written, list | tuple) else [written]:
        is_long = isinstance(value, int) and abs(value) >= 2**63
        if is_long or not isinstance(value, str | int | float | None):
            what = "a number of so many digits" if is_long else shown(value)
            raise InputError(f"{place} must be made of numbers and words; {what} is neither.")


def _range(place: str, written: str, name: str, inside: str, seed: int) -> Dimension:
    forms = ("uniform", "log_uniform", "integers", "seeds")
    if name not in forms:
        raise InputError(f"{place}={written}: there are {', '.join(forms)}, and no {name}.")
    numbers = _literal(f"[{inside}]")
    if not isinstance(numbers, list) or any(
        isinstance(number, bool) or not isinstance(number, int | float) for number in numbers
    ):
        raise InputError(f"{place}={written}: between the brackets must be numbers.")
    refuse_odd(place, numbers)
    if name == "seeds":
        if place != f"sweep.{SEED}":
            raise InputError(f"{place}={written}: seeds(NUMBER) is for sweep.{SEED} only.")
        if not (len(numbers) == 1 and numbers[0] in range(1, MOST_VALUES + 1)):
            raise InputError(
                f"{place}={written}: give the number of seeds, from 1 to {MOST_VALUES:,}."
            )
        return Values(tuple(range(seed, seed + int(numbers[0]))))
    if len(numbers) != 2:
        raise InputError(f"{place}={written}: give two numbers, {name}(LOW, HIGH).")
    low, high = numbers
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{place}={written}: both ends must be finite.")
    if name == "log_uniform" and min(low, high) <= 0:
        raise InputError(f"{place}={written}: on a logarithmic range both ends are above 0.")
    if low >= high:
        raise InputError(f"{place}={written} is upside down: the first must be below the second.")
    if not math.isfinite(high / low if name == "log_uniform" else high - low):
        raise InputError(f"{place}={written} is too wide for a number of 64 bits.")
    if name == "integers":
        if not (isinstance(low, int) and isinstance(high, int)):
            raise InputError(f"{place}={written}: both ends must be whole numbers.")
        return Integers(low, high)
    return Range(float(low), float(high), is_log=name == "log_uniform")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
