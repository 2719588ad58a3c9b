"""Points chosen by Optuna's tree-structured Parzen estimator (Bergstra et al., 2011)."""

import collections
import math
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.sweep import space
from mlpvis_jax.sweep.culling import score_of
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.records import RUNNING
from mlpvis_jax.sweep.space import Point


def optuna() -> ModuleType:
    """Imports Optuna, and keeps it quiet.

    Raises:
      InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "--sweep.strategy=tpe and --storage need Optuna: pip install 'mlpvis_jax[sweep]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
    return optuna


def sampler(sweep: Sweep, chosen: int) -> Any:
    """Makes a TPE sampler whose state depends only on how many points have been chosen."""
    sequence = np.random.SeedSequence([sweep.settings.suggestion_seed, chosen])
    # Points that are still trained count as bad ones, so that a group's are spread out.
    return optuna().samplers.TPESampler(
        seed=int(sequence.generate_state(1)[0]),
        multivariate=True,
        constant_liar=True,
    )


def distributions(sweep: Sweep) -> dict[str, Any]:
    """Writes the space in Optuna's terms."""
    kinds = optuna().distributions

    def of(dimension: space.Dimension) -> Any:
        if isinstance(dimension, space.Range):
            return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
        if isinstance(dimension, space.Integers):
            return kinds.IntDistribution(dimension.low, dimension.high)
        return kinds.CategoricalDistribution(dimension.values)

    return {key: of(dimension) for key, dimension in sweep.space.dimensions.items()}


def rounded(sweep: Sweep, params: Mapping[str, Any]) -> Point:
    """Rounds a suggestion to as many digits as a person reads, within its ranges."""
    point = {}
    for key, dimension in sweep.space.dimensions.items():
        value = params[key]
        if isinstance(dimension, space.Range):
            value = dimension.rounded(value)
        point[key] = value
    return point


def score_of_point(sweep: Sweep, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Averages the scores of a point's trials; None while one goes on, infinite if one diverged.

    Args:
      sweep: with the objective.
      rows: of the point's trials, see `store.Store.rows`.
    """
    if len(rows) < len(sweep.space.seeds) or any(row["state"] == RUNNING for row in rows):
        return None
    scores = [score_of(row, sweep.settings.objective) for row in rows]
    return sum(scores) / len(scores)


def suggest(sweep: Sweep, number: int, rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Suggests new points, from what is known of the old ones.

    Args:
      sweep: its space and objective.
      number: of points.
      rows: of all trials so far, see `store.Store.rows`.
    """
    library = optuna()
    states = library.trial.TrialState
    by_point = collections.defaultdict(list)
    for row in rows:
        by_point[row["point"]].append(row)
    study = library.create_study(sampler=sampler(sweep, len(by_point)))
    kinds = distributions(sweep)
    scores = {point: score_of_point(sweep, some) for point, some in by_point.items()}
    finite = [score for score in scores.values() if score is not None and math.isfinite(score)]
    for point, some in sorted(by_point.items()):
        score = scores[point]
        if score is not None and not math.isfinite(score):
            score = max(finite, default=0.0) + 1.0  # diverged: worse than all
        params = {key: some[0]["values"][key] for key in kinds}
        study.add_trial(
            library.trial.create_trial(
                state=states.RUNNING if score is None else states.COMPLETE,
                value=score,
                params=params,
                distributions=kinds,
            )
        )
    return [rounded(sweep, study.ask(kinds).params) for _ in range(number)]
