"""Points within an epoch, for the writers of a run."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from mlpvis_jax.learning.metrics import Metric, means_of
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.show.writers import Writer, tell


class Points:
    """Tells the writers of a run what every so many steps of an epoch came to.

    A point is the mean over the steps since the point before it, of this epoch and this process. It
    comes after the dispatch in which its step falls.

    Args:
      every_steps: between two points; None for no points.
      metrics: that are reported of training examples, by name.
      writers: of the run.
      progress: of the run, as this process takes it up.
    """

    def __init__(
        self,
        every_steps: int | None,
        metrics: Mapping[str, Metric],
        writers: Sequence[Writer],
        progress: RunProgress,
    ) -> None:
        self._every_steps = every_steps
        self._metrics = {name: one for name, one in metrics.items() if one.is_trained}
        self._writers = writers
        self._take(progress)

    def note(self, progress: RunProgress, learning_rate: Callable[[], float]) -> None:
        """Takes where the run stands, and what computes the learning rate of its last step."""
        every = self._every_steps
        if every is None or progress.step // every == self._step // every:
            return
        is_same = progress.epoch == self._epoch
        now = progress.totals.sums
        before = self._sums if is_same else jax.tree.map(np.zeros_like, now)
        since = jax.tree.map(lambda new, old: np.asarray(new) - np.asarray(old), now, before)
        if int(since["count"]):
            means = means_of(self._metrics, since)
            record = {f"train_{name}": value for name, value in means.items()}
            record |= {"step": progress.step, "learning_rate": learning_rate()}
            tell(self._writers, "write_steps", record)
        self._take(progress)

    def _take(self, progress: RunProgress) -> None:
        self._step, self._epoch = progress.step, progress.epoch
        self._sums = progress.totals.sums
