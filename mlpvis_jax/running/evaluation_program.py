"""The compiled programs that find what is evaluated, and that measure it on a whole set."""

from typing import Any

import jax
import numpy as np

from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.evaluation import make_evaluation
from mlpvis_jax.learning.schedule_free import evaluated, is_schedule_free
from mlpvis_jax.learning.state import TrainState
from mlpvis_jax.learning.step import Learner
from mlpvis_jax.running.placement import Layout, Placement
from mlpvis_jax.running.processes import wait_for_all
from mlpvis_jax.running.stream import evaluation_feed
from mlpvis_jax.running.task import ImageSet

_NO_STEP = np.int32(0)


class WeightsProgram:
    """Finds the weights of a state that are evaluated and kept; compiled when it is made.

    Args:
      placement: where it runs.
      state: of any runs, on the devices; only its types matter here.
    """

    def __init__(self, placement: Placement, state: TrainState) -> None:
        self._evaluated = None
        if is_schedule_free(state.opt_state):
            self._evaluated = placement.compile(
                evaluated, [Layout.PER_RUN] * 2, (state.params, state.opt_state)
            )

    def __call__(self, num_runs: int, state: TrainState) -> dict[str, Any]:
        """Returns `params` and `averaged` of each run, on the devices."""
        params = state.params
        if self._evaluated is not None:
            params = self._evaluated(num_runs, params, state.opt_state)
        return {"params": params, "averaged": state.averaged}


class EvaluationProgram:
    """Sums over a whole set, exact; compiled when it is made, for parameters like these."""

    def __init__(
        self,
        placement: Placement,
        learner: Learner,
        examples: ImageSet,
        batch_size: int,
        params: Any,
        workers: int = 0,
    ) -> None:
        self._placement = placement
        self._metrics = learner.metrics
        self._feed = evaluation_feed(placement, examples, batch_size, workers)
        no_sums = metrics.no_sums(learner.metrics, learner.num_classes)
        self._no_sums = placement.place([no_sums])
        chunk = self._feed.example_chunk()
        self._evaluate = placement.compile(
            make_evaluation(learner, self._feed.batch, placement.axis_names),
            (*[Layout.PER_RUN] * 2, *[Layout.SHARED] * 2, *[Layout.SCALAR] * 2),
            (params, self._no_sums, self._feed.resident, chunk.data, _NO_STEP, _NO_STEP),
        )
        # One that has found its program would wait in a collective for those that compile, and that
        # of CPUs gives up after half a minute.
        wait_for_all()

    def __call__(self, num_runs: int, params: Any) -> list[dict[str, Any]]:
        """Measures parameters that are on the devices: the metrics of each run, by name."""
        sums = self._no_sums
        for data, first, number in self._feed.chunks():
            before = sums
            sums = self._evaluate(
                num_runs, params, sums, self._feed.resident, data, np.int32(first), np.int32(number)
            )
            jax.block_until_ready(before)  # so that no more than two chunks are on the devices
        fetched = self._placement.fetch(sums, num_runs)
        return [metrics.means_of(self._metrics, one) for one in fetched]
