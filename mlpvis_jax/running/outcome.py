"""What is left of a run that has ended: how it ended, its results, and what its weights need."""

import dataclasses
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import mlpvis_jax
from mlpvis_jax.files.weights import count_parameters
from mlpvis_jax.running.placement import Placement, describe_devices
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig

FINISHED, STOPPED, CULLED, DIVERGED = "finished", "stopped early", "culled", "diverged"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      state: FINISHED, STOPPED, CULLED or DIVERGED.
      results: what results.json holds; {} of a run that was not tested.
      message: what is no longer finite, or None.
    """

    state: str
    results: dict[str, Any]
    message: str | None

    @classmethod
    def of(
        cls,
        progress: RunProgress,
        divergence: str | None,
        is_culled: bool,
        results: dict[str, Any],
    ) -> "Outcome":
        """Says how a run ended."""
        ended = STOPPED if progress.stopping.should_stop else FINISHED
        state = DIVERGED if divergence else CULLED if is_culled else ended
        return cls(state, results, divergence)


def results_of(
    progress: RunProgress,
    tested: Mapping[str, Any],
    averaged: Mapping[str, Any],
    placement: Placement,
) -> dict[str, Any]:
    """Lists what results.json holds of a run that is over.

    Args:
      progress: where the run stands.
      tested: metrics of the best weights on the test set.
      averaged: those of the best averaged weights; {} where none are kept.
      placement: where the run was computed.
    """
    return {
        **{f"test_{name}": value for name, value in tested.items()},
        **{f"averaged_test_{name}": value for name, value in averaged.items()},
        "best_epoch": progress.stopping.best_epoch,
        "epochs": len(progress.history),
        "stopped_early": progress.stopping.should_stop,
        "seconds": sum(record["seconds"] for record in progress.history),
        "parameters": count_parameters(progress.best_params),
        "device": describe_devices(placement.devices),
        "versions": versions(),
    }


def describe_weights(
    config: RunConfig, task: Task, initial_weights: str | None = None
) -> dict[str, Any]:
    """Lists what stands beside weights in their file: all that it takes to use them.

    Args:
      config: of the run.
      task: what it trained on.
      initial_weights: the digest of the weights that it started from.
    """
    started = {} if initial_weights is None else {"initial_weights": initial_weights}
    return {
        "model": config.to_dict()["model"],
        "class_names": task.source.class_names,
        "normalization_mean": task.normalization.mean.tolist(),
        "normalization_deviation": task.normalization.deviation.tolist(),
        "framing": config.data.framing,
        "data": task.identity,
        **started,
    }


def versions() -> dict[str, str]:
    """Lists the versions of this package and of those that decide what it computes."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "mlpvis_jax": mlpvis_jax.__version__,
        **{package: metadata.version(package) for package in packages},
    }
