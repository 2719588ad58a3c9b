"""What to tell a person whose run cannot go on: divergence, signals, full disks, full memory."""

import contextlib
import errno
import math
import signal
from collections.abc import Callable, Iterator

import jax

from mlpvis_jax.errors import (
    InputError,
    InterruptedRunError,
    OutOfMemoryError,
    StorageError,
)
from mlpvis_jax.files.place import describe_free_space
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.settings.config import RunConfig

# Besides a full or broken disk: what comes of a folder that somebody else moves or changes.
_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EFBIG),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
    errno.ESTALE,
)


def describe_divergence(totals: EpochTotals, epoch: int, config: RunConfig) -> str | None:
    """Returns a message that names the first step that is not finite; None if all are finite."""
    if totals.diverged_at < 0:
        return None
    what = f"the loss or a gradient at step {int(totals.diverged_at) + 1}"
    return _divergence(what, epoch, float(totals.last_loss), config)


def describe_divergence_of_validation(
    loss: float, progress: RunProgress, config: RunConfig
) -> str | None:
    """Returns a message about a validation loss that is not finite; None if it is finite."""
    if math.isfinite(loss):
        return None
    what = f"the validation loss after step {progress.step}"
    return _divergence(what, progress.epoch, float(progress.totals.last_loss), config)


def _divergence(what: str, epoch: int, before: float, config: RunConfig) -> str:
    causes = [f"config.optimizer.learning_rate ({config.optimizer.learning_rate:g}) is too high"]
    if config.model.options.get("dtype") == "bfloat16":
        causes.append("config.model.dtype=bfloat16 is too coarse")
    epsilon = config.optimizer.options.get("epsilon")
    if epsilon is not None:
        causes.append(f"config.optimizer.epsilon ({epsilon:g}) is too small")
    history = "" if math.isnan(before) else f"; the loss before it was {before:.4g}"
    return (
        f"Training diverged in epoch {epoch}: {what} is not a finite number{history}. "
        f"Likeliest: {', or '.join(causes)}."
    )


def interrupted(
    number: int, step: int, config: RunConfig, folder: RunFolder
) -> InterruptedRunError:
    """Makes the answer to a signal, once all is on disk."""
    return InterruptedRunError(
        f"{signal.Signals(number).name}: stopped after step {step:,}, and saved. To go on: "
        f"{folder.command(config)}{_everywhere()}",
        number,
    )


def command_to_go_on(config: RunConfig, folder: RunFolder) -> str | None:
    """Writes the command that goes on with a run; None where its folder has other settings."""
    with contextlib.suppress(InputError, OSError):
        if folder.holds_run() and folder.read_config() == config:
            return folder.command(config) + _everywhere()
    return None


def _everywhere() -> str:
    count = jax.process_count()
    return f", in all {count} processes, with the flags that they had" if count > 1 else ""


@contextlib.contextmanager
def explain_resource_errors(
    config: RunConfig,
    folder: RunFolder,
    trials: int = 1,
    command: Callable[[], str | None] = lambda: None,
) -> Iterator[None]:
    """Turns errors of the disk and of the devices' memory into messages that say what to do.

    Args:
      config: of the run, or of one of several trials that train together.
      folder: whose disk it is.
      trials: so many train together.
      command: makes the command that goes on afterwards; None: it is the one that was given.
    """
    try:
        with explain_memory_errors(config, trials):
            yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        again = command()
        then = ", and give the same command again." if again is None else f". To go on: {again}"
        raise StorageError(
            f"{error.filename or folder.path} cannot be written ({error.strerror}); "
            f"{describe_free_space(folder.path)}. The checkpoints are whole: make room"
            f"{then}"
        ) from error


@contextlib.contextmanager
def explain_memory_errors(config: RunConfig, trials: int = 1) -> Iterator[None]:
    """Turns errors of memory into messages that say what to do; see `explain_resource_errors`."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        model, of_gpus = config.model, ""
        if jax.default_backend() == "gpu":
            of_gpus = " Of a GPU's memory JAX takes 75 %; more with XLA_CLIENT_MEM_FRACTION=.95."
        fewer = f"sweep.trials_per_program (of which {trials} were tried) or " if trials > 1 else ""
        raise OutOfMemoryError(
            f"Out of memory ({(str(error) or 'of the host').splitlines()[0]}). Lower {fewer}"
            f"config.microbatch_size (now {config.microbatch_size}, where None is 16 on a CPU and "
            "else the whole batch), which sums the gradients of smaller parts and changes nothing "
            "but dropout masks and rounding; or set "
            "config.model.remat=True, which computes activations twice instead of keeping them "
            "(with config.model.remat_keeps_products=True only those that are cheap), or "
            "config.model.dtype=bfloat16; or lower config.batch_size "
            f"({config.batch_size}) or config.model.image_size ({model.image_size}).{of_gpus}"
        ) from error
