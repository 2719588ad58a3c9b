"""What runs of one shape compute: the model, the functions of a step, and their numbers."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.freezing import map_names, stop_gradients
from mlpvis_jax.learning.optimizers import transformation
from mlpvis_jax.learning.schedules import factor
from mlpvis_jax.learning.sharpness import uphill
from mlpvis_jax.learning.state import Stream, TrainState, random_key
from mlpvis_jax.learning.step import Learner, Numbers
from mlpvis_jax.learning.transforms import apply_transforms, own_key
from mlpvis_jax.models import Classifier
from mlpvis_jax.running.choices import RATES, Choices, build_model, program_of
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """What runs of one shape compute: the model, the functions of a step, and their numbers.

    Attributes:
      task: what they train on.
      model: with the largest rates of all runs: a rate that is zero in every run stays out of the
        program, and any other is a number that the program is given.
      learner: the functions of a step.
      choices: what the names in the config stand for.
      image_size: height and width of what the model sees, pixels.
      is_averaged: whether an average of the weights is kept.
      program: see `program_of`.
    """

    task: Task
    model: Classifier
    learner: Learner
    choices: Choices
    image_size: int
    is_averaged: bool
    program: tuple[Any, ...]

    @classmethod
    def of(
        cls, configs: Sequence[RunConfig], task: Task, model: Classifier | None = None
    ) -> "Plan":
        """Makes the plan of runs whose `program_key` is the same.

        Args:
          configs: of the runs.
          task: what they train on.
          model: in place of that of the configs.

        Raises:
          InputError: a model, or an option, of no use.
        """
        config = configs[0]
        if model is None:
            models = [build_model(one.model, task.source.num_classes) for one in configs]
            rates = {name: max(getattr(one, name) for one in models) for name in RATES}
            model = models[0].clone(**rates)
        choices = Choices.of(config)
        learner = _learner(config, choices, model, task)
        is_averaged = config.averaging.decay is not None
        size, program = config.model.image_size, program_of(configs)
        return cls(task, model, learner, choices, size, is_averaged, program)

    def initial_state(
        self, config: RunConfig, given: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> TrainState:
        """Makes a run's state before the first step, on the host.

        Args:
          config: the settings; parameters are drawn from the seed.
          given: parameters that are not drawn, by name.
        """
        numbers = self.numbers(config)
        return jax.device_get(self._init(np.uint32(config.seed), numbers, dict(given)))

    def state_shapes(self, config: RunConfig) -> TrainState:
        """Describes the arrays of a state; nothing is compiled."""
        return jax.eval_shape(self._create, np.uint32(0), self.numbers(config), {})

    def numbers(self, config: RunConfig) -> dict[str, Any]:
        """Lists a run's traced settings by section, as float32 scalars; the seed is uint32."""
        model = build_model(config.model, self.task.source.num_classes)
        length = Length.of(config, len(self.task.training))
        choices = Choices.of(config)
        optimizer = config.optimizer
        perhaps = {
            name: getattr(optimizer, name)
            for name in ("clip_norm", "head_learning_rate", "layer_decay", "sharpness_radius")
            if getattr(optimizer, name) is not None
        }
        numbers: dict[str, Any] = {
            "model": {name: getattr(model, name) for name in RATES},
            "optimizer": {
                "learning_rate": optimizer.learning_rate,
                "weight_decay": optimizer.weight_decay,
                **perhaps,
                **choices.optimizer.traced,
            },
            "length": {
                "warmup_steps": length.warmup_steps,
                "total_steps": length.total_steps,
            },
            "schedule": choices.schedule.traced,
            "loss": choices.loss.traced,
            "augment": {label: one.traced for label, one in choices.augment.items()},
            "mix": {label: one.traced for label, one in choices.mix.items()},
        }
        if config.averaging.decay is not None:
            numbers["averaging"] = {"decay": config.averaging.decay}
        return {"seed": np.uint32(config.seed), **jax.tree.map(np.float32, numbers)}

    def schedule_factor(self, numbers: Numbers, step: int) -> float:
        """Computes what the learning rate of a step is multiplied by, beside the plateau's cuts."""
        return float(self._factor(np.int32(step), numbers["length"], numbers["schedule"]))

    @functools.cached_property
    def _factor(self) -> Callable:
        compute = jax.jit(functools.partial(factor, self.choices.schedule))
        try:
            # An accelerator would first finish the steps that it has been given.
            host = jax.local_devices(backend="cpu")[0]
        except RuntimeError:  # JAX_PLATFORMS leaves out the CPU
            return compute

        def on_host(step: Any, length: Numbers, options: Numbers) -> Any:
            with jax.default_device(host):
                return compute(step, length, options)

        return on_host

    @functools.cached_property
    def _init(self) -> Callable:
        return jax.jit(self._create)  # traced and compiled once, for any number of seeds

    def _create(self, seed: Any, numbers: Numbers, given: dict[str, Any]) -> TrainState:
        size = self.image_size
        images = jnp.zeros((1, size, size, self.task.channels))
        params = self.model.init(random_key(seed, Stream.PARAMETERS), images).get("params", {})
        params = map_names(lambda name, leaf: given.get(name, leaf), params)
        return TrainState.create(params, self.learner.optimizer(0, numbers), self.is_averaged)


def with_learning_rate(numbers: Numbers, learning_rate: float) -> dict[str, Any]:
    """Replaces the learning rate among a run's traced settings; that of the head goes with it."""
    optimizer = {**numbers["optimizer"], "learning_rate": np.float32(learning_rate)}
    if "head_learning_rate" in optimizer:
        share = optimizer["learning_rate"] / numbers["optimizer"]["learning_rate"]
        optimizer["head_learning_rate"] = optimizer["head_learning_rate"] * share
    return {**numbers, "optimizer": optimizer}


def _learner(config: RunConfig, choices: Choices, model: Classifier, task: Task) -> Learner:
    size, normalize = config.model.image_size, task.normalization

    def apply(params: Any, images: jax.Array, numbers: Numbers, key: jax.Array) -> Any:
        rates = {name: getattr(model, name) and numbers["model"][name] for name in RATES}
        if config.optimizer.freeze is not None:
            params = stop_gradients(params, config.optimizer.freeze)
        rngs = {"dropout": key}
        return model.clone(**rates).apply({"params": params}, images, train=True, rngs=rngs)

    def predict(params: Any, images: jax.Array) -> Any:
        def logits_of(images: jax.Array) -> Any:
            return model.apply({"params": params}, images, train=False)

        if config.average_flips:
            return (logits_of(images) + logits_of(images[:, :, ::-1])) / 2
        return logits_of(images)

    def mix(
        key: jax.Array,
        images: jax.Array,
        targets: jax.Array,
        partners: jax.Array,
        places: jax.Array,
        numbers: Numbers,
    ) -> tuple[jax.Array, jax.Array]:
        for index, (label, choice) in enumerate(choices.mix.items()):
            given = own_key(key, index), images, targets, partners, places
            images, targets = choice(*given, **numbers["mix"][label])
        return images, targets

    def optimizer(step: Any, numbers: Numbers) -> optax.GradientTransformation:
        given = dict(numbers["optimizer"])
        given.pop("sharpness_radius", None)
        share = factor(choices.schedule, step, numbers["length"], numbers["schedule"])
        rate = given.pop("learning_rate") * share
        if "head_learning_rate" in given:
            given["head_learning_rate"] *= share
        decay, freeze = config.optimizer.decay, config.optimizer.freeze
        return transformation(choices.optimizer, rate, given, decay, freeze, model.num_blocks)

    def perturb(params: Any, gradients: Any, numbers: Numbers) -> Any:
        return uphill(params, gradients, numbers["optimizer"]["sharpness_radius"])

    return Learner(
        apply=apply,
        predict=predict,
        augment=lambda keys, images, numbers: apply_transforms(
            choices.augment, keys, images, normalize, size, numbers["augment"]
        ),
        prepare=lambda images: augment.resize(normalize(images), size),
        mix=mix if choices.mix else None,
        loss=lambda logits, targets, numbers: choices.loss(logits, targets, **numbers["loss"]),
        optimizer=optimizer,
        metrics=metrics.telling(choices.metrics, task.source.num_classes),
        num_classes=task.source.num_classes,
        perturb=None if config.optimizer.sharpness_radius is None else perturb,
    )
