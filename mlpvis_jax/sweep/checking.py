"""What a sweep may ask for: every model, source and weights of its trials, looked at beforehand."""

from typing import Any

from mlpvis_jax.data import Source
from mlpvis_jax.errors import InputError
from mlpvis_jax.running.task import is_streamed, open_data
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.data import INITIAL, data_key, find_weights
from mlpvis_jax.sweep.definition import Settings, Sweep, config_of
from mlpvis_jax.sweep.folder import SweepFolder


def check_settings(sweep: Sweep) -> None:
    """Refuses settings of a new sweep that do nothing, or that contradict each other.

    One that was begun with them goes on.

    Raises:
      InputError: naming the settings.
    """
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


def check_trials(sweep: Sweep, folder: SweepFolder) -> list[str]:
    """Builds every model, looks for every source, and matches all weights that trials begin with.

    Weights of a sweep that goes on may be gone.

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
    for point in points:
        shape = (sweep.shape_of_point(point), *(point.get(key) for key in INITIAL))
        if shape in shapes:
            continue
        shapes.add(shape)
        try:
            config = config_of(sweep.base, point)
            key = data_key(config)
            if key not in sources:
                sources[key] = open_data(config)
                _refuse_several_orders(sweep, config, sources[key])
            goes_on = folder.definition.exists()
            initial = find_weights(config, sources[key], sweep, folder, goes_on)
        except InputError as error:
            values = ", ".join(f"{key}={value}" for key, value in point.items())
            named = f"The sweep's point {values}" if values else "The sweep"
            raise InputError(f"{named}: {error}") from None
        if initial is not None:
            begins[initial.described] = None
    return list(begins)


def _refuse_several_orders(sweep: Sweep, config: RunConfig, source: Source) -> None:
    """Raises InputError where trials of several seeds are to see the images of one stream."""
    if len(sweep.space.seeds) > 1 and is_streamed(config, source):
        raise InputError(
            f"its images are streamed (config.data.feed={config.data.feed}), once for all trials "
            "that train together, in the order that their seed decides, so a sweep has one seed: "
            "leave out --sweep.seed and give --config.seed, a sweep for each, or set "
            "config.data.feed=resident."
        )
