"""What the names in a config stand for: the model, the functions of a step, and their settings.

Each open section of a config has a table (models.PRESETS, learning.OPTIMIZERS, ...). Here the rows
are found and their options are checked; what follows from the declared roles is here, too: what a
run may change when it goes on, and what the runs of one program may differ in.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from mlpvis_jax.errors import InputError
from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.losses import LOSSES
from mlpvis_jax.learning.mix import MIXES, MOST_REPEATS
from mlpvis_jax.learning.optimizers import OPTIMIZERS
from mlpvis_jax.learning.schedules import SCHEDULES
from mlpvis_jax.learning.transforms import TRANSFORMS
from mlpvis_jax.models import Classifier, create_model
from mlpvis_jax.models.presets import model_settings, without_unset
from mlpvis_jax.running.frozen import check_freezing
from mlpvis_jax.running.room import refuse_without_room
from mlpvis_jax.settings.choice import Choice, choose, choose_each
from mlpvis_jax.settings.config import RunConfig, closed_settings, keys_of
from mlpvis_jax.settings.declared import Role, Setting, unknown_key
from mlpvis_jax.settings.sections import ModelConfig

RATES = ("dropout_rate", "stochastic_depth_rate")


def build_model(config: ModelConfig, num_classes: int) -> Classifier:
    """Builds the model that the settings describe.

    Raises:
      InputError: an unknown preset, a setting that the preset lacks, sizes that do not fit
        together, more parameters than there is room for.
    """
    declared = model_settings(config.name)
    overrides = without_unset(config.name, config.options)
    for key, value in overrides.items():
        if key not in declared:
            known = [*keys_of(ModelConfig), *declared]
            hint = unknown_key(f"config.model.{key}", known)
            raise InputError(f"Model {config.name!r} has no setting {key!r}. {hint}")
        overrides[key] = declared[key].check(value, f"config.model.{key}")
    model = create_model(config.name, num_classes, **overrides)
    if config.image_size % model.patch_size:
        raise InputError(
            f"The patch_size of model {config.name!r}, {model.patch_size}, does not divide "
            f"config.model.image_size {config.image_size}; set config.model.patch_size or the size."
        )
    try:
        refuse_without_room(model, config.image_size)
    except InputError as error:  # a module's own words do not say which model holds the module
        raise InputError(f"Model {config.name!r}: {error}") from error
    return model


@dataclasses.dataclass(frozen=True)
class Choices:
    """The rows that a config names, with their options, but for the model."""

    optimizer: Choice
    schedule: Choice
    loss: Choice
    augment: Mapping[str, Choice]
    mix: Mapping[str, Choice]
    metrics: Mapping[str, metrics.Metric]

    @classmethod
    def of(cls, config: RunConfig) -> "Choices":
        """Finds and checks them.

        Raises:
          InputError: a name that is unknown, or an option of no use.
        """

        def choice(table: Mapping[str, Any], section: str) -> Choice:
            chosen = getattr(config, section)
            closed = keys_of(type(chosen))
            return choose(table, chosen.name, chosen.options, f"config.{section}", closed)

        return cls(
            choice(OPTIMIZERS, "optimizer"),
            choice(SCHEDULES, "schedule"),
            choice(LOSSES, "loss"),
            choose_each(TRANSFORMS, config.augment, "config.augment"),
            choose_each(MIXES, config.mix, "config.mix"),
            metrics.chosen(config.metrics),
        )

    def settings(self) -> dict[str, Setting]:
        """Lists the settings that the rows declare, by key."""
        groups = {
            **{"optimizer": self.optimizer, "schedule": self.schedule, "loss": self.loss},
            **{f"augment.{label}": one for label, one in self.augment.items()},
            **{f"mix.{label}": one for label, one in self.mix.items()},
        }
        return {
            f"{group}.{name}": setting
            for group, choice in groups.items()
            for name, setting in choice.settings.items()
        }


def completed(config: RunConfig) -> RunConfig:
    """Checks every name in a config, and fills in the options that the config leaves out.

    What a run does then stands in its config.json, whatever a later version has for a default. (A
    model's preset is a name that keeps its meaning.)

    Raises:
      InputError: the first name or option that cannot be; before any data is read.
    """
    model = build_model(config.model, num_classes=1)
    if jnp.dtype(model.param_dtype) != jnp.float32:
        # An AdamW of bfloat16 weights has a second moment that never decays, as 0.999 rounds to 1.
        raise InputError(
            "config.model.param_dtype=bfloat16 is for modules of your own: what is trained is "
            "stored in float32. Set it to that; config.model.dtype=bfloat16 computes in bfloat16."
        )
    choices = Choices.of(config)
    if choices.mix and config.repeats > MOST_REPEATS:
        raise InputError(
            f"config.repeats is {config.repeats}, and with config.mix at most {MOST_REPEATS} are "
            "possible, for else an image would be mixed with its own copies."
        )
    check_freezing(config, model)

    def named(groups: Mapping[str, Any], chosen: Mapping[str, Choice]) -> dict[str, Any]:
        return {
            label: {"name": groups[label].get("name", label), **choice.values}
            for label, choice in chosen.items()
        }

    return dataclasses.replace(
        config,
        optimizer=dataclasses.replace(config.optimizer, options=choices.optimizer.values),
        schedule=dataclasses.replace(config.schedule, options=choices.schedule.values),
        loss=dataclasses.replace(config.loss, options=choices.loss.values),
        augment=named(config.augment, choices.augment),
        mix=named(config.mix, choices.mix),
    )


def declarations(config: RunConfig) -> dict[str, Setting]:
    """Lists every setting of a config by its key, those of the rows that it names included.

    Raises:
      InputError: a name that is unknown, or an option of no use.
    """
    of_model = {f"model.{key}": one for key, one in model_settings(config.model.name).items()}
    of_names = {**of_model, **Choices.of(config).settings()}
    for key, setting in of_names.items():
        # Numbers go to the rates of a model alone, and to functions; rules are the trainer's own.
        is_number = not key.startswith("model.") or key.removeprefix("model.") in RATES
        if setting.role is Role.RULE or (setting.role is Role.TRACED and not is_number):
            of_names[key] = dataclasses.replace(setting, role=Role.SHAPE)
    return {**closed_settings(), **of_names}


def program_key(config: RunConfig) -> str:
    """Describes what runs must agree in to be one program; a text that is equal for them."""
    declared = declarations(config)
    key = {}
    for name, value in config.flat().items():
        role = declared[name].role if name in declared else Role.SHAPE
        if role is Role.SHAPE:
            key[name] = value
        elif role is Role.TRACED and value is None:  # it is left out of the program
            key[name] = None
    return repr(key)


def program_of(configs: Sequence[RunConfig]) -> tuple[Any, ...]:
    """Describes the program that a group of runs of one shape needs; equal for equal programs."""
    models = [build_model(config.model, num_classes=2) for config in configs]
    is_used = [any(getattr(model, name) for model in models) for name in RATES]
    return program_key(configs[0]), *is_used


def differences(before: RunConfig, now: RunConfig) -> list[str]:
    """Lists the settings that keep a run begun with `before` from going on with `now`.

    Returns:
      Sentences such as "config.seed was 0 and is now 1"; none if it can go on.
    """
    before, now = completed(before), completed(now)
    declared = {**declarations(before), **declarations(now)}
    old, new = before.flat(), now.flat()
    found = []
    for key in {**old, **new}:
        is_free = key in declared and declared[key].role is Role.MACHINE
        if old.get(key) != new.get(key) and not is_free and key != "duration":
            found.append(f"config.{key} was {old.get(key)!r} and is now {new.get(key)!r}")
    for section, order in before.orders().items():
        order_now = now.orders()[section]
        if order != order_now and set(order) == set(order_now):
            found.append(
                f"the order of config.{section} was {', '.join(order)} and is now "
                f"{', '.join(order_now)}"
            )
    if now.duration != before.duration:
        change = f"config.duration was {before.duration!r} and is now {now.duration!r}"
        if now.duration.unit != before.duration.unit:
            found.append(
                f"{change}; the duration of a run that ends with a whole epoch may grow, in "
                f"{before.duration.unit}"
            )
        elif now.duration.number < before.duration.number:
            found.append(f"{change}; it may only grow")
        elif now.schedule.name != "constant":
            found.append(f"{change}; config.schedule.name={now.schedule.name} depends on it")
    return found
