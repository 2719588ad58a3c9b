"""What a process tells JAX about the machine, before JAX looks for devices."""

import contextlib
import os

import jax

from mlpvis_jax.errors import InputError, first_line

# Every device has its own copy of the images.
_MAX_CPU_DEVICES = 8


def use_each_core(max_devices: int) -> None:
    """Exposes each CPU core, of at most eight, as a JAX device, so that one trial trains per core.

    A trial on each of two cores is done sooner than one after another on both of them, and the
    numbers are the same: see benchmarks/README.md. Without effect once JAX has looked for devices,
    or where it was told their number (JAX_NUM_CPU_DEVICES, or a flag of XLA_FLAGS).

    Args:
      max_devices: devices that there is work for.
    """
    told = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]
    if told or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with contextlib.suppress(RuntimeError):  # JAX has looked for devices
        jax.config.update("jax_num_cpu_devices", max(1, min(max_devices, cores, _MAX_CPU_DEVICES)))


def local_devices() -> tuple[jax.Device, ...]:
    """Finds all devices of this process.

    Raises:
      InputError: JAX finds none, or is told to compute in 64 bits or without compiling; or this is
        one of several machines of a TPU, which has not met the others.
    """
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError(
            "JAX_ENABLE_X64 is set, and training is in 32 bits: unset it, or set it to 0."
        )
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise InputError(
            "JAX_DISABLE_JIT is set, and training is compiled: unset it, or set it to 0."
        )
    try:
        # On a TPU of several machines each sees the devices of all, whatever it has been told.
        if jax.process_count() > 1 and not jax.distributed.is_initialized():
            raise InputError(
                f"This is one of {jax.process_count()} machines of a TPU, and what is asked for is "
                "done by one process alone: set TPU_PROCESS_BOUNDS=1,1,1, and "
                "TPU_CHIPS_PER_PROCESS_BOUNDS and TPU_VISIBLE_DEVICES to the chips of this machine."
            )
        return tuple(jax.local_devices())
    except (RuntimeError, AssertionError) as error:  # the second without a plugin for a GPU
        reason = first_line(error) if str(error) else "there is no such device"
        raise InputError(
            f"JAX finds no device with JAX_PLATFORMS={jax.config.jax_platforms!r} "  # type: ignore[attr-defined]
            f"({reason}); unset it, or install JAX for that kind of device."
        ) from error
