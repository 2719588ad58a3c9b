"""What to tell a person whose run cannot go on: divergence, signals, full disks, full memory."""

import contextlib
import errno
import math
import signal
from collections.abc import Iterator

import jax

from mlpvis_jax.errors import (
    DivergenceError,
    InterruptedRunError,
    OutOfMemoryError,
    StorageError,
)
from mlpvis_jax.files.place import describe_free_space
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running.position import Position
from mlpvis_jax.settings.config import RunConfig

# Besides a full or broken disk: what comes of a folder that somebody else moves or changes.
_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)


def refuse_divergence(
    measured: EpochTotals | float, position: Position, config: RunConfig, folder: RunFolder
) -> None:
    """Raises DivergenceError unless totals of training, or a validation loss, are finite."""
    divergence = describe_divergence(measured, position, config)
    if divergence is not None:
        raise DivergenceError(
            f"{divergence} The checkpoints in {folder.checkpoints} are those from before; begin "
            "anew in another folder."
        )


def describe_divergence(
    measured: EpochTotals | float, position: Position, config: RunConfig
) -> str | None:
    """What is not finite in totals of training, or that it is the validation loss, and why."""
    if isinstance(measured, EpochTotals):
        if measured.diverged_at < 0:
            return None
        what = f"the loss or a gradient at step {int(measured.diverged_at) + 1}"
        before = float(measured.last_loss)
    else:
        if math.isfinite(measured):
            return None
        what = f"the validation loss after step {position.step}"
        before = float(position.totals.last_loss)
    knobs = [f"config.optimizer.learning_rate ({config.optimizer.learning_rate:g}) is too high"]
    if config.model.dtype == "bfloat16":
        knobs.append("config.model.dtype=bfloat16 is too coarse")
    knobs.append(f"config.optimizer.epsilon ({config.optimizer.epsilon:g}) is too small")
    history = "" if math.isnan(before) else f"; the loss before it was {before:.4g}"
    return (
        f"Training diverged in epoch {position.epoch}: {what} is not a finite number{history}. "
        f"Likeliest: {', or '.join(knobs)}."
    )


def interrupted(
    number: int, step: int, config: RunConfig, folder: RunFolder
) -> InterruptedRunError:
    """The answer to a signal, once all is on disk."""
    return InterruptedRunError(
        f"{signal.Signals(number).name}: stopped after step {step:,}, and saved. To go on: "
        f"{folder.command(config)}",
        number,
    )


@contextlib.contextmanager
def explained(config: RunConfig, folder: RunFolder, trials: int = 1) -> Iterator[None]:
    """Turns errors of the disk and of the devices' memory into messages that say what to do.

    Args:
      config: of the run, or of one of several trials that train together.
      folder: whose disk it is.
      trials: so many train together.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise StorageError(
            f"{error.filename or folder.path} cannot be written ({error.strerror}); "
            f"{describe_free_space(folder.path)}. The checkpoints are whole: make room, and give "
            "the same command again."
        ) from error
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        model = config.model
        fewer = f"sweep.trials_per_program (of which {trials} were tried) or " if trials > 1 else ""
        raise OutOfMemoryError(
            f"Out of memory ({(str(error) or 'of the host').splitlines()[0]}). Lower {fewer}"
            f"config.microbatch_size ({config.microbatch_size or 'the whole batch'}), which sums "
            "the gradients of smaller parts and changes no result; or set config.model.remat=True, "
            "which computes activations twice instead of keeping them, or "
            "config.model.dtype=bfloat16; or lower config.batch_size "
            f"({config.batch_size}) or config.model.image_size ({model.image_size})."
        ) from error
