"""The test of runs that are over: what results.json holds of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.running.outcome import results_of
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.run import Run


def measure_best(programs: Programs, runs: Sequence[Run]) -> dict[int, dict[str, Any]]:
    """Tests the best weights of runs, and their best averaged ones where these are kept.

    Args:
      programs: of the runs.
      runs: those that are over.

    Returns:
      What results.json holds, by the number of the run.
    """
    tested = programs.test([run.progress.best_params for run in runs])
    averaged: Sequence[Mapping[str, Any]] = [{}] * len(runs)
    if programs.plan.is_averaged:
        averaged = programs.test([run.progress.best_averaged for run in runs])
    return {
        run.number: {
            **results_of(run.progress, tested[index], averaged[index], programs.placement),
            "duration": run.config.duration,
        }
        for index, run in enumerate(runs)
    }
