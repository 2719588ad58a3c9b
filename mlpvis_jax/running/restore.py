"""Where a group of runs begins: at its newest checkpoint, or before the first step."""

from collections.abc import Sequence
from typing import Any

import jax

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.learning.metrics import no_sums
from mlpvis_jax.learning.state import TrainState
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.processes import in_turn, refuse_different
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.running.run import Observer, Run
from mlpvis_jax.running.start import given_params, refuse_other_weights
from mlpvis_jax.settings.config import RunConfig


def restore_or_start(
    runs: Sequence[Run], programs: Programs, checkpoints: Checkpoints, observer: Observer
) -> tuple[list[Run], list[TrainState]]:
    """Takes up the newest checkpoint, but for runs that ended after it; or begins.

    Args:
      runs: of the group; their length and their progress are set.
      programs: of the group.
      checkpoints: of the group.
      observer: hears of each run that begins.

    Returns:
      The runs that go on, and the state of each on the host.
    """
    plan = programs.plan
    nothing = no_sums(plan.learner.metrics, plan.learner.num_classes)
    like = plan.state_shapes(runs[0].config)
    shapes = RunProgress.start(runs[0].config, like, nothing).arrays(like)

    def stacked(values: dict[str, Any]) -> Any:
        place = f"What trains in {checkpoints.folder.parent}"
        programs.task.refuse_other(values["data"], place)
        axis = (len(values["runs"]),)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*axis, *leaf.shape), leaf.dtype), shapes
        )

    for run in runs:
        run.length = Length.of(run.config, len(programs.task.training))
    with in_turn():  # the first puts damaged ones aside
        saved = checkpoints.newest(stacked)
    step = None if saved is None else checkpoints.last_step
    refuse_different(lambda: {"step of the newest checkpoint": step})
    if saved is None:
        states = [
            plan.initial_state(run.config, given_params(run.config, run.initial)) for run in runs
        ]
        for run, state in zip(runs, states, strict=True):
            observer.begins(run, None)
            run.progress = RunProgress.start(run.config, state, nothing)
            run.progress.initial_weights = run.initial and run.initial.digest
        return list(runs), states
    by_number = {run.number: run for run in runs}
    going_on, states = [], []
    for index, number in enumerate(saved.values["runs"]):
        if number in by_number:
            run = by_number[number]
            before = RunConfig.from_mapping(saved.values["configs"][index])
            observer.begins(run, before)
            arrays = jax.tree.map(lambda leaf: leaf[index], saved.arrays)  # noqa: B023
            run.progress, state = RunProgress.of(arrays, saved.values["progress"][index], like)
            run.divergence = saved.values["divergences"][index]
            place = f"The run in {run.folder.path}"
            epochs, step = len(run.progress.history), run.progress.step
            run.length.refuse_cut_epoch(epochs, step, place)
            refuse_other_weights(run.progress.initial_weights, run.initial, run.config, place)
            going_on.append(run)
            states.append(state)
    return going_on, states
