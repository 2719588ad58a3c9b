"""The two rules that watch the validation loss: reduce on plateau, and stop early."""

import dataclasses
import math


@dataclasses.dataclass
class ReduceOnPlateau:
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement.

    An improvement is a loss below the best so far by more than `min_delta`; after a cut the wait
    begins anew, and there is no floor. A NaN is no improvement. A patience of None never cuts.
    """

    learning_rate: float
    factor: float
    patience: int | None
    min_delta: float
    best: float = math.inf
    wait: int = 0

    def update(self, loss: float) -> None:
        """Takes the validation loss of the epoch that ended."""
        if loss < self.best - self.min_delta:
            self.best, self.wait = loss, 0
            return
        self.wait += 1
        if self.patience is not None and self.wait >= self.patience:
            self.learning_rate *= self.factor
            self.wait = 0


@dataclasses.dataclass
class EarlyStopping:
    """Remembers the epoch of the lowest loss, and says when `patience` epochs brought no lower.

    Epochs count from 1. The first epoch is the best until a lower loss comes, even if its own is
    NaN. (In Keras a NaN in the first epoch can never be improved upon; here it can.) A patience of
    None never stops.
    """

    patience: int | None
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
        return self.patience is not None and self.wait >= self.patience
