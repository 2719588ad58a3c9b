"""Whether what a schedule, a loss and the metrics compute is what a step needs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.errors import InputError, first_line
from mlpvis_jax.learning.metrics import METRICS, Metric, Outputs, telling
from mlpvis_jax.running.choices import Choices
from mlpvis_jax.settings.config import RunConfig


def check_functions(config: RunConfig, num_classes: int) -> None:
    """Refuses a schedule, a loss or metrics of other shapes than a step needs.

    All may be the user's own. A loss of another shape would be broadcast, and train in silence.

    Args:
      config: the settings.
      num_classes: of the data.

    Raises:
      InputError: naming the setting, and the shapes, or that padding is counted.
    """
    choices, setting = Choices.of(config), f"config.schedule.name={config.schedule.name}"
    progress, schedule = jax.ShapeDtypeStruct((), jnp.float32), choices.schedule
    shape = _shape(lambda progress: schedule(progress, **schedule.traced), setting, progress)
    if shape != ():
        raise InputError(f"{setting} must give a number, and gives {_shown(shape)}.")
    setting = f"config.loss.name={config.loss.name}"

    def losses(of: dict[str, jax.Array]) -> jax.Array:
        targets = jax.nn.one_hot(of["labels"], num_classes) if choices.mix else of["labels"]
        return choices.loss(of["logits"], targets, **choices.loss.traced)

    for number in (2, 3):
        shape = _shape(losses, setting, _outputs(number, num_classes))
        if shape != (number,):
            raise InputError(
                f"{setting} must give the loss of each example, [{number}] of logits "
                f"[{number}, {num_classes}], and gives {_shown(shape)}."
            )
    for name, metric in telling(choices.metrics, num_classes).items():

        def total(of: dict[str, jax.Array], metric: Metric = metric) -> jax.Array:
            return metric.total(Outputs(**of))

        setting = f"config.metrics: {name}"
        of_two, of_three = (_shape(total, setting, _outputs(one, num_classes)) for one in (2, 3))
        if of_two != of_three or of_two is None:
            raise InputError(
                f"{setting} must sum a batch to an array whose shape does not depend on the batch; "
                f"of 2 examples it is {_shown(of_two)}, and of 3 {_shown(of_three)}."
            )
        if all(metric is not row for row in METRICS.values()):
            _refuse_padding(metric, setting, num_classes)


def _refuse_padding(metric: Metric, setting: str, num_classes: int) -> None:
    """Refuses a metric to which an example adds that the mask leaves out."""
    # Of the two examples that are left out one is classified correctly.
    three = {
        "losses": np.ones(3, np.float32),
        "logits": np.eye(2, num_classes, dtype=np.float32)[[0, 0, 1]],
        "labels": np.zeros(3, np.int32),
        "mask": np.array([True, False, False]),
    }
    one = {name: array[:1] for name, array in three.items()}
    total = jax.jit(lambda outputs: metric.total(Outputs(**outputs)))
    if not np.allclose(total(three), total(one), equal_nan=True):
        raise InputError(
            f"{setting} counts padding; its total may be of those examples alone where the `mask` "
            "of its argument is true."
        )


def _outputs(number: int, num_classes: int) -> dict[str, jax.ShapeDtypeStruct]:
    shape = jax.ShapeDtypeStruct
    return {
        "losses": shape((number,), jnp.float32),
        "logits": shape((number, num_classes), jnp.float32),
        "labels": shape((number,), jnp.int32),
        "mask": shape((number,), jnp.bool_),
    }


def _shape(function: Callable[[Any], Any], setting: str, argument: Any) -> tuple[int, ...] | None:
    """The shape of what a function gives; None if it is no array."""
    try:
        found = jax.eval_shape(function, argument)
    except Exception as error:  # a function of the user's own may raise anything
        raise InputError(
            f"{setting} cannot be used ({type(error).__name__}: {first_line(error)})."
        ) from error
    return getattr(found, "shape", None)


def _shown(shape: tuple[int, ...] | None) -> str:
    return "no array" if shape is None else str(list(shape))
