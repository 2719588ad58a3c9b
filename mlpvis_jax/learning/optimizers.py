"""The optimisers: AdamW in Keras's form, and Optax's Muon, Lion, SGD and schedule-free AdamW.

A row of OPTIMIZERS is a function of the learning rate, the weight decay and the mask of what decays
(None: everything); its further settings are its keyword arguments. Both rates may be traced. A row
with a parameter `by_layer` is given what scales the updates of each layer, to be put where it
belongs; that of any other row comes after it.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.learning.freezing import HEAD, is_frozen, map_names
from mlpvis_jax.learning.layer_decay import scale_by_layer
from mlpvis_jax.settings.choice import Choice
from mlpvis_jax.settings.declared import NotNegative, Rate, Role, Within

Number = float | jax.Array
Mask = Callable[[Any], Any] | None


def adamw(
    learning_rate: Number,
    weight_decay: Number,
    mask: Mask = None,
    *,
    b1: Annotated[Rate, Role.SHAPE, "Decay of the mean of gradients."] = 0.9,
    b2: Annotated[Rate, Role.SHAPE, "Decay of the mean of squared gradients."] = 0.999,
    epsilon: Annotated[NotNegative, Role.SHAPE, "Added to the root of the latter."] = 1e-7,
) -> optax.GradientTransformation:
    """Makes AdamW with decoupled decay (Loshchilov and Hutter, 2019), in Keras's form.

        p <- p - lr wd p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    Epsilon is added to the uncorrected sqrt(v); in Optax's own AdamW it is added to the corrected
    one.
    """

    def update(updates, state, params=None):
        # Optax's epsilon stands outside of the bias correction once it is divided by it.
        correction = jnp.sqrt(1 - b2 ** (state.count + 1))
        return optax.scale_by_adam(b1, b2, eps=epsilon / correction).update(updates, state, params)

    return optax.chain(
        optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def lion(
    learning_rate: Number,
    weight_decay: Number,
    mask: Mask = None,
    *,
    b1: Annotated[Rate, Role.SHAPE, "Share of the momentum in an update."] = 0.9,
    b2: Annotated[Rate, Role.SHAPE, "Decay of the momentum."] = 0.99,
) -> optax.GradientTransformation:
    """Makes Lion (Chen et al., 2023), as Optax has it."""
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=mask)


def sgd(
    learning_rate: Number,
    weight_decay: Number,
    mask: Mask = None,
    *,
    momentum: Annotated[Rate, Role.SHAPE, "Decay of the sum of gradients."] = 0.9,
    nesterov: Annotated[bool, Role.SHAPE, "Nesterov's form of momentum."] = False,
) -> optax.GradientTransformation:
    """Makes SGD with momentum and decoupled decay, p <- p - lr (momentum's update + wd p)."""
    return optax.chain(
        optax.trace(momentum, nesterov),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def muon(
    learning_rate: Number,
    weight_decay: Number,
    mask: Mask = None,
    *,
    momentum: Annotated[Rate, Role.SHAPE, "Decay of the momentum of matrices."] = 0.95,
    adam_share: Annotated[
        NotNegative, Role.TRACED, "Learning rate of all but matrices, as a share of theirs."
    ] = 0.2,
    b1: Annotated[Rate, Role.SHAPE, "Of Adam, for all but matrices."] = 0.9,
    b2: Annotated[Rate, Role.SHAPE, "Of Adam, for all but matrices."] = 0.999,
) -> optax.GradientTransformation:
    """Makes Muon (Jordan et al., 2024) for matrices and NAdamW for the rest, as Optax has it.

    Matrices are the parameters of two dimensions, so the position table and the head's kernel are
    among them, and the stem's kernel, which has four, is not.
    """
    chosen = optax.contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        adam_b1=b1,
        adam_b2=b2,
        adam_weight_decay=weight_decay if mask is None else 0.0,
        adam_learning_rate=learning_rate * adam_share,
    )
    if mask is None:
        return chosen
    # Optax's form has no mask for the parameters that are not matrices.
    decay_of_rest = optax.add_decayed_weights(
        -learning_rate * adam_share * weight_decay,
        lambda params: jax.tree.map(
            lambda marked, leaf: marked and leaf.ndim != 2, mask(params), params
        ),
    )
    return optax.chain(chosen, decay_of_rest)


def schedule_free_adamw(
    learning_rate: Number,
    weight_decay: Number,
    mask: Mask = None,
    by_layer: optax.GradientTransformation | None = None,
    *,
    b1: Annotated[
        float,
        Within(0, above=0, below=1),
        Role.TRACED,
        "Share of the average in the weights that gradients are taken at.",
    ] = 0.9,
    b2: Annotated[Rate, Role.TRACED, "Decay of the mean of squared gradients."] = 0.999,
    epsilon: Annotated[NotNegative, Role.TRACED, "Added to the root of the latter."] = 1e-8,
    weight_power: Annotated[
        NotNegative, Role.TRACED, "A step counts in the average by this power of its learning rate."
    ] = 2.0,
) -> optax.GradientTransformation:
    """Makes Optax's schedule-free AdamW (Defazio et al., 2024), with a mask of what decays.

    It needs a warm-up and no falling learning rate. What is validated and kept is its average of
    the weights: see `schedule_free.evaluated`. The average is of whole steps, so what scales the
    steps of each layer, `by_layer`, stands inside of it.
    """
    inner = optax.chain(
        optax.scale_by_rms(b2, epsilon, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
        *([] if by_layer is None else [by_layer]),
    )
    outer = optax.contrib.schedule_free(inner, learning_rate, b1, weight_power)

    def init(params):
        # The sum of the steps' weights would stand still in low precision.
        return outer.init(optax.tree.cast(params, jnp.float32))

    return optax.GradientTransformationExtraArgs(init, outer.update)


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": adamw,
    "muon": muon,
    "lion": lion,
    "sgd": sgd,
    "schedule_free_adamw": schedule_free_adamw,
}


def matrices(params: Any) -> Any:
    """Marks what decays where biases and norms do not: arrays of two dimensions and more."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def transformation(
    choice: Choice,
    learning_rate: Number,
    numbers: Mapping[str, Any],
    decay: str,
    freeze: str | None = None,
    num_blocks: int = 0,
) -> optax.GradientTransformation:
    """Builds the transformation of gradients that a config asks for.

    Args:
      choice: a row of OPTIMIZERS with its options.
      learning_rate: of this step.
      numbers: weight_decay, clip_norm where gradients are clipped, head_learning_rate (of this
        step) where the head has one of its own, layer_decay where layers have theirs, and the row's
        traced options.
      decay: "all" parameters, or "matrices" alone.
      freeze: patterns of the parameters that neither move nor decay, whose gradients do not count
        in the global norm either; see `freezing.is_frozen`.
      num_blocks: of the classifier, for layer_decay.
    """
    options = dict(numbers)
    weight_decay, clip_norm = options.pop("weight_decay"), options.pop("clip_norm", None)
    head_learning_rate = options.pop("head_learning_rate", None)
    mask = matrices if decay == "matrices" else None
    layer_decay = options.pop("layer_decay", None)
    by_layer = None if layer_decay is None else scale_by_layer(layer_decay, num_blocks)

    def with_rate(rate: Number) -> optax.GradientTransformation:
        if "by_layer" in inspect.signature(choice.function).parameters:
            return choice(rate, weight_decay, mask, by_layer, **options)
        chosen = choice(rate, weight_decay, mask, **options)
        return chosen if by_layer is None else optax.chain(chosen, by_layer)

    chosen = with_rate(learning_rate)
    if freeze is not None or head_learning_rate is not None:
        of_labels = {_REST: chosen, _FROZEN: optax.set_to_zero()}
        if head_learning_rate is not None:
            of_labels[_HEAD] = with_rate(head_learning_rate)
        label = functools.partial(_label, freeze or "", head_learning_rate is not None)
        chosen = optax.partition(of_labels, functools.partial(map_names, label))
    if clip_norm is None:
        return chosen
    clip = optax.clip_by_global_norm(clip_norm)
    if freeze is not None:
        clip = optax.masked(clip, functools.partial(map_names, functools.partial(_moves, freeze)))
    return optax.chain(clip, chosen)


_REST, _HEAD, _FROZEN = "rest", "head", "frozen"


def _label(freeze: str, has_head: bool, name: str, _: Any) -> str:
    if is_frozen(name, freeze):
        return _FROZEN
    return _HEAD if has_head and fnmatchcase(name, HEAD) else _REST


def _moves(freeze: str, name: str, _: Any) -> bool:
    return not is_frozen(name, freeze)
