"""Weights & Biases: the same as goes into event files."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.show.writer import Record, RunDescription, arrays_of, best_of, numbers_of

_ID = "wandb_id.txt"


class WeightsAndBiases:
    """A run of Weights & Biases, taken up again under the same id; see `WritesMore`.

    What their environment variables say holds: WANDB_PROJECT, WANDB_MODE=offline, and so on. All
    is logged at the training step, and drawn over the epoch (points within epochs: over the step).
    A step that an earlier process has logged keeps what that process said, which is the same.
    """

    @staticmethod
    def check() -> None:
        """Raises InputError where the package is not installed."""
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise InputError(
                "config.writers names wandb, which is not installed: pip install "
                "'mlpvis_jax[wandb]'."
            ) from error

    def __init__(self, run: RunDescription) -> None:
        import wandb

        folder = run.folder.absolute()
        sweep = folder.parents[1].name if run.is_trial else None
        self._step = run.first_step - 1
        self._run = wandb.init(
            dir=str(run.folder),
            id=_read_id(run.folder),
            name=f"{sweep}/{folder.name}" if sweep else folder.name,
            group=sweep,
            resume="allow",
            # Trials that train together are open together.
            reinit="create_new",
            config=dict(run.settings),
        )
        self._defined: set[str] = set()

    def write(self, record: Record) -> None:
        self._step = record["step"]
        self._log("epoch", record["epoch"], numbers_of(record))

    def write_steps(self, record: Record) -> None:
        self._step = record["step"]
        numbers = {f"steps/{name}": value for name, value in numbers_of(record).items()}
        self._log("step", record["step"], numbers)

    def write_weights(self, epoch: int, params: Any) -> None:
        import wandb

        found = {
            f"weights/{name}": wandb.Histogram(np.asarray(array, np.float32))
            for name, array in arrays_of(params).items()
        }
        self._log("epoch", epoch, found)

    def _log(self, axis: str, place: int, found: Mapping[str, Any]) -> None:
        # Each name for itself: of patterns that overlap, any may hold.
        for name in found.keys() - self._defined:
            self._run.define_metric(name, step_metric=axis)
        self._defined |= found.keys()
        self._run.log({axis: place, **found}, step=self._step)

    def finish(self, history: Sequence[Record], results: Record) -> None:
        self._run.summary.update({**numbers_of(results), **best_of(history, results)})

    def close(self) -> None:
        self._run.finish()


def _read_id(folder: Path) -> str:
    """The id of a run, by which a run that goes on is found; drawn once and kept in its folder.

    A project has the runs of many folders, so that the folder's name could be another run's, too.
    """
    file = folder / _ID
    if not file.exists():
        file.write_text(f"{secrets.token_hex(8)}\n")
    return file.read_text().strip()
