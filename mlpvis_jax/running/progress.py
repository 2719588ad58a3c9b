"""Where a run stands: all that it has to know, besides its TrainState, to go on."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import serialization

from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.plateau import EarlyStopping, ReduceOnPlateau
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.settings.config import RunConfig

Record = dict[str, Any]


@dataclasses.dataclass
class RunProgress:
    """A run between two of its steps.

    Attributes:
      step: steps taken, over all epochs.
      totals: of the epoch under way, on the host.
      seconds: that epoch has taken so far, stops of the run not counted.
      history: a record of each epoch that is done.
      plateau, stopping: the rules that watch the validation loss, with what they remember.
      best_params: the parameters of the best epoch; before there is one, the initial ones.
      best_averaged: the averaged parameters of their own best epoch; {} where none are kept.
      best_averaged_loss: the validation loss of these.
      initial_weights: the digest of the weights that the run started from; None of random ones.
    """

    step: int
    totals: EpochTotals
    seconds: float
    history: list[Record]
    plateau: ReduceOnPlateau
    stopping: EarlyStopping
    best_params: Any
    best_averaged: Any
    best_averaged_loss: float = math.inf
    initial_weights: str | None = None

    @classmethod
    def start(cls, config: RunConfig, state: TrainState, no_sums: metrics.Sums) -> "RunProgress":
        """Makes the progress of a run before its first step."""
        rule = dataclasses.asdict(config.reduce_on_plateau)
        return cls(
            step=0,
            totals=EpochTotals.zero(no_sums),
            seconds=0.0,
            history=[],
            plateau=ReduceOnPlateau(config.optimizer.learning_rate, **rule),
            stopping=EarlyStopping(config.early_stopping.patience),
            best_params=state.params,
            best_averaged=state.averaged,
        )

    @property
    def epoch(self) -> int:
        """Counts the epochs up to the one under way, which is included."""
        return len(self.history) + 1

    @property
    def is_between_epochs(self) -> bool:
        """Tells whether the last step ended an epoch, and that epoch is written down."""
        return int(self.totals.sums["count"]) == 0

    @property
    def best_record(self) -> Record:
        """Gives the record of the best epoch, whose weights are kept; {} before there is one."""
        best = self.stopping.best_epoch
        return self.history[best - 1] if self.history and best else {}

    def is_over(self, num_epochs: int) -> bool:
        """Tells whether nothing is left to train."""
        return self.stopping.should_stop or len(self.history) >= num_epochs

    def end_epoch(
        self,
        measures: Mapping[str, metrics.Metric],
        learning_rate: float,
        validated: Mapping[str, Any],
        averaged: Mapping[str, Any],
        seconds: float,
    ) -> tuple[bool, bool]:
        """Writes the epoch down in `history`, and applies the rules that watch the loss.

        Args:
          measures: what was measured, by name.
          learning_rate: of the epoch's last step.
          validated: the metrics after the epoch; `totals` and `seconds` are those of its training.
          averaged: the metrics of the averaged weights; {} where none are kept.
          seconds: that validating took.

        Returns:
          Whether the weights, and whether the averaged weights, are the best so far.
        """
        trained = metrics.means_of(measures, self.totals.sums)
        record: Record = {
            "epoch": self.epoch,
            "step": self.step,
            **{f"train_{name}": trained[name] for name in measures if measures[name].is_trained},
            **{f"validation_{name}": value for name, value in validated.items()},
            **{f"averaged_{name}": value for name, value in averaged.items()},
            "learning_rate": learning_rate,
            "seconds": self.seconds + seconds,
            "images_per_second": int(self.totals.sums["count"]) / self.seconds,
        }
        self.history.append(record)
        nothing = jax.tree.map(np.zeros_like, self.totals.sums)
        self.totals = dataclasses.replace(
            EpochTotals.zero(nothing), last_loss=self.totals.last_loss
        )
        self.seconds = 0.0
        self.plateau.update(validated["loss"])
        is_best = self.stopping.update(record["epoch"], validated["loss"])
        is_averaged_best = bool(averaged) and averaged["loss"] < self.best_averaged_loss
        if is_averaged_best:
            self.best_averaged_loss = averaged["loss"]
        return is_best, is_averaged_best

    def values(self) -> dict[str, Any]:
        """Lists all but the arrays as JSON values; `of` takes them."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "plateau": dataclasses.asdict(self.plateau),
            "stopping": dataclasses.asdict(self.stopping),
            "best_averaged_loss": self.best_averaged_loss,
            "initial_weights": self.initial_weights,
        }

    def arrays(self, state: TrainState) -> dict[str, Any]:
        """Lists the arrays of the run, with its state on the host, as a nested dict."""
        return {
            "state": serialization.to_state_dict(state),
            "totals": serialization.to_state_dict(self.totals),
            "best_params": self.best_params,
            "best_averaged": self.best_averaged,
        }

    @classmethod
    def of(
        cls, arrays: Mapping[str, Any], values: Mapping[str, Any], like: TrainState
    ) -> tuple["RunProgress", TrainState]:
        """Takes up what `arrays` and `values` gave; `like` has the structure of the state."""
        sums = {name: np.zeros_like(leaf) for name, leaf in arrays["totals"]["sums"].items()}
        progress = cls(
            step=values["step"],
            totals=serialization.from_state_dict(EpochTotals.zero(sums), arrays["totals"]),
            seconds=values["seconds"],
            history=values["history"],
            plateau=ReduceOnPlateau(**values["plateau"]),
            stopping=EarlyStopping(**values["stopping"]),
            best_params=arrays["best_params"],
            best_averaged=arrays.get("best_averaged", {}),
            best_averaged_loss=values["best_averaged_loss"],
            initial_weights=values.get("initial_weights"),
        )
        return progress, serialization.from_state_dict(like, arrays["state"])
