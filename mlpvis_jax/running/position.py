"""Where a run stands: all that it has to know, besides its TrainState, to go on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import serialization

from mlpvis_jax.files.checkpoint import Snapshot
from mlpvis_jax.learning import metrics, optim
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.settings.config import RunConfig


@dataclasses.dataclass
class Position:
    """Between two steps of a run.

    Attributes:
      step: steps taken, over all epochs.
      totals: of the epoch under way, on the host.
      seconds: that epoch has taken so far, stops of the run not counted.
      history: a record of each epoch that is done.
      plateau, stopping: the rules, with what they remember.
      best_params: the parameters of the best epoch; before there is one, the initial ones.
    """

    step: int
    totals: EpochTotals
    seconds: float
    history: list[dict[str, Any]]
    plateau: optim.ReduceOnPlateau
    stopping: optim.EarlyStopping
    best_params: Any

    @classmethod
    def start(cls, config: RunConfig, params: Any) -> "Position":
        """Before the first step."""
        rule = dataclasses.asdict(config.reduce_on_plateau)
        return cls(
            step=0,
            totals=EpochTotals.zero(),
            seconds=0.0,
            history=[],
            plateau=optim.ReduceOnPlateau(config.optimizer.learning_rate, **rule),
            stopping=optim.EarlyStopping(config.early_stopping.patience),
            best_params=params,
        )

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.history) + 1

    def is_over(self, num_epochs: int) -> bool:
        return self.stopping.should_stop or len(self.history) >= num_epochs

    def end_epoch(self, validated: Mapping[str, float], seconds: float) -> bool:
        """Writes the epoch down in `history` and applies the rules that watch the loss.

        Args:
          validated: loss, accuracy and top5_accuracy after the epoch; `totals` and `seconds` are
            those of its training.
          seconds: that validating took.

        Returns:
          Whether its weights are the best so far.
        """
        trained = metrics.means_of(self.totals.sums)
        record: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "validation_loss": validated["loss"],
            "validation_accuracy": validated["accuracy"],
            "validation_top5_accuracy": validated["top5_accuracy"],
            "learning_rate": self.plateau.learning_rate,
            "seconds": self.seconds + seconds,
            "images_per_second": int(self.totals.sums["count"]) / self.seconds,
        }
        self.history.append(record)
        self.totals = dataclasses.replace(EpochTotals.zero(), last_loss=self.totals.last_loss)
        self.seconds = 0.0
        self.plateau.update(validated["loss"])
        return self.stopping.update(record["epoch"], validated["loss"])

    def snapshot(
        self, state: TrainState, config: RunConfig, identity: Mapping[str, Any]
    ) -> Snapshot:
        """All of the run, for a checkpoint; the state is on the host, the identity its data's."""
        values = {
            "config": config.to_dict(),
            "data": identity,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "plateau": dataclasses.asdict(self.plateau),
            "stopping": dataclasses.asdict(self.stopping),
        }
        return Snapshot(arrays_of(state, self.totals, self.best_params), values)

    @classmethod
    def of(cls, snapshot: Snapshot, like: TrainState) -> tuple["Position", TrainState]:
        """The inverse of `snapshot`; `like` has the structure of the state."""
        arrays, values = snapshot
        position = cls(
            step=values["step"],
            totals=serialization.from_state_dict(EpochTotals.zero(), arrays["totals"]),
            seconds=values["seconds"],
            history=values["history"],
            plateau=optim.ReduceOnPlateau(**values["plateau"]),
            stopping=optim.EarlyStopping(**values["stopping"]),
            best_params=arrays["best_params"],
        )
        return position, serialization.from_state_dict(like, arrays["state"])


def arrays_of(state: TrainState, totals: EpochTotals, best_params: Any) -> dict[str, Any]:
    """The arrays of a run as a nested dict, in the layout of a checkpoint."""
    tree = {
        "state": serialization.to_state_dict(state),
        "totals": serialization.to_state_dict(totals),
        "best_params": best_params,
    }
    return jax.tree.map(np.asarray, tree)
