"""AdamW, and the two rules that watch the validation loss: reduce on plateau, stop early."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax


def adamw(
    learning_rate: float | jax.Array,
    weight_decay: float | jax.Array,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-7,
) -> optax.GradientTransformation:
    """AdamW with decoupled decay (Loshchilov and Hutter, 2019), Keras's form of it.

        p <- p - lr wd p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    Every parameter decays, norms and biases too. Epsilon is added to the uncorrected sqrt(v); in
    Optax's own AdamW it is added to the corrected one. Both rates may be traced numbers.
    """
    return optax.chain(
        _scale_by_adam(b1, b2, epsilon),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def _scale_by_adam(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    def update(updates, state, params=None):
        # Optax's epsilon stands outside of the bias correction once it is divided by it.
        correction = jnp.sqrt(1 - b2 ** (state.count + 1))
        return optax.scale_by_adam(b1, b2, eps=epsilon / correction).update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update)


@dataclasses.dataclass
class ReduceOnPlateau:
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement.

    Improvement is a loss below the best so far by more than `min_delta`; after a cut the wait
    begins anew, and there is no floor. A NaN is no improvement.
    """

    learning_rate: float
    factor: float
    patience: int
    min_delta: float
    best: float = math.inf
    wait: int = 0

    def update(self, loss: float) -> None:
        """Takes the validation loss of the epoch that ended."""
        if loss < self.best - self.min_delta:
            self.best, self.wait = loss, 0
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.learning_rate *= self.factor
            self.wait = 0


@dataclasses.dataclass
class EarlyStopping:
    """Remembers the epoch of the lowest loss, and says when `patience` epochs brought no lower.

    Epochs count from 1. The first epoch is the best until a lower loss comes, even if its own is
    NaN. (In Keras a NaN in the first epoch can never be improved upon; here it can.)
    """

    patience: int
    best: float = math.inf
    best_epoch: int = 0
    wait: int = 0

    def update(self, epoch: int, loss: float) -> bool:
        """Takes the validation loss of the epoch that ended; True if its weights are the best."""
        improved = loss < self.best or self.best_epoch == 0
        if improved:
            self.best_epoch = epoch
        if loss < self.best:
            self.best, self.wait = loss, 0
        else:
            self.wait += 1
        return improved

    @property
    def should_stop(self) -> bool:
        return self.wait >= self.patience
