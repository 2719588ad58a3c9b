"""Successive halving: after chosen epochs the worse points end, and the others go on.

It is the asynchronous form (Li et al., 2020): a group is compared with all trials of the sweep that
have come as far, whoever trained them, and waits for none. Seeds of one point train together: a
point counts by their mean, so that no point looks good by the luck of a seed.
"""

import collections
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mlpvis_jax.running.outcome import DIVERGED
from mlpvis_jax.sweep.definition import Trial

Record = Mapping[str, Any]


def score_of(row: Mapping[str, Any], objective: str) -> float:
    """Scores what a trial is worth so far; lower is better.

    It is that of the epoch of the lowest validation loss, whose weights are kept; infinite where
    the trial diverged, however good its epochs before were, and where it has had none.

    Args:
      row: the trial's state and history, see `store.Store.rows`.
      objective: "validation_loss" or "validation_accuracy".
    """
    if row["state"] == DIVERGED:
        return math.inf
    losses = [(record["validation_loss"], record) for record in row["history"]]
    finite = [pair for pair in losses if pair[0] is not None and math.isfinite(pair[0])]
    if not finite:
        return math.inf
    best = min(finite, key=lambda pair: pair[0])[1]
    return -best["validation_accuracy"] if objective == "validation_accuracy" else best[objective]


def rows_at(epoch: int, rows: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Lists the rows of the trials that have come to an epoch or diverged, as they were then."""
    return {
        number: {**row, "history": row["history"][:epoch]}
        for number, row in rows.items()
        if len(row["history"]) >= epoch or row["state"] == DIVERGED
    }


def culled(
    candidates: Collection[Trial],
    scores: Mapping[int, float],
    points: Mapping[int, int],
    factor: float,
) -> set[int]:
    """Lists the numbers of the candidates that end here.

    Args:
      candidates: trials that are at the epoch and would go on.
      scores: of all trials that have come to this epoch, the candidates too, by number; infinite
        for those that diverged, on the way or later.
      points: of those trials, by number.
      factor: of all points that came here, one in so many goes on, and at least one.
    """
    by_point = collections.defaultdict(list)
    for number, score in scores.items():
        by_point[points[number]].append(score)
    means = {point: sum(values) / len(values) for point, values in by_point.items()}
    ranked = sorted(means, key=lambda point: (means[point], point))
    kept = set(ranked[: max(1, math.floor(len(ranked) / factor))])
    return {trial.number for trial in candidates if trial.point not in kept}


def expected_epochs(done: int, last: int, cull_epochs: Sequence[int], factor: float) -> float:
    """Counts the epochs that a trial which goes on will still have, on average over the trials.

    Args:
      done: epochs of the trial so far.
      last: epochs of a trial that is never culled.
      cull_epochs: after which one trial in `factor` goes on.
      factor: see `culled`.
    """
    share, expected = 1.0, 0.0
    for epoch in sorted(epoch for epoch in cull_epochs if done < epoch < last):
        expected += share * (epoch - done)
        share, done = share / factor, epoch
    return expected + share * (last - done)
