"""Functions and blocks of the user's own: what is refused, and what becomes of their options."""

import functools
import sys
import types
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.recipe import recipe
from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.metrics import METRICS, Metric, chosen, means_of
from mlpvis_jax.models import MixerBlock
from mlpvis_jax.models.fields import DropoutRate
from mlpvis_jax.running.choices import completed, declarations, program_key
from mlpvis_jax.running.own_functions import check_functions
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.declared import Positive, Role, Share


def of_each(logits, targets):
    return logits.mean(axis=-1)


OWN = {
    "of_each": of_each,
    "mean": lambda logits, targets: logits.mean(),
    "of_each_class": lambda logits, targets: optax.sigmoid_binary_cross_entropy(logits, logits),
    "twice": lambda logits, targets: jnp.stack([logits.mean(axis=-1)] * 2),
    "of_labels": lambda logits, targets: jnp.take_along_axis(logits, targets[:, None], 1)[:, 0],
    "none": lambda logits, targets: None,
    "sum": Metric(lambda of: (of.logits.sum(axis=-1) * of.mask).sum()),
    "padded": Metric(lambda of: (of.logits.argmax(axis=-1) == of.labels + 1).sum()),
    "right": Metric(lambda of: (of.logits.argmax(axis=-1) == of.labels).sum()),
    "not_summed": Metric(lambda of: of.logits),
    "loss": Metric(lambda of: of.logits.sum() * 0),
    "count": Metric(lambda of: of.logits.sum()),
    "of_six": Metric(
        lambda of: (jax.lax.top_k(of.logits, 6)[0].sum(axis=-1) * of.mask).sum(), least_classes=6
    ),
    "numpy": Metric(lambda of: of.mask.sum(), lambda total, count: [total / count, np.nan]),
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


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda progress: None, "must give a number, and gives no array"),
        (lambda progress: jnp.ones(2), r"must give a number, and gives \[2\]"),
        (lambda: 1.0, r"cannot be used \(TypeError: "),
    ],
)
def test_a_schedule_that_gives_no_number_is_refused(monkeypatch, schedule, message):
    monkeypatch.setattr(sys.modules["own"], "schedule", schedule, raising=False)
    values = {**recipe("mixer:digits")["schedule"], "name": "own:schedule"}
    with pytest.raises(InputError, match=f"config.schedule.name=own:schedule {message}"):
        check_functions(config_of(schedule=values), 10)


def test_a_metric_of_ones_own_is_printed_with_its_name():
    found = metrics.chosen("top5_accuracy own:sum")
    assert [row.label for row in found.values()] == ["loss", "", "top-5", "sum"]


def test_a_loss_that_takes_no_soft_targets_is_refused_where_images_are_mixed():
    loss = {"name": "own:of_labels"}
    check_functions(config_of(loss=loss), 10)
    with pytest.raises(InputError, match="config.loss.name=own:of_labels cannot be used"):
        check_functions(config_of(loss=loss, mix={"mixup": {"alpha": 0.2}}), 10)


def test_a_metric_that_is_not_summed_is_refused():
    with pytest.raises(InputError, match=r"not_summed must sum .* \[2, 10\], and of 3 \[3, 10\]"):
        check_functions(config_of(metrics="own:not_summed"), 10)


@pytest.mark.parametrize("name", ["padded", "right"])
def test_a_metric_that_counts_padding_is_refused(name):
    with pytest.raises(InputError, match=f"config.metrics: {name} counts padding"):
        check_functions(config_of(metrics=f"own:{name}"), 10)


def test_bfloat16_parameters_of_a_preset_of_ones_own_are_refused(monkeypatch):
    row = {"block": MixerBlock, "patch_size": 4, "num_blocks": 1, "width": 8}
    row |= {"tokens_hidden_dim": 8, "channels_hidden_dim": 8}
    vars(sys.modules["own"]).update(ROW=row, COARSE={**row, "param_dtype": "bfloat16"})
    model = {"image_size": 8}
    completed(config_of(model={**model, "name": "own:ROW"}))
    with pytest.raises(InputError, match="config.model.param_dtype=bfloat16 is for modules"):
        completed(config_of(model={**model, "name": "own:COARSE"}))


def test_many_repeats_go_with_a_mixing_that_is_off():
    values = {**recipe("mixer:best"), "repeats": 16}
    with pytest.raises(InputError, match="config.repeats is 16, and with config.mix at most"):
        completed(RunConfig.from_mapping(values))
    completed(RunConfig.from_mapping({**values, "mix": {"mixup_or_cutmix": None}}))


def test_a_metric_of_several_numbers_is_printed_by_its_extremes():
    assert Metric(jnp.sum).text([0.25, None, 0.5, float("nan")]) == "25.0% to 50.0%"
    assert Metric(jnp.sum).text([None]) == "none"


def scaled(logits, targets, *, by: Annotated[Positive, Role.TRACED, "Factor."] = 1.0):
    return by * logits.mean(axis=-1)


class Scaled:
    def __call__(self, logits, targets, *, by: Annotated[Positive, Role.RULE, "Factor."] = 1.0):
        return by * logits.mean(axis=-1)


def of_words(logits, targets, *, kind: Annotated[Literal["a", "b"], Role.SHAPE, "One of two."]):
    return logits.mean(axis=-1)


def of_sizes(logits, targets, *, sizes: Annotated[tuple[int, ...], Role.SHAPE, "Some."] = ()):
    return logits.mean(axis=-1)


def of_a_taken_name(progress, *, warmup: Annotated[Positive, Role.SHAPE, "Another one."] = 1.0):
    return progress


class Pool(nn.Module):
    strength: Annotated[Share, Role.TRACED, "Of the mean."] = 0.5
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: Any = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, deterministic=True):
        return inputs + self.strength * inputs.mean(axis=1, keepdims=True)


OWN |= {"scaled": scaled, "half": functools.partial(scaled, by=0.5), "object": Scaled()}
OWN |= {"of_words": of_words, "of_sizes": of_sizes, "of_a_taken_name": of_a_taken_name}
OWN |= {"Pool": Pool, "TINY": {"block": Pool, "strenght": 0.25, "patch_size": 4, "num_blocks": 1}}
SIZES = {"image_size": 8, "patch_size": 4, "num_blocks": 1, "width": 8}


def test_options_of_partials_objects_and_literals_are_settings():
    def options(name, **given):
        config = completed(config_of(loss={"name": f"own:{name}", **given}))
        return {key: one for key, one in config.flat().items() if key in ("loss.by", "loss.kind")}

    assert options("scaled", by=2) == {"loss.by": 2.0}
    assert options("half") == {}
    assert options("object") == {"loss.by": 1.0}
    assert options("of_words", kind="b") == {"loss.kind": "b"}
    with pytest.raises(InputError, match="config.loss.kind must be one of a, b, not 'c'"):
        options("of_words", kind="c")
    with pytest.raises(InputError, match="own:of_sizes: sizes cannot be a setting: its type must"):
        options("of_sizes")


def test_an_option_does_not_take_the_name_of_its_sections_own():
    with pytest.raises(InputError, match="own:of_a_taken_name declares warmup, which config.sch"):
        completed(config_of(schedule={"name": "own:of_a_taken_name", "warmup": "0 epochs"}))


def test_what_no_program_is_given_as_a_number_is_part_of_it():
    """A field of a block, and a rule that the trainer knows nothing of, may not differ in one."""

    def roles(loss, **model):
        config = config_of(model={"name": "own:Pool", **SIZES, **model}, loss={"name": loss})
        return program_key(config), {k: one.role for k, one in declarations(config).items()}

    key, found = roles("own:object")
    assert found["model.strength"] is found["loss.by"] is Role.SHAPE
    assert found["model.dropout_rate"] is Role.TRACED
    assert key != roles("own:object", strength=0.25)[0]
    assert roles("own:scaled")[1]["loss.by"] is Role.TRACED


def test_a_field_that_the_block_of_a_preset_lacks_is_refused():
    with pytest.raises(InputError, match=r"no setting 'strenght' \(did you mean 'strength'\?"):
        completed(config_of(model={"name": "own:TINY", "image_size": 8, "width": 8}))


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
