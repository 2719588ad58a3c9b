"""The compiled programs of runs of one shape, with the data they work on: train, validate, test."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.learning.step import Learner, make_dispatch, make_step
from mlpvis_jax.running.evaluation_program import EvaluationProgram, WeightsProgram
from mlpvis_jax.running.feed import Feed
from mlpvis_jax.running.placement import Layout, Placement, num_microbatches
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.stream import training_feed
from mlpvis_jax.running.task import ImageSet, Task
from mlpvis_jax.settings.config import RunConfig

_PER_RUN, _SHARED, _SCALAR = Layout.PER_RUN, Layout.SHARED, Layout.SCALAR
_NO_STEP = np.int32(0)


class Dispatch(NamedTuple):
    """Some steps of an epoch.

    Attributes:
      state, totals: after them, on the devices.
      totals_before: of each run before them, on the host.
      number: of steps.
    """

    state: TrainState
    totals: EpochTotals
    totals_before: list[EpochTotals]
    number: int


class TrainingProgram:
    """Epochs over the batches of a feed; compiled when it is made.

    Args:
      placement: where it runs.
      learner: the functions that a step is made of.
      feed: of the training set.
      parts: microbatches of a device.
      state, numbers: of any runs, on the devices; only their types matter here.
    """

    def __init__(
        self,
        placement: Placement,
        learner: Learner,
        feed: Feed,
        parts: int,
        state: TrainState,
        numbers: Any,
    ) -> None:
        self.feed = feed
        self._placement = placement
        no_sums = metrics.no_sums(learner.metrics, learner.num_classes)
        totals = placement.place([EpochTotals.zero(no_sums)])
        step = make_step(learner, placement.axis_names, parts)
        self._dispatch = placement.compile(
            make_dispatch(step, feed.batch),
            (_PER_RUN, _PER_RUN, _SHARED, feed.layout, _SCALAR, _SCALAR, _PER_RUN),
            (state, totals, feed.resident, feed.example_chunk().data, _NO_STEP, _NO_STEP, numbers),
            donate=0,
        )

    def run_epoch(
        self,
        num_runs: int,
        state: TrainState,
        totals: EpochTotals,
        numbers: Any,
        epoch: int,
        steps: range,
        steps_per_dispatch: int,
    ) -> Iterator["Dispatch"]:
        """Takes training examples once, in the epoch's own order, a dispatch at a time.

        Args:
          num_runs: runs in use.
          state: on the devices; its memory is taken over.
          totals: of the steps that this epoch has already taken, on the devices.
          numbers: the traced settings of this epoch, on the devices.
          epoch: from 1.
          steps: of the epoch, from 0: those to take, in their order.
          steps_per_dispatch: at most.

        Yields:
          Each dispatch, which may still be running: only the one before it is done, so that the
          devices always have work.
        """
        at, end, most = steps.start, steps.stop, steps_per_dispatch
        for data, first, number in self.feed.chunks(num_runs, numbers["seed"], epoch, at, most):
            before, number = totals, min(number, end - at)
            state, totals = self._dispatch(
                num_runs, state, before, self.feed.resident, data, np.int32(first),
                np.int32(number), numbers,
            )  # fmt: skip
            yield Dispatch(state, totals, self._placement.fetch(before, num_runs), number)
            at += number
            if at == end:
                return


class Programs:
    """All that is compiled for runs of one shape: training and validation, and the test.

    The first two are compiled when `compile` is called, the test when it is first asked for.

    Args:
      configs: of the runs, equal in all that shapes a program; see `choices.program_key`.
      task: what they train on.
      placement: where they run.
      plan: what they compute, if it is not what the configs say.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        task: Task,
        placement: Placement,
        plan: Plan | None = None,
    ) -> None:
        self.placement = placement
        self.task = task
        self.plan = Plan.of(configs, task) if plan is None else plan
        self._config = config = configs[0]
        self._parts = num_microbatches(placement, config.batch_size, config.microbatch_size)
        self._batch_size = -(-config.batch_size // self._parts)  # images in memory at once
        # As long a dispatch as a solo run's, though a device takes its runs in turns.
        self.steps_per_dispatch = max(1, config.steps_per_dispatch // placement.rounds)
        self.steps_per_epoch = -(-len(task.training) // config.batch_size)
        self.are_compiled = False
        self._test: EvaluationProgram | None = None

    def compile(self, state: TrainState) -> None:
        """Compiles training and validation, if they are not compiled yet.

        Args:
          state: of any run, on the devices; only its types matter here.
        """
        if self.are_compiled:
            return
        placement, config, learner = self.placement, self._config, self.plan.learner
        seeds = placement.place([np.uint32(config.seed)])
        feed = training_feed(placement, self.task.training, config, self._parts, seeds)
        numbers = placement.place([self.plan.numbers(config)])
        self.training = TrainingProgram(placement, learner, feed, self._parts, state, numbers)
        self.weights = WeightsProgram(placement, state)
        self._validation = self._evaluation(self.task.validation, state.params)
        self.are_compiled = True

    def validate(self, num_runs: int, params: Any) -> list[dict[str, Any]]:
        """Measures parameters that are on the devices on the validation set."""
        return self._validation(num_runs, params)

    def test(self, params: Sequence[Any]) -> list[dict[str, Any]]:
        """Measures any number of parameters, which are on the host, on the test set."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(params), self.placement.capacity):
            some = params[start : start + self.placement.capacity]
            placed = self.placement.place(some)
            if self._test is None:
                self._test = self._evaluation(self.task.test, placed)
            found += self._test(len(some), placed)
        return found

    def _evaluation(self, examples: ImageSet, params: Any) -> EvaluationProgram:
        given = self.placement, self.plan.learner, examples, self._batch_size, params
        return EvaluationProgram(*given, self._config.data.workers)
