"""Which point of a sweep is best: means over seeds, with a confidence interval."""

import collections
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.running.outcome import CULLED, DIVERGED
from mlpvis_jax.sweep.culling import score_of
from mlpvis_jax.sweep.space import SEED

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A point with its trials.

    Attributes:
      rows: of its trials, see `store.Store.rows`, by seed.
      score: the mean over those that did not diverge, infinite where all did; lower is better.
    """

    rows: Sequence[Row]
    score: float

    @property
    def values(self) -> dict[str, Any]:
        """Gives the value of each dimension but the seed."""
        return {key: value for key, value in self.rows[0]["values"].items() if key != SEED}

    @property
    def states(self) -> str:
        """Describes how the trials ended, such as "finished" or "2 finished, 1 culled"."""
        counts = collections.Counter(describe_state(row) for row in self.rows)
        if len(self.rows) == 1:
            return next(iter(counts))
        return ", ".join(f"{number} {state}" for state, number in counts.items())

    def measured(self, name: str) -> list[float]:
        """Lists what the trials that did not diverge have measured of it."""
        found = [row.get(name) for row in self.rows if row["state"] != DIVERGED]
        return [value for value in found if value is not None]


def rank(rows: Sequence[Row], objective: str) -> list[Ranked]:
    """Ranks the points of these trials, the best first."""
    by_point = collections.defaultdict(list)
    for row in rows:
        by_point[row["point"]].append(row)
    ranked = []
    for some in by_point.values():
        scores = [score_of(row, objective) for row in some if row["state"] != DIVERGED]
        ranked.append(Ranked(some, statistics.fmean(scores) if scores else math.inf))
    return sorted(ranked, key=_order)


def _order(one: Ranked) -> tuple[Any, ...]:
    """What sorts a point: those that diverge come last, whose seeds all do after the others.

    A culled point comes after those that ended: it has had fewer epochs, and its worth was known to
    be less when it ended.
    """
    diverged = [row["state"] == DIVERGED for row in one.rows]
    is_culled = any(row["state"] == CULLED for row in one.rows)
    return all(diverged), any(diverged), is_culled, one.score, one.rows[0]["point"]


def best_trial(ranked: Sequence[Ranked], objective: str) -> Row | None:
    """Finds the best trial of the best point; None where every trial diverged."""
    rows = [row for one in ranked[:1] for row in one.rows if row["state"] != DIVERGED]
    return min(
        rows, key=lambda row: (row["state"] == CULLED, score_of(row, objective)), default=None
    )


def describe_state(row: Row) -> str:
    """Describes how a trial ended, such as "culled at 5"."""
    if row["state"] in (CULLED, DIVERGED):
        return f"{row['state']} at {row['epochs']}"
    return row["state"]


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Computes the mean and half its 95 % confidence interval (Student's t; NaN for one value)."""
    from scipy.special import stdtrit

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, 0.975)) * error


def percent(values: Sequence[float]) -> str:
    """Writes values as "47.70 ± 0.31", or "47.70" where there is one, or "" where there is none."""
    if not values:
        return ""
    mean, half = mean_and_interval([100 * value for value in values])
    return f"{mean:.2f}" if math.isnan(half) else f"{mean:.2f} ± {half:.2f}"


def short(value: Any) -> str:
    """Writes a setting's value with seven digits, which tell apart what narrow ranges draw."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)
