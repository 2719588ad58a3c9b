"""How the points of a sweep are chosen: the rows of STRATEGIES, or one of the user's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.choice import explain_own
from mlpvis_jax.settings.declared import shown
from mlpvis_jax.sweep.space import Point, Space, Values


class Strategy(Protocol):
    """Chooses the points of a sweep.

    Attributes:
      knows_points: every point is known before any trial has ended, and `point` gives it; otherwise
        `suggest` chooses points from what the trials so far have measured.
      first_points: (may be left out) so many points `suggest` chooses without a look at results.
    """

    knows_points: bool

    def max_points(self, space: Space) -> int | None:
        """Counts the points that there are; None where there is no end of them.

        Raises:
          InputError: the strategy does not fit the space.
        """

    def point(self, space: Space, index: int, seed: int) -> Point:
        """Gives the point of an index; it depends on nothing but the arguments."""

    def suggest(self, sweep: Any, number: int, rows: Sequence[Mapping[str, Any]]) -> list[Point]:
        """Chooses new points.

        Args:
          sweep: a `definition.Sweep`.
          number: of points.
          rows: of all trials so far, see `store.Store.rows`.
        """

    def check(self) -> None:
        """Raises InputError where a package that the strategy needs is not installed."""


class _Known:
    """A strategy whose points are known from the start."""

    knows_points = True

    def suggest(self, sweep: Any, number: int, rows: Sequence[Mapping[str, Any]]) -> list[Point]:
        raise AssertionError("its points are known")

    def check(self) -> None:
        pass


class Grid(_Known):
    """Every combination of the listed values; the last dimension changes fastest."""

    def max_points(self, space: Space) -> int | None:
        ranges = [
            f"sweep.{key}"
            for key, dimension in space.dimensions.items()
            if not isinstance(dimension, Values)
        ]
        if ranges:
            raise InputError(
                f"A grid is made of lists, and {', '.join(ranges)} is a range; give a list, or "
                "--sweep.strategy=random."
            )
        return space.grid_size

    def point(self, space: Space, index: int, seed: int) -> Point:
        return space.grid_point(index)


class Random(_Known):
    """Points drawn at random; of lists alone, none comes again before all have come."""

    def max_points(self, space: Space) -> int | None:
        return None

    def point(self, space: Space, index: int, seed: int) -> Point:
        return space.random_point(index, seed)


class Tpe:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011); see `tpe`."""

    knows_points = False
    first_points = 10  # which Optuna draws at random

    def max_points(self, space: Space) -> int | None:
        return None

    def point(self, space: Space, index: int, seed: int) -> Point:
        raise AssertionError("its points depend on results")

    def suggest(self, sweep: Any, number: int, rows: Sequence[Mapping[str, Any]]) -> list[Point]:
        from mlpvis_jax.sweep import tpe  # which knows the sweep, which knows its strategy

        return tpe.suggest(sweep, number, rows)

    def check(self) -> None:
        from mlpvis_jax.sweep import tpe

        tpe.optuna()


def make(found: Callable[..., Any], path: str, needed: Sequence[str], *arguments: Any) -> Any:
    """Calls what a setting names, be it a row of a table or the user's own.

    Args:
      found: what is named.
      path: the setting and its value, for messages.
      needed: attributes that what comes out must have.
      arguments: of the call.

    Raises:
      InputError: it cannot be called so, or what comes out lacks an attribute.
    """
    with explain_own(f"{path} cannot be used"):
        made = found(*arguments)
    lacking = [name for name in needed if not hasattr(made, name)]
    if lacking:
        raise InputError(
            f"{path} cannot be used: it gives {shown(made)}, which lacks {', '.join(lacking)}."
        )
    return made


STRATEGIES: Mapping[str, Callable[[], Strategy]] = {"grid": Grid, "random": Random, "tpe": Tpe}
