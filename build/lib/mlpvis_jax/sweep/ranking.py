"""Which point of a sweep is best: means over seeds, with a confidence interval."""

import collections
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.sweep.culling import score_of
from mlpvis_jax.sweep.space import SEED

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A point with its trials.

    Attributes:
      rows: of its trials, see `store.Store.rows`, by seed.
      score: their mean; lower is better.
    """

    rows: Sequence[Row]
    score: float

    @property
    def values(self) -> dict[str, Any]:
        """Of each dimension but the seed."""
        return {key: value for key, value in self.rows[0]["values"].items() if key != SEED}

    @property
    def states(self) -> str:
        """Such as "finished" or "2 finished, 1 culled"."""
        counts = collections.Counter(describe_state(row) for row in self.rows)
        if len(self.rows) == 1:
            return next(iter(counts))
        return ", ".join(f"{number} {state}" for state, number in counts.items())

    def measured(self, name: str) -> list[float]:
        """What the trials have measured of it."""
        found = [row.get(name) for row in self.rows]
        return [value for value in found if value is not None]


def rank(rows: Sequence[Row], objective: str) -> list[Ranked]:
    """The points of these trials, the best first."""
    by_point = collections.defaultdict(list)
    for row in rows:
        by_point[row["point"]].append(row)
    ranked = []
    for some in by_point.values():
        scores = [score_of(row["history"], objective) for row in some]
        ranked.append(Ranked(some, sum(scores) / len(scores)))
    # A culled point has had fewer epochs, and its worth was known to be less when it ended.
    return sorted(ranked, key=lambda one: (_was_culled(one), one.score, one.rows[0]["point"]))


def _was_culled(one: Ranked) -> bool:
    return any(row["state"] == "culled" for row in one.rows)


def describe_state(row: Row) -> str:
    """Such as "culled at 5"."""
    if row["state"] in ("culled", "diverged"):
        return f"{row['state']} at {row['epochs']}"
    return row["state"]


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % confidence interval (Student's t; NaN for one)."""
    from scipy.special import stdtrit

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, 0.975)) * error


def percent(values: Sequence[float]) -> str:
    """Such as "47.70 ± 0.31", or "47.70" of a single one, or "" of none."""
    if not values:
        return ""
    mean, half = mean_and_interval([100 * value for value in values])
    return f"{mean:.2f}" if math.isnan(half) else f"{mean:.2f} ± {half:.2f}"


def short(value: Any) -> str:
    """A setting's value as it reads best."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
