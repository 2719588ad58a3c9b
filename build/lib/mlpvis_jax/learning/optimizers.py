"""The optimisers: AdamW in Keras's form, and Optax's Muon, Lion and SGD.

A row of OPTIMIZERS is a function of the learning rate, the weight decay and the mask of what decays
(None: everything); its further settings are its keyword arguments. Both rates may be traced.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.settings.choice import Choice
from mlpvis_jax.settings.declared import NotNegative, Rate, Role

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
    """AdamW with decoupled decay (Loshchilov and Hutter, 2019), in Keras's form.

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
    """Lion (Chen et al., 2023), as Optax has it."""
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=mask)


def sgd(
    learning_rate: Number,
    weight_decay: Number,
    mask: Mask = None,
    *,
    momentum: Annotated[Rate, Role.SHAPE, "Decay of the sum of gradients."] = 0.9,
    nesterov: Annotated[bool, Role.SHAPE, "Nesterov's form of momentum."] = False,
) -> optax.GradientTransformation:
    """SGD with momentum and decoupled decay, p <- p - lr (momentum's update + wd p)."""
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
    """Muon (Jordan et al., 2024) for matrices and AdamW for the rest, as Optax has it."""
    return optax.contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        adam_b1=b1,
        adam_b2=b2,
        adam_weight_decay=weight_decay if mask is None else 0.0,
        adam_learning_rate=learning_rate * adam_share,
    )


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": adamw,
    "muon": muon,
    "lion": lion,
    "sgd": sgd,
}


def matrices(params: Any) -> Any:
    """Marks what decays where biases and norms do not: arrays of two dimensions and more."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def transformation(
    choice: Choice, learning_rate: Number, numbers: Mapping[str, Any], decay: str
) -> optax.GradientTransformation:
    """Builds the transformation of gradients that a config asks for.

    Args:
      choice: a row of OPTIMIZERS with its options.
      learning_rate: of this step.
      numbers: weight_decay, clip_norm where gradients are clipped, and the row's traced options.
      decay: "all" parameters, or "matrices" alone.
    """
    options = dict(numbers)
    weight_decay, clip_norm = options.pop("weight_decay"), options.pop("clip_norm", None)
    mask = matrices if decay == "matrices" else None
    chosen = choice(learning_rate, weight_decay, mask, **options)
    if clip_norm is None:
        return chosen
    return optax.chain(optax.clip_by_global_norm(clip_norm), chosen)
