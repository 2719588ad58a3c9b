"""How much each dimension of a sweep matters: functional ANOVA (Hutter et al., 2014), by Optuna."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.sweep.culling import score_of
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.tpe import distributions, optuna

_LEAST_TRIALS = 4


def importances(sweep: Sweep, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Computes which share of the variance between trials each dimension explains by itself.

    A forest of regression trees is fitted to the trials' scores, and its variance is that over the
    whole space, of a logarithmic range evenly in the logarithm, as its values are drawn. A culled
    trial counts with the score that it had; one that diverged is left out.

    Args:
      sweep: its space and objective.
      rows: of all trials, see `store.Store.rows`.

    Returns:
      The shares by key, the largest first; what they lack of 1 only several dimensions together
      explain. {} of a single dimension, of fewer than four trials, or of trials that all came to
      the same.

    Raises:
      InputError: Optuna is not installed.
    """
    objective = sweep.settings.objective
    scores = {row["trial"]: score_of(row, objective) for row in rows}
    finite = [row for row in rows if math.isfinite(scores[row["trial"]])]
    kinds = distributions(sweep)
    varied = {key for key in kinds if len({repr(row["values"][key]) for row in finite}) > 1}
    differ = len({scores[row["trial"]] for row in finite}) > 1
    if len(finite) < _LEAST_TRIALS or len(varied) < 2 or not differ:
        return {}
    library = optuna()
    # Optuna's fANOVA takes all ranges for linear, also those that are not.
    logarithmic = {key: one for key, one in kinds.items() if getattr(one, "log", False)}
    for key, one in logarithmic.items():
        low, high = math.log(one.low), math.log(one.high)
        kinds[key] = library.distributions.FloatDistribution(low, high)
    study = library.create_study()
    for row in finite:
        study.add_trial(
            library.trial.create_trial(
                value=scores[row["trial"]],
                params={
                    key: math.log(row["values"][key]) if key in logarithmic else row["values"][key]
                    for key in kinds
                },
                distributions=kinds,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, of what it will change
        found = library.importance.get_param_importances(
            study,
            evaluator=library.importance.FanovaImportanceEvaluator(seed=0),
            params=sorted(varied),
            normalize=False,
        )
    return {key: float(share) for key, share in found.items() if math.isfinite(share)}


def described(sweep: Sweep, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], str]:
    """Computes the importances, and says them, or why there are none, in a line; "" for nothing."""
    if len(sweep.space.dimensions) < 2:
        return {}, ""
    try:
        found = importances(sweep, rows)
    except InputError:
        needed = "pip install 'mlpvis_jax[sweep]'"
        return {}, f"How much each dimension matters is computed where Optuna is: {needed}."
    shares = ", ".join(f"{key} {share:.0%}" for key, share in found.items())
    return found, f"Importance, by fANOVA: {shares}" if found else ""
