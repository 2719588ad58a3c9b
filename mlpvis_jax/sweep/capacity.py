"""How many trials there is memory for, and whether programs that are made serve a group."""

import contextlib
import math
import resource
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlpvis_jax.models import Classifier
from mlpvis_jax.models.arithmetic import kept_bytes
from mlpvis_jax.running.choices import build_model, program_of
from mlpvis_jax.running.placement import num_microbatches
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.task import Task
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.settings.config import RunConfig

# Trials on a device, unless a sweep says otherwise.
MAX_TRIALS = 64
MAX_TRIALS_ON_CPU = 4  # one after another: more would only end later
# Copies that a trial has of its parameters: with AdamW's two moments, the gradients, and the new
# ones of both; and of what its forward pass keeps for the backward pass, where it is computed.
STATE_COPIES = 6
KEPT_COPIES = 2
_SHARE_OF_MEMORY = 0.8
_FILES_OF_TRIAL = 3  # open while it trains: its lock, and the event files of epochs and of steps
_OTHER_FILES = 256


def serves(programs: Programs, configs: Sequence[RunConfig]) -> bool:
    """Tells whether programs fit the trials, and at least half of the slots would be used."""
    placement, number = programs.placement, len(configs)
    skips_slots = placement.rounds > 1 or placement.capacity == len(placement.devices)
    fits = number <= placement.capacity and (skips_slots or 2 * number > placement.capacity)
    return fits and programs.plan.program == program_of(configs)


def trials_that_fit(
    config: RunConfig, task: Task, devices: Sequence[jax.Device], vmapped_trials: int | None
) -> int:
    """Estimates how many trials with settings like these there is memory for.

    Each needs STATE_COPIES of its parameters, and where it is computed, KEPT_COPIES of what the
    forward pass keeps. That is counted, not measured: from the shapes in the traced program, of
    which XLA may save some. Four fifths of the memory that is free are taken.
    """
    on_cpu = devices[0].platform == "cpu"
    free = _free_bytes(devices)
    model = build_model(config.model, task.source.num_classes)
    one = TrialParallel.with_capacity(devices[:1], 1)
    parts = num_microbatches(one, config.batch_size, config.microbatch_size)
    images = -(-config.batch_size // parts)
    state, kept = bytes_of(config, model, images, task.channels)
    together = vmapped_trials or (1 if on_cpu else None)
    if together is None:
        most = free / (STATE_COPIES * state + KEPT_COPIES * kept)
    else:
        most = (free - KEPT_COPIES * kept * together) / (STATE_COPIES * state)
    limit = MAX_TRIALS_ON_CPU if on_cpu else MAX_TRIALS
    return len(devices) * max(1, min(limit, math.floor(most)))


def trials_of_open_files() -> int:
    """Counts the trials whose files this process may have open, once it has raised its limit."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where there is no end, as on macOS, the system allows fewer all the same.
    wanted = 1 << 16 if most == resource.RLIM_INFINITY else most
    if limit == resource.RLIM_INFINITY:
        limit = wanted
    elif limit < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            limit = wanted
    return max(1, (limit - _OTHER_FILES) // _FILES_OF_TRIAL)


def bytes_of(
    config: RunConfig, model: Classifier, batch_size: int, channels: int
) -> tuple[int, int]:
    """Bytes of the parameters, and of what a batch's forward pass keeps for the backward pass."""
    size = config.model.image_size
    images = jax.ShapeDtypeStruct((batch_size, size, size, channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return _total(variables), kept_bytes(model, images)


def _total(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _free_bytes(devices: Sequence[jax.Device]) -> float:
    """What a device may take."""
    found = devices[0].memory_stats()
    if found and "bytes_limit" in found:
        return _SHARE_OF_MEMORY * (found["bytes_limit"] - found.get("bytes_in_use", 0))
    import psutil

    return _SHARE_OF_MEMORY * psutil.virtual_memory().available / len(devices)  # of one machine
