"""What a run starts from where its settings name weights: `config.init_from`."""

from collections.abc import Mapping

import numpy as np

from mlpvis_jax.data import Source
from mlpvis_jax.errors import InputError
from mlpvis_jax.running.choices import build_model
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.weights.initial import InitialWeights, Wanted, file_of, initial_weights


def find_initial_weights(
    config: RunConfig, source: Source, has_checkpoint: bool = False
) -> InitialWeights | None:
    """Reads the weights that a run starts from, and matches them to its model.

    Args:
      config: the settings.
      source: of the images.
      has_checkpoint: whether the run goes on from a checkpoint, which needs no weights but for
        `refuse_other_weights`: they may be gone then.

    Returns:
      The weights; None where the settings name none, or where they are gone and not needed.

    Raises:
      InputError: there are no weights, or they are of another model; nothing is computed then.
    """
    if config.init_from is None:
        return None
    if has_checkpoint:
        try:
            file_of(config.init_from)
        except InputError:
            return None
    size = config.model.image_size
    wanted = Wanted(
        build_model(config.model, source.num_classes),
        (size, size, source.image_shape[-1]),
        tuple(source.class_names),
        config.init_from_resolution,
    )
    return initial_weights(config.init_from, wanted)


def given_params(config: RunConfig, initial: InitialWeights | None) -> Mapping[str, np.ndarray]:
    """Lists the parameters that a run does not draw at random, by name.

    Raises:
      InputError: the settings name weights, and they are gone.
    """
    if initial is None and config.init_from is not None:
        raise InputError(
            f"config.init_from={config.init_from}: the run has yet to begin, and there are no such "
            "weights any more."
        )
    return {} if initial is None else initial.params


def refuse_other_weights(
    before: str | None, initial: InitialWeights | None, config: RunConfig, place: str
) -> None:
    """Raises InputError where a run began with other weights than those that are there now.

    Args:
      before: the digest of the weights that it began with, if it is known.
      initial: the weights that are there now, if any are.
      config: the settings of the run.
      place: such as "--workdir=runs/first".
    """
    if before is not None and initial is not None and before != initial.digest:
        raise InputError(
            f"{place} was begun with other weights than those that are at "
            f"config.init_from={config.init_from} now ({before[:8]} before, {initial.digest[:8]} "
            "now). Begin anew in another folder; to go on, put back the weights, or move them away."
        )
