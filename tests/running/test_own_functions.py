"""A loss or a metric of the user's own whose result has another shape is refused by a line."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.recipe import recipe
from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.metrics import METRICS, Metric, chosen, means_of
from mlpvis_jax.running.own_functions import check_functions
from mlpvis_jax.settings.config import RunConfig


def of_each(logits, targets):
    return logits.mean(axis=-1)


OWN = {
    "of_each": of_each,
    "mean": lambda logits, targets: logits.mean(),
    "of_each_class": lambda logits, targets: optax.sigmoid_binary_cross_entropy(logits, logits),
    "twice": lambda logits, targets: jnp.stack([logits.mean(axis=-1)] * 2),
    "of_labels": lambda logits, targets: jnp.take_along_axis(logits, targets[:, None], 1)[:, 0],
    "none": lambda logits, targets: None,
    "sum": Metric(lambda of: of.logits.sum()),
    "not_summed": Metric(lambda of: of.logits),
    "loss": Metric(lambda of: of.logits.sum() * 0),
    "count": Metric(lambda of: of.logits.sum()),
    "of_six": Metric(lambda of: jax.lax.top_k(of.logits, 6)[0].sum(), least_classes=6),
    "numpy": Metric(lambda of: of.logits.sum(), lambda total, count: [total / count, np.nan]),
}


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    for name in ("own", "other"):
        module = types.ModuleType(name)
        vars(module).update(OWN)
        monkeypatch.setitem(sys.modules, name, module)


def config_of(**sections):
    return RunConfig.from_mapping({**recipe("mixer:digits"), **sections})


@pytest.mark.parametrize("mix", [{}, {"mixup": {"alpha": 0.2}}])
def test_losses_of_each_example_are_taken(mix):
    for name in ("softmax_cross_entropy", "sigmoid_cross_entropy", "own:of_each"):
        check_functions(config_of(loss={"name": name}, mix=mix), 10)
    names = " ".join([*list(METRICS)[2:], "own:sum", "own:of_six"])
    for num_classes in (10, 2):
        check_functions(config_of(metrics=names), num_classes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean", r"own:mean must give the loss of each example, \[2\] .* and gives \[\]"),
        ("of_each_class", r"of logits \[2, 2\], and gives \[2, 2\]"),
        ("twice", r"and gives \[2, 2\]"),
        ("none", "and gives no array"),
    ],
)
def test_a_loss_of_another_shape_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        check_functions(config_of(loss={"name": f"own:{name}"}), 2)


def test_a_loss_that_takes_no_soft_targets_is_refused_where_images_are_mixed():
    loss = {"name": "own:of_labels"}
    check_functions(config_of(loss=loss), 10)
    with pytest.raises(InputError, match="config.loss.name=own:of_labels cannot be used"):
        check_functions(config_of(loss=loss, mix={"mixup": {"alpha": 0.2}}), 10)


def test_a_metric_that_is_not_summed_is_refused():
    with pytest.raises(InputError, match=r"not_summed must sum .* \[2, 10\], and of 3 \[3, 10\]"):
        check_functions(config_of(metrics="own:not_summed"), 10)


@pytest.mark.parametrize("names", ["own:loss", "own:count", "own:sum other:sum"])
def test_a_metric_does_not_take_the_place_of_another(names, monkeypatch):
    monkeypatch.setattr(sys.modules["other"], "sum", Metric(lambda of: of.losses.sum()))
    with pytest.raises(InputError, match="there is another .* give the attribute another name"):
        chosen(names)
    assert list(chosen("own:sum own:sum")) == ["loss", "accuracy", "sum"]


def test_means_are_plain_numbers():
    sums = {"numpy": np.float32(3.0), metrics._COUNT: np.int32(2)}
    (mean,) = means_of({"numpy": OWN["numpy"]}, sums).values()
    assert type(mean) is list and type(mean[0]) is float and mean[0] == 1.5
