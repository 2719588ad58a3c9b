"""What a sweep may ask for: every model, source and weights of its trials, looked at beforehand."""

import dataclasses
from typing import Any

from mlpvis_jax.data import Source
from mlpvis_jax.errors import InputError
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.own_functions import check_functions
from mlpvis_jax.running.stream import refuse_workers_without_room
from mlpvis_jax.running.task import Task, is_streamed, open_data
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.durations import Duration
from mlpvis_jax.sweep.data import INITIAL, data_key, find_weights
from mlpvis_jax.sweep.definition import Settings, Sweep, config_of
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.space import Space

# Settings that do nothing where another one is None.
_NEEDS = {
    "reduce_on_plateau.factor": "reduce_on_plateau.patience",
    "reduce_on_plateau.min_delta": "reduce_on_plateau.patience",
    "init_from_resolution": "init_from",
}


def check_settings(sweep: Sweep) -> None:
    """Refuses settings of a new sweep that do nothing, or that contradict each other.

    One that was begun with them goes on.

    Raises:
      InputError: naming the settings.
    """
    _refuse_idle_dimensions(sweep)
    settings, seeds = sweep.settings, len(sweep.space.seeds)
    together = settings.trials_per_program
    if sweep.cull_epochs and together is not None and together < seeds:
        raise InputError(
            f"sweep.trials_per_program is {together}, but with sweep.cull_epochs the {seeds} seeds "
            f"of a point train together, for they are culled by their mean; give at least {seeds}."
        )
    if not sweep.cull_epochs and settings.cull_factor != Settings.cull_factor:
        raise InputError(
            f"sweep.cull_factor is {settings.cull_factor}, but without sweep.cull_epochs no trial "
            "is culled; give both, or neither."
        )
    if settings.strategy == "grid" and settings.suggestion_seed != Settings.suggestion_seed:
        raise InputError(
            f"sweep.suggestion_seed is {settings.suggestion_seed}, but a grid draws nothing; leave "
            "it out, or give another sweep.strategy. The seed of the trials is sweep.seed."
        )


def _refuse_idle_dimensions(sweep: Sweep) -> None:
    """Raises InputError for a dimension that does nothing while another setting is off."""
    values, dimensions = config_of(sweep.base, {}).flat(), sweep.space.dimensions
    for key, needed in _NEEDS.items():
        if key in dimensions and needed not in dimensions and values[needed] is None:
            raise InputError(
                f"sweep.{key} does nothing while config.{needed} is None; set config.{needed}, or "
                f"leave sweep.{key} out."
            )


def check_trials(sweep: Sweep, folder: SweepFolder) -> list[str]:
    """Builds every model, looks for every source, and matches all weights that trials begin with.

    Losses and metrics are tried on a few examples. Weights of a sweep that goes on may be gone.

    Returns:
      A line about each of the weights.

    Raises:
      InputError: something that cannot be; the message names the trial.
    """
    known = sweep.strategy.knows_points
    points = map(sweep.point, range(sweep.num_points)) if known else sweep.space.corners()
    shapes: set[Any] = set()
    sources: dict[Any, Source] = {}
    begins: dict[str, None] = {}
    checked: set[Any] = set()
    for point in points:
        # A number that is zero switches something off, with which others may not fit.
        zeros = tuple(key for key, value in point.items() if value == 0)
        shape = (sweep.shape_of_point(point), zeros, *(point.get(key) for key in INITIAL))
        if shape in shapes:
            continue
        shapes.add(shape)
        try:
            config = config_of(sweep.base, point)
            key = data_key(config)
            if key not in sources:
                sources[key] = open_data(config)
                _refuse_several_orders(sweep, config, sources[key])
            refuse_workers_without_room(sources[key], config)
            functions = repr(config.loss), config.metrics, bool(config.mix), key
            if functions not in checked:
                check_functions(config, sources[key].num_classes)
                checked.add(functions)
            goes_on = folder.definition.exists()
            initial = find_weights(config, sources[key], sweep, folder, goes_on)
        except InputError as error:
            values = ", ".join(f"{key}={value}" for key, value in point.items())
            named = f"The sweep's point {values}" if values else "The sweep"
            raise InputError(f"{named}: {error}") from None
        if initial is not None:
            begins[initial.described] = None
    return list(begins)


def check_with_data(sweep: Sweep, task: Task) -> list[Length]:
    """Checks what it takes the data to know.

    All trials have as many training examples, unless the data are swept.

    Returns:
      The lengths that trials have at the extremes of the space.

    Raises:
      InputError: a batch size of no use, or a cull that comes too late.
    """
    dimensions = sweep.space.dimensions
    decisive = {key: dimensions[key] for key in ("duration", "batch_size") if key in dimensions}
    corners = Space(decisive, sweep.space.seeds).corners()
    configs = [config_of(sweep.base, corner) for corner in corners]
    lengths = [Length.of(config, len(task.training)) for config in configs]
    if not any(key.startswith("data.") for key in dimensions):
        task.training.refuse_larger_batch(max(config.batch_size for config in configs))
        sweep.check_cull_epochs(max(length.num_epochs for length in lengths))
    if "schedule.warmup" not in dimensions:
        return lengths
    warmups = [Duration(one) for one in dimensions["schedule.warmup"].extremes]
    return [
        dataclasses.replace(length, warmup_steps=float(one.steps(len(task.training), batch_size)))
        for length, batch_size in zip(lengths, (one.batch_size for one in configs), strict=True)
        for one in warmups
    ]


def _refuse_several_orders(sweep: Sweep, config: RunConfig, source: Source) -> None:
    """Raises InputError where trials of several seeds are to see the images of one stream."""
    if len(sweep.space.seeds) > 1 and is_streamed(config, source):
        raise InputError(
            f"its images are streamed (config.data.feed={config.data.feed}), once for all trials "
            "that train together, in the order that their seed decides, so a sweep has one seed: "
            "leave out --sweep.seed and give --config.seed, a sweep for each, or set "
            "config.data.feed=resident."
        )
