"""How long a run is, in steps: what its durations come to with the number of its examples."""

import dataclasses
import math

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.config import RunConfig

_MOST_STEPS = 2**31 - 1  # JAX counts in int32


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes:
      steps_per_epoch: steps that take every example once.
      total_steps: of the run, at most; its last epoch ends with them, be it a part of one.
      warmup_steps: over which the learning rate rises; a part of a step counts, too.
    """

    steps_per_epoch: int
    total_steps: int
    warmup_steps: float

    @classmethod
    def of(cls, config: RunConfig, num_examples: int) -> "Length":
        """Counts the steps of a run; a duration that ends within a step has the whole of it.

        Args:
          config: of the run.
          num_examples: training examples of an epoch.

        Raises:
          InputError: there are more steps than can be counted.
        """
        sizes = num_examples, config.batch_size
        total = math.ceil(config.duration.steps(*sizes))
        if total > _MOST_STEPS:
            raise InputError(
                f"config.duration={config.duration!r} is {total:,} steps; at most "
                f"{_MOST_STEPS:,} are possible."
            )
        warmup = float(config.schedule.warmup.steps(*sizes))
        return cls(-(-num_examples // config.batch_size), total, warmup)

    @property
    def num_epochs(self) -> int:
        """Counts the epochs, of which the last one may be a part."""
        return -(-self.total_steps // max(self.steps_per_epoch, 1))

    @property
    def is_all_warmup(self) -> bool:
        """Tells whether the run ends before its learning rate has its full value."""
        return self.warmup_steps >= self.total_steps

    def end_of(self, epoch: int) -> int:
        """Finds the step after which an epoch, counted from 1, ends."""
        return min(epoch * self.steps_per_epoch, self.total_steps)

    def refuse_cut_epoch(self, epochs: int, step: int, place: str) -> None:
        """Raises InputError where a run is to go on that has ended within an epoch.

        Its last epoch was validated, and the rules that watch the loss were applied, where a
        longer run would have trained on.

        Args:
          epochs: that are done.
          step: after which the run stands.
          place: such as "The run in runs/first".
        """
        if step < min(epochs * self.steps_per_epoch, self.total_steps):
            raise InputError(
                f"{place} has ended within epoch {epochs}, after step {step:,}, and cannot go on "
                "for longer; begin anew in another folder. A duration of whole epochs can grow."
            )
