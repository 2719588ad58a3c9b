"""What is measured, in one ordered table: how each metric is summed, averaged and printed.

A metric is a sum over the examples that a mask lets count, until the very end; so a metric is exact
for any batch size, padding and number of devices.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.settings.choice import find_each

Sums = dict[str, Any]
_COUNT = "count"  # of examples, beside the sums


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the metrics of a batch are made of.

    Attributes:
      losses: float32 [batch], in nats.
      logits: float32 [batch, classes].
      labels: int32 [batch].
      mask: bool [batch], false for padding.
    """

    losses: jax.Array
    logits: jax.Array
    labels: jax.Array
    mask: jax.Array


def _percent(value: Any) -> str:
    """A fraction; of several, such as those of classes, the extremes."""
    if not isinstance(value, list):
        return f"{value:5.1%}"
    known = [one for one in np.ravel(np.array(value, float)).tolist() if np.isfinite(one)]
    return f"{min(known):.1%} to {max(known):.1%}" if known else "none"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A row of METRICS.

    Attributes:
      total: sums a batch up, to an array of any shape.
      mean: of a total and the number of examples: a number, or a list of numbers.
      text: how a mean is printed.
      label: what a person reads beside the number; of a metric of your own by default its name.
      is_trained: the metric is also reported of the training examples, as they were augmented.
      least_classes: with fewer classes the metric says nothing, and is left out.
    """

    total: Callable[[Outputs], jax.Array]
    mean: Callable[[np.ndarray, float], Any] = lambda total, count: float(total) / count
    text: Callable[[Any], str] = _percent
    label: str = ""
    is_trained: bool = False
    least_classes: int = 0


def rank_of_label(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Counts the classes that come before the true one, int32 [batch]; 0 is a correct answer.

    Equal logits are ordered by class, as argmax and top_k do, so that a model that gives all
    classes the same is not called right. With a NaN among the logits the label comes last.
    """
    of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    before = jnp.arange(logits.shape[-1]) < labels[:, None]
    rank = jnp.sum((logits > of_label) | ((logits == of_label) & before), axis=-1)
    return jnp.where(jnp.isnan(logits).any(axis=-1), logits.shape[-1], rank)


def _correct_within(top: int) -> Callable[[Outputs], jax.Array]:
    return lambda of: jnp.sum(of.mask & (rank_of_label(of.logits, of.labels) < top))


def _correct_and_count_by_class(of: Outputs) -> jax.Array:
    """int32 [2, classes]: the correct answers, and the examples, of each class."""
    is_class = jax.nn.one_hot(of.labels, of.logits.shape[-1], dtype=jnp.int32) * of.mask[:, None]
    correct = rank_of_label(of.logits, of.labels) < 1
    return jnp.stack([(is_class * correct[:, None]).sum(axis=0), is_class.sum(axis=0)])


def _share_by_class(total: np.ndarray, count: float) -> list[float | None]:
    return [int(right) / int(all_) if all_ else None for right, all_ in np.asarray(total).T]


METRICS: Mapping[str, Metric] = {
    "loss": Metric(
        lambda of: jnp.sum(jnp.where(of.mask, of.losses, 0.0)),
        text=lambda value: f"{value:.3f}",
        label="loss",
        is_trained=True,
    ),
    "accuracy": Metric(_correct_within(1), is_trained=True),
    "top5_accuracy": Metric(_correct_within(5), label="top-5", least_classes=6),
    "class_accuracy": Metric(_correct_and_count_by_class, _share_by_class, label="classes"),
}


def _is_metric(row: Any) -> bool:
    return isinstance(row, Metric)


def chosen(names: str) -> dict[str, Metric]:
    """Finds the metrics of a config, such as "top5_accuracy", after the loss and the accuracy.

    Raises:
      InputError: no such metric, or two of one name.
    """
    paths = ["loss", "accuracy", *names.replace(",", " ").split()]
    found = find_each(METRICS, paths, "config.metrics", _is_metric, taken=[_COUNT])
    return {name: _with_label(name, row) for name, row in found.items()}


def _with_label(name: str, row: Metric) -> Metric:
    """Gives a metric of the user's own its name for a label; without one it reads as accuracy."""
    is_ours = any(row is one for one in METRICS.values())
    return row if is_ours or row.label else dataclasses.replace(row, label=name)


def telling(metrics: Mapping[str, Metric], num_classes: int) -> dict[str, Metric]:
    """Keeps the metrics that say something of so many classes: of five all are in the top 5."""
    return {name: row for name, row in metrics.items() if num_classes >= row.least_classes}


def sums_of(metrics: Mapping[str, Metric], outputs: Outputs) -> Sums:
    """Sums the metrics over the examples of a batch where the mask is true, and counts them."""
    sums = {name: metric.total(outputs) for name, metric in metrics.items()}
    return {**sums, _COUNT: jnp.sum(outputs.mask)}


def no_sums(metrics: Mapping[str, Metric], num_classes: int) -> Sums:
    """Returns the sums over no example, NumPy arrays."""
    one = jax.ShapeDtypeStruct((1,), jnp.float32)
    label = jax.ShapeDtypeStruct((1,), jnp.int32)
    mask = jax.ShapeDtypeStruct((1,), jnp.bool_)
    logits = jax.ShapeDtypeStruct((1, num_classes), jnp.float32)
    shapes = jax.eval_shape(
        lambda *arrays: sums_of(metrics, Outputs(*arrays)), one, logits, label, mask
    )
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def means_of(metrics: Mapping[str, Metric], sums: Sums) -> dict[str, Any]:
    """Averages sums that were gathered: loss in nats, accuracies as fractions, by name."""
    count = float(sums[_COUNT])
    return {name: _plain(metric.mean(sums[name], count)) for name, metric in metrics.items()}


def _plain(value: Any) -> Any:
    """Python numbers and lists, which JSON takes; a mean of one's own may give those of NumPy."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value
